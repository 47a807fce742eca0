// Package clock tells the time of appends: the wall clock as it was when the
// clock was started, carried on by the monotonic clock. Whoever sets the wall
// clock meanwhile changes nothing; only time that the machine spent suspended
// is added, since the monotonic clock does not count it.
package clock

import (
	"sync/atomic"
	"time"
)

// A Clock gives times that never fall. The zero Clock is not usable.
type Clock struct {
	start time.Time
	wall  int64 // nanoseconds since 1970 UTC at start
	// slept is how long the machine was suspended since start.
	slept  atomic.Int64
	asleep func() int64 // total time suspended since boot, nanoseconds
	before int64        // that, at start
	// skipped is how far Skip moved it.
	skipped atomic.Int64
}

// Start returns a clock that begins at the wall clock's time.
func Start() *Clock {
	now := time.Now()
	c := &Clock{start: now, wall: now.UnixNano(), asleep: suspended}
	c.before = c.asleep()
	return c
}

// Now returns the time in nanoseconds since 1970 UTC.
func (c *Clock) Now() int64 {
	return c.wall + int64(time.Since(c.start)) + c.slept.Load() + c.skipped.Load()
}

// Wake adds the time that the machine was suspended since the last call. It
// is called now and then, and before the first append after a pause.
func (c *Clock) Wake() {
	// The difference of two clocks jitters by what passes between reading
	// them; it only ever moves forward.
	const jitter = int64(time.Millisecond)
	if slept := c.asleep() - c.before; slept > c.slept.Load()+jitter {
		c.slept.Store(slept)
	}
}

// Skip moves the clock forward, as a suspension of the machine does. It is for
// tests that would have to wait.
func (c *Clock) Skip(d time.Duration) { c.skipped.Add(int64(d)) }

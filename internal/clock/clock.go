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
	still bool  // immutable: time passes by Skip alone
	// slept is how long the machine was suspended since start.
	slept  atomic.Int64
	asleep func() int64 // total time suspended since boot, nanoseconds
	before int64        // that, at start
	// skipped is how far Skip moved it.
	skipped atomic.Int64

	timers timers
}

// Start returns a clock that begins at the wall clock's time.
func Start() *Clock {
	c := follow(time.Now())
	c.asleep = suspended
	c.before = c.asleep()
	return c
}

// Follow returns a clock for tests: it goes as package time does, in a bubble
// of testing/synctest too, and does not ask the machine about suspensions.
func Follow() *Clock { return follow(time.Now()) }

// Still returns a clock for tests that shows at, and moves by Skip alone.
func Still(at time.Time) *Clock {
	c := follow(at)
	c.still = true
	return c
}

func follow(start time.Time) *Clock {
	return &Clock{start: start, wall: start.UnixNano(), asleep: func() int64 { return 0 }}
}

// Now returns the time in nanoseconds since 1970 UTC.
func (c *Clock) Now() int64 {
	if c.still {
		return c.wall + c.skipped.Load()
	}
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

// Skip moves the clock forward, as a suspension of the machine does, and has
// the timers fire whose time has come by then. It is for tests that would have
// to wait.
func (c *Clock) Skip(d time.Duration) {
	c.skipped.Add(int64(d))
	c.rearm()
}

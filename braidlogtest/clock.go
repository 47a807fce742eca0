package braidlogtest

import (
	"time"

	"github.com/braidlog/braidlog/internal/clock"
)

// A Clock is the time that a store goes by: that of timestamps, retention,
// dedup windows and syncs at level Interval. It goes as package time does, so
// in a bubble of testing/synctest it is the bubble's, or stands still if [At]
// was given; and Advance moves it. It goes on through crashes.
type Clock struct{ c *clock.Clock }

// Now returns the time, in UTC.
func (c *Clock) Now() time.Time { return time.Unix(0, c.c.Now()).UTC() }

// Advance moves the clock forward, all at once, as if the machine had been
// suspended. It does not wait for what is due by then, which is begun in the
// background as ever: Topic.Sync, Topic.Enforce and, in a bubble, synctest.Wait
// do. d must not be negative.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic("braidlogtest: a clock goes forward only")
	}
	c.c.Skip(d)
}

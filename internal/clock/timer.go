package clock

import (
	"sync"
	"time"
)

// timers are those of a clock that have yet to fire.
type timers struct {
	mu      sync.Mutex // a leaf: nothing is called under it
	pending map[*Timer]struct{}
}

// A Timer calls a function once, when its time has come by its clock.
type Timer struct {
	c   *Clock
	f   func()
	due int64       // guarded by c.timers.mu, like t
	t   *time.Timer // nil until it was needed
}

// AfterFunc has f called on a goroutine of its own once d has passed.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{c: c, f: f}
	t.Reset(d)
	return t
}

// After returns a channel that is closed once d has passed.
func (c *Clock) After(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	c.AfterFunc(d, func() { close(over) })
	return over
}

// Reset has the timer fire once d has passed from now. It must have been
// stopped, or have fired.
func (t *Timer) Reset(d time.Duration) {
	all := &t.c.timers
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.pending == nil {
		all.pending = map[*Timer]struct{}{}
	}
	all.pending[t] = struct{}{}
	t.due = t.c.Now() + int64(d)
	t.armLocked(d)
}

// Stop keeps the timer from firing, and reports whether it did: if not, the
// function was called or is about to be.
func (t *Timer) Stop() bool {
	all := &t.c.timers
	all.mu.Lock()
	defer all.mu.Unlock()
	_, pending := all.pending[t]
	delete(all.pending, t)
	if t.t != nil {
		t.t.Stop()
	}
	return pending
}

// armLocked sets the timer of package time. A clock that stands still needs it
// for what is due at once.
func (t *Timer) armLocked(wait time.Duration) {
	switch {
	case t.c.still && wait > 0:
	case t.t == nil:
		t.t = time.AfterFunc(wait, t.fire)
	default:
		t.t.Reset(wait)
	}
}

// fire calls the function, unless the timer was stopped just now.
func (t *Timer) fire() {
	if t.Stop() {
		t.f()
	}
}

// rearm is called when the clock was moved.
func (c *Clock) rearm() {
	c.timers.mu.Lock()
	defer c.timers.mu.Unlock()
	now := c.Now()
	for t := range c.timers.pending {
		t.armLocked(time.Duration(t.due - now))
	}
}

// Package relay passes things on to a listener who may be slow, so that who
// has something to tell never waits.
package relay

import "sync"

// A Relay tells one listener of things, one at a time and in order, under no
// lock, on a goroutine that lives while there is something to tell. A nil
// Relay has no listener.
type Relay[T any] struct {
	most int                        // immutable
	tell func(thing T, dropped int) // immutable

	mu      sync.Mutex // a leaf: nothing is called under it
	queue   []T        // guarded by mu
	dropped int        // guarded by mu; since the listener was told last
	busy    bool       // guarded by mu; somebody tells, or nobody may yet
	closed  bool       // guarded by mu

	running sync.WaitGroup
}

// New returns a relay that keeps at most so many things for the listener, and
// drops what comes when they are that many. It tells nothing before Start.
// With the next thing that is told comes how many were dropped since the one
// before. A listener that panics or ends its goroutine is told of the next
// thing all the same; who wants to know of it catches it.
func New[T any](most int, tell func(thing T, dropped int)) *Relay[T] {
	return &Relay[T]{most: most, tell: tell, busy: true}
}

// Start lets the listener be told. It is called once.
func (r *Relay[T]) Start() {
	if r != nil {
		r.ended()
	}
}

// Tell takes note of a thing and returns at once: it may be called under any
// lock. After Close it does nothing.
func (r *Relay[T]) Tell(thing T) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return
	case len(r.queue) == r.most:
		r.dropped++
		return
	}
	r.queue = append(r.queue, thing)
	if !r.busy {
		r.busy = true
		r.running.Go(r.run)
	}
}

// Close waits until everything that was taken note of is told, unless Start
// was not called: then it is dropped.
func (r *Relay[T]) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}

// run tells until there is nothing to tell.
func (r *Relay[T]) run() {
	defer r.ended()
	for {
		thing, dropped, ok := r.next()
		if !ok {
			return
		}
		r.tellOne(thing, dropped)
	}
}

func (r *Relay[T]) next() (thing T, dropped int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.queue = nil
		return thing, 0, false
	}
	var none T
	thing, r.queue[0] = r.queue[0], none
	r.queue = r.queue[1:]
	dropped, r.dropped = r.dropped, 0
	return thing, dropped, true
}

func (r *Relay[T]) tellOne(thing T, dropped int) {
	defer func() { recover() }() // it is the listener's, and harms nobody else
	r.tell(thing, dropped)
}

// ended is what a goroutine that told does last, also if the listener ended
// it.
func (r *Relay[T]) ended() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = len(r.queue) > 0
	if r.busy {
		r.running.Go(r.run)
	}
}

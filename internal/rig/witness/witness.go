// Package witness takes down what is done to a log and seen of it, across
// restarts, and says afterwards what a log must never do: lose, duplicate,
// reorder, skip or invent a record, or show less than it showed before.
//
// Every record that is appended has a value of its own. The check goes over the
// events once, and over what reads left out once more: it takes time linear in
// the records that were appended and read.
package witness

import (
	"slices"
	"sync"
)

// A Promise is what a power loss leaves of a log.
type Promise uint8

const (
	// WhatWasSeen survives a power loss: whatever was acknowledged or read.
	// That is level Sync.
	WhatWasSeen Promise = iota
	// WhatWasSynced survives: what Durable was told of. The rest may be gone,
	// from some offset on, and those offsets are never given out again.
	WhatWasSynced
)

// A History is taken down by as many goroutines as there are. It is of one
// partition.
type History struct {
	mu     sync.Mutex
	events []event // guarded by mu; in the order of time
}

type kind uint8

const (
	offered kind = iota
	acknowledged
	repeated
	refused
	readBegan
	readEnded
	trimmed
	passedOver
	durable
	killed
	lostPower
)

// An event is one of the above. What it has depends on that.
type event struct {
	kind     kind
	began    int // event at which the call began that this is the end of
	values   []string
	offsets  []int64 // of values
	gaps     []gap   // that a read was told of
	from, to int64
	whole    bool // a read got to the end
	promise  Promise
}

// A gap is offsets that hold no records, as the log says itself.
type gap struct{ from, to int64 }

func (h *History) add(e event) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return len(h.events) - 1
}

// Len returns how many events there are.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// Branch returns a history of its own that begins with the first n events of h:
// what would have become of the log, had something happened then.
func (h *History) Branch(n int) *History {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &History{events: slices.Clone(h.events[:n])}
}

// An Appending is an append under way. If it is never told how that ended, its
// records may be in the log or not.
type Appending struct {
	h      *History
	began  int
	values []string
}

// Append says that an append of these values is about to begin.
func (h *History) Append(values ...string) *Appending {
	return &Appending{h, h.add(event{kind: offered, values: values}), values}
}

// Done says that they were acknowledged, at these offsets.
func (a *Appending) Done(offsets ...int64) {
	a.h.add(event{kind: acknowledged, began: a.began, values: a.values, offsets: offsets})
}

// Repeated says that the append was found to be a repeat of one at offset.
func (a *Appending) Repeated(offset int64) {
	a.h.add(event{kind: repeated, began: a.began, values: a.values, offsets: []int64{offset}})
}

// Refused says that none of them was appended, for certain.
func (a *Appending) Refused() {
	a.h.add(event{kind: refused, began: a.began, values: a.values})
}

// A Reading is a read under way, by one goroutine.
type Reading struct {
	h     *History
	event event
}

// Read says that a read is about to begin, of offset from.
func (h *History) Read(from int64) *Reading {
	r := &Reading{h: h, event: event{kind: readEnded, from: from}}
	r.event.began = h.add(event{kind: readBegan})
	return r
}

// Saw says that the read returned a record.
func (r *Reading) Saw(offset int64, value string) {
	r.event.offsets = append(r.event.offsets, offset)
	r.event.values = append(r.event.values, value)
}

// Gap says that the read was told that [from, to) hold no records.
func (r *Reading) Gap(from, to int64) { r.event.gaps = append(r.event.gaps, gap{from, to}) }

// Stopped says that the read ended before it got to the end.
func (r *Reading) Stopped() { r.h.add(r.event) }

// Ended says that the read got to the end of the log as it saw it, which is the
// offset that would come next.
func (r *Reading) Ended(end int64) {
	r.event.whole, r.event.to = true, end
	r.h.add(r.event)
}

// Trim says that a trim to offset is about to begin: what lies below may be gone
// from now on.
func (h *History) Trim(offset int64) { h.add(event{kind: trimmed, to: offset}) }

// PassedOver says that the log will never give the offsets [from, to) to a
// record.
func (h *History) PassedOver(from, to int64) { h.add(event{kind: passedOver, from: from, to: to}) }

// Durable says that the log promised that everything below end is on disk.
func (h *History) Durable(end int64) { h.add(event{kind: durable, to: end}) }

// Killed says that the process ended, and was started again. What was
// acknowledged is still there.
func (h *History) Killed() { h.add(event{kind: killed}) }

// LostPower says that the machine did.
func (h *History) LostPower(p Promise) { h.add(event{kind: lostPower, promise: p}) }

package witness

import (
	"fmt"
	"slices"
	"sort"
)

// A Wrong is what a log must not do.
type Wrong string

// All that can be wrong.
const (
	Lost       Wrong = "lost"       // a record was acknowledged or read, and is not there any more
	Duplicated Wrong = "duplicated" // a record stands twice, or an offset was given twice
	Reordered  Wrong = "reordered"  // records do not stand in the order of their appends
	Skipped    Wrong = "skipped"    // a read left out a record that is there
	Stale      Wrong = "stale"      // a read ended before what had been there when it began
	Invented   Wrong = "invented"   // nobody appended that record, or it was refused or gone
)

// A Violation is one thing that went wrong, at offsets [From, To).
type Violation struct {
	Wrong    Wrong
	From, To int64
	What     string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: offsets [%d, %d): %s", v.Wrong, v.From, v.To, v.What)
}

// mostViolations is how many are named. A log that is wrong everywhere would
// take long to describe.
const mostViolations = 100

// Check returns what went wrong, in the order in which it is noticed; nil if
// nothing did.
func (h *History) Check() []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := checker{records: map[string]*record{}, at: map[int64]*record{}, floors: make([]floor, len(h.events))}
	for i := range h.events {
		c.event(i, &h.events[i])
	}
	c.resolve()
	return c.found
}

// A record is a value that was offered, or read.
type record struct {
	value   string
	offset  int64 // -1: not known
	offers  int   // appends of it that began and were not refused
	acked   bool
	own     bool // acknowledged as what it is, and not only as what another one repeats
	seen    int  // last event at which a read returned it, -1: none did
	refused bool
}

// A floor is what must hold for a call that begins at this moment.
type floor struct {
	visible int64 // a read that gets to the end gets here
	given   int64 // an append gets at least this offset
}

// A hole is offsets that a read left out, or ended before.
type hole struct {
	from, to int64
	read     int  // event
	tail     bool // the read ended before it
}

// A checker goes over the events.
type checker struct {
	records map[string]*record
	at      map[int64]*record // by offset
	floors  []floor           // by event
	now     floor
	durable int64
	start   int64 // below, records may be gone
	loss    bool  // records from durable on may have been lost, and no read has told yet
	gone    []gap // rising and apart; offsets that hold no records any more, or never did
	holes   []hole
	found   []Violation
}

func (c *checker) wrong(w Wrong, from, to int64, format string, args ...any) {
	if len(c.found) < mostViolations {
		c.found = append(c.found, Violation{w, from, to, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) event(i int, e *event) {
	c.floors[i] = c.now
	switch e.kind {
	case offered:
		for _, v := range e.values {
			c.record(v).offers++
		}
	case acknowledged, repeated:
		for n, v := range e.values {
			c.acknowledge(e, c.record(v), e.offsets[n])
		}
	case refused:
		for _, v := range e.values {
			c.refuse(c.record(v))
		}
	case readEnded:
		c.read(i, e)
	case trimmed:
		c.start = max(c.start, e.to)
	case passedOver:
		c.leave(gap{e.from, e.to})
		c.now.given = max(c.now.given, e.to)
	case durable:
		c.durable = max(c.durable, e.to)
	case lostPower:
		c.loss = e.promise == WhatWasSynced
		if c.loss {
			c.now.visible = min(c.now.visible, c.durable)
		}
	}
}

func (c *checker) record(value string) *record {
	r := c.records[value]
	if r == nil {
		r = &record{value: value, offset: -1, seen: -1}
		c.records[value] = r
	}
	return r
}

// acknowledge is called for each record of an append that was.
func (c *checker) acknowledge(e *event, r *record, offset int64) {
	switch {
	case r.offset == offset && (e.kind == repeated || !r.own):
	case r.offset >= 0:
		c.wrong(Duplicated, offset, offset+1, "%s was acknowledged here, and is at offset %d", r.value, r.offset)
	case c.at[offset] != nil:
		c.wrong(Duplicated, offset, offset+1, "given to %s, and was given to %s", r.value, c.at[offset].value)
	case offset < c.floors[e.began].given && e.kind == acknowledged:
		c.wrong(Reordered, offset, offset+1, "%s was appended when the log went up to offset %d", r.value, c.floors[e.began].given)
	}
	if r.offset < 0 {
		c.put(r, offset)
	}
	r.acked, r.own = true, r.own || e.kind == acknowledged
	c.reach(offset + 1)
}

// put notes where a record stands.
func (c *checker) put(r *record, offset int64) {
	r.offset = offset
	if c.at[offset] == nil {
		c.at[offset] = r
	}
}

// reach notes that the log goes up to end.
func (c *checker) reach(end int64) {
	c.now.visible = max(c.now.visible, end)
	c.now.given = max(c.now.given, end)
}

func (c *checker) refuse(r *record) {
	r.offers--
	if r.offers > 0 || r.acked {
		return
	}
	r.refused = true
	if r.seen >= 0 {
		c.wrong(Invented, r.offset, r.offset+1, "%s was read, and refused", r.value)
	}
}

// leave notes offsets that hold no records.
func (c *checker) leave(g gap) {
	if g.from >= g.to {
		return
	}
	first := c.goneBehind(g.from - 1) // one that ends at g.from is joined
	last := first
	for last < len(c.gone) && c.gone[last].from <= g.to {
		g = gap{min(g.from, c.gone[last].from), max(g.to, c.gone[last].to)}
		last++
	}
	c.gone = slices.Replace(c.gone, first, last, g)
}

// goneBehind returns the first of the gaps that ends behind offset.
func (c *checker) goneBehind(offset int64) int {
	return sort.Search(len(c.gone), func(i int) bool { return c.gone[i].to > offset })
}

// read is called when one ended.
func (c *checker) read(i int, e *event) {
	floor := c.floors[e.began]
	for _, g := range e.gaps {
		c.leave(g)
	}
	next := e.from
	for n, offset := range e.offsets {
		if n > 0 && offset < next {
			c.backwards(e, n)
		}
		c.missed(hole{next, offset, i, false})
		c.saw(i, c.record(e.values[n]), offset)
		next = max(next, offset+1)
	}
	if !e.whole {
		return
	}
	end := max(next, e.to)
	c.missed(hole{next, end, i, false})
	c.missed(hole{end, floor.visible, i, true})
	if c.loss && e.from <= end { // this is what was left
		c.loss = false
		c.leave(gap{end, max(end, c.now.given)})
		c.now.visible = end
	}
}

// backwards is called for a record that comes behind one of a higher offset, or
// of its own.
func (c *checker) backwards(e *event, n int) {
	offset, before := e.offsets[n], e.offsets[n-1]
	if len(c.found) == mostViolations {
		return // looking back takes time
	}
	if slices.Contains(e.offsets[:n], offset) {
		c.wrong(Duplicated, offset, offset+1, "one read returned it twice")
		return
	}
	c.wrong(Reordered, offset, offset+1, "a read returned it behind offset %d", before)
}

// saw is called for every record that a read returned.
func (c *checker) saw(i int, r *record, offset int64) {
	there := c.at[offset]
	switch {
	case r.offers == 0 && !r.acked && r.refused:
		c.wrong(Invented, offset, offset+1, "%s was refused", r.value)
	case r.offers == 0 && !r.acked:
		c.wrong(Invented, offset, offset+1, "%q was never appended", r.value)
	case r.offset >= 0 && r.offset != offset && r.seen < 0:
		c.wrong(Reordered, offset, offset+1, "%s was acknowledged at offset %d", r.value, r.offset)
	case r.offset >= 0 && r.offset != offset:
		c.wrong(Duplicated, offset, offset+1, "%s stands at offset %d too", r.value, r.offset)
	case there != nil && there != r:
		c.wrong(Lost, offset, offset+1, "%s was here, now it is %s", there.value, r.value)
	case c.isGone(offset):
		c.wrong(Invented, offset, offset+1, "%s is there again", r.value)
	}
	if r.offset < 0 {
		c.put(r, offset)
	}
	r.seen = i
	c.reach(offset + 1)
}

// isGone reports whether offset is known to hold no record.
func (c *checker) isGone(offset int64) bool {
	i := c.goneBehind(offset)
	return i < len(c.gone) && c.gone[i].from <= offset
}

// missed notes a hole, but for what lawfully is not there.
func (c *checker) missed(h hole) {
	h.from = max(h.from, c.start)
	if h.from >= h.to {
		return
	}
	for _, g := range c.gone[c.goneBehind(h.from):] {
		if g.from >= h.to {
			break
		}
		if g.from > h.from {
			c.holes = append(c.holes, hole{h.from, g.from, h.read, h.tail})
		}
		h.from = g.to
	}
	if h.from < h.to && len(c.holes) < mostViolations {
		c.holes = append(c.holes, h)
	}
}

// resolve names the holes, now that it is known what was read later.
func (c *checker) resolve() {
	for _, h := range c.holes {
		last, known := c.known(h)
		switch {
		case last > h.read && h.tail:
			c.wrong(Stale, h.from, h.to, "a read that began later ended before them")
		case last > h.read || !known:
			c.wrong(Skipped, h.from, h.to, "a read left them out")
		default:
			c.wrong(Lost, h.from, h.to, "a read did not find them, nor did any later one")
		}
	}
}

// known returns the last event at which a record in a hole was read, and
// whether any is known.
func (c *checker) known(h hole) (last int, known bool) {
	last = -1
	look := func(r *record) {
		known = true
		last = max(last, r.seen)
	}
	if h.to-h.from <= int64(len(c.at)) {
		for offset := h.from; offset < h.to; offset++ {
			if r := c.at[offset]; r != nil {
				look(r)
			}
		}
		return last, known
	}
	for offset, r := range c.at {
		if h.from <= offset && offset < h.to {
			look(r)
		}
	}
	return last, known
}

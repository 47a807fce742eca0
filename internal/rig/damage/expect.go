package damage

import (
	"bytes"
	"path"

	"github.com/braidlog/braidlog"
)

// An expectation is what the table wants of a partition that was spoiled.
type expectation struct {
	items   []item
	end     int64
	torn    bool // what begins at end is cut off
	refused bool // damage in the active segment: appends may be refused
	unsure  bool // the partition need not open, if it says why
}

// An item is what a reader meets: a record, or a range of lost ones.
type item struct {
	from, to int64 // of a record: itself
	record   bool
}

// A finding is a stretch of a segment in which nothing decodes, or a file that is
// missing: offsets [from, to), none for bytes between batches.
type finding struct {
	from, to int64
	active   bool // it is in the last segment
	last     bool // and no batch follows: who reads cannot tell how far it goes
}

// expect applies the table of what can be found to a partition.
func (f *fixture) expect(c change, p *part) expectation {
	var x expectation
	start := p.start
	for name, e := range c.files {
		if path.Dir(name) != p.dir {
			continue
		}
		x.unsure = x.unsure || e.form > missing && path.Ext(name) == ".log"
		if path.Base(name) == "partition.json" {
			x.unsure = true
			if e.form == missing { // so the beginning is missing as well
				start = 0
			}
		}
	}
	found, durable := f.find(c, p, start)
	x.end = p.end()
	next := start
	for _, d := range found {
		if d.from >= durable {
			x.torn, x.end = true, d.from
			break
		}
		if d.last { // all that is known of it is what was durable
			d.to = durable
			x.end = durable
		}
		x.refused = x.refused || d.active
		if d.to > start && d.from < d.to {
			x.records(next, d.from)
			x.lost(max(d.from, start), d.to)
			next = d.to
		}
	}
	x.records(next, x.end)
	x.end = max(x.end, start)
	return x
}

func (x *expectation) records(from, to int64) {
	for ; from < to; from++ {
		x.items = append(x.items, item{from, from + 1, true})
	}
}

func (x *expectation) lost(from, to int64) { x.items = addLost(x.items, from, to) }

// addLost adds a range, to the one before if it follows on it.
func addLost(items []item, from, to int64) []item {
	if n := len(items); n > 0 && !items[n-1].record && items[n-1].to == from {
		items[n-1].to = to
		return items
	}
	return append(items, item{from: from, to: to})
}

// find returns all that does not decode, in order of offsets, and the durable
// mark: the greatest durable offset of what does, and of the checkpoint.
func (f *fixture) find(c change, p *part, start int64) (found []finding, durable int64) {
	durable = start
	if p.level == braidlog.Sync && p != f.ledger {
		durable = max(durable, f.committed(c, p))
	}
	if f.clean && f.intact(c, "checkpoint") {
		durable = p.end()
	}
	at := start // the offset that is expected next
	for i, s := range p.segments {
		active := i == len(p.segments)-1
		e := f.after(c, s.name)
		if at < s.base {
			found = append(found, finding{at, s.base, false, false})
		}
		at = s.to
		if !headerIntact(e, s) {
			found = append(found, finding{s.base, s.to, active, active})
			continue
		}
		durable = max(durable, s.durable)
		open := false // the last finding goes on here
		spoiled := func(from, to int64) {
			if !open {
				found = append(found, finding{from, to, active, active})
			}
			found[len(found)-1].to, open = to, true
		}
		for _, b := range s.batches {
			if int64(len(e.bytes)) < b.end || !bytes.Equal(e.bytes[b.pos:b.end], s.bytes[b.pos:b.end]) {
				spoiled(b.from, b.to)
				continue
			}
			if open {
				found[len(found)-1].last, open = false, false
			}
			durable = max(durable, b.durable)
		}
		if int64(len(e.bytes)) > s.used && len(bytes.Trim(e.bytes[s.used:], "\x00")) > 0 {
			spoiled(s.to, s.to)
		}
	}
	return found, durable
}

// headerIntact reports whether one copy of a segment's header is there.
func headerIntact(e entry, s *segment) bool {
	for at := 0; at < headerBytes; at += blockBytes {
		if len(e.bytes) >= at+blockBytes && bytes.Equal(e.bytes[at:at+blockBytes], s.bytes[at:at+blockBytes]) {
			return true
		}
	}
	return false
}

// intact reports whether a file is as it was.
func (f *fixture) intact(c change, name string) bool {
	e := f.after(c, name)
	return e.form == regular && bytes.Equal(e.bytes, f.files[name])
}

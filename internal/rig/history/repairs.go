package history

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// A Span is offsets [From, To).
type Span struct{ From, To int64 }

// repairs closes the store, damages a batch of each partition, opens it again
// and repairs it. What was closed is known to have been durable, so that nobody
// can take the damage for what a crash left.
func (w *World) repairs() {
	if !w.ready() {
		return
	}
	if !w.shuts() {
		w.open()
		return
	}
	for i := range w.Partitions {
		if !w.saw("damage", w.damages(i)) {
			return
		}
	}
	if !w.ready() {
		return
	}
	for i := range w.Partitions {
		_, err := w.topic.Partition(i).Repair(bg, partition.KeepIntact)
		if !errors.Is(err, partition.ErrNotDamaged) {
			w.saw("repair", err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookLocked()
}

// damages flips a bit of the first batch of a partition that has a record to
// lose, as a disk does: behind the back of everybody.
func (w *World) damages(part int) error {
	m := w.currentMem()
	m.OnOp(nil)
	defer m.OnOp(w.hook)
	root, err := m.OpenDir(StorePath, false)
	if err != nil {
		return err
	}
	defer root.Close() // #nosec G104 -- it is in memory
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.known.last().Parts[part]
	s, err := spoil(root.Sub(fmt.Sprintf("topics/%s/partitions/%d", topicName, part)), p.has)
	if err != nil || s == (Span{}) {
		return err
	}
	p.lose(s)
	return nil
}

// has reports whether an acknowledged record of a span should be there.
func (p *Part) has(s Span) bool { return s.To > p.Start && slices.ContainsFunc(p.Offered, s.holds) }

func (s Span) holds(o Offered) bool {
	return o.Fate == Acknowledged && !o.Damaged && s.From <= o.Offset && o.Offset < s.To
}

// lose enters that the batch of a span is gone.
func (p *Part) lose(s Span) {
	frame := p.Offered[slices.IndexFunc(p.Offered, s.holds)].Frame
	for i := range p.Offered {
		o := &p.Offered[i]
		o.Damaged = o.Damaged || o.Frame == frame
	}
	p.Damaged = append(p.Damaged, s)
}

// spoil damages the first batch that is wanted of the segments in a directory,
// and returns its offsets. The file is replaced by another: what is linked to it
// stays.
func spoil(d fs.Dir, wanted func(Span) bool) (Span, error) {
	names, err := d.List(".")
	if errors.Is(err, fs.ErrNotExist) {
		return Span{}, nil // nothing was ever appended
	}
	if err != nil {
		return Span{}, err
	}
	for _, e := range names {
		if path.Ext(e.Name) != ".log" || len(e.Name) != len(segment.Name(0)) {
			continue
		}
		b, err := fs.ReadFile(d, e.Name, 1<<20)
		if err != nil {
			return Span{}, err
		}
		for pos := segment.FirstFrame; pos+record.HeaderBytes <= len(b); {
			n := int(binary.LittleEndian.Uint32(b[pos:]))
			if n == 0 {
				break
			}
			from := int64(binary.LittleEndian.Uint64(b[pos+8:]))
			s := Span{from, from + int64(binary.LittleEndian.Uint32(b[pos+36:]))}
			if wanted(s) {
				b[pos+record.HeaderBytes] ^= 1
				return s, fs.Replace(d, e.Name, b)
			}
			pos += n
		}
	}
	return Span{}, nil
}

// merged returns spans that do not touch, from start on.
func merged(all []Span, start int64) (some []Span) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range all {
		s.From = max(s.From, start)
		switch n := len(some); {
		case s.From >= s.To:
		case n > 0 && some[n-1].To >= s.From:
			some[n-1].To = max(some[n-1].To, s.To)
		default:
			some = append(some, s)
		}
	}
	return some
}

// mend repairs the partitions of a store that take no appends, and returns what
// is found then: the same records.
func (f *Found) mend(s *braidlog.Store) (*Found, *Violation) {
	t, err := s.Topic(topicName)
	if len(f.Parts) == 0 || err != nil {
		return f, nil
	}
	mended := false
	for i := range f.Parts {
		p := t.Partition(i)
		if p.Writable() {
			continue
		}
		if _, err = p.Repair(bg, partition.KeepIntact); err != nil {
			return f, violation(FalseCorruption, "repair: %v", err)
		}
		mended = true
	}
	if !mended {
		return f, nil
	}
	g, v := Read(s)
	if v == nil && (!f.sameEntries(g) || !f.sameLosses(g)) {
		v = violation(Lost, "repaired, there are %v, were %v", g.Parts, f.Parts)
	}
	return g, v
}

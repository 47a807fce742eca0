package partition

import (
	"context"
	"errors"

	"github.com/braidlog/braidlog/segment"
)

// This file is what the mapped window needs beside the append itself: it is
// attached, and rolls, by an append that found no window or no room.

// attachMapped opens the window over the last segment.
func (p *Partition) attachMapped(ctx context.Context) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.pass()
	p.mu.Lock()
	wanted := p.mapped && p.w.seg == nil && !p.closing
	p.mu.Unlock()
	if !wanted {
		return nil // somebody did it meanwhile, or nobody needs it any more
	}
	return p.attachWindow()
}

// attachWindow is attachMapped for a caller who holds the baton.
func (p *Partition) attachWindow() error {
	p.mu.Lock()
	seg, pos := p.tail.seg, p.tail.pos
	p.mu.Unlock()
	if err := p.attach(seg, pos); err != nil {
		return err
	}
	w := p.w
	if err := p.mapWriter(&w); err != nil {
		p.setWriter(writer{})
		seg.Release()
		return err
	}
	p.setWriter(w)
	return nil
}

// mapWriter opens the window over a file that is to be written. It covers all
// that the segment can become; only what is reserved is touched.
func (p *Partition) mapWriter(w *writer) error {
	w.mapped = true
	return w.seg.Map(w.file, max(p.config.Load().SegmentBytes, w.allocated))
}

// rollLocked returns a roll from the tail's segment as it is now.
func (p *Partition) rollLocked() func(context.Context) error {
	from := p.tail.seg
	return func(ctx context.Context) error { return p.roll(ctx, from) }
}

// roll begins a new segment unless somebody else did. The old one is sealed by
// a worker, to whom the baton goes, so that the next roll waits for it: never
// are more than two segments unsynced.
func (p *Partition) roll(ctx context.Context, from *segment.Segment) error {
	if err := p.takeFile(ctx); err != nil {
		return err
	}
	seg := p.planRoll(from)
	if seg == nil {
		p.pass()
		return nil
	}
	old, synced := p.w, p.durable.Load() >= p.visible.Load()
	err := p.syncOlder()
	if err == nil {
		err = p.rollTo(seg)
	}
	if err != nil {
		p.mu.Lock()
		p.tail.full = false
		p.mu.Unlock()
		p.pass()
		return err
	}
	if old.seg == nil && from != nil {
		p.sealIndex(from) // it was detached
	}
	if old.seg == nil && synced && !p.dirtyDir {
		p.pass() // nothing is left to be made durable
		return nil
	}
	p.shared.submit(func() { p.sealMapped(old) })
	return nil
}

// syncOlder makes the segments before the active one durable, if the worker who
// sealed them could not.
func (p *Partition) syncOlder() error {
	list := p.all()
	if n := len(list); n < 2 || list[n-2].End() <= p.durable.Load() {
		return nil
	}
	done := p.anySyncSlot()
	defer done()
	return p.syncAll()
}

// planRoll stops appends to the tail and returns the segment that they go to
// next, nil if there is no need any more.
func (p *Partition) planRoll(from *segment.Segment) *segment.Segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tail.seg != from || !p.mapped || p.closing || p.failed != nil {
		return nil
	}
	p.tail.full = true // and so nobody asks for more space in it
	return segment.Plan(p.place(), p.nextHeaderLocked(p.tail.next))
}

// rollTo puts a planned segment on disk, maps it and moves the tail to it.
func (p *Partition) rollTo(seg *segment.Segment) error {
	w, err := p.makeSegment(seg, p.firstStep(), false)
	if err != nil {
		return err
	}
	if err = p.mapWriter(&w); err != nil {
		seg.Release()
		return errors.Join(err, p.remove(seg))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w = w
	p.witness = max(p.witness, seg.Durable)
	p.tailToLocked(seg)
	p.addSegmentLocked(seg)
	p.rolled()
	return nil
}

// sealMapped closes the window of a segment that is full, cuts it to its end,
// and makes it, the header behind it and their names durable. It holds the
// baton and passes it on.
func (p *Partition) sealMapped(old writer) {
	defer p.pass()
	done := p.anySyncSlot()
	defer done()
	var err error
	if old.seg != nil { // else it was detached
		err = p.sealWindow(old)
	}
	if err == nil {
		if err = p.syncAll(); untried(err) {
			return // the next roll does it first
		}
	}
	if err != nil {
		p.poison(err)
	}
}

// sealWindow closes the window and cuts the file.
func (p *Partition) sealWindow(old writer) error {
	defer old.seg.Release()
	if err := old.seg.Unmap(); err != nil {
		return err
	}
	if err := p.cut(old, old.seg.Readable()); err != nil {
		return err
	}
	p.sealIndex(old.seg)
	return nil
}

// touchBytes is how many bytes of pages are made ready for writing at a time.
// An append that meets a page nobody touched waits for the kernel: measured,
// that took most of the time of appending in batches.
const touchBytes = 512 << 10

// touchSoonLocked has a worker make the next pages ready, if the partition is
// busy enough that they will be needed.
func (p *Partition) touchSoonLocked() {
	from := max(p.w.touched, p.tail.pos)
	to := min(from+touchBytes, p.w.allocated)
	if p.touching || p.w.step < touchBytes || from >= to {
		return
	}
	p.touching = true
	seg := p.w.seg
	p.shared.submit(func() { p.touch(seg, from, to) })
}

func (p *Partition) touch(seg *segment.Segment, from, to int64) {
	err := seg.Touch(from, to)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touching = false
	if err != nil {
		p.log("could not close a window", err)
	}
	if p.w.seg == seg {
		p.w.touched = to
	}
}

package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// Space is reserved in steps that double.
const (
	minStepBytes = 64 << 10
	maxStepBytes = 8 << 20
)

// planLocked moves the tail to a new segment that is made when its first
// group is written.
func (p *Partition) planLocked() {
	seg := segment.Plan(p.place(), p.nextHeaderLocked(p.tail.next))
	p.tailToLocked(seg)
}

// tailToLocked moves the tail to the beginning of another segment.
func (p *Partition) tailToLocked(seg *segment.Segment) {
	if t := p.tail; t.seg != nil && t.used != 0 {
		t.seg.Ended(t.used)
	}
	p.tail = tail{seg: seg, pos: segment.FirstFrame, next: p.tail.next, time: p.tail.time, used: p.tail.used}
}

func (p *Partition) place() segment.Place {
	return segment.Place{
		Dir: p.dir, Files: p.shared.files, Cache: p.config.Load().IndexCache, ReadOnly: p.opts.ReadOnly,
		Topic: p.opts.TopicID, Partition: p.opts.Number,
	}
}

// nextHeaderLocked returns the header of the segment behind the tail's.
func (p *Partition) nextHeaderLocked(base int64) segment.Header {
	h := segment.Header{
		ID:        p.shared.newID(),
		Topic:     p.opts.TopicID,
		Partition: p.opts.Number,
		Base:      base,
		PrevEnd:   p.tail.next,
		Durable:   p.durable.Load(),
	}
	if p.tail.seg != nil {
		h.PrevID = p.tail.seg.ID
	}
	return h
}

// switchTo attaches the segment in which n bytes are to be written at pos,
// making it if it is new, and sees to it that there is room. The caller holds
// the baton.
func (p *Partition) switchTo(seg *segment.Segment, pos, n int64) error {
	if p.w.seg != seg {
		if err := p.open(seg, pos); err != nil {
			return err
		}
	}
	return p.reserve(pos + n)
}

// open attaches the last segment if that is the one, or else makes it.
func (p *Partition) open(seg *segment.Segment, pos int64) error {
	if list := p.all(); len(list) > 0 && list[len(list)-1] == seg {
		return p.attach(seg, pos)
	}
	return p.create(seg)
}

// attach borrows the file of the last segment for writing at pos. What is
// reserved behind it is given back first, so that what is reserved from now
// on is zeros without anybody having looked.
func (p *Partition) attach(seg *segment.Segment, pos int64) error {
	f, err := seg.Borrow()
	if err != nil {
		return err
	}
	if err = f.Truncate(pos); err == nil {
		err = p.resume(seg)
	}
	if err != nil {
		seg.Release()
		return fmt.Errorf("attach segment %s: %w", seg.Name(), err)
	}
	p.setWriter(writer{seg: seg, file: f, pos: pos, allocated: pos, step: minStepBytes})
	return nil
}

func (p *Partition) setWriter(w writer) {
	p.mu.Lock()
	p.w = w
	p.mu.Unlock()
}

// create makes the file of a planned segment for the heap window and seals
// the one before: old data, new header and directory are synced before
// anything in the new segment is acknowledged.
func (p *Partition) create(seg *segment.Segment) error {
	if p.w.seg != nil {
		if err := p.sealWriter(); err != nil {
			return err
		}
	} else if list := p.all(); len(list) > 0 {
		p.sealIndex(list[len(list)-1]) // it was detached
	}
	// One that is not attached may be unsynced as recovery found it.
	if err := p.syncAll(); err != nil {
		if failed := p.failure(); failed != nil {
			err = failed // nothing was written for those who wait
		}
		return err
	}
	w, err := p.makeSegment(seg, p.firstStep(), true)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.w = w
	p.witness = max(p.witness, seg.Durable)
	p.addSegmentLocked(seg)
	p.rolled()
	p.mu.Unlock()
	return nil
}

// firstStep returns how much of a segment that is about to be written is
// reserved.
func (p *Partition) firstStep() int64 { return min(minStepBytes, p.config.Load().SegmentBytes) }

// makeSegment puts a planned segment on disk, of so many bytes. The first segment of a
// partition is made durable at any level, so that one without a directory is
// one that nobody ever appended to.
func (p *Partition) makeSegment(seg *segment.Segment, reserve int64, sync bool) (writer, error) {
	if err := p.unmake(); err != nil {
		return writer{}, err
	}
	if err := p.makeDir(); err != nil {
		return writer{}, err
	}
	seg.Durable = p.durable.Load()
	p.dirtyDir = true
	f, err := seg.Create(reserve)
	var none *segment.NotMadeError
	if errors.As(err, &none) {
		return writer{}, err // there is nothing of ours to remove
	}
	if err == nil && (sync || len(p.all()) == 0) {
		if err = p.syncNew(seg, f); err != nil {
			seg.Release()
		}
	}
	if err != nil {
		return writer{}, errors.Join(err, p.remove(seg))
	}
	return writer{seg: seg, file: f, pos: segment.FirstFrame, allocated: reserve, step: minStepBytes}, nil
}

// makeDir makes the partition's directory, durably.
func (p *Partition) makeDir() error {
	if p.hasDir {
		return nil
	}
	if err := p.parent.Mkdir(p.name); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := p.parent.Sync("."); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	p.hasDir = true
	return nil
}

// syncNew makes a new segment's header and name durable.
func (p *Partition) syncNew(seg *segment.Segment, f fs.File) error {
	if err := p.syncFile(f); err != nil {
		return fmt.Errorf("create segment %s: %w", seg.Name(), err)
	}
	if err := p.syncDir(); err != nil {
		return fmt.Errorf("create segment %s: %w", seg.Name(), err)
	}
	p.dirtyDir = false
	return nil
}

// remove takes back a segment that nothing was written to, for good: found by
// recovery, its header would say that the segment before it ended there, and
// what is appended to that one from now on would be lost. Until it is removed
// nothing may be appended.
func (p *Partition) remove(seg *segment.Segment) error {
	seg.Close()
	p.setUnmade(seg.Name())
	return p.unmake()
}

func (p *Partition) setUnmade(name string) {
	p.mu.Lock()
	p.unmade = name
	p.mu.Unlock()
}

// unmake removes what is left of a segment that could not be made, if anything
// is. An error that nothing can be done about later poisons the partition. The
// caller holds the baton.
func (p *Partition) unmake() error {
	if p.unmade == "" {
		return nil
	}
	err := p.dir.Remove(p.unmade)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = p.syncDir()
	}
	switch {
	case err == nil:
		p.setUnmade("")
	case !untried(err):
		p.poison(err)
	}
	return err
}

// unmakeFirst is unmake for an append that cannot go on before.
func (p *Partition) unmakeFirst(ctx context.Context) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.pass()
	if p.ended.Load() {
		return nil // the append finds out
	}
	return p.unmake()
}

// sealWriter ends the writing of the attached segment: it is cut to its end,
// and that made durable.
func (p *Partition) sealWriter() error {
	w := p.w
	if err := p.cut(w, w.pos); err != nil {
		p.poison(err)
		return err
	}
	p.setWriter(writer{})
	p.sealIndex(w.seg)
	w.seg.Release()
	return nil
}

// cut ends a file at pos and makes it durable.
func (p *Partition) cut(w writer, pos int64) error {
	if err := w.file.Truncate(pos); err != nil {
		return fmt.Errorf("seal segment %s: %w", w.seg.Name(), err)
	}
	if err := p.syncFile(w.file); err != nil {
		return fmt.Errorf("seal segment %s: %w", w.seg.Name(), err)
	}
	return nil
}

// sealIndex writes what is left of a segment's index. It is a cache: one that
// cannot be written stays in memory, and is made anew after a restart.
func (p *Partition) sealIndex(seg *segment.Segment) {
	if err := seg.Seal(); err != nil {
		p.log("could not write an index", err)
	}
}

// reserve sees to it that the attached file has room up to end.
func (p *Partition) reserve(end int64) error {
	for p.w.allocated < end {
		if err := p.allocate(end); err != nil {
			return err
		}
	}
	return nil
}

// allocate reserves the next step, at least up to end.
func (p *Partition) allocate(end int64) error {
	from := p.w.allocated
	most := max(p.config.Load().SegmentBytes, end)
	to := min(max(from+p.w.step, end), most)
	if err := p.w.file.Allocate(from, to-from); err != nil {
		return fmt.Errorf("reserve bytes [%d, %d) of segment %s: %w", from, to, p.w.seg.Name(), err)
	}
	p.w.allocated, p.w.short = to, false
	p.w.step = min(2*p.w.step, maxStepBytes)
	return nil
}

// growSoonLocked has a worker reserve the next step, so that appends find it
// done.
func (p *Partition) growSoonLocked() {
	if p.growing != nil || p.w.short || p.tail.full || p.closing || p.held > 0 || p.w.allocated >= p.config.Load().SegmentBytes {
		return
	}
	p.growing = make(chan struct{})
	seg, from := p.w.seg, p.w.allocated
	to := min(from+p.w.step, p.config.Load().SegmentBytes)
	p.shared.submit(func() { p.growAhead(seg, from, to) })
}

// growAhead reserves [from, to) of a segment's file. If it fails, the append
// that needs the room tries again and says so.
func (p *Partition) growAhead(seg *segment.Segment, from, to int64) {
	f, err := seg.Borrow()
	if err == nil {
		err = f.Allocate(from, to-from)
		seg.Release()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.growing)
	p.growing = nil
	if err != nil {
		p.log("could not reserve space ahead", err)
		p.w.short = p.w.seg == seg
	} else if p.w.seg == seg && p.w.allocated == from {
		p.w.allocated = to
		p.w.step = min(2*p.w.step, maxStepBytes)
	}
}

package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/segment"
)

// Trim gives up every record below offset: the partition then starts there.
// When Trim returns nil that is durable, and the files of segments that lie
// wholly below are gone; if none of the records is left, the active segment's
// too. A crash in the middle leaves the old start or the new one, and files
// that the next trim or retention removes. Readers who are in a segment that
// went finish the piece they read and then get an *OffsetError.
//
// An offset beyond the end is an *OffsetError, one below the start changes
// nothing. After an error the records may be gone and their files may not:
// call it again. ctx bounds the wait for others who change the partition.
func (p *Partition) Trim(ctx context.Context, offset int64) error {
	done, err := p.beginUpkeep(ctx, "trim")
	if err != nil {
		return err
	}
	defer done()
	if end := p.End(); offset < 0 || offset > end {
		return &OffsetError{p.opts.Topic, p.opts.Number, offset, p.Start(), end, "trim"}
	}
	if err = p.trimTo(ctx, offset); err != nil {
		return p.errorf("trim", err)
	}
	return nil
}

// Littered reports whether a trim that was interrupted left files that another
// one would remove.
func (p *Partition) Littered() bool {
	list := p.all()
	return p.litter.Load() || p.emptyTail() || len(list) > 1 && list[0].Sealed() && list[0].End() <= p.Start()
}

// beginUpkeep takes upkeep, which done gives back, unless the partition cannot
// be changed.
func (p *Partition) beginUpkeep(ctx context.Context, op string) (done func(), err error) {
	switch {
	case p.broken != nil:
		return nil, p.errorf(op, p.broken)
	case p.opts.ReadOnly:
		return nil, p.errorf(op, ErrReadOnly)
	}
	if err = p.checkContext(ctx, op); err != nil {
		return nil, err
	}
	select {
	case p.upkeep <- struct{}{}:
		yield.Woken()
	case <-ctx.Done():
		yield.Woken()
		return nil, p.errorf(op, ctx.Err())
	}
	p.mu.Lock()
	closing := p.closing
	p.mu.Unlock()
	if closing {
		<-p.upkeep
		return nil, p.errorf(op, ErrClosed)
	}
	return func() { <-p.upkeep }, nil
}

// trimTo is Trim for a caller who has upkeep. The new start is durable before
// the first file is removed.
func (p *Partition) trimTo(ctx context.Context, offset int64) error {
	from := p.Start()
	if offset > from {
		if err := p.moveStart(ctx, offset); err != nil {
			return err
		}
	}
	freed, err := p.removeBelow(ctx)
	if err == nil && p.emptyTail() {
		err = p.rollEarly(ctx)
	}
	if list := p.all(); err == nil && len(list) > 1 && list[0].End() <= p.Start() { // it was ended since, here or by an append
		var more int64
		more, err = p.removeBelow(ctx)
		freed += more
	}
	if offset > from || freed > 0 {
		p.emit(Event{Kind: Trimmed, From: from, To: p.Start(), Bytes: freed})
	}
	return err
}

// removeBelow removes the segments that lie wholly below the start.
func (p *Partition) removeBelow(ctx context.Context) (freed int64, err error) {
	if err = p.awaitSealing(ctx); err != nil {
		return 0, err
	}
	return p.removeTrimmed()
}

// awaitSealing waits until nobody is sealing a segment that is to go.
func (p *Partition) awaitSealing(ctx context.Context) error {
	list, start := p.all(), p.Start()
	for i := 0; i < len(list)-1 && list[i].End() <= start; i++ {
		if !list[i].Sealed() {
			if err := p.take(ctx); err != nil {
				return err
			}
			p.pass()
		}
	}
	return nil
}

// moveStart makes offset the start, durably. On a full disk it makes room for
// the files that say that more may go.
func (p *Partition) moveStart(ctx context.Context, offset int64) error {
	err := p.tryMoveStart(ctx, offset)
	if fs.IsNoSpace(err) {
		if e := p.makeRoom(ctx, offset); e != nil {
			return errors.Join(err, e)
		}
		err = p.tryMoveStart(ctx, offset)
	}
	return err
}

// makeRoom removes the indexes of segments that are about to be trimmed, and
// gives back what is reserved behind the end.
func (p *Partition) makeRoom(ctx context.Context, offset int64) error {
	list := p.all()
	for i, s := range list {
		if i+1 == len(list) || s.End() > offset || !s.Sealed() {
			break
		}
		if err := p.dir.Remove(segment.IndexName(s.Base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return p.giveBack(ctx)
}

// tryMoveStart makes offset the start. What is behind it must be durable
// first: the start never lies beyond the durable end.
func (p *Partition) tryMoveStart(ctx context.Context, offset int64) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	if offset > p.Durable() {
		if err := p.Sync(ctx); err != nil {
			return err
		}
	}
	gaps := slices.DeleteFunc(slices.Clone(*p.gaps.Load()), func(g span) bool { return g.To <= offset })
	return p.writeMeta(offset, gaps)
}

// writeMeta replaces partition.json, and then what it says is in force.
func (p *Partition) writeMeta(start int64, gaps []span) error {
	err := meta.Write(p.dir, partitionFile, p.metaOf(start, gaps))
	if err != nil {
		return err
	}
	p.gaps.Store(&gaps)
	yield.Point()
	p.start.Store(start)
	return nil
}

// giveBack detaches the active segment, so that it ends where its last batch
// does.
func (p *Partition) giveBack(ctx context.Context) error {
	if err := p.takeFile(ctx); err != nil {
		return err
	}
	defer p.pass()
	defer p.hold()()
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	return p.release()
}

// removeTrimmed takes the segments that lie wholly below the start away from
// readers, and removes them and what an earlier trim left of such. It returns
// how many bytes their files had.
func (p *Partition) removeTrimmed() (freed int64, err error) {
	gone := p.dropTrimmed()
	yield.Point()
	for _, s := range gone {
		s.Close()
	}
	if len(gone) == 0 && !p.litter.Load() {
		return 0, nil
	}
	p.litter.Store(true) // until everything is known to be gone
	// The directory is not synced: what a power cut brings back lies below the
	// start, and the next trim removes it.
	if freed, err = p.removeFiles(gone); err != nil {
		return freed, fmt.Errorf("remove trimmed segments: %w", err)
	}
	p.litter.Store(false)
	return freed, nil
}

// dropTrimmed takes the segments that lie wholly below the start off the list.
// The last one stays, and one that could not be sealed.
func (p *Partition) dropTrimmed() (gone []*segment.Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list, start := p.all(), p.Start()
	n := 0
	for n < len(list)-1 && list[n].End() <= start && list[n].Sealed() {
		n++
	}
	if n == 0 {
		return nil
	}
	rest := list[n:]
	p.segments.Store(&rest)
	for _, s := range list[:n] {
		p.countLocked(-int(s.Readable()))
	}
	return list[:n]
}

// removeFiles removes the files of segments that are gone, of any that are
// followed by one that begins at or below the start, and indexes without a
// segment before those that are left; the oldest first.
func (p *Partition) removeFiles(gone []*segment.Segment) (freed int64, err error) {
	names, err := p.dir.List(".")
	if err != nil {
		return 0, err
	}
	was := map[int64]bool{}
	for _, s := range gone {
		was[s.Base] = true
	}
	p.mu.Lock()
	unmade := p.unmade // what comes before it is not trimmed
	p.mu.Unlock()
	var bases, sizes []int64
	for _, e := range names {
		if base, ok := segment.ParseName(e.Name); ok && e.Name != unmade {
			bases, sizes = append(bases, base), append(sizes, e.Size)
		}
	}
	for i, base := range bases {
		if followed := i+1 < len(bases) && bases[i+1] <= p.Start(); !followed && !was[base] {
			continue
		}
		if err = p.removeSegment(base); err != nil {
			return freed, err
		}
		freed += sizes[i]
	}
	return freed, p.removeStrays(names)
}

// removeSegment removes a segment's file and its index.
func (p *Partition) removeSegment(base int64) error {
	for _, name := range []string{segment.Name(base), segment.IndexName(base)} {
		if err := p.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// removeStrays removes indexes before the first segment that is left: a crash
// may have removed their segments only.
func (p *Partition) removeStrays(names []fs.Entry) error {
	list := p.all()
	if len(list) == 0 {
		return nil
	}
	segments := map[int64]bool{}
	for _, e := range names {
		if base, ok := segment.ParseName(e.Name); ok {
			segments[base] = true
		}
	}
	for _, e := range names {
		base, ok := segment.ParseIndexName(e.Name)
		if !ok || segments[base] || base >= list[0].Base {
			continue
		}
		if err := p.dir.Remove(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// emptyTail reports whether the active segment has records and all of them are
// trimmed.
func (p *Partition) emptyTail() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tail
	return p.failed == nil && t.seg != nil && t.seg.Base < t.next && t.next == p.Start()
}

// rollEarly begins a new segment though the active one is not full, so that
// that can go. Appends wait meanwhile.
func (p *Partition) rollEarly(ctx context.Context) error {
	if err := p.takeFile(ctx); err != nil {
		return err
	}
	defer p.pass()
	defer p.hold()()
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	p.mu.Lock()
	t, failed := p.tail, p.failed
	p.mu.Unlock()
	if failed != nil || t.seg == nil || t.seg.Base == t.next {
		return failed
	}
	if err := p.release(); err != nil {
		return err
	}
	if err := p.sealTail(); err != nil {
		return err
	}
	if err := p.beginSegment(t.next, t.next); err != nil {
		return err
	}
	p.rolled()
	return nil
}

// beginSegment puts a new segment on disk, durably, and moves the tail there.
// It begins at base; the one before is said to have ended at prevEnd. The
// caller holds the baton, and nobody appends.
func (p *Partition) beginSegment(prevEnd, base int64) error {
	p.mu.Lock()
	h := p.nextHeaderLocked(base)
	h.PrevEnd = prevEnd
	p.mu.Unlock()
	seg := segment.Plan(p.place(), h)
	w, err := p.makeSegment(seg, segment.FirstFrame, true) // appends may be long in coming
	if err != nil {
		return err
	}
	w.seg.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.witness = max(p.witness, seg.Durable)
	p.tailToLocked(seg)
	p.tail.next = base
	p.addSegmentLocked(seg)
	return nil
}

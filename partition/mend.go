package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// mend carries out a judgement. A crash at any step leaves files of which the
// next recovery says the same.
func (p *Partition) mend(f *finding, torn *spot) error {
	f.report.ReadBytes = f.read
	end := f.end(p.Start(), torn)
	p.reportLost(f, end)
	if damaged := f.damagedEnd(torn); damaged {
		// Not a byte is changed: what stands there is all there is. What is
		// torn behind it is only not shown.
		p.hide(f, torn)
		p.settle(f, end, f.durable)
		p.mu.Lock()
		p.failed = p.errorf("append", p.damage(f))
		p.mu.Unlock()
		return nil
	}
	if torn != nil {
		if err := p.cutTorn(f, torn); err != nil {
			return fmt.Errorf("cut torn end: %w", err)
		}
	}
	durable := min(f.durable, end)
	if p.level() == Sync {
		n, err := p.rewrite(f, durable)
		if err != nil {
			return fmt.Errorf("make the end durable: %w", err)
		}
		durable, f.report.Rewritten = end, n
	} else if slices.ContainsFunc(f.list, func(c *candidate) bool { return c.unsure(durable) }) {
		p.redo = func() error {
			trimmed := func(c *candidate) bool { return !slices.Contains(p.all(), c.seg) }
			f.list = slices.DeleteFunc(f.list, trimmed)
			_, err := p.rewrite(f, durable)
			return err
		}
	}
	p.settle(f, end, durable)
	if err := p.settleTime(); err != nil {
		return err
	}
	if p.level() != Sync && !p.opts.SameBoot && !p.opts.closedWell() && f.newest >= 0 && !p.skipped {
		if err := p.skip(f); err != nil {
			return fmt.Errorf("begin a segment behind what a power cut or a failed sync may have taken: %w", err)
		}
	}
	p.skipped = true
	return nil
}

// damage says why nothing can be appended behind what was found.
func (p *Partition) damage(f *finding) error {
	if n := len(f.report.Lost); n > 0 {
		return fmt.Errorf("the active segment is damaged: %w", f.report.Lost[n-1])
	}
	return fmt.Errorf("the active segment is damaged, and its repair was interrupted: %w", ErrCorrupt)
}

// end returns the offset behind the last record that stays.
func (f *finding) end(start int64, torn *spot) int64 {
	if torn != nil {
		return torn.from
	}
	if len(f.list) == 0 {
		return max(start, f.durable)
	}
	last := f.list[len(f.list)-1]
	return max(start, f.durable, last.end, last.base)
}

// damagedEnd reports whether there is damage where appends would go on: in
// the segment that is last, or behind it.
func (f *finding) damagedEnd(torn *spot) bool {
	if len(f.spots) == 0 {
		return false
	}
	last := len(f.list) - 1
	if torn != nil {
		last = torn.at
		if torn.pos == 0 && last > 0 { // the whole file goes, or none was there
			last--
		}
	}
	worst := f.spots[len(f.spots)-1]
	return worst.at > last || worst.at == last && worst.file
}

// reportLost turns the spots of damage into errors.
func (p *Partition) reportLost(f *finding, end int64) {
	for _, s := range f.spots {
		e := &CorruptError{
			Topic: p.opts.Topic, Partition: p.opts.Number,
			FromByte: s.pos, ToByte: s.to, FromOffset: s.from, ToOffset: s.up, Cause: s.cause,
		}
		if s.file {
			e.File = segment.Name(f.list[s.at].base)
		}
		if s.up < s.from {
			e.ToOffset = max(end, s.from)
		}
		e.FromOffset = p.unlessTrimmed(e.FromOffset, e.ToOffset)
		if p.givenUp(e.FromOffset, e.ToOffset) || p.notArchived(e) {
			continue
		}
		f.report.Lost = append(f.report.Lost, e)
		if !slices.ContainsFunc(p.Recovery().Lost, e.same) {
			p.emit(Event{Kind: Recovered, From: e.FromOffset, To: e.ToOffset, What: "is damaged", Err: e})
		}
	}
}

// unlessTrimmed returns where a range of lost offsets begins: what is below the
// start is not missed by anybody.
func (p *Partition) unlessTrimmed(from, to int64) int64 {
	if start := p.Start(); from < start && start < to {
		return start
	}
	return from
}

// hide keeps readers from what is torn, where it cannot be cut.
func (p *Partition) hide(f *finding, torn *spot) {
	if torn == nil {
		return
	}
	f.trimTo(torn)
}

// trimTo drops the candidates behind a torn spot, and moves the end of the one
// it is in.
func (f *finding) trimTo(torn *spot) {
	keep := torn.at
	if torn.file && torn.pos > 0 {
		c := f.list[torn.at]
		c.size = torn.pos
		c.end, c.endPos, c.recordsEnd = torn.from, torn.pos, 0 // markers may stand before what is torn
		if c.idx != nil {
			c.idx.Keep(func(e index.Entry) bool { return e.Position < torn.pos })
		}
		c.since = min(c.since, torn.pos)
		keep++
	}
	f.list = f.list[:keep]
}

// cutTorn sets later segments aside, keeps a copy of the beginning of what is
// cut off, and cuts. The last segment goes first, so that what is left is a
// log at each step.
func (p *Partition) cutTorn(f *finding, torn *spot) error {
	if err := p.begin(context.Background()); err != nil {
		return err
	}
	cut := &Cut{Offset: torn.from}
	whole := f.list[min(torn.at, len(f.list)):]
	if torn.file && torn.pos > 0 {
		whole = f.list[torn.at+1:]
	}
	for i := len(whole) - 1; i >= 0; i-- {
		name := segment.Name(whole[i].base)
		if whole[i].seg != nil {
			whole[i].seg.Close()
		}
		if err := p.setAside(whole[i].base); err != nil {
			return err
		}
		cut.Aside = append(cut.Aside, sidePrefix+name)
	}
	if torn.file && torn.pos > 0 {
		c := f.list[torn.at]
		cut.File, cut.FromByte, cut.ToByte = segment.Name(c.base), torn.pos, c.size
		if err := p.cutFile(c, torn.pos); err != nil {
			return err
		}
	}
	if err := p.dir.Sync("."); err != nil {
		return err
	}
	f.trimTo(torn)
	f.report.Cut = cut
	p.emit(Event{
		Kind: Recovered, From: cut.Offset, To: cut.Offset, Bytes: cut.ToByte - cut.FromByte,
		What: "had a torn end", Err: fmt.Errorf("cut at offset %d", cut.Offset),
	})
	return nil
}

// setAside renames a segment and removes its index.
func (p *Partition) setAside(base int64) error {
	if err := p.dir.Rename(segment.Name(base), sidePrefix+segment.Name(base)); err != nil {
		return err
	}
	if err := p.dir.Remove(segment.IndexName(base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// cutFile cuts a segment at pos, durably, after it tried to keep a copy of
// what goes. A disk that is too full for the copy does not keep the partition
// shut.
func (p *Partition) cutFile(c *candidate, pos int64) error {
	f, err := c.seg.Borrow()
	if err != nil {
		return err
	}
	defer c.seg.Release()
	if err = p.copyAside(f, pos, c.size); err != nil {
		p.log("could not keep a copy of its torn end", err)
	}
	if err = f.Truncate(pos); err != nil {
		return err
	}
	return p.syncFile(f)
}

func (p *Partition) copyAside(f fs.File, from, to int64) error {
	b := make([]byte, min(to-from, maxSideBytes))
	if _, err := f.ReadAt(b, from); err != nil {
		return err
	}
	return fs.Replace(p.dir, sideFile, b)
}

// rewrite writes everything at and behind the durable mark again, in place,
// and syncs it: after a crash of the process only the page cache is sure to
// have it, and readers are about to see it.
func (p *Partition) rewrite(f *finding, durable int64) (bytes int64, err error) {
	for _, c := range f.list {
		if !c.unsure(durable) {
			continue
		}
		if err = p.begin(context.Background()); err != nil {
			return 0, err
		}
		n, err := p.rewriteFile(c, durable)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	if bytes > 0 {
		err = p.syncDir()
	}
	return bytes, err
}

// unsure reports whether only the page cache is sure to have something of a
// candidate: batches at or behind the durable mark, markers too, or the header
// of one that begins there. What is appended behind such bytes is lost with
// them.
func (c *candidate) unsure(durable int64) bool {
	marked := c.end == durable && c.recordsEnd < c.endPos
	return c.seg != nil && c.scanned && (c.end > durable || c.base >= durable || marked)
}

// rewriteFound is rewrite for the levels that leave it to the first sync: one
// that failed in the process before may have made the kernel take pages for
// written that are not.
func (p *Partition) rewriteFound() error {
	if p.redo == nil {
		return nil
	}
	if err := p.redo(); err != nil {
		return err
	}
	p.redo = nil
	return nil
}

// rewriteFile writes a candidate again from the batch that holds offset on, and
// the header too if the segment begins there.
func (p *Partition) rewriteFile(c *candidate, offset int64) (int64, error) {
	from, err := c.find(offset)
	if err != nil {
		return 0, err
	}
	f, err := c.seg.Borrow()
	if err != nil {
		return 0, err
	}
	defer c.seg.Release()
	end := max(min(c.endPos, c.size), from) // one copy of the header may be all there is
	b := make([]byte, min(segment.MaxChunkBytes, end-from))
	for pos := from; pos < end; pos += int64(len(b)) {
		b = b[:min(int64(len(b)), end-pos)]
		if _, err = f.ReadAt(b, pos); err != nil {
			return 0, err
		}
		if _, err = f.WriteAt(b, pos); err != nil {
			return 0, err
		}
	}
	return end - from, p.syncFile(f)
}

// find returns the position of the first batch that holds offset or comes
// behind it, be it a marker; 0 if the whole segment is at or behind it.
func (c *candidate) find(offset int64) (int64, error) {
	if c.base >= offset {
		return 0, nil
	}
	var sc segment.Scanner
	sc.Start(c.seg, c.from, c.fromOff, c.endPos)
	for {
		at := sc.Position()
		var b record.Batch
		err := sc.Next(&b)
		var damage *segment.DamageError
		switch {
		case err == nil && (b.End() > offset || b.Base >= offset), err == io.EOF:
			return at, nil
		case errors.As(err, &damage):
			if _, err = sc.Search(c.end); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		}
	}
}

// settle makes what was found the state of the partition.
func (p *Partition) settle(f *finding, end, durable int64) {
	list := make([]*segment.Segment, 0, len(f.list))
	for i, c := range f.list {
		if c.seg == nil {
			continue
		}
		last := c.end
		if f.linked(i) {
			last = f.list[i+1].seg.PrevEnd
		}
		c.seg.Publish(c.size, last)
		list = append(list, c.seg)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments.Store(&list)
	p.visible.Store(end)
	p.durable.Store(durable)
	p.witness = min(durable, f.durable)
	p.dirtyDir = len(list) > 0 && p.level() != Sync
	p.tail = tail{next: end}
	if n := len(f.list); n > 0 && f.list[n-1].seg != nil {
		p.settleTailLocked(f)
	}
	p.recountLocked()
}

// settleTailLocked makes the last segment the one to go on in.
func (p *Partition) settleTailLocked(f *finding) {
	c := f.list[len(f.list)-1]
	c.seg.Publish(c.endPos, c.end)
	p.tail.seg, p.tail.pos, p.tail.time = c.seg, c.endPos, c.time
	if c.scanned {
		c.seg.Resume(c.idx, c.since)
	}
	if ahead := time.Duration(c.time - p.shared.clock.Now()); ahead > aheadLimit {
		f.report.Ahead = ahead
		p.emit(Event{
			Kind: Recovered, From: c.end, To: c.end,
			What: "has a last record ahead of the clock", Err: fmt.Errorf("by %v", ahead),
		})
	}
}

// settleTime finds the time of the last record where the last segment has
// none: times must not fall from one segment to the next.
func (p *Partition) settleTime() (err error) {
	p.mu.Lock()
	last := p.tail.time
	p.mu.Unlock()
	list := p.all()
	for i := len(list) - 1; i >= 0 && last == 0 && err == nil; i-- {
		last, err = list[i].LastTime()
	}
	p.mu.Lock()
	p.tail.time = last
	p.mu.Unlock()
	return err
}

// skip begins a segment behind every offset that anybody can have seen before
// the power went or a sync failed: at most two segments were unsynced, so at most
// those behind the newest one found are gone.
func (p *Partition) skip(f *finding) error {
	if err := p.begin(context.Background()); err != nil {
		return err
	}
	// All of it is about to be called durable.
	if err := p.rewriteFound(); err != nil {
		return err
	}
	if err := p.syncSegments(-1, true); err != nil {
		return err
	}
	if p.tail.seg != nil {
		if err := p.sealTail(); err != nil {
			return err
		}
	}
	from, to := p.tail.next, f.newest+3*segment.MaxOffsets
	p.durable.Store(from)
	if err := p.beginSegment(from, to); err != nil {
		return err
	}
	gap := &GapError{p.opts.Topic, p.opts.Number, from, to}
	f.report.Gap = gap
	p.visible.Store(to)
	p.durable.Store(to)
	p.witness = to
	p.emit(Event{Kind: Recovered, From: from, To: to, What: "skips what a power cut or a failed sync may have taken", Err: gap})
	return nil
}

// sealTail cuts the last segment to its end.
func (p *Partition) sealTail() error {
	seg := p.tail.seg
	f, err := seg.Borrow()
	if err != nil {
		return err
	}
	defer seg.Release()
	p.sealIndex(seg)
	return p.cut(writer{seg: seg, file: f}, p.tail.pos)
}

// resume loads what the writer needs to know of the last segment before it is
// written again: its index, and the time of its first record.
func (p *Partition) resume(seg *segment.Segment) error {
	if err := seg.ResumeIndex(); err != nil {
		return err
	}
	first, err := seg.FirstTime()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first = min(first, p.shared.clock.Now()) // age counts from now on if that is ahead
	if p.tail.seg == seg && p.tail.first == 0 {
		p.tail.first = first
	}
	return nil
}

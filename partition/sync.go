package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/braidlog/braidlog/segment"
)

// Sync waits until everything that was appended before is durable, whatever
// the level. It ends early with the context.
func (p *Partition) Sync(ctx context.Context) error {
	if err := p.checkContext(ctx); err != nil {
		return err
	}
	if err := p.take(ctx); err != nil {
		return p.errorf("sync", err)
	}
	defer p.pass()
	p.mu.Lock()
	target := p.tail.next
	failed := p.failed
	ended := p.ended.Load()
	p.mu.Unlock()
	if ended {
		return p.errorf("sync", ErrClosed)
	}
	p.commitAll()
	done := p.anySyncSlot()
	defer done()
	if err := p.syncAll(); err != nil {
		return p.errorf("sync", err)
	}
	if p.durable.Load() >= target || errors.Is(failed, ErrCorrupt) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errorf("sync", firstError(p.failed, ErrFailed))
}

// anySyncSlot waits until one of the slots for syncs is free.
func (p *Partition) anySyncSlot() (done func()) {
	p.shared.syncs <- struct{}{}
	return func() { <-p.shared.syncs }
}

// syncAll makes durable what was written before. The caller holds the baton.
// The first error poisons the partition: a later sync that succeeds would
// prove nothing.
func (p *Partition) syncAll() error {
	p.mu.Lock()
	if p.failed != nil && !errors.Is(p.failed, ErrCorrupt) {
		defer p.mu.Unlock()
		return p.failed
	}
	target, from, dirty := p.visible.Load(), p.durable.Load(), p.dirty
	p.dirty, p.dirtyAt = 0, 0
	p.mu.Unlock()
	if target > from || dirty > 0 || p.dirtyDir {
		if err := p.syncSegments(from, dirty > 0); err != nil {
			p.poison(err)
			return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.syncAsked = false
	p.syncedLocked(target)
	p.wakeSpaceLocked()
	return nil
}

// syncSegments syncs every segment that has records at or behind from, the
// last one also if only a marker was written, and their names.
func (p *Partition) syncSegments(from int64, last bool) error {
	list := p.all()
	for i, s := range list {
		if s.End() <= from && !(last && i == len(list)-1) {
			continue
		}
		if err := syncSegment(s); err != nil {
			return err
		}
	}
	if !p.dirtyDir {
		return nil
	}
	if err := p.dir.Sync("."); err != nil {
		return err
	}
	p.dirtyDir = false
	return nil
}

func syncSegment(s *segment.Segment) error {
	f, err := s.Borrow()
	if err != nil {
		return err
	}
	defer s.Release()
	if err = f.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", s.Name(), err)
	}
	return nil
}

// syncedLocked records that everything below end is durable.
func (p *Partition) syncedLocked(end int64) {
	if end > p.durable.Load() {
		p.durable.Store(end)
	}
	p.syncedAt = p.shared.clock.Now()
	if p.level() == Sync {
		p.dirty, p.dirtyAt = 0, 0
	}
	if p.witness < p.durable.Load() {
		p.wakeAtLocked(p.syncedAt + int64(markerDelay))
	}
}

// syncSoonLocked has a worker sync what level Interval wants synced.
func (p *Partition) syncSoonLocked() {
	if p.syncAsked {
		return
	}
	p.syncAsked = true
	p.whenTakenLocked(func() {
		done := p.anySyncSlot()
		p.syncAll() //nolint:errcheck // its error poisons the partition, and the next append has it
		done()
		p.pass()
	})
}

func (p *Partition) poison(err error) {
	p.mu.Lock()
	p.poisonLocked(err)
	p.mu.Unlock()
}

// detach gives the file and the window back and cuts the file to its end. What
// was written must have been synced; if more was appended since, the file
// stays. The caller holds the baton.
func (p *Partition) detach() error {
	p.mu.Lock()
	w, pos := p.w, p.w.pos
	if p.mapped {
		pos = p.tail.pos
	}
	if w.seg == nil || p.dirty > 0 {
		p.mu.Unlock()
		return nil
	}
	p.w = writer{}
	err := w.seg.Unmap()
	p.mu.Unlock()
	if err == nil {
		err = w.file.Truncate(pos)
	}
	if e := w.seg.WriteIndex(); e != nil {
		p.log("could not write an index", e)
	}
	w.seg.Release()
	w.seg.CloseFile()
	if err != nil {
		return fmt.Errorf("cut segment %s: %w", w.seg.Name(), err)
	}
	return nil
}

// abandon gives the file and the window back as they are.
func (p *Partition) abandon() error {
	p.mu.Lock()
	w := p.w
	p.w = writer{}
	p.mu.Unlock()
	if w.seg == nil {
		return nil
	}
	err := w.seg.Unmap()
	w.seg.Release()
	w.seg.CloseFile()
	return err
}

// writeMarker writes a batch of no records for the sake of its durable
// offset, unless a file tells of that already. The caller holds the baton.
func (p *Partition) writeMarker() error {
	p.mu.Lock()
	durable := p.durable.Load()
	needless := p.failed != nil || p.tail.seg == nil || p.witness >= durable
	if !needless && !p.roomForMarkerLocked() {
		p.witness = durable // the next segment's header will tell
		needless = true
	}
	if needless {
		p.mu.Unlock()
		return nil
	}
	now := max(p.shared.clock.Now(), p.tail.time)
	if p.mapped {
		err := p.storeLocked(noRecords, 0, markerBytes, now)
		p.mu.Unlock()
		return err
	}
	g := p.gatherLocked(noRecords, 0, markerBytes, now)
	p.mu.Unlock()
	p.commitAll()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty += markerBytes
	return g.err
}

// roomForMarkerLocked reports whether a marker can be written where the tail
// is, without rolling or reserving.
func (p *Partition) roomForMarkerLocked() bool {
	t := &p.tail
	if t.full || t.pos+markerBytes > p.config.Load().SegmentBytes {
		return false
	}
	return !p.mapped || p.w.seg == t.seg && t.pos+markerBytes <= p.w.allocated
}

// Configure changes the settings. A level that promises more is in force only
// once everything appended before is durable; ctx bounds the wait for that.
func (p *Partition) Configure(ctx context.Context, config Config) error {
	config, err := config.WithDefaults()
	if err != nil {
		return p.errorf("configure", err)
	}
	if err = p.checkContext(ctx); err != nil {
		return err
	}
	if err = p.takeFile(ctx); err != nil {
		return p.errorf("configure", err)
	}
	defer p.pass()
	if p.ended.Load() {
		return p.errorf("configure", ErrClosed)
	}
	p.commitAll()
	p.mu.Lock()
	mapped := p.canMap(config.Durability)
	// A window is as large as a segment may become.
	moved := mapped != p.mapped || mapped && config.SegmentBytes != p.config.Load().SegmentBytes
	p.config.Store(&config)
	if moved && p.mapped && p.w.seg != nil {
		p.w.pos = p.tail.pos
	}
	p.mapped = mapped
	p.mu.Unlock()
	if !moved && config.Durability != Sync {
		return nil
	}
	if err = p.syncAll(); err == nil && moved {
		err = p.release()
	}
	if err != nil {
		return p.errorf("configure", err)
	}
	return nil
}

package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/segment"
)

// Sync waits until everything that was appended before is durable, whatever
// the level. It ends early with the context.
func (p *Partition) Sync(ctx context.Context) error {
	if err := p.checkContext(ctx, "sync"); err != nil {
		return err
	}
	if p.follow != nil {
		return p.errorf("sync", p.readOnly())
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
	lost := p.commitBelow(target)
	done := p.anySyncSlot()
	defer done()
	if err := p.syncAll(); err != nil {
		return p.errorf("sync", err)
	}
	if lost != nil && !errors.Is(failed, ErrCorrupt) {
		return p.errorf("sync", lost)
	}
	return nil
}

// Settle waits until everything that was appended before is acknowledged or has
// failed: readers then see all of it that is there. It waits for the disk only
// as far as the level does, and ends early with the context. What failed is
// told to those who appended it.
func (p *Partition) Settle(ctx context.Context) error {
	if err := p.checkContext(ctx, "settle"); err != nil {
		return err
	}
	if err := p.take(ctx); err != nil {
		return p.errorf("settle", err)
	}
	defer p.pass()
	p.mu.Lock()
	target := p.tail.next
	p.mu.Unlock()
	done := p.syncSlot()
	defer done()
	p.commitBelow(target) // #nosec G104 -- who appended is told
	return nil
}

// anySyncSlot waits until one of the slots for syncs is free.
func (p *Partition) anySyncSlot() (done func()) {
	p.shared.syncs <- struct{}{}
	yield.Woken()
	return func() { <-p.shared.syncs }
}

// syncAll makes durable what was written before. The caller holds the baton.
// The first sync that fails poisons the partition: a later one that succeeds
// would prove nothing. If there is not enough of something to sync at all,
// nothing is in doubt, and it can be tried again.
func (p *Partition) syncAll() error {
	p.mu.Lock()
	if p.failed != nil && !errors.Is(p.failed, ErrCorrupt) {
		defer p.mu.Unlock()
		return p.failed
	}
	target, from, dirty, dirtyAt := p.visible.Load(), p.durable.Load(), p.dirty, p.dirtyAt
	p.dirty, p.dirtyAt = 0, 0
	p.mu.Unlock()
	err := p.rewriteFound()
	if err == nil && (target > from || dirty > 0 || p.dirtyDir) {
		err = p.syncSegments(from, dirty > 0)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.syncAsked = false
	switch {
	case untried(err):
		p.dirty += dirty
		if dirtyAt != 0 {
			p.dirtyAt = dirtyAt
		}
		p.unsyncedLocked(err)
		return err
	case err != nil:
		p.poisonLocked(err)
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	p.unsynced = nil
	p.syncedLocked(target)
	p.wakeSpaceLocked()
	return nil
}

// syncSegments syncs every segment that has records at or behind from, the
// last one also if only a marker was written, and their names.
func (p *Partition) syncSegments(from int64, last bool) error {
	list := p.all()
	n := len(list) // the first to be synced
	for n > 0 && (list[n-1].End() > from || last && n == len(list)) {
		n--
	}
	for _, s := range list[n:] {
		if err := p.syncSegment(s); err != nil {
			return err
		}
	}
	if !p.dirtyDir {
		return nil
	}
	if err := p.syncDir(); err != nil {
		return err
	}
	p.dirtyDir = false
	return nil
}

// A syncError is that of a sync that was tried: what it was to make durable is
// in doubt from then on.
type syncError struct{ error }

func (e *syncError) Unwrap() error { return e.error }

// syncFailed tells of a sync that was tried and failed, where readers may have
// seen what it was to make durable. The caller holds no lock.
func (p *Partition) syncFailed(err error) error {
	if p.level() != Sync {
		p.shared.failed()
	}
	return &syncError{err}
}

// untried reports whether an error of making something durable says that it
// was not tried, since there is not enough of something: it can be tried again.
func untried(err error) bool {
	var tried *syncError
	return fs.IsShort(err) && !errors.As(err, &tried)
}

// syncDir makes the names in the partition's directory durable.
func (p *Partition) syncDir() error {
	err := p.dir.Sync(".")
	if fs.IsNoFiles(err) && p.shared.files.Spare() {
		err = p.dir.Sync(".")
	}
	if err != nil && !fs.IsNoFiles(err) {
		return p.syncFailed(err)
	}
	return err // the directory could not be opened
}

// retryDelay is how long after it could not be tried something is tried again
// in the background.
const retryDelay = time.Second

// unsyncedLocked takes note that a sync could not be tried, for who waits for
// it and for the timer. It is told once.
func (p *Partition) unsyncedLocked(err error) {
	if p.unsynced == nil {
		p.log("could not be synced", err)
	}
	p.unsynced = err
	p.retryAt = p.shared.clock.Now() + int64(retryDelay)
	p.wakeSpaceLocked()
	p.wakeAtLocked(p.dueLocked(p.shared.clock.Now()))
}

func (p *Partition) syncSegment(s *segment.Segment) error {
	f, err := s.Borrow()
	if err != nil {
		return err
	}
	defer s.Release()
	if err = p.syncFile(f); err != nil {
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
		p.syncAll() // #nosec G104 -- it stays in failed or unsynced, where appends find it
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
	if w.seg == nil || p.dirty > 0 || p.growing != nil {
		p.mu.Unlock()
		return nil
	}
	p.w = writer{}
	if p.dueLocked(p.shared.clock.Now()) == never {
		p.dueAt = 0
		p.shared.sleep(p) // else thousands of such would stay listed till they count as idle
	}
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

// wrapUp makes everything durable, leaves a witness of that, and gives the file
// back. The caller holds the baton.
func (p *Partition) wrapUp() error {
	err := p.syncAll()
	if err == nil {
		err = p.writeMarker()
	}
	if err == nil {
		err = p.syncAll() // the marker
	}
	if err == nil {
		err = p.detach()
	}
	return err
}

// writeMarker writes a batch of no records for the sake of its durable
// offset, unless a file tells of that already. Where there is no room for it
// the next segment's header will tell. The caller holds the baton.
func (p *Partition) writeMarker() error {
	p.mu.Lock()
	needless := p.failed != nil || p.tail.seg == nil || p.witness >= p.durable.Load()
	begun, attached := p.begun, p.w.seg != nil
	p.mu.Unlock()
	if needless {
		return nil
	}
	if !begun {
		if err := p.begin(context.Background()); err != nil {
			return err
		}
	}
	if p.mapped && !attached {
		if err := p.attachWindow(); err != nil {
			return err
		}
	}
	err := p.putMarker()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return err
	}
	if err != nil {
		p.log("could not write a marker", err)
	}
	p.witness = p.durable.Load()
	return nil
}

// putMarker appends a marker if the segment has room. An error that leaves the
// partition usable says that there is none.
func (p *Partition) putMarker() error {
	p.mu.Lock()
	t, now := &p.tail, p.shared.clock.Now()
	if t.full || p.unmade != "" || t.pos+markerBytes > p.config.Load().SegmentBytes {
		p.mu.Unlock()
		return nil
	}
	if p.mapped {
		defer p.mu.Unlock()
		if err := p.reserve(t.pos + markerBytes); err != nil {
			return err
		}
		return p.storeLocked(noRecords, 0, markerBytes, now)
	}
	end := t.next + 1
	g := p.gatherLocked(noRecords, 0, markerBytes, now)
	p.mu.Unlock()
	p.commitBelow(end) // #nosec G104 -- it is that of the last one, which may be another
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.err == nil {
		p.dirty += markerBytes
	}
	return g.err
}

// Configure changes the settings. Appends wait meanwhile. A level that
// promises more is in force only once everything appended before is durable;
// ctx bounds the wait for that.
func (p *Partition) Configure(ctx context.Context, config Config) error {
	config, err := config.WithDefaults()
	if err != nil {
		return p.errorf("configure", err)
	}
	if err = p.checkContext(ctx, "configure"); err != nil {
		return err
	}
	if p.follow != nil {
		return p.errorf("configure", p.readOnly())
	}
	if err = p.takeFile(ctx); err != nil {
		return p.errorf("configure", err)
	}
	defer p.pass()
	if p.ended.Load() {
		return p.errorf("configure", ErrClosed)
	}
	defer p.hold()()
	if err = p.change(config); err != nil {
		return p.errorf("configure", err)
	}
	return nil
}

// hold makes appends wait, and nobody lengthen the file, until the function
// returned is called. The caller holds the baton.
func (p *Partition) hold() (letGo func()) {
	p.holdAppends()
	p.awaitGrowth(context.Background()) // #nosec G104 -- it fails only when its context ends
	return p.letAppend
}

// holdAppends makes appends that come from now on wait, until letAppend was
// called as often.
func (p *Partition) holdAppends() {
	p.mu.Lock()
	p.held++
	p.mu.Unlock()
}

func (p *Partition) letAppend() {
	p.mu.Lock()
	p.held--
	p.wakeSpaceLocked()
	p.mu.Unlock()
}

// change puts settings in force while nothing is appended.
func (p *Partition) change(config Config) error {
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	mapped, now := p.canMap(config.Durability), p.Config()
	var err error
	switch {
	case mapped != p.mapped, mapped && config.SegmentBytes != now.SegmentBytes:
		// A window is as large as a segment may become.
		err = p.release()
	case config.Durability == Sync && now.Durability != Sync:
		err = p.syncAll()
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.Store(&config)
	p.mapped = mapped
	p.wakeAtLocked(p.dueLocked(p.shared.clock.Now()))
	return nil
}

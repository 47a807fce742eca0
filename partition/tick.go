package partition

import (
	"math"

	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// This file is what the timer does for a partition: markers, interval syncs,
// and giving back what an idle partition holds.

// never is when nothing is due.
const never = math.MaxInt64

// markerBytes is the length of a marker.
const markerBytes = record.HeaderBytes

var noRecords = &record.Run{}

// wakeAtLocked has the timer look after the partition at due or earlier.
func (p *Partition) wakeAtLocked(due int64) {
	if due == never || p.closing || p.dueAt != 0 && p.dueAt <= due {
		return
	}
	p.dueAt = due
	p.shared.wake(p, due)
}

// dueLocked returns when the timer has to look after the partition next.
func (p *Partition) dueLocked(now int64) int64 {
	due := int64(never)
	if p.witness < p.durable.Load() {
		due = min(due, p.syncedAt+int64(markerDelay))
	}
	if c := p.config.Load(); c.Durability == Interval && p.dirtyAt != 0 {
		due = min(due, p.dirtyAt+int64(c.SyncEvery.Time))
	}
	if p.w.seg != nil || p.tail.full {
		due = min(due, p.tail.used+int64(idleDelay))
	}
	if due <= now {
		due = now + int64(markerDelay) // it is being done
	}
	return max(due, p.retryAt)
}

// lookAfter does what is due, or has it done, and returns when to come again.
func (p *Partition) lookAfter(now int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.follow != nil && !p.closing {
		return p.awaitDueLocked(p.follow.lookAfterLocked(now))
	}
	if p.closing || p.failed != nil {
		return p.awaitDueLocked(never)
	}
	if now >= p.retryAt {
		p.tidyLocked(now)
	}
	return p.awaitDueLocked(p.dueLocked(now))
}

// awaitDueLocked takes note of when the timer has to come again.
func (p *Partition) awaitDueLocked(due int64) int64 {
	p.dueAt = due
	if due == never {
		p.dueAt = 0
		p.shared.sleep(p)
	}
	return due
}

// tidyLocked has a worker do what is due.
func (p *Partition) tidyLocked(now int64) {
	c := p.config.Load()
	if c.Durability == Interval && p.dirtyAt != 0 && now >= p.dirtyAt+int64(c.SyncEvery.Time) {
		p.syncSoonLocked()
	}
	idle := p.w.seg != nil && now >= p.tail.used+int64(idleDelay)
	mark := p.witness < p.durable.Load() && now >= p.syncedAt+int64(markerDelay)
	idle = idle && p.growing == nil
	if (idle || mark) && len(p.groups) == 0 && p.tryTakeLocked() {
		p.shared.submit(func() { p.rest(idle) })
	}
}

// rest writes the marker of a partition that paused, and detaches one that is
// idle. It holds the baton and passes it on.
func (p *Partition) rest(idle bool) {
	defer p.pass()
	rest := p.writeMarker
	if idle {
		rest = p.release
	}
	if err := rest(); err != nil && !told(err) {
		p.log("could not be put to rest", err)
		p.mu.Lock()
		p.retryAt = p.shared.clock.Now() + int64(retryDelay)
		p.mu.Unlock()
	}
}

// noteSoonLocked has a worker write what the index file lacks.
func (p *Partition) noteSoonLocked() {
	if p.noting {
		return
	}
	p.noting = true
	seg := p.tail.seg
	p.whenTakenLocked(func() {
		p.noted(seg, seg.WriteIndex())
		p.pass()
	})
}

// noted is called when the index of a segment was written, or was not: then
// the next append does not try again, but one that comes much later.
func (p *Partition) noted(seg *segment.Segment, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noting = false
	due := 0
	if err != nil {
		p.log("could not write an index", err)
		due = seg.IndexDue() + indexWriteEntries
	}
	if p.tail.seg == seg {
		p.tail.note = due
	}
}

// release is wrapUp with one of the slots for syncs. The caller holds the baton.
func (p *Partition) release() error {
	done := p.anySyncSlot()
	defer done()
	return p.wrapUp()
}

// closable reports whether the partition's file could be given back, and when
// it was last appended to.
func (p *Partition) closable() (used int64, ok bool) {
	if !p.mu.TryLock() {
		return 0, false
	}
	defer p.mu.Unlock()
	return p.tail.used, p.w.seg != nil && !p.baton && p.growing == nil && len(p.groups) == 0
}

// tryDetach gives the partition's file back if nobody is using it. It waits
// for I/O only, not for a slot for syncs either, so that it can be called with
// another partition's baton and slot. It reports whether it did.
func (p *Partition) tryDetach() bool {
	if !p.mu.TryLock() {
		return false
	}
	ok := p.w.seg != nil && p.growing == nil && len(p.groups) == 0 && p.tryTakeLocked()
	p.mu.Unlock()
	if !ok {
		return false
	}
	defer p.pass()
	if err := p.wrapUp(); err != nil && !told(err) {
		p.log("could not give its file back", err)
	}
	return p.w.seg == nil
}

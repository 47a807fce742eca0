package partition

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

const (
	// maxGroupBytes is how much one group gathers; a single frame may be
	// larger.
	maxGroupBytes = 1 << 20
	// maxPendingBytes is how much a partition gathers in all before appends
	// wait for room.
	maxPendingBytes = 4 << 20
	// minBufferBytes is what a group's buffer begins with.
	minBufferBytes = 4 << 10
)

// A group is batches that are written, and synced, together.
type group struct {
	seg      *segment.Segment // where they go
	pos      int64            // position of buf[0]
	base     int64            // offset of the first record
	end      int64            // offset behind the last
	time     int64            // when its last record was appended, by the clock
	stamp    int64            // its last record's append time
	durable  int64            // greatest durable offset the batches tell of
	buf      []byte
	waiters  []*waiter
	calls    []call
	finished bool  // guarded by the partition's mu
	err      error // set before finished
}

// A waiter is an appender that waits for its group: right now, not one that
// will. Its channel has room for the one thing it is told at a time, so that
// telling never blocks.
type waiter struct {
	ch   chan outcome
	gone bool // guarded by the partition's mu: its context ended
}

// An outcome is what a waiter is told: to lead, or how it went.
type outcome struct {
	lead bool
	err  error
}

// waiter returns one that waits for nothing yet. Those of one store are not used
// in another: in a test that runs in a testing/synctest bubble the channel is
// of that bubble.
func (s *Shared) waiter() *waiter {
	if w, ok := s.waiters.Get().(*waiter); ok {
		return w
	}
	return &waiter{ch: make(chan outcome, 1)}
}

// someone returns a waiter that is still there.
func (g *group) someone() *waiter {
	for _, w := range g.waiters {
		if !w.gone {
			return w
		}
	}
	return nil
}

// gatherLocked encodes a frame into the group that is gathered, and returns
// the group. The frame fits in the tail's segment.
func (p *Partition) gatherLocked(run *record.Run, count, size int, now int64) *group {
	g := p.openGroupLocked(size)
	at := len(g.buf)
	g.buf = grow(g.buf, size)
	durable := p.durable.Load()
	stamp := p.stampLocked(now, durable)
	run.Encode(g.buf[at:], count, stamp)
	g.durable = durable
	p.tail.seg.Note(stamp.Base, stamp.Position, stamp.Time)
	p.advanceLocked(count, size, now)
	g.end, g.time = p.tail.next, now
	if count > 0 {
		g.stamp = stamp.Time
	}
	p.pending += int64(size)
	return g
}

// openGroupLocked returns the group to add a frame to.
func (p *Partition) openGroupLocked(size int) *group {
	if n := len(p.groups); n > 0 {
		g := p.groups[n-1]
		if g.seg == p.tail.seg && len(g.buf)+size <= maxGroupBytes {
			return g
		}
	}
	g := &group{seg: p.tail.seg, pos: p.tail.pos, base: p.tail.next, buf: p.shared.buffer()}
	p.groups = append(p.groups, g)
	return g
}

// stampLocked returns the stamp of a frame at the tail. If the last record's
// time is ahead of the clock, records share it until the clock has caught up.
func (p *Partition) stampLocked(now, durable int64) record.Stamp {
	return record.Stamp{
		Salt:     p.tail.seg.Salt(),
		Position: p.tail.pos,
		Base:     p.tail.next,
		Time:     max(now, p.tail.time),
		Durable:  durable,
		Epoch:    p.epoch,
	}
}

// advanceLocked moves the tail behind a frame.
func (p *Partition) advanceLocked(records, size int, now int64) {
	if p.tail.next == p.tail.seg.Base && records > 0 {
		p.tail.first = now // of any other segment attach finds it out
	}
	p.countLocked(size)
	p.tail.pos += int64(size)
	p.tail.next += int64(records)
	p.tail.time = max(now, p.tail.time)
	if records > 0 { // a marker keeps nothing young
		p.tail.used = now
	}
}

// grow lengthens b by n bytes of anything, doubling what it has.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		bigger := make([]byte, len(b), max(need, 2*cap(b)))
		copy(bigger, b)
		b = bigger
	}
	return b[:len(b)+n]
}

// buffer returns an empty buffer.
func (s *Shared) buffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, minBufferBytes)
}

// putBuffer takes a buffer back. Large ones are let go.
func (s *Shared) putBuffer(b []byte) {
	if cap(b) <= maxGroupBytes {
		s.buffers.Put(&b)
	}
}

// await waits until the group g is written and, at level Sync, synced. Who
// finds the baton free leads. When the context ends, the records may or may
// not be written.
func (p *Partition) await(ctx context.Context, g *group) error {
	p.shared.waiting.Add(1)
	defer p.shared.waiting.Add(-1)
	p.mu.Lock()
	switch {
	case g.finished:
		p.mu.Unlock()
		return g.err
	case p.tryTakeLocked():
		p.mu.Unlock()
		return p.lead(g)
	}
	w := p.shared.waiter()
	g.waiters = append(g.waiters, w)
	p.mu.Unlock()
	select {
	case o := <-w.ch:
		yield.Woken()
		return p.told(o, g, w)
	case <-ctx.Done():
		yield.Woken()
	}
	p.mu.Lock()
	w.gone = true
	select {
	case o := <-w.ch: // it came at the same time
		p.mu.Unlock()
		return p.told(o, g, w)
	default:
	}
	p.mu.Unlock()
	return fmt.Errorf("append %s: %w: %w", subject(p.opts.Topic, p.opts.Number), ErrOutcomeUnknown, ctx.Err())
}

// told acts on what a waiter was told.
func (p *Partition) told(o outcome, g *group, w *waiter) error {
	if o.lead {
		p.mu.Lock()
		w.gone = true // nobody tells the leader how it went
		p.mu.Unlock()
		o.err = p.lead(g)
	}
	w.gone = false // the group is finished with w: the next one must hear of its outcome
	p.shared.waiters.Put(w)
	return o.err
}

// lead writes groups up to and including g, and hands the baton on. The
// caller holds it. Yielding once lets those who were just released, here or in
// another partition, join a group: without it the next one has hardly anybody
// in it. Alone in the store nobody yields: it would wake a second processor
// for nothing.
func (p *Partition) lead(g *group) error {
	if p.shared.waiting.Load() > 1 {
		runtime.Gosched()
		yield.Point()
	}
	done := p.syncSlot()
	for !g.finished { // else it was failed with one before it
		head := p.takeGroup()
		err := p.commit(head)
		if head == g {
			done()
			p.conclude(head, err, true)
			return g.err
		}
		p.conclude(head, err, false)
	}
	done()
	p.pass()
	return g.err
}

// leadForNobody is lead for a worker: it writes one group, or none if there
// is none left.
func (p *Partition) leadForNobody() {
	done := p.syncSlot()
	head := p.takeGroup()
	if head == nil {
		done()
		p.pass()
		return
	}
	err := p.commit(head)
	done()
	p.conclude(head, err, true)
}

// commitBelow writes the groups that begin below an offset: not all there are,
// since appenders may bring new ones for ever. The error is that of the last
// one. The caller holds the baton and keeps it.
func (p *Partition) commitBelow(end int64) (err error) {
	for {
		p.mu.Lock()
		more := len(p.groups) > 0 && p.groups[0].base < end
		p.mu.Unlock()
		if !more {
			return err
		}
		head := p.takeGroup()
		p.conclude(head, p.commit(head), false)
		err = head.err
	}
}

// syncSlot waits until one of the slots for syncs is free, if one is needed.
func (p *Partition) syncSlot() (done func()) {
	if p.level() != Sync {
		return func() {}
	}
	p.shared.syncs <- struct{}{}
	yield.Woken()
	return func() { <-p.shared.syncs }
}

// takeGroup closes the oldest group to further batches and returns it, nil if
// there is none.
func (p *Partition) takeGroup() *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		return nil
	}
	g := p.groups[0]
	p.groups = p.groups[1:]
	return g
}

// commit writes a group, and at level Sync syncs it. The caller holds the
// baton. The error says what is certain: it wraps ErrOutcomeUnknown unless
// nothing of the group can ever be found on disk.
func (p *Partition) commit(g *group) error {
	if err := p.failure(); err != nil { // since the group was gathered
		return err
	}
	if err := p.switchTo(g.seg, g.pos, int64(len(g.buf))); err != nil {
		return err
	}
	if _, err := p.w.file.WriteAt(g.buf, g.pos); err != nil {
		return p.cutBack(g.pos, err)
	}
	p.w.pos = g.pos + int64(len(g.buf))
	if p.level() != Sync || g.base == g.end {
		return nil
	}
	if err := p.syncFile(p.w.file); err != nil {
		return p.unknown(err)
	}
	return nil
}

// cutBack removes what a failed write may have left. Only if that is sure to
// have worked are the records not written, and appends go on.
func (p *Partition) cutBack(pos int64, cause error) error {
	err := p.w.file.Truncate(pos)
	if err == nil {
		err = p.syncFile(p.w.file)
	}
	if err != nil {
		return p.unknown(errors.Join(cause, err))
	}
	p.w.allocated = pos
	return cause
}

// unknown poisons the partition.
func (p *Partition) unknown(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poisonLocked(cause)
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
}

// conclude publishes a group that was written, or fails it and all behind it,
// tells those who wait, and hands the baton on if pass is set.
func (p *Partition) conclude(g *group, err error, pass bool) {
	p.mu.Lock()
	if err == nil {
		p.publishGroupLocked(g)
	}
	if err != nil {
		if !errors.Is(err, ErrFailed) {
			err = p.errorf("append", err)
		}
		p.abortLocked(err)
	}
	if pass {
		p.passLocked()
	}
	p.finishGroupLocked(g, err)
	p.mu.Unlock()
	yield.Point()
	p.watch.wake()
	p.shared.putBuffer(g.buf)
}

// publishGroupLocked lets readers see a group.
func (p *Partition) publishGroupLocked(g *group) {
	p.witness = max(p.witness, g.durable)
	g.seg.Publish(p.w.pos, g.end)
	if p.level() == Sync {
		p.syncedLocked(g.end)
	} else {
		p.wroteLocked(len(g.buf), g.time)
	}
	yield.Point()
	p.visible.Store(g.end)
	if g.base < g.end {
		p.figures.committed(g.end - g.base)
		p.figures.newest = moment{g.end, g.stamp}
	}
}

// abortLocked fails every group that is still gathered: their batches carry
// positions and offsets behind a group that was not written. The tail goes
// back to what is on disk.
func (p *Partition) abortLocked(cause error) {
	// Of those behind it is certain that they were not written, whatever is
	// known of the group itself.
	certain := cause
	if errors.Is(cause, ErrOutcomeUnknown) {
		certain = p.failed
	}
	for _, g := range p.groups {
		p.finishGroupLocked(g, certain)
		p.shared.putBuffer(g.buf)
	}
	p.groups = nil
	p.tail = p.committedLocked()
	if p.tail.seg != nil {
		p.tail.seg.Unnote(p.tail.pos)
	}
}

// committedLocked returns the tail behind the last group that was written.
func (p *Partition) committedLocked() tail {
	t := tail{next: p.visible.Load(), time: p.tail.time, used: p.tail.used}
	if list := p.all(); len(list) > 0 {
		t.seg = list[len(list)-1]
		t.pos = t.seg.Readable()
	}
	if t.seg == p.tail.seg {
		t.first = p.tail.first // else attach finds it out
	}
	return t
}

// finishGroupLocked tells everybody who waits for the group.
func (p *Partition) finishGroupLocked(g *group, err error) {
	g.finished, g.err = true, err
	p.pending -= int64(len(g.buf))
	if err != nil {
		p.countLocked(-len(g.buf))
	}
	for _, w := range g.waiters {
		if !w.gone {
			w.ch <- outcome{err: err}
		}
	}
	for i := range g.calls {
		g.calls[i].err = err
	}
	p.callLocked(g.calls)
	p.wakeSpaceLocked()
}

// wakeSpaceLocked wakes those who wait for room or for a sync.
func (p *Partition) wakeSpaceLocked() {
	if p.space != nil {
		close(p.space)
		p.space = nil
	}
}

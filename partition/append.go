package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// MaxFrameBytes is what a frame of several records is cut at, or at what a
// segment has room for if that is less.
const MaxFrameBytes = 1 << 20

// indexWriteEntries is how many new index entries are written at a time: as
// many as 256 KiB of batches have.
const indexWriteEntries = 256

// Append appends one record and returns its offset. Key, Value, Headers, ID
// and OriginTime are taken from rec, which stays the caller's. It returns when
// the record is as durable as the level says; a context that ends while it
// waits gives ErrOutcomeUnknown.
func (p *Partition) Append(ctx context.Context, rec record.Record) (offset int64, err error) {
	if err = p.Check(&rec); err != nil {
		return -1, p.errorf("append", err)
	}
	one := [1]record.Record{rec}
	offset, _, err = p.AppendOne(ctx, one[:])
	return offset, err
}

// AppendOne is Append for a slice of exactly one record that was checked. It
// also returns the append time, in nanoseconds since 1970 UTC.
func (p *Partition) AppendOne(ctx context.Context, one []record.Record) (offset, at int64, err error) {
	var a Pending
	if err = p.Submit(ctx, &record.Run{Records: one}, &a); err != nil {
		return -1, 0, err
	}
	if err = a.Wait(ctx); err != nil {
		return -1, 0, err
	}
	return a.First, a.Time, nil
}

// AppendBatch appends records in order and fills in their Offset, Topic,
// Partition and Timestamp. They are cut into frames of at most MaxFrameBytes;
// a frame is on disk whole or not at all. If not all were appended, the error is a
// *BatchError, and the offset of those that were not is -1.
func (p *Partition) AppendBatch(ctx context.Context, recs []record.Record) error {
	for i := range recs {
		if err := p.Check(&recs[i]); err != nil {
			return p.errorf(fmt.Sprintf("append batch: record %d of", i), err)
		}
	}
	if len(recs) == 0 {
		return p.appendNothing(ctx)
	}
	var b Batch
	b.Add(ctx, p, record.Run{Records: recs})
	return b.Wait(ctx, len(recs))
}

// appendNothing returns why an append fails even if it has no records.
func (p *Partition) appendNothing(ctx context.Context) error {
	if err := p.checkContext(ctx, "append"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usableLocked()
}

// AppendAsync encodes the record and returns without waiting for it to be
// durable; it waits only for room in the buffer. done, which may be nil, is
// called once, later, on a goroutine of its own and under no lock, in the
// order of offsets, with the offset or the error. It may append; it must not
// close the partition. An error returned means that done is not called and
// nothing was appended.
func (p *Partition) AppendAsync(ctx context.Context, rec record.Record, done func(offset int64, err error)) error {
	if err := p.Check(&rec); err != nil {
		return p.errorf("append", err)
	}
	one := [1]record.Record{rec}
	a := Pending{done: done}
	if err := p.Submit(ctx, &record.Run{Records: one[:]}, &a); err != nil {
		return err
	}
	a.Kick()
	return nil
}

// Check returns why a record cannot be appended: a *SizeError, or an origin
// time that cannot be stored.
func (p *Partition) Check(rec *record.Record) error {
	c := p.config.Load()
	if len(rec.Key) > c.MaxKeyBytes {
		return &SizeError{"key", len(rec.Key), c.MaxKeyBytes}
	}
	if n := rec.UserBytes(); n > c.MaxRecordBytes {
		return &SizeError{"record", n, c.MaxRecordBytes}
	}
	if n := len(rec.Headers); n > c.MaxRecordBytes/4 {
		return &SizeError{"record, counted 4 for each header,", 4 * n, c.MaxRecordBytes}
	}
	if !rec.OriginTime.IsZero() && (rec.OriginTime.Before(firstTime) || rec.OriginTime.After(lastTime)) {
		return fmt.Errorf("%w origin time: %v is not between %v and %v", ErrInvalid, rec.OriginTime, firstTime, lastTime)
	}
	return nil
}

// The times that nanoseconds in 64 bits can tell.
var (
	firstTime = time.Unix(0, math.MinInt64).UTC()
	lastTime  = time.Unix(0, math.MaxInt64).UTC()
)

// A Pending is a frame that was encoded and may not be acknowledged yet. The
// zero Pending is ready for Submit. After Submit it may be copied, and many
// goroutines may wait for it.
type Pending struct {
	First int64 // offset of its first record
	Time  int64 // append time of its records, nanoseconds since 1970 UTC
	Count int   // records in it

	p     *Partition
	group *group
	done  func(int64, error)
}

// Submit encodes a frame of the first records of a run of checked ones; how
// many, a.Count tells. It waits for room and for a roll, but not for
// durability: Wait does. After Submit, Wait or Kick must be called.
func (p *Partition) Submit(ctx context.Context, run *record.Run, a *Pending) error {
	if err := p.checkContext(ctx, "append"); err != nil {
		return err
	}
	count, size := p.fit(run)
	yield.Before(&p.mu)
	p.mu.Mutex.Lock()
	defer p.mu.Unlock()
	now, err := p.readyLocked(ctx, count, size)
	for errors.Is(err, errCutAgain) {
		count, size = p.fit(run)
		now, err = p.readyLocked(ctx, count, size)
	}
	if err != nil {
		return err
	}
	a.p, a.First, a.Time, a.Count = p, p.tail.next, max(now, p.tail.time), count
	if p.mapped {
		if err = p.storeLocked(run, count, size, now); err == nil && a.done != nil {
			p.callLocked([]call{{a.done, a.First, nil}})
		}
		return err
	}
	a.group = p.gatherLocked(run, count, size, now)
	if a.done != nil {
		a.group.calls = append(a.group.calls, call{a.done, a.First, nil})
	}
	return nil
}

// fit returns how many records of a run make the next frame, and its length.
func (p *Partition) fit(run *record.Run) (count, size int) {
	return run.Fit(min(MaxFrameBytes, p.config.Load().roomBytes()), segment.MaxOffsets)
}

// errCutAgain says that segments became smaller since a frame was cut.
var errCutAgain = errors.New("cut the frame again")

func (p *Partition) checkContext(ctx context.Context, op string) error {
	if ctx == nil {
		return p.errorf(op, fmt.Errorf("%w context: nil", ErrInvalid))
	}
	if err := ctx.Err(); err != nil {
		return p.errorf(op, err)
	}
	return nil
}

// Wait waits until the frame is as durable as the level says. The error wraps
// ErrOutcomeUnknown unless the records are certainly not in the log.
func (a *Pending) Wait(ctx context.Context) error {
	if a.group == nil {
		return nil
	}
	return a.p.await(ctx, a.group)
}

// Then has done called once, with the offset of the frame's first record or the
// error that Wait would return, on a goroutine of the partition's own and under
// no lock. Before Submit it stands for the callback of AppendAsync, in the
// order of offsets; after Submit it may be called any number of times, while
// others wait too. ErrClosed says that the partition is closed and that done is
// not called.
func (a *Pending) Then(done func(offset int64, err error)) error {
	if a.p == nil {
		a.done = done
		return nil
	}
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	due := call{done, a.First, nil}
	switch {
	case a.group != nil && !a.group.finished:
		a.group.calls = append(a.group.calls, due)
		return nil
	case p.closing:
		return p.errorf("append", ErrClosed)
	case a.group != nil:
		due.err = a.group.err
	}
	p.callLocked([]call{due})
	return nil
}

// Acknowledged returns the append of a record that was acknowledged before:
// Wait returns at once, and Then calls back.
func (p *Partition) Acknowledged(offset int64) Pending {
	return Pending{First: offset, Count: 1, p: p}
}

// Kick sees to it that the frame is written even if nobody waits for it now.
func (a *Pending) Kick() {
	if a.group == nil {
		return
	}
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if !a.group.finished && p.tryTakeLocked() {
		p.shared.submit(p.leadForNobody)
	}
}

// readyLocked returns the time, by the clock, when a frame can be encoded at
// the tail. It lets the lock go while it waits or does I/O.
func (p *Partition) readyLocked(ctx context.Context, records, size int) (now int64, err error) {
	for {
		if err = p.usableLocked(); err != nil {
			return 0, err
		}
		now = p.shared.clock.Now()
		remove := p.obstacleLocked(records, size, now)
		if remove == nil {
			return now, nil
		}
		p.mu.Unlock()
		err = remove(ctx)
		p.mu.Lock()
		if err != nil {
			return 0, p.errorf("append", err)
		}
	}
}

// obstacleLocked returns what has to be done, without the lock, before a
// frame can be encoded, and nil if nothing has.
func (p *Partition) obstacleLocked(records, size int, now int64) func(context.Context) error {
	switch room := p.config.Load().roomBytes(); {
	case size > room && records > 1:
		return func(context.Context) error { return errCutAgain }
	case size > room: // it was checked by settings that allowed it
		return func(context.Context) error { return &SizeError{"frame", size, room} }
	case p.refusesLocked(size):
		return func(context.Context) error { return ErrFull }
	case !p.begun:
		return p.begin
	case p.unmade != "":
		return p.unmakeFirst
	case p.crowdedLocked(now):
		return p.spaceLocked(now)
	case p.fullLocked(records, size, now):
		if p.mapped {
			return p.rollLocked()
		}
		p.planLocked()
	case !p.mapped:
	case p.w.seg != p.tail.seg || !p.w.mapped:
		return p.attachMapped
	case p.tail.pos+int64(size) > p.w.allocated:
		if p.growing != nil {
			return p.awaitGrowth
		}
		if err := p.reserve(p.tail.pos + int64(size)); err != nil {
			return func(context.Context) error { return err }
		}
	}
	return nil
}

// begin tells the store that something is about to be written.
func (p *Partition) begin(context.Context) error {
	epoch, err := p.shared.begin()
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.begun, p.epoch = true, epoch
	p.mu.Unlock()
	return nil
}

// crowdedLocked reports whether an append has to wait: for room in the
// buffers, or at level Interval for a sync that is overdue.
func (p *Partition) crowdedLocked(now int64) bool {
	return p.held > 0 || p.pending >= maxPendingBytes || p.overdueLocked(now)
}

// overdueLocked reports whether a sync of level Interval is at twice its
// threshold.
func (p *Partition) overdueLocked(now int64) bool {
	c := p.config.Load()
	if c.Durability != Interval {
		return false
	}
	e := c.SyncEvery
	unsynced := p.tail.next - p.durable.Load()
	return unsynced >= 2*e.Records || p.dirty >= 2*e.Bytes || p.dirtyAt != 0 && now-p.dirtyAt >= 2*int64(e.Time)
}

// spaceLocked returns a wait for the next commit or sync, which it sees to.
func (p *Partition) spaceLocked(now int64) func(context.Context) error {
	if p.space == nil {
		p.space = make(chan struct{})
	}
	space := p.space
	if p.overdueLocked(now) {
		p.syncSoonLocked()
	}
	if len(p.groups) > 0 && p.tryTakeLocked() {
		p.shared.submit(p.leadForNobody)
	}
	return func(ctx context.Context) error {
		select {
		case <-space:
			yield.Woken()
			return p.overdue()
		case <-ctx.Done():
			yield.Woken()
			return ctx.Err()
		}
	}
}

// overdue returns why the sync that an append waited for was not tried.
func (p *Partition) overdue() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.syncAsked || !p.overdueLocked(p.shared.clock.Now()) {
		return nil // it may still be, or is not needed any more
	}
	return p.unsynced
}

// fullLocked reports whether a frame has to go to another segment.
func (p *Partition) fullLocked(records, size int, now int64) bool {
	t, c := &p.tail, p.config.Load()
	if t.seg == nil || t.full {
		return true
	}
	return t.pos+int64(size) > c.SegmentBytes ||
		t.next-t.seg.Base+int64(records) > segment.MaxOffsets ||
		t.first != 0 && now-t.first >= int64(c.SegmentAge)
}

// storeLocked encodes a frame into the mapped window and publishes it.
func (p *Partition) storeLocked(run *record.Run, count, size int, now int64) error {
	t := &p.tail
	durable := p.durable.Load()
	stamp := p.stampLocked(now, durable)
	if err := t.seg.EncodeMapped(run, count, size, stamp); err != nil {
		// Its length was not stored: there is no such frame.
		p.poisonLocked(err)
		return p.failed
	}
	p.witness = durable
	t.seg.Note(stamp.Base, stamp.Position, stamp.Time)
	p.advanceLocked(count, size, now)
	t.seg.Publish(t.pos, t.next)
	yield.Point()
	p.visible.Store(t.next)
	if count > 0 {
		p.figures.appends += int64(count)
		p.figures.newest = moment{t.next, t.time}
	}
	p.wroteLocked(size, now)
	if p.w.allocated-t.pos < p.w.step/4 {
		p.growSoonLocked()
	}
	if p.w.touched-t.pos < touchBytes/2 {
		p.touchSoonLocked()
	}
	p.watch.wake()
	return nil
}

// wroteLocked counts what was written and not synced.
func (p *Partition) wroteLocked(size int, now int64) {
	p.dirty += int64(size)
	if p.dirtyAt == 0 {
		p.dirtyAt = now
		p.wakeAtLocked(p.dueLocked(now))
	}
	p.askLocked()
	if p.tail.seg.IndexDue() >= max(indexWriteEntries, p.tail.note) {
		p.noteSoonLocked()
	}
}

// askLocked asks for a sync if level Interval wants one.
func (p *Partition) askLocked() {
	c := p.config.Load()
	if c.Durability != Interval || p.syncAsked {
		return
	}
	if p.tail.next-p.durable.Load() >= c.SyncEvery.Records || p.dirty >= c.SyncEvery.Bytes {
		p.syncSoonLocked()
	}
}

// A call is a callback that is due.
type call struct {
	done   func(int64, error)
	offset int64
	err    error
}

// callLocked queues callbacks and sees to it that somebody runs them.
func (p *Partition) callLocked(calls []call) {
	if len(calls) == 0 {
		return
	}
	p.calls = append(p.calls, calls...)
	if !p.calling {
		p.calling = true
		p.callbacks.Go(p.runCalls)
	}
}

// runCalls runs callbacks in order until there are none.
func (p *Partition) runCalls() {
	yield.Woken()
	for {
		p.mu.Lock()
		calls := p.calls
		p.calls = nil
		p.calling = len(calls) > 0
		p.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		for _, c := range calls {
			if c.err != nil {
				c.offset = -1
			}
			yield.Point()
			c.done(c.offset, c.err)
		}
	}
}

package braidlog

import (
	"context"
	"fmt"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/record"
)

// Append routes a record and appends it. It returns when the record is as
// durable as the topic's level says. A context that ends while it waits for
// that gives ErrOutcomeUnknown; any other error means that this call did not
// append the record, unless it is ErrOutcomeUnknown too. With Dedup a record
// whose ID was appended lately is a repeat: see there.
func (t *Topic) Append(ctx context.Context, rec Record) (Position, error) {
	st := t.state.Load()
	if st.byID(&rec) {
		return positionOf(t.appendOnce(ctx, st, routed, rec))
	}
	n, err := t.prepare(ctx, st, &rec)
	if err != nil {
		return noPosition, t.appendError(err)
	}
	one := [1]Record{rec}
	offset, _, err := t.parts[n].AppendOne(ctx, one[:])
	if err != nil {
		return noPosition, err
	}
	st.countKey(&rec)
	return Position{Partition: n, Offset: offset}, nil
}

// prepare checks a record and routes it.
func (t *Topic) prepare(ctx context.Context, st *topicState, rec *Record) (n int, err error) {
	if err = t.checkAppend(ctx); err != nil {
		return 0, err
	}
	return t.place(st, routed, rec)
}

// routed stands for the partition that the partitioner is to be asked for.
const routed = -1

// place checks a record and returns its partition: n, or where it is routed.
func (t *Topic) place(st *topicState, n int, rec *Record) (int, error) {
	// All partitions have the same limits.
	if err := t.parts[0].Check(rec); err != nil {
		return 0, err
	}
	if n != routed {
		return n, nil
	}
	return t.route(st, rec)
}

// checkAppend returns why nothing is appended, whatever the record.
func (t *Topic) checkAppend(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	switch {
	case !t.store.cfg.ReadOnly:
		return nil
	case t.closed():
		return ErrClosed
	}
	return ErrReadOnly
}

func (t *Topic) appendError(err error) error {
	return fmt.Errorf("append to %s: %w", t.name, err)
}

// AppendTo appends a record to a partition of the caller's choice; the
// partitioner is not asked. With Dedup a repeat is where the first record is,
// in whichever partition.
func (t *Topic) AppendTo(ctx context.Context, partition int, rec Record) (Position, error) {
	if partition < 0 || partition >= len(t.parts) {
		return noPosition, t.appendError(fmt.Errorf("%w partition: %d of %d", ErrInvalid, partition, len(t.parts)))
	}
	st := t.state.Load()
	if st.byID(&rec) {
		return positionOf(t.appendOnce(ctx, st, partition, rec))
	}
	if err := t.checkAppend(ctx); err != nil {
		return noPosition, t.appendError(err)
	}
	offset, err := t.parts[partition].Append(ctx, rec)
	if err != nil {
		return noPosition, err
	}
	st.countKey(&rec)
	return Position{Partition: partition, Offset: offset}, nil
}

// AppendAsync routes and encodes a record and returns without waiting for it
// to be durable; it waits only for room in a buffer. done, which may be nil,
// is called exactly once, later, on a goroutine of the store and under no
// lock; within a partition in order of offsets, but for repeats, which are told
// when the first record of their ID is acknowledged. It may append; it must not
// close the store. An error returned here means that nothing was appended and
// done is not called. Of a repeat it may be ErrOutcomeUnknown: its context ended
// while the first record, somebody else's, was on its way to the log.
func (t *Topic) AppendAsync(ctx context.Context, rec Record, done func(Position, error)) error {
	st := t.state.Load()
	if st.byID(&rec) {
		return t.appendAsyncOnce(ctx, st, rec, done)
	}
	n, err := t.prepare(ctx, st, &rec)
	if err != nil {
		return t.appendError(err)
	}
	var told func(int64, error)
	if done != nil {
		told = callback(n, false, done)
	}
	if err = t.parts[n].AppendAsync(ctx, rec, told); err != nil {
		return err
	}
	st.countKey(&rec)
	return nil
}

// callback returns what calls done with a place in partition n.
func callback(n int, duplicate bool, done func(Position, error)) func(int64, error) {
	return func(offset int64, err error) {
		if err != nil {
			done(noPosition, err)
			return
		}
		done(Position{Partition: n, Offset: offset, Duplicate: duplicate}, nil)
	}
}

// AppendBatch routes and checks all records, and then appends them, in order
// within each partition. It fills in Topic, Partition, Offset, Timestamp and
// Duplicate of each record in place. A partition's share is written in frames
// of at most 1 MiB, each of which is on disk whole or not at all; across frames
// and partitions the batch is not atomic. If a record is refused nothing is
// appended. If appending fails the error is a *BatchError with the outcome of
// every record, and the offset of those not appended is -1.
//
// With Dedup repeats are left out, also those of records of the same batch:
// they are where the first record of their ID is, and its outcome is theirs.
func (t *Topic) AppendBatch(ctx context.Context, recs []Record) error {
	if err := t.checkAppend(ctx); err != nil {
		return t.appendError(err)
	}
	if len(recs) == 0 {
		return t.appendNothing()
	}
	b := t.takeBatch(len(recs))
	defer t.batch.Put(b)
	st := t.state.Load()
	if st.dedup != nil {
		return t.appendBatchOnce(ctx, st, b, recs)
	}
	if err := t.routeBatch(st, b, recs); err != nil {
		return t.appendError(err)
	}
	t.submitBatch(ctx, b, recs)
	return t.awaitBatch(ctx, st, b, recs)
}

// routeBatch checks all records but repeats, then routes and sorts them.
func (t *Topic) routeBatch(st *topicState, b *batch, recs []Record) error {
	for i := range recs {
		if b.repeat(i) {
			continue
		}
		if err := t.parts[0].Check(&recs[i]); err != nil {
			return fmt.Errorf("record %d of the batch: %w", i, err)
		}
	}
	for i := range recs {
		if b.repeat(i) {
			b.routes[i] = nowhere
			continue
		}
		n, err := t.route(st, &recs[i])
		if err != nil {
			return fmt.Errorf("record %d of the batch: %w", i, err)
		}
		b.routes[i] = int32(n)
		b.counts[n]++
	}
	b.sort()
	return nil
}

// appendNothing returns why an append fails even if it has no records.
func (t *Topic) appendNothing() error {
	if t.closed() {
		return t.appendError(ErrClosed)
	}
	return nil
}

// submitBatch submits each partition's share.
func (t *Topic) submitBatch(ctx context.Context, b *batch, recs []Record) {
	from := int32(0)
	for n, p := range t.parts {
		count := b.counts[n]
		if count == 0 {
			continue
		}
		run := record.Run{Records: recs, Picks: b.picks[from : from+count]}
		from += count
		b.pending.Add(ctx, p, run)
	}
}

// awaitBatch waits for what was submitted.
func (t *Topic) awaitBatch(ctx context.Context, st *topicState, b *batch, recs []Record) error {
	st.countKeys(b, recs)
	if err := b.pending.Wait(ctx, len(recs)); err != nil {
		return err
	}
	if st.batcher != nil {
		t.tellBatchEnds(st.batcher, b, recs)
	}
	return nil
}

// tellBatchEnds tells the partitioner what each partition got. The records are
// appended: a panic cannot change that.
func (t *Topic) tellBatchEnds(p partitioner.Batcher, b *batch, recs []Record) {
	var err error
	defer func() {
		if err != nil {
			t.store.warn(t.name, "the partitioner failed at the end of a batch", err)
		}
	}()
	defer caught(&err)
	from := int32(0)
	for n, count := range b.counts {
		if count > 0 {
			p.BatchEnd(n, int(count), userBytes(record.Run{Records: recs, Picks: b.picks[from : from+count]}))
			from += count
		}
	}
}

func userBytes(run record.Run) (n int) {
	for i := range run.Len() {
		n += run.At(i).UserBytes()
	}
	return n
}

// A batch is the scratch space of one AppendBatch.
type batch struct {
	routes  []int32 // partition of each record, or nowhere
	counts  []int32 // records of each partition
	starts  []int32 // where in picks the next record of each partition goes
	picks   []int32 // the records' numbers, partition by partition
	claims  []claim // of each record; empty if nobody looks for repeats
	pending partition.Batch
}

// nowhere is the partition of a repeat: it is not appended.
const nowhere = -1

// takeBatch returns scratch space for n records.
func (t *Topic) takeBatch(n int) *batch {
	b, ok := t.batch.Get().(*batch)
	if !ok {
		b = &batch{counts: make([]int32, len(t.parts)), starts: make([]int32, len(t.parts))}
	}
	if cap(b.routes) < n {
		b.routes, b.picks = make([]int32, n), make([]int32, n)
	}
	b.routes, b.picks = b.routes[:n], b.picks[:n]
	clear(b.counts)
	return b
}

// sort fills picks: a counting sort, which keeps the order within a partition.
func (b *batch) sort() {
	at := int32(0)
	for n, count := range b.counts {
		b.starts[n] = at
		at += count
	}
	for i, n := range b.routes {
		if n == nowhere {
			continue
		}
		b.picks[b.starts[n]] = int32(i)
		b.starts[n]++
	}
	b.picks = b.picks[:at]
}

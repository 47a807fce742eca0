package braidlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// This file has the appends of records with an id, in a topic that looks for
// repeats: claim the id, append the record if it is the first, and otherwise
// return where the first one is.

// byID reports whether a record has to be looked up by its id, or refused for
// having none.
func (st *topicState) byID(rec *Record) bool {
	return st.dedup != nil && (rec.ID != noID || st.config.Dedup.Mode == DedupRequired)
}

// checkID returns why a record cannot be appended as far as its id goes.
func (st *topicState) checkID(rec *Record) error {
	if rec.ID == noID && st.config.Dedup.Mode == DedupRequired {
		return fmt.Errorf("%w id: all zeros, and the topic's Dedup.Mode is %v", ErrInvalid, DedupRequired)
	}
	return nil
}

// checkOnce does what appends by id begin with.
func (t *Topic) checkOnce(ctx context.Context) error {
	if err := t.checkAppend(ctx); err != nil {
		return err
	}
	if t.closed() {
		return ErrClosed
	}
	return nil
}

// claim claims the id of a record.
func (t *Topic) claim(ctx context.Context, st *topicState, rec *Record) (claim, error) {
	err := t.checkOnce(ctx)
	if err == nil {
		err = st.checkID(rec)
	}
	if err != nil {
		return claim{}, err
	}
	return st.dedup.claim(ctx, rec.ID)
}

// positionOf returns what Append does.
func positionOf(f first, repeat bool, err error) (Position, error) {
	if err != nil {
		return noPosition, err
	}
	return Position{Partition: int(f.partition), Offset: f.offset, Duplicate: repeat}, nil
}

// appendOnce appends a record to partition n, or where it is routed, unless it
// is a repeat.
func (t *Topic) appendOnce(ctx context.Context, st *topicState, n int, rec Record) (first, bool, error) {
	for {
		c, err := t.claim(ctx, st, &rec)
		if err != nil {
			return first{}, false, t.appendError(err)
		}
		if c.own {
			err = t.appendFirst(ctx, st, c.flight, n, &rec)
			return c.flight.first(), false, err
		}
		f, submitted, err := t.awaitFirst(ctx, st, &c)
		if submitted || err != nil {
			return f, true, err
		}
	}
}

// appendFirst appends the record of a flight.
func (t *Topic) appendFirst(ctx context.Context, st *topicState, f *flight, n int, rec *Record) error {
	var a partition.Pending
	if err := t.submitFirst(ctx, st, f, n, rec, &a); err != nil {
		return err
	}
	err := a.Wait(ctx)
	st.dedup.leave(f, outcomeOf(err))
	return err
}

// submitFirst routes and submits the record of a flight, and launches it either
// way.
func (t *Topic) submitFirst(ctx context.Context, st *topicState, f *flight, n int, rec *Record, a *partition.Pending) error {
	defer st.dedup.launch([]claim{{flight: f, own: true}})
	n, err := t.place(st, n, rec)
	if err != nil {
		return t.appendError(err)
	}
	one := [1]Record{*rec}
	if err = t.parts[n].Submit(ctx, &record.Run{Records: one[:]}, a); err != nil {
		return err
	}
	f.submit(int32(n), *a)
	st.countKey(rec)
	return nil
}

// awaitFirst waits until the first record of a repeat's id is acknowledged, and
// returns where it is. If it was not submitted, nothing is wrong and the repeat
// is none. Its owner may have left: whoever hears of its outcome acts on it.
func (t *Topic) awaitFirst(ctx context.Context, st *topicState, c *claim) (f first, submitted bool, err error) {
	if c.flight == nil {
		return c.first, true, nil
	}
	submitted, err = c.flight.await(ctx)
	if err != nil {
		return first{}, false, t.appendError(fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
	}
	if !submitted {
		return first{}, false, nil
	}
	err = c.flight.pending.Wait(ctx)
	st.dedup.conclude(c.flight, outcomeOf(err))
	return c.flight.first(), true, err
}

// appendAsyncOnce is AppendAsync of a record that has to be looked up by its id.
func (t *Topic) appendAsyncOnce(ctx context.Context, st *topicState, rec Record, done func(Position, error)) error {
	for {
		c, err := t.claim(ctx, st, &rec)
		if err != nil {
			return t.appendError(err)
		}
		if c.own {
			return t.appendFirstAsync(ctx, st, c.flight, &rec, done)
		}
		if c.flight == nil {
			a := t.parts[c.first.partition].Acknowledged(c.first.offset)
			return t.repeatAsync(c.first.partition, &a, done)
		}
		submitted, err := c.flight.await(ctx)
		if err != nil {
			return t.appendError(fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
		}
		if submitted {
			return t.repeatAsync(c.flight.partition, &c.flight.pending, done)
		}
	}
}

// appendFirstAsync is appendFirst that does not wait.
func (t *Topic) appendFirstAsync(ctx context.Context, st *topicState, f *flight, rec *Record, done func(Position, error)) error {
	var a partition.Pending
	err := a.Then(func(offset int64, err error) {
		<-f.ready // its owner is just behind Submit
		yield.Woken()
		st.dedup.conclude(f, outcomeOf(err))
		if done != nil {
			callback(int(f.partition), false, done)(offset, err)
		}
	})
	if err == nil {
		err = t.submitFirst(ctx, st, f, routed, rec, &a)
	}
	if err == nil {
		a.Kick()
	}
	return err
}

// repeatAsync has done called when the first record is acknowledged.
func (t *Topic) repeatAsync(n int32, first *partition.Pending, done func(Position, error)) error {
	if done == nil {
		return nil
	}
	return first.Then(callback(int(n), true, done))
}

// appendBatchOnce is AppendBatch in a topic that looks for repeats. No flight of
// another append is waited for before this batch's own are over: two batches
// that repeat each other's records would wait for ever.
func (t *Topic) appendBatchOnce(ctx context.Context, st *topicState, b *batch, recs []Record) error {
	defer b.forgetClaims()
	if err := t.claimBatch(ctx, st, b, recs); err != nil {
		return t.appendError(err)
	}
	if err := t.routeBatch(st, b, recs); err != nil {
		st.dedup.launch(b.claims)
		return t.appendError(err)
	}
	t.submitBatch(ctx, b, recs)
	b.pending.Each(func(i int, a partition.Pending, err error) {
		if c := &b.claims[i]; c.own && err == nil {
			c.flight.submit(b.routes[i], a)
		}
	})
	st.dedup.launch(b.claims)
	v := verdict{n: len(recs)}
	errors.As(t.awaitBatch(ctx, st, b, recs), &v.e) // it is nil or a *BatchError
	for _, i := range b.picks {                     // in the order in which they were submitted
		if c := &b.claims[i]; c.own && c.flight.submitted {
			st.dedup.leave(c.flight, v.outcome(int(i)))
		}
	}
	for i := range recs {
		if b.claims[i].repeat() {
			t.fillRepeat(ctx, st, b, &v, recs, i)
		}
	}
	return v.err()
}

func (t *Topic) claimBatch(ctx context.Context, st *topicState, b *batch, recs []Record) error {
	if err := t.checkOnce(ctx); err != nil {
		return err
	}
	for i := range recs {
		if err := st.checkID(&recs[i]); err != nil {
			return fmt.Errorf("record %d of the batch: %w", i, err)
		}
	}
	if cap(b.claims) < len(recs) {
		b.claims = make([]claim, len(recs))
	}
	b.claims = b.claims[:len(recs)]
	return st.dedup.claimAll(ctx, recs, b.claims)
}

// forgetClaims lets flights go that the batch has no more to do with.
func (b *batch) forgetClaims() {
	clear(b.claims)
	b.claims = b.claims[:0]
}

// repeat reports whether record i is not to be appended.
func (b *batch) repeat(i int) bool { return i < len(b.claims) && b.claims[i].repeat() }

// fillRepeat waits for the first record of which record i is a repeat, and
// fills in where that is and what became of it.
func (t *Topic) fillRepeat(ctx context.Context, st *topicState, b *batch, v *verdict, recs []Record, i int) {
	c := &b.claims[i]
	if j, ok := b.ownFirst(c); ok {
		r, o := &recs[i], v.outcome(j)
		v.set(i, o, nil)
		r.Topic, r.Partition, r.Offset, r.Timestamp = recs[j].Topic, recs[j].Partition, recs[j].Offset, recs[j].Timestamp
		r.Duplicate = o != NotAppended
		return
	}
	f, submitted, err := t.awaitFirst(ctx, st, c)
	repeat := true
	if !submitted && err == nil {
		f, repeat, err = t.appendOnce(ctx, st, routed, recs[i])
	}
	v.set(i, outcomeOf(err), err)
	t.fill(&recs[i], f, repeat, outcomeOf(err))
}

// ownFirst returns the number of the first record of a claim's id, if that is
// in the same batch.
func (b *batch) ownFirst(c *claim) (j int, ok bool) {
	if c.flight == nil || int(c.flight.number) >= len(b.claims) {
		return 0, false
	}
	j = int(c.flight.number)
	return j, b.claims[j].own && b.claims[j].flight == c.flight
}

// fill writes where a record is into one that was not appended with its batch.
func (t *Topic) fill(r *Record, f first, repeat bool, o Outcome) {
	r.Offset, r.Duplicate = -1, false
	if o == NotAppended || f.id == noID {
		return // it is nowhere, or not known to be anywhere
	}
	r.Topic, r.Partition, r.Offset = t.name, int(f.partition), f.offset
	r.Timestamp, r.Duplicate = time.Unix(0, f.time).UTC(), repeat
}

// A verdict is what became of the records of a batch.
type verdict struct {
	n int         // how many there are
	e *BatchError // nil as long as all are appended
}

func (v *verdict) outcome(i int) Outcome {
	if v.e == nil {
		return Appended
	}
	return v.e.Outcomes[i]
}

// set enters what became of record i.
func (v *verdict) set(i int, o Outcome, err error) {
	if v.e == nil && o == Appended {
		return
	}
	if v.e == nil {
		v.e = &BatchError{Outcomes: make([]Outcome, v.n), Cause: err}
		for j := range v.e.Outcomes {
			v.e.Outcomes[j] = Appended
		}
	}
	v.e.Outcomes[i] = o
}

func (v *verdict) err() error {
	if v.e == nil {
		return nil
	}
	return v.e
}

package consumergroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A write is submitted to the partition with a callback. The partition calls
// back in the order of the log, one at a time and for certain, whether the
// caller still waits or not: so the state is changed in that order, and by
// nobody else.

// maxPatternBytes is how long the pattern of a Spec may be.
const maxPatternBytes = 4 << 10

// slackBytes is how much less than the partition would take a record may have:
// what it says has to fit in a record of a snapshot.
const slackBytes = 64

// SetSpec stores what a group is opened with, and makes the group if it does
// not exist. It is durable when SetSpec returns nil. One that is stored
// already is not written again.
func (l *Ledger) SetSpec(ctx context.Context, group string, s Spec) error {
	s.Topics = slices.Clone(s.Topics)
	s.Start.Time = s.Start.Time.UTC().Round(0)
	err := s.check()
	if err == nil {
		if was, ok := l.Spec(group); ok && was.equal(s) {
			err = l.mayWrite(ctx)
		} else {
			err = l.write(ctx, &ledgerRecord{kind: ledgerSpec, group: group, spec: s})
		}
	}
	return about("store what is read by", group, err)
}

func (s *Spec) equal(o Spec) bool {
	return slices.Equal(s.Topics, o.Topics) && s.Pattern == o.Pattern && s.Start.Kind == o.Start.Kind && s.Start.Time.Equal(o.Start.Time)
}

// check returns what is wrong with a Spec.
func (s *Spec) check() error {
	for _, t := range s.Topics {
		if err := checkName("topic", t); err != nil {
			return err
		}
	}
	start := s.Start
	switch {
	case !rising(s.Topics, strings.Compare):
		return fmt.Errorf("%w topics: they are not sorted, or one is there twice", partition.ErrInvalid)
	case len(s.Pattern) > maxPatternBytes:
		return &partition.SizeError{What: "pattern", Bytes: len(s.Pattern), Most: maxPatternBytes}
	case start.Kind > StartFail, start.Kind != StartAt && !start.Time.IsZero():
		return fmt.Errorf("%w start: %v with time %v", partition.ErrInvalid, start.Kind, start.Time)
	case start.Kind == StartAt && !time.Unix(0, start.Time.UnixNano()).Equal(start.Time):
		return fmt.Errorf("%w start: %v cannot be stored", partition.ErrInvalid, start)
	}
	return nil
}

// Begin stores where a group was decided to begin, so that it cannot change
// later. It is not a commit. A partition that the ledger has a position of
// keeps that: what is in force, Position tells. Metadata must be nil.
func (l *Ledger) Begin(ctx context.Context, group string, starts []Committed) error {
	r, err := positionsOf(ledgerBegin, group, starts)
	if err == nil {
		r.at = slices.DeleteFunc(r.at, func(c Committed) bool {
			_, kind := l.Position(group, c.TopicID, c.Partition)
			return kind != PositionNone
		})
		err = l.writePositions(ctx, r)
	}
	return about("begin", group, err)
}

// Commit stores how far a group is, all of c or nothing, and returns when that
// is durable; with all other commits of the store it shares one sync. If ctx
// ends meanwhile the error is partition.ErrOutcomeUnknown: it may be stored,
// and is in force if it was. No error but that one leaves it in doubt. None of
// c is stored if one of it is invalid, or all of it is larger than 1 MiB.
func (l *Ledger) Commit(ctx context.Context, group string, c []Committed) error {
	r, err := positionsOf(ledgerCommit, group, c)
	if err == nil {
		err = l.writePositions(ctx, r)
	}
	return about("commit", group, err)
}

// CommitAsync is Commit that does not wait to be durable; it waits only for
// room in the buffers. done is called once, later, on a goroutine of the
// ledger, under no lock, in the order of the commits; it must not close the
// ledger. An error returned means that done is not called and nothing is
// stored. A nil done is allowed.
func (l *Ledger) CommitAsync(group string, c []Committed, done func(error)) error {
	if done == nil {
		done = func(error) {}
	}
	call := func(err error) { done(about("commit", group, err)) }
	r, err := positionsOf(ledgerCommit, group, c)
	var w *ledgerWrite
	switch {
	case err != nil:
	case len(r.at) == 0:
		err = l.callSoon(func() { call(nil) })
	default:
		if w, err = l.submit(context.Background(), &ledgerWrite{record: r, done: call}); err == nil {
			w.pending.Kick()
		}
	}
	return about("commit", group, err)
}

// callSoon has a callback run for which there is nothing to write.
func (l *Ledger) callSoon(call func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mayWriteLocked(); err != nil {
		return err
	}
	l.callLocked(call)
	return nil
}

// DeleteGroup forgets a group. ErrGroupNotFound if there is none of that name.
func (l *Ledger) DeleteGroup(ctx context.Context, group string) error {
	err := l.mayWrite(ctx)
	if err == nil && !l.has(group) {
		err = ErrGroupNotFound
	}
	if err == nil {
		err = l.write(ctx, &ledgerRecord{kind: ledgerDeleteGroup, group: group})
	}
	return about("delete", naming.Shorten(group), err)
}

func (l *Ledger) has(group string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state[group] != nil
}

// DeleteTopic forgets what groups know of a topic. If they know nothing, nothing
// is written.
func (l *Ledger) DeleteTopic(ctx context.Context, id TopicID) error {
	err := l.mayWrite(ctx)
	if err == nil && l.knows(id) {
		err = l.write(ctx, &ledgerRecord{kind: ledgerDeleteTopic, topic: id})
	}
	if err != nil {
		return fmt.Errorf("have groups forget topic %x: %w", id, err)
	}
	return nil
}

func (l *Ledger) knows(id TopicID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.state {
		for place := range g.at {
			if place.topic == id {
				return true
			}
		}
	}
	return false
}

// about says of which group an error is.
func about(op, group string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s group %s: %w", op, naming.Shorten(group), err)
}

// positionsOf returns the record of positions, which are copied.
func positionsOf(kind ledgerKind, group string, all []Committed) (*ledgerRecord, error) {
	r := &ledgerRecord{kind: kind, group: group, at: slices.Clone(all)}
	slices.SortFunc(r.at, byPlace)
	for i := range r.at {
		c := &r.at[i]
		if err := c.check(kind); err != nil {
			return nil, err
		}
		c.Metadata = bytes.Clone(c.Metadata)
		if i > 0 && byPlace(r.at[i-1], *c) == 0 {
			return nil, fmt.Errorf("%w commit: partition %s/%d is there twice", partition.ErrInvalid, c.Topic, c.Partition)
		}
	}
	return r, nil
}

// check returns why a position cannot be stored.
func (c *Committed) check(kind ledgerKind) error {
	switch err := checkName("topic", c.Topic); {
	case err != nil:
		return err
	case c.TopicID == TopicID{}:
		return fmt.Errorf("%w topic id: that of %s is zero", partition.ErrInvalid, c.Topic)
	case c.Partition < 0 || c.Partition > math.MaxInt32:
		return fmt.Errorf("%w partition: %s/%d", partition.ErrInvalid, c.Topic, c.Partition)
	case c.Offset < 0:
		return fmt.Errorf("%w offset: %d of %s/%d", partition.ErrInvalid, c.Offset, c.Topic, c.Partition)
	case len(c.Metadata) > MaxMetadataBytes:
		return &partition.SizeError{What: "metadata", Bytes: len(c.Metadata), Most: MaxMetadataBytes}
	case kind == ledgerBegin && c.Metadata != nil:
		return fmt.Errorf("%w start: that of %s/%d has metadata", partition.ErrInvalid, c.Topic, c.Partition)
	}
	return nil
}

func checkName(of, name string) error {
	if err := naming.Check(name); err != nil {
		return fmt.Errorf("%w %s name: %w", partition.ErrInvalid, of, err)
	}
	return nil
}

// writePositions writes a record of positions if it has any.
func (l *Ledger) writePositions(ctx context.Context, r *ledgerRecord) error {
	if len(r.at) == 0 {
		return l.mayWrite(ctx)
	}
	return l.write(ctx, r)
}

// mayWrite returns why nothing can be written, nil if it can.
func (l *Ledger) mayWrite(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w context: nil", partition.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mayWriteLocked()
}

func (l *Ledger) mayWriteLocked() error {
	switch {
	case l.opts.ReadOnly:
		return partition.ErrReadOnly
	case l.closing:
		return partition.ErrClosed
	}
	return l.errLocked()
}

// A ledgerWrite is a record on its way into the log.
type ledgerWrite struct {
	l       *Ledger
	record  *ledgerRecord
	bytes   int64
	awaited bool  // somebody waits for it
	refused error // why it was not submitted, of one of a crowd
	pending partition.Pending
	then    func(offset int64) // called under mu when the record is durable, before it takes effect; nil: nothing
	done    func(error)        // called as CommitAsync says; nil: nobody
	over    chan struct{}      // closed when it is in force or refused
	err     error              // set before
}

// write writes a record and waits until it is in force.
func (l *Ledger) write(ctx context.Context, r *ledgerRecord) error {
	w, err := l.submit(ctx, &ledgerWrite{record: r, awaited: true})
	if err != nil {
		return err
	}
	return w.wait(ctx)
}

// submit has a record written that somebody waits for, or that is kicked.
func (l *Ledger) submit(ctx context.Context, w *ledgerWrite) (*ledgerWrite, error) {
	if err := l.mayWrite(ctx); err != nil {
		return nil, err
	}
	if err := l.checkGroup(w.record); err != nil {
		return nil, err
	}
	if w.awaited && w.record.kind == ledgerCommit {
		return w, l.gather(ctx, w)
	}
	return w, l.put(ctx, w)
}

// put is submit for what a ledger that is damaged may write too.
func (l *Ledger) put(ctx context.Context, w *ledgerWrite) error {
	value := w.record.encode()
	if most := l.p.Config().MaxRecordBytes - slackBytes; w.record.kind != ledgerPart && len(value) > most {
		return &partition.SizeError{What: "what is to be stored of a group", Bytes: len(value), Most: most}
	}
	w.l, w.bytes, w.over = l, int64(len(value))+recordOverhead, make(chan struct{})
	if err := w.pending.Then(w.concluded); err != nil {
		return err
	}
	err := l.p.Submit(ctx, &record.Run{Records: []record.Record{{Value: value}}}, &w.pending)
	l.note(err)
	return err
}

// note takes down an error of the partition if it is why nothing is written any
// more.
func (l *Ledger) note(err error) {
	if err == nil || errors.Is(err, partition.ErrClosed) || l.p.Writable() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil && !l.closing {
		l.failed = err
	}
}

// checkGroup returns why a group that a record would make cannot have its name.
func (l *Ledger) checkGroup(r *ledgerRecord) error {
	if r.kind > ledgerDeleteGroup {
		return nil
	}
	if err := checkName("group", r.group); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state[r.group] != nil {
		return nil
	}
	for other := range l.state {
		if strings.EqualFold(other, r.group) {
			return fmt.Errorf("%w group name: there is a group %s", partition.ErrInvalid, other)
		}
	}
	return nil
}

// wait waits until the record is in force.
func (w *ledgerWrite) wait(ctx context.Context) error {
	if err := w.pending.Wait(ctx); err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	<-w.over // what comes before it in the log is in force very soon
	return w.err
}

// concluded is called by the partition, in the order of the log.
func (w *ledgerWrite) concluded(offset int64, err error) {
	l := w.l
	l.note(err)
	l.mu.Lock()
	if err == nil {
		l.tookLocked(w, offset)
	}
	if w.done != nil {
		l.callLocked(func() { w.done(err) })
	}
	l.mu.Unlock()
	w.err = err
	close(w.over)
}

// tookLocked has a record that is durable take effect.
func (l *Ledger) tookLocked(w *ledgerWrite, offset int64) {
	if w.then != nil {
		w.then(offset)
	}
	l.state.apply(w.record, time.Unix(0, w.pending.Time).UTC())
	if w.record.kind == ledgerCommit {
		l.commits++
	}
	l.grown += w.bytes
	if l.grown >= max(l.opts.SnapshotBytes, 4*l.snapshotBytes) && !l.compacting && !l.closing {
		l.compacting = true
		l.background.Go(l.compact)
	}
}

// callLocked has a callback run behind those that were to be run before.
func (l *Ledger) callLocked(call func()) {
	l.calls = append(l.calls, call)
	if !l.calling {
		l.calling = true
		l.callbacks.Go(l.runCalls)
	}
}

// runCalls runs callbacks until there are none.
func (l *Ledger) runCalls() {
	for {
		l.mu.Lock()
		calls := l.calls
		l.calls, l.calling = nil, len(calls) > 0
		l.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		for _, call := range calls {
			l.run(call)
		}
	}
}

// run runs a callback, whose panic goes no further.
func (l *Ledger) run(call func()) {
	defer func() {
		if v := recover(); v != nil {
			l.trouble("the callback of a commit panicked", fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	call()
}

func (l *Ledger) trouble(what string, err error) {
	if l.opts.OnTrouble != nil {
		l.opts.OnTrouble(what, err)
	}
}

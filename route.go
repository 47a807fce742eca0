package braidlog

import (
	"fmt"
	"unicode/utf8"

	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/partitioner"
)

// Route returns the partition that a record would go to. It appends nothing.
// A record with a key, routed by a KeyPartitioner, disturbs nothing either;
// otherwise the partitioner is asked by its Router method if it has one, and
// else as for an append, which a partitioner that keeps count will notice.
func (t *Topic) Route(rec Record) (int, error) {
	st := t.state.Load()
	if r, ok := st.p.(partitioner.Router); ok && (st.byKey == nil || rec.Key == nil) {
		n, err := t.peek(r, rec)
		if err = t.routeError(st, n, err); err != nil {
			return 0, err
		}
		return t.nextWritable(n), nil
	}
	return t.route(st, &rec)
}

func (t *Topic) peek(r partitioner.Router, rec Record) (n int, err error) {
	defer caught(&err)
	return r.Route(rec, len(t.parts))
}

// route asks the partitioner, once. A record without a key passes over
// partitions that cannot be written.
func (t *Topic) route(st *topicState, rec *Record) (int, error) {
	n, err := t.ask(st, rec)
	if err != nil || n < 0 || n >= len(t.parts) {
		return 0, t.routeError(st, n, err)
	}
	if rec.Key == nil {
		return t.nextWritable(n), nil
	}
	return n, nil
}

// ask calls the partitioner by the shortest way it offers. A panic is an
// error: it fails one append and nothing else.
func (t *Topic) ask(st *topicState, rec *Record) (n int, err error) {
	defer caught(&err)
	switch {
	case st.p == nil:
		return 0, fmt.Errorf("%w: %q is stored", ErrPartitionerUnknown, st.placement)
	case st.byLoad != nil:
		return t.askByLoad(st, rec)
	case st.byKey != nil && rec.Key != nil:
		return st.byKey.PartitionKey(rec.Key, len(t.parts)), nil
	}
	return st.p.Partition(*rec, len(t.parts))
}

// caught is deferred around calls of somebody else's code.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("it panicked: %v", r)
	}
}

// routeError says what is wrong with a partitioner's answer, nil if nothing.
func (t *Topic) routeError(st *topicState, n int, err error) error {
	switch {
	case err != nil && st.p == nil:
		return err
	case err != nil:
		return fmt.Errorf("%w: %q: %w", ErrPartitioner, st.placement, err)
	case n >= 0 && n < len(t.parts):
		return nil
	}
	if err = askCheck(st.p, len(t.parts)); err != nil { // a KeyPartitioner has no error to return
		return fmt.Errorf("%w: %q: %w", ErrPartitioner, st.placement, err)
	}
	return fmt.Errorf("%w: %q returned partition %d of %d", ErrPartitioner, st.placement, n, len(t.parts))
}

// checkPartitioner returns why p, which may be nil, cannot route among n
// partitions.
func checkPartitioner(p partitioner.Partitioner, n int) error {
	if err := askCheck(p, n); err != nil {
		return fmt.Errorf("%w config: Partitioner: %w", ErrInvalid, err)
	}
	return nil
}

// checkPlacement returns why a placement cannot be stored with a topic: what is
// not UTF-8 would be another text when it is read, which no partitioner has.
func checkPlacement(placement string) error {
	switch {
	case placement == "":
		return fmt.Errorf("%w config: Partitioner: its placement is empty", ErrInvalid)
	case !utf8.ValidString(placement):
		return fmt.Errorf("%w config: Partitioner: its placement, %q, is not UTF-8", ErrInvalid, naming.Shorten(placement))
	}
	return nil
}

// askCheck asks p itself, if it is a Checker.
func askCheck(p partitioner.Partitioner, n int) (err error) {
	defer caught(&err)
	if c, ok := p.(partitioner.Checker); ok {
		return c.Check(n)
	}
	return nil
}

func (t *Topic) askByLoad(st *topicState, rec *Record) (int, error) {
	load, ok := t.loads.Get().(*[]partitioner.Load)
	if !ok {
		load = new([]partitioner.Load)
		*load = make([]partitioner.Load, len(t.parts))
	}
	defer t.loads.Put(load)
	to := t.behindNow()
	for i, p := range t.parts {
		(*load)[i] = partitioner.Load{Records: p.End() - p.Start(), Bytes: p.Bytes(), Lag: t.lagOf(to, i), Writable: p.Writable()}
	}
	return st.byLoad.PartitionLoad(*rec, *load)
}

// nextWritable returns the first partition from n on, around, that can be
// written; n if none can.
func (t *Topic) nextWritable(n int) int {
	for i := range t.parts {
		if m := (n + i) % len(t.parts); t.parts[m].Writable() {
			return m
		}
	}
	return n
}

package braidlog

import (
	"context"
	"fmt"
	"iter"

	"github.com/braidlog/braidlog/partition"
)

// Records returns the records of all partitions from start to their ends as
// they are when the loop begins. Those of one partition come in order; across
// partitions no order is promised. They are the caller's to keep. Errors are
// as of Partition.Records.
func (t *Topic) Records(ctx context.Context, start partition.Start) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		ends := make([]int64, len(t.parts))
		for i, p := range t.parts {
			ends[i] = p.End()
		}
		for i, p := range t.parts {
			for rec, err := range p.RecordsBefore(ctx, start, ends[i]) {
				if !yield(rec, err) || err != nil && !partition.Skippable(err) {
					return
				}
			}
		}
	}
}

// Tail is Records that goes on with new records as they come, until ctx ends;
// its error comes last.
func (t *Topic) Tail(ctx context.Context, start partition.Start) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if ctx == nil {
			yield(Record{}, fmt.Errorf("tail %s: %w", t.name, checkContext(ctx)))
			return
		}
		c := t.NewCursor(start)
		defer c.Close()
		c.keep()
		for {
			rec, err := c.Next(ctx)
			switch {
			case err == nil:
				if !yield(*rec, nil) {
					return
				}
			case !yield(Record{}, err) || !partition.Skippable(err):
				return
			}
		}
	}
}

// Key returns the records of one key in order, up to the end as it is when
// the loop begins. If the partitioner goes by key alone, it reads the key's
// partition. If it can tell in which partitions the key is, as
// partitioner.Salted does, it reads those side by side and merges them in order
// of Timestamp; what came at the same nanosecond is in order of partitions.
// Otherwise it reads all partitions, one after the other. What AppendTo put
// elsewhere is not found. For now partitions are read from their start.
func (t *Topic) Key(ctx context.Context, key []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if key == nil {
			yield(Record{}, fmt.Errorf("read key of %s: %w key: nil", t.name, ErrInvalid))
			return
		}
		all, err := t.recordsOf(ctx, key)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for rec, err := range all {
			if !yield(rec, err) || err != nil && !partition.Skippable(err) {
				return
			}
		}
	}
}

// recordsOf returns the records of a key.
func (t *Topic) recordsOf(ctx context.Context, key []byte) (iter.Seq2[Record, error], error) {
	ps, err := t.partitionsOf(key)
	if err != nil {
		return nil, fmt.Errorf("read key of %s: %w", t.name, err)
	}
	if len(ps) == 0 {
		return ofKey(t.Records(ctx, partition.First()), key), nil
	}
	runs := make([]iter.Seq2[Record, error], len(ps))
	for i, n := range ps {
		runs[i] = ofKey(t.parts[n].RecordsBefore(ctx, partition.First(), t.parts[n].End()), key)
	}
	return merge(runs), nil
}

// partitionsOf returns the partitions in which a key's records may be, nil for
// any.
func (t *Topic) partitionsOf(key []byte) ([]int, error) {
	st := t.state.Load()
	if st.keys != nil {
		return t.askKeys(st, key)
	}
	if st.byKey == nil || st.byLoad != nil {
		return nil, nil
	}
	n, err := t.route(st, &Record{Key: key})
	return []int{n}, err
}

func (t *Topic) askKeys(st *topicState, key []byte) (ps []int, err error) {
	func() {
		defer caught(&err)
		ps = st.keys.KeyPartitions(key, len(t.parts))
	}()
	if err != nil {
		return nil, t.routeError(st, 0, err)
	}
	for _, n := range ps {
		if err = t.routeError(st, n, nil); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// ofKey leaves out records of other keys.
func ofKey(all iter.Seq2[Record, error], key []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for rec, err := range all {
			if (err != nil || equalKeys(rec.Key, key)) && !yield(rec, err) {
				return
			}
		}
	}
}

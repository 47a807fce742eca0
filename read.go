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
// partition; otherwise all of them, one after the other. What AppendTo put
// elsewhere is not found. For now the partition is read from its start.
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
			if err == nil && !equalKeys(rec.Key, key) {
				continue
			}
			if !yield(rec, err) || err != nil && !partition.Skippable(err) {
				return
			}
		}
	}
}

// recordsOf returns the records among which those of a key are.
func (t *Topic) recordsOf(ctx context.Context, key []byte) (iter.Seq2[Record, error], error) {
	st := t.state.Load()
	if st.byKey == nil || st.byLoad != nil {
		return t.Records(ctx, partition.First()), nil
	}
	n, err := t.route(st, &Record{Key: key})
	if err != nil {
		return nil, fmt.Errorf("read key of %s: %w", t.name, err)
	}
	return t.parts[n].Records(ctx, partition.First()), nil
}

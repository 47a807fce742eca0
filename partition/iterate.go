package partition

import (
	"context"
	"iter"

	"github.com/braidlog/braidlog/record"
)

// iterChunkBytes is the size of the pieces that iterators read: records that
// the caller keeps keep their piece.
const iterChunkBytes = 64 << 10

// keeping returns a reader whose records are the caller's to keep.
func (p *Partition) keeping(start Start) *Reader {
	r := p.NewReader(start)
	r.Keep()
	return r
}

// kept returns the record just read, as one that shares nothing with the
// reader but the piece of the file it points into.
func (r *Reader) kept() record.Record {
	rec := r.rec
	if len(rec.Headers) == 0 {
		rec.Headers = nil
	}
	return rec
}

// Record returns the record at offset. It is the caller's to keep. The error
// is an *OffsetError, *CorruptError or *GapError, or the file system's.
func (p *Partition) Record(ctx context.Context, offset int64) (record.Record, error) {
	if err := p.checkRead(ctx); err != nil {
		return record.Record{}, err
	}
	if err := p.fresh(); err != nil {
		return record.Record{}, p.errorf("read", err)
	}
	if start, end := p.start.Load(), p.visible.Load(); offset < start || offset >= end {
		return record.Record{}, &OffsetError{p.opts.Topic, p.opts.Number, offset, start, end, ""}
	}
	r := p.keeping(Offset(offset))
	r.scan.Most = minReadBytes
	rec, err := r.TryNext()
	if err != nil {
		return record.Record{}, err
	}
	if rec.Offset != offset {
		return record.Record{}, &GapError{p.opts.Topic, p.opts.Number, offset, rec.Offset}
	}
	r.count()
	return r.kept(), nil
}

// minReadBytes is the size of the pieces in which a single record is looked
// for.
const minReadBytes = 4 << 10

func (p *Partition) checkRead(ctx context.Context) error {
	if err := p.checkContext(ctx, "read"); err != nil {
		return err
	}
	if p.ended.Load() {
		return p.errorf("read", ErrClosed)
	}
	return p.broken
}

// Records returns the records from start to the end as it is when the loop
// begins. They are the caller's to keep. Offsets that hold no records because
// of damage or a repair are yielded as one *CorruptError or *GapError, and a
// loop that goes on gets what is behind them. Any other error comes last, the
// context's too.
func (p *Partition) Records(ctx context.Context, start Start) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		p.each(ctx, start, p.End(), yield)
	}
}

// RecordsBefore is Records to a given offset, which must not be beyond the
// end.
func (p *Partition) RecordsBefore(ctx context.Context, start Start, bound int64) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		p.each(ctx, start, bound, yield)
	}
}

// Tail is Records that goes on with new records as they come, until ctx ends;
// its error comes last.
func (p *Partition) Tail(ctx context.Context, start Start) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		p.each(ctx, start, follow, yield)
	}
}

// follow is the bound of a loop that has none.
const follow = -1

func (p *Partition) each(ctx context.Context, start Start, bound int64, yield func(record.Record, error) bool) {
	if err := p.checkRead(ctx); err != nil {
		yield(record.Record{}, err)
		return
	}
	r := p.keeping(start)
	defer r.count()
	for {
		if err := ctx.Err(); err != nil {
			yield(record.Record{}, p.errorf("read", err))
			return
		}
		var err error
		if bound == follow {
			_, err = r.Next(ctx)
		} else {
			_, err = r.TryBefore(bound)
		}
		switch {
		case err == nil:
			if !yield(r.kept(), nil) {
				return
			}
		case err == ErrEnd:
			return
		case !yield(record.Record{}, err) || !Skippable(err):
			return
		}
	}
}

// Skippable reports whether an error of a reader names offsets without
// records, so that reading can go on behind them.
func Skippable(err error) bool {
	switch err.(type) {
	case *CorruptError, *GapError:
		return true
	}
	return false
}

package partition

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// A Reader reads the records of a partition one by one, from a place on, and
// waits for new ones if asked to. It is for one goroutine at a time.
type Reader struct {
	p      *Partition
	next   int64 // offset of the next record
	reads  int64 // records read that are not in the partition's figures yet
	err    error // why start was refused; every call returns it
	closed bool

	doubted int64 // offset behind the one whose damage was doubted; see goOn
	taken   int64 // how often batches were taken back, as far as it knows

	seg   *segment.Segment // that next is in; nil if it has to be looked up
	scan  segment.Scanner
	batch record.Batch
	dec   record.Decoder
	rec   record.Record
	wake  chan struct{}
}

// NewReader returns a reader that begins at start, which is looked up now. An
// error in start is returned by every Next and TryNext.
func (p *Partition) NewReader(start Start) *Reader {
	r := &Reader{p: p}
	if r.err = p.broken; r.err == nil {
		r.next, r.err = p.Resolve(start)
	}
	r.rec.Topic, r.rec.Partition = p.opts.Topic, p.opts.Number
	return r
}

// Offset returns the offset of the record that comes next, if there is one at
// that offset.
func (r *Reader) Offset() int64 { return r.next }

// Err returns why the start that NewReader was given was refused, or nil.
func (r *Reader) Err() error { return r.err }

// Close gives back what the reader holds. Next then returns ErrClosed.
func (r *Reader) Close() error {
	r.count()
	p := r.p
	*r = Reader{p: p, next: r.next, closed: true}
	return nil
}

// Next returns the next record, waiting for it if need be. The record and
// what it points to live until the next call. The wait ends with ctx, whose
// error is returned, and with the partition's Close, which gives ErrClosed. A
// *CorruptError or *GapError names offsets that hold no records; the next
// call goes on behind them.
func (r *Reader) Next(ctx context.Context) (*record.Record, error) {
	if err := r.p.checkContext(ctx, "read"); err != nil {
		return nil, err
	}
	rec, err := r.TryNext()
	if err != ErrEnd {
		return rec, err
	}
	return r.await(ctx)
}

// TryNext is Next that does not wait: at the end it returns ErrEnd.
func (r *Reader) TryNext() (*record.Record, error) {
	rec, err := r.TryBefore(r.p.visible.Load())
	if err == ErrEnd && r.p.follow != nil {
		if err = r.p.fresh(); err != nil {
			return nil, r.p.errorf("read", err)
		}
		return r.TryBefore(r.p.visible.Load())
	}
	return rec, err
}

// await is the slow half of Next.
func (r *Reader) await(ctx context.Context) (*record.Record, error) {
	if r.wake == nil {
		r.wake = make(chan struct{}, 1)
	}
	defer r.p.Watch(r.wake)()
	for {
		yield.Point()
		ended := r.p.ended.Load()
		yield.Point()
		rec, err := r.TryNext()
		if err != ErrEnd {
			return rec, err
		}
		if ended {
			return nil, r.p.errorf("read", ErrClosed)
		}
		select {
		case <-r.wake:
			yield.Woken()
		case <-ctx.Done():
			yield.Woken()
			return nil, r.p.errorf("read", ctx.Err())
		}
	}
}

// Keep makes the records that are read from now on the caller's to keep: the
// memory of a piece of the file is not used again. Its records share it, and
// those of pieces of up to 512 bytes share 4 KiB. Call it before the first Next.
func (r *Reader) Keep() {
	r.scan.Keep, r.scan.Most = true, iterChunkBytes
}

// TryBefore is TryNext that also returns ErrEnd at offset bound, which must
// not be beyond the partition's end.
func (r *Reader) TryBefore(bound int64) (*record.Record, error) {
	if err := r.decode(&r.rec, bound, false); err != nil {
		return nil, err
	}
	return &r.rec, nil
}

// ReadBefore is TryBefore for as many records as recs has room for: it returns
// how many it read into it, and why there are no more if there are fewer. With
// Keep they are the caller's to keep, and the Headers of recs must be nil.
// Without, they live until the next call, and there may be fewer, with no error,
// because the memory that holds what was read ends. What recs had is of no use
// after an error.
func (r *Reader) ReadBefore(recs []record.Record, bound int64) (n int, err error) {
	for n < len(recs) {
		rec := &recs[n]
		rec.Topic, rec.Partition = r.rec.Topic, r.rec.Partition
		if err = r.decode(rec, bound, n > 0 && !r.scan.Keep); err == errHeld {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if len(rec.Headers) == 0 {
			rec.Headers = nil
		}
		n++
	}
	return n, nil
}

// errHeld says that the next record cannot be read without losing others.
var errHeld = errors.New("what was read is still in use")

// decode decodes the next record into rec. If records that were decoded are held
// it reads nothing from the file: errHeld.
func (r *Reader) decode(rec *record.Record, bound int64, held bool) error {
	for {
		for r.dec.Left() > 0 && r.next < bound {
			if r.scan.Keep {
				rec.Headers = nil
			}
			if err := r.dec.Next(rec); err != nil {
				if err = r.badBatch(err); err != nil {
					return err
				}
				continue
			}
			if rec.Offset >= r.next {
				r.next = rec.Offset + 1
				r.reads++
				return nil
			}
		}
		if r.next < bound && !r.p.ended.Load() {
			if r.scan.DecodeSingle(rec) {
				if rec.Offset < r.next {
					continue
				}
				r.next = rec.Offset + 1
				r.reads++
				return nil
			}
			if r.scan.Decode(&r.dec) {
				continue
			}
		}
		if held {
			return errHeld
		}
		if err := r.goOn(bound); err != nil {
			return err
		}
	}
}

// advance moves on to the next batch.
func (r *Reader) advance(bound int64) error {
	r.count()
	switch {
	case r.closed:
		return r.p.errorf("read", ErrClosed)
	case r.err != nil:
		return r.err // it stays so
	case r.next < r.p.start.Load():
		return r.trimmed()
	case r.next >= bound:
		return ErrEnd
	case r.p.ended.Load():
		return r.p.errorf("read", ErrClosed)
	}
	if g, ok := r.p.gapAt(r.next); ok {
		// Whatever a repair that was interrupted left there.
		r.seg = nil
		return r.lost(&CorruptError{FromOffset: r.next, ToOffset: min(g.To, bound)})
	}
	if r.seg == nil {
		if err := r.locate(bound); r.seg == nil || err != nil {
			return err
		}
	}
	r.scan.Extend(r.seg.Readable())
	return r.nextBatch(bound)
}

// count enters what was read into the partition's figures.
func (r *Reader) count() {
	if r.reads > 0 {
		r.p.figures.reads.Add(r.reads)
		r.reads = 0
	}
}

// nextBatch decodes the batch at the scanner's place.
func (r *Reader) nextBatch(bound int64) error {
	read, err := r.scan.Ready()
	if read && err == nil {
		return nil // decode takes the batch from there
	}
	if err == nil {
		err = r.scan.Next(&r.batch)
	}
	if err == nil {
		r.dec = r.batch.Records()
		return nil
	}
	return r.noBatch(err, bound)
}

// noBatch is what becomes of an error of the scanner.
func (r *Reader) noBatch(err error, bound int64) error {
	var damage *segment.DamageError
	switch {
	case r.scan.Offset() >= r.seg.End():
		// The segment has no more; what stands behind its last batch is
		// space that was reserved.
		r.seg = nil
		r.next = max(r.next, min(r.scan.Offset(), bound))
		return nil
	case errors.As(err, &damage):
		return r.skipDamage(damage, bound)
	case err == io.EOF:
		damage = &segment.DamageError{Position: r.scan.Position(), Offset: r.scan.Offset(), Cause: segment.ErrEmpty}
		return r.skipDamage(damage, bound)
	}
	return r.failed(err)
}

// failed wraps an error of the file system.
func (r *Reader) failed(err error) error {
	switch {
	case !errors.Is(err, iofs.ErrClosed):
	case r.p.ended.Load():
		err = ErrClosed
	case r.next < r.p.start.Load():
		return r.trimmed()
	default: // the partition was repaired: another segment stands for the file
		r.seg = nil
		return nil
	}
	return r.p.errorf("read", err)
}

// trimmed says that the next record is gone.
func (r *Reader) trimmed() error {
	return &OffsetError{r.p.opts.Topic, r.p.opts.Number, r.next, r.p.start.Load(), r.p.visible.Load(), ""}
}

// skipDamage moves behind bytes that do not decode, to the next batch that
// does, and returns what is lost, unless all of it comes before what is
// wanted.
func (r *Reader) skipDamage(d *segment.DamageError, bound int64) error {
	seg := r.seg
	found, err := r.scan.Search(seg.End())
	if err != nil {
		r.seg = nil
		return r.failed(err)
	}
	to := seg.End()
	if found {
		to = r.scan.Offset()
	} else {
		r.seg = nil
	}
	return r.lost(&CorruptError{
		File: seg.Name(), FromByte: d.Position, ToByte: r.scan.Position(),
		FromOffset: d.Offset, ToOffset: min(to, bound), Cause: d.Cause,
	})
}

// lost goes on behind a range of offsets that has no records, and returns an
// error that names it if any of it was wanted.
func (r *Reader) lost(e *CorruptError) error {
	e.Topic, e.Partition = r.p.opts.Topic, r.p.opts.Number
	e.FromOffset = max(e.FromOffset, r.next)
	if e.ToOffset <= r.next {
		return nil
	}
	if r.next < r.p.start.Load() {
		return r.trimmed() // and that is why the segment is not there
	}
	r.next = e.ToOffset
	if r.p.givenUp(e.FromOffset, e.ToOffset) || r.p.notArchived(e) {
		return &GapError{e.Topic, e.Partition, e.FromOffset, e.ToOffset}
	}
	return e
}

// badBatch gives up the rest of a batch that was written wrong.
func (r *Reader) badBatch(cause error) error {
	r.dec = record.Decoder{}
	return r.lost(&CorruptError{
		File: r.seg.Name(), FromByte: r.scan.Position(), ToByte: r.scan.Position(),
		FromOffset: r.next, ToOffset: r.scan.Offset(), Cause: cause,
	})
}

// locate finds the segment that the next record is in. Offsets that no
// segment has are passed over: silently if a power cut left them out, and
// with an error if they were there once.
func (r *Reader) locate(bound int64) error {
	yield.Point()
	list := r.p.all()
	yield.Point()
	i := findSegment(list, r.next)
	if i >= 0 && r.next < list[i].End() {
		return r.enter(list[i])
	}
	to, upto := bound, bound
	if i+1 < len(list) {
		to, upto = list[i+1].PrevEnd, list[i+1].Base
	}
	if r.next < to {
		return r.lost(&CorruptError{FromOffset: r.next, ToOffset: min(to, bound), Cause: errMissing})
	}
	r.next = min(upto, bound)
	return nil
}

// findSegment returns the last segment that begins at or before offset, -1 if
// there is none.
func findSegment(list []*segment.Segment, offset int64) int {
	low, high := 0, len(list)
	for low < high {
		if mid := (low + high) / 2; list[mid].Base <= offset {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1
}

// enter places the scanner in a segment, at or before the next record.
func (r *Reader) enter(seg *segment.Segment) error {
	limit := seg.Readable()
	pos, base := int64(segment.FirstFrame), seg.Base
	if r.next > seg.Base {
		var err error
		if pos, base, err = seg.SeekOffset(r.next); err != nil {
			return r.failed(err)
		}
	}
	r.seg = seg
	r.scan.Start(seg, pos, base, limit)
	return nil
}

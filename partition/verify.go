package partition

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// verifyChunkBytes is the size of the pieces in which Verify reads.
const verifyChunkBytes = 1 << 20

// Verify reads everything that can be read, checks every header and every
// batch, and returns all damage, in order of offsets: that which Open found
// and what came since. What a repair gave up is not damage any more. A header
// of which only one copy is left is reported with an empty range of offsets:
// nothing is lost yet.
//
// Appends, reads and trims go on meanwhile; what is appended after Verify began
// is not looked at. Segments are read side by side, as many of all partitions as
// there are processors. The files are read as the operating system gives them, so
// what it has in memory is not fetched from the disk again. read, which may be
// nil, is told now and then, from several goroutines, how many bytes more were
// read. An error is the context's or the file system's, and then comes with what
// was found in the other segments.
func (p *Partition) Verify(ctx context.Context, read func(bytes int64)) ([]*CorruptError, error) {
	if err := p.checkRead(ctx); err != nil {
		return nil, err
	}
	v := verifier{p: p, read: read}
	list := p.all()
	found, errs := make([][]*CorruptError, len(list)+1), make([]error, len(list))
	var g errgroup.Group
	g.SetLimit(cap(p.shared.verifies))
	expected := p.Start()
	for i, s := range list {
		from := expected
		expected = s.End()
		g.Go(func() error {
			p.shared.verifies <- struct{}{}
			yield.Woken()
			defer func() { <-p.shared.verifies }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				found[i], errs[i] = v.segment(ctx, s, from)
			}
			return nil
		})
	}
	g.Wait() // #nosec G104 -- the functions return nil
	yield.Woken()
	if end := p.End(); expected < end && p.damagedAtEnd() {
		found[len(list)] = v.lost(nil, "", 0, 0, expected, end, errMissing)
	}
	err := errors.Join(errs...)
	if ctx.Err() != nil {
		err = ctx.Err() // once
	}
	if err != nil {
		err = p.errorf("verify", err)
	}
	return slices.Concat(found...), err
}

// damagedAtEnd reports whether appends are refused because of damage.
func (p *Partition) damagedAtEnd() bool { return errors.Is(p.failure(), ErrCorrupt) }

// A verifier looks for damage.
type verifier struct {
	p    *Partition
	read func(int64)
}

// lost adds a damaged range to found, unless it was given up or trimmed.
func (v *verifier) lost(found []*CorruptError, file string, pos, to, from, upto int64, cause error) []*CorruptError {
	p := v.p
	from = p.unlessTrimmed(from, upto)
	if from < upto && (upto <= p.Start() || p.givenUp(from, upto)) {
		return found
	}
	return append(found, &CorruptError{p.opts.Topic, p.opts.Number, file, pos, to, from, upto, cause})
}

// segment verifies one segment, and whether it follows on the offset that it
// should.
func (v *verifier) segment(ctx context.Context, s *segment.Segment, expected int64) (found []*CorruptError, err error) {
	end := s.End() // before the position: so all of it can be read
	limit := s.Readable()
	if s.PrevEnd > expected {
		found = v.lost(found, "", 0, 0, expected, s.PrevEnd, errMissing)
	}
	found, err = v.header(found, s, end)
	if err == nil {
		found, err = v.batches(ctx, found, s, limit, end)
	}
	switch {
	case err == nil:
		return found, nil
	case end <= v.p.Start(): // it was trimmed meanwhile
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return v.lost(found, s.Name(), 0, limit, s.Base, end, errMissing), nil
	case !errors.Is(err, iofs.ErrClosed):
		return found, err
	case v.p.ended.Load():
		return found, ErrClosed
	}
	// It was repaired meanwhile: another segment stands for the file, or none.
	switch other := v.p.segmentAt(s.Base); other {
	case nil:
		return nil, nil
	case s:
		return found, err
	default:
		return v.segment(ctx, other, expected)
	}
}

// segmentAt returns the segment that begins with an offset, nil if there is none.
func (p *Partition) segmentAt(base int64) *segment.Segment {
	for _, s := range p.all() {
		if s.Base == base {
			return s
		}
	}
	return nil
}

// header reads both copies of the header again.
func (v *verifier) header(found []*CorruptError, s *segment.Segment, end int64) ([]*CorruptError, error) {
	bad, err := s.CheckHeader()
	if bad == nil {
		return found, err
	}
	upto := s.Base
	if bad.To-bad.From == segment.FirstFrame { // the next Open will find no segment there
		upto = end
	}
	return v.lost(found, s.Name(), bad.From, bad.To, s.Base, upto, bad.Cause), err
}

// batches reads the batches of a segment.
func (v *verifier) batches(ctx context.Context, found []*CorruptError, s *segment.Segment, limit, end int64) ([]*CorruptError, error) {
	var c segment.Scanner
	c.Most = verifyChunkBytes
	c.Start(s, segment.FirstFrame, s.Base, limit)
	told := int64(0)
	tell := func() {
		if v.read != nil {
			v.read(c.Position() - told)
		}
		told = c.Position()
	}
	defer tell()
	var b record.Batch
	for {
		if c.Position()-told >= verifyChunkBytes {
			if tell(); ctx.Err() != nil {
				return found, ctx.Err()
			}
		}
		pos, offset := c.Position(), c.Offset()
		err := c.Next(&b)
		var damage *segment.DamageError
		switch {
		case err == nil:
			continue
		case err == io.EOF, errors.As(err, &damage) && offset >= end:
			if offset < end {
				found = v.lost(found, s.Name(), pos, limit, offset, end, segment.ErrEmpty)
			}
			return found, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return v.lost(found, s.Name(), pos, limit, offset, end, err), nil
		case damage == nil:
			return found, err
		}
		more, err := c.Search(end)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return found, err
		}
		if !more {
			return v.lost(found, s.Name(), pos, limit, offset, end, damage.Cause), nil
		}
		found = v.lost(found, s.Name(), pos, c.Position(), offset, c.Offset(), damage.Cause)
	}
}

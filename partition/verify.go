package partition

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"

	"github.com/braidlog/braidlog/internal/fs"
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
// is not looked at. The files are read as the operating system gives them, so
// what it has in memory is not fetched from the disk again. read, which may be
// nil, is told now and then how many bytes more were read. An error is the
// context's or the file system's, and then comes with what was found in the
// other segments.
func (p *Partition) Verify(ctx context.Context, read func(bytes int64)) ([]*CorruptError, error) {
	if err := p.checkRead(ctx); err != nil {
		return nil, err
	}
	if read == nil {
		read = func(int64) {}
	}
	v := verifier{p: p, read: read, expected: p.Start()}
	var errs []error
	for _, s := range p.all() {
		err := v.segment(ctx, s)
		if e := ctx.Err(); e != nil {
			return v.found, p.errorf("verify", e)
		}
		if err != nil {
			errs = append(errs, p.errorf("verify", err))
		}
	}
	if end := p.End(); len(errs) == 0 && v.expected < end && p.damagedAtEnd() {
		v.lost("", 0, 0, v.expected, end, errMissing)
	}
	return v.found, errors.Join(errs...)
}

// damagedAtEnd reports whether appends are refused because of damage.
func (p *Partition) damagedAtEnd() bool { return errors.Is(p.failure(), ErrCorrupt) }

// A verifier collects damage.
type verifier struct {
	p        *Partition
	read     func(int64)
	expected int64 // offset that has to come next
	found    []*CorruptError
}

// lost notes a damaged range, unless it was given up or trimmed.
func (v *verifier) lost(file string, pos, to, from, upto int64, cause error) {
	p := v.p
	if upto <= p.Start() && from < upto || from < upto && p.givenUp(from, upto) {
		return
	}
	v.found = append(v.found, &CorruptError{p.opts.Topic, p.opts.Number, file, pos, to, from, upto, cause})
}

// segment verifies one segment and what should be between it and the one
// before.
func (v *verifier) segment(ctx context.Context, s *segment.Segment) error {
	end := s.End() // before the position: so all of it can be read
	limit := s.Readable()
	if s.PrevEnd > v.expected {
		v.lost("", 0, 0, v.expected, s.PrevEnd, errMissing)
	}
	v.expected = end
	err := v.header(s)
	if err == nil {
		err = v.batches(ctx, s, limit, end)
	}
	switch {
	case err == nil, end <= v.p.Start(): // it was trimmed meanwhile
		return nil
	case errors.Is(err, fs.ErrNotExist):
		v.lost(s.Name(), 0, limit, s.Base, end, errMissing)
		return nil
	case errors.Is(err, iofs.ErrClosed) && v.p.ended.Load():
		return ErrClosed
	}
	return err
}

// header reads both copies of the header again.
func (v *verifier) header(s *segment.Segment) error {
	bad, err := s.CheckHeader()
	if bad != nil {
		upto := s.Base
		if bad.To-bad.From == segment.FirstFrame { // the next Open will find no segment there
			upto = s.End()
		}
		v.lost(s.Name(), bad.From, bad.To, s.Base, upto, bad.Cause)
	}
	return err
}

// batches reads the batches of a segment.
func (v *verifier) batches(ctx context.Context, s *segment.Segment, limit, end int64) error {
	var c segment.Scanner
	c.Most = verifyChunkBytes
	c.Start(s, segment.FirstFrame, s.Base, limit)
	var b record.Batch
	for told := int64(0); ; {
		if done := c.Position() - told; done >= verifyChunkBytes {
			v.read(done)
			told = c.Position()
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		pos, offset := c.Position(), c.Offset()
		err := c.Next(&b)
		var damage *segment.DamageError
		switch {
		case err == nil:
			continue
		case err == io.EOF, errors.As(err, &damage) && offset >= end:
			v.read(c.Position() - told)
			if offset < end {
				v.lost(s.Name(), pos, limit, offset, end, segment.ErrEmpty)
			}
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			v.lost(s.Name(), pos, limit, offset, end, err)
			return nil
		case damage == nil:
			return err
		}
		found, err := c.Search(end)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if !found {
			v.lost(s.Name(), pos, limit, offset, end, damage.Cause)
			return nil
		}
		v.lost(s.Name(), pos, c.Position(), offset, c.Offset(), damage.Cause)
	}
}

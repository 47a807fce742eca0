package partition

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"sort"
	"time"

	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// A Start says where reading begins. The zero Start is First.
type Start struct {
	kind startKind
	n    int64
	t    time.Time
}

type startKind uint8

const (
	first startKind = iota
	end
	last
	offset
	at
)

// First begins at the first record there is.
func First() Start { return Start{} }

// End begins behind the last record there is: at the next one.
func End() Start { return Start{kind: end} }

// Last begins n offsets before the end, or at the first record if there are
// fewer. A negative n is an error when reading begins.
func Last(n int64) Start { return Start{kind: last, n: n} }

// Offset begins at record n, which must be readable or the next one to come.
func Offset(n int64) Start { return Start{kind: offset, n: n} }

// After begins behind record n.
func After(n int64) Start { return Start{kind: offset, n: n + 1} }

// At begins at the lowest offset that was appended at t or later; at the next
// record to come if there is none.
func At(t time.Time) Start { return Start{kind: at, t: t} }

func (s Start) String() string {
	switch s.kind {
	case end:
		return "end"
	case last:
		return fmt.Sprintf("last %d", s.n)
	case offset:
		return fmt.Sprintf("offset %d", s.n)
	case at:
		return "at " + s.t.Format(time.RFC3339Nano)
	}
	return "first"
}

// Resolve returns the offset that a start stands for now. The error is an
// *OffsetError, the file system's, or ErrClosed where files are needed that
// Close has closed.
func (p *Partition) Resolve(s Start) (int64, error) {
	if err := p.fresh(); err != nil {
		return 0, p.errorf("read", err)
	}
	from, to := p.start.Load(), p.visible.Load()
	n := from
	switch s.kind {
	case end:
		n = to
	case last:
		if s.n < 0 {
			return 0, p.errorf("read", fmt.Errorf("%w start: last %d records", ErrInvalid, s.n))
		}
		n = max(from, to-s.n)
	case offset:
		n = s.n
	case at:
		return p.offsetAt(s.t)
	}
	if n < from || n > to {
		return 0, &OffsetError{p.opts.Topic, p.opts.Number, n, from, to, ""}
	}
	return n, nil
}

// offsetAt returns the lowest offset whose time is t or later. Where records
// before the first such batch are damaged, it is the offset of the first of
// those: they may be meant too, and reading on says what is lost.
func (p *Partition) offsetAt(t time.Time) (n int64, err error) {
	err = p.again(func() error {
		n, err = p.findTime(unixNano(t))
		return err
	})
	if err != nil {
		return 0, p.errorf("find a time in", err)
	}
	return n, nil
}

// again calls find, which reads segments, until none of them was trimmed or
// repaired meanwhile.
func (p *Partition) again(find func() error) error {
	for {
		err := find()
		var trimmed *OffsetError
		switch {
		case errors.Is(err, iofs.ErrClosed) && p.ended.Load():
			return ErrClosed
		case !errors.Is(err, iofs.ErrClosed) && !errors.As(err, &trimmed):
			return err
		}
	}
}

// findTime is offsetAt among the segments that there are now.
func (p *Partition) findTime(nanos int64) (int64, error) {
	end := p.visible.Load()
	list := p.all()
	var err error
	// Times never fall, so segments that begin before t come first.
	n := sort.Search(len(list), func(i int) bool {
		var begins int64
		if err == nil {
			begins, err = list[i].FirstTime()
		}
		return begins == 0 || begins >= nanos
	})
	for i := max(n-1, 0); i < len(list) && err == nil; i++ {
		var found int64
		if found, err = timeIn(list[i], nanos); err == nil && found >= 0 {
			return min(max(found, p.start.Load()), end), nil
		}
	}
	return end, err
}

// unixNano is t.UnixNano for any t.
func unixNano(t time.Time) int64 {
	switch {
	case t.Before(firstTime):
		return math.MinInt64
	case t.After(lastTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// timeIn returns the lowest offset of a segment whose time is t or later, -1
// if there is none.
func timeIn(s *segment.Segment, t int64) (int64, error) {
	limit := s.Readable()
	pos, base, err := s.SeekTime(t)
	if err != nil {
		return 0, err
	}
	var sc segment.Scanner
	sc.Start(s, pos, base, limit)
	damaged := int64(-1)
	for {
		var b record.Batch
		err := sc.Next(&b)
		var damage *segment.DamageError
		switch {
		case err == io.EOF:
			return -1, nil
		case errors.As(err, &damage):
			damaged = damage.Offset
			if found, err := sc.Search(s.End()); !found {
				return -1, err
			}
		case err != nil:
			return 0, err
		case b.Count == 0:
		case b.Time < t:
			damaged = -1
		case damaged >= 0:
			return damaged, nil
		default:
			return b.Base, nil
		}
	}
}

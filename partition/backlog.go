package partition

import "time"

// A Backlog is what is between an offset and the end.
type Backlog struct {
	Records int64 // offsets that gaps leave out are not counted
	// Bytes is how long their batches are, to about a kibibyte.
	Bytes int64
	// Since is when the first of them was appended, zero if there is none.
	Since time.Time
}

// Backlog returns what somebody who read everything below offset has not read
// yet. An offset below Start stands for Start. The error is the file system's,
// or ErrClosed.
func (p *Partition) Backlog(offset int64) (b Backlog, err error) {
	if err = p.fresh(); err == nil {
		err = p.again(func() error {
			b, err = p.backlog(max(offset, p.start.Load()), p.visible.Load())
			return err
		})
	}
	if err != nil {
		return Backlog{}, p.errorf("measure", err)
	}
	return b, nil
}

// backlog is Backlog of [offset, end) among the segments that there are now.
func (p *Partition) backlog(offset, end int64) (b Backlog, err error) {
	if offset >= end {
		return b, nil
	}
	for _, s := range p.all() {
		if s.End() <= offset || s.Base >= end {
			continue
		}
		from := max(offset, s.Base)
		b.Records += min(s.End(), end) - from - p.givenUpIn(from, s.End())
		if from == s.Base {
			b.Bytes += s.Readable()
			continue
		}
		pos, _, err := s.SeekOffset(from)
		if err != nil {
			return b, err
		}
		b.Bytes += s.Readable() - pos
	}
	b.Since, err = p.timeAt(offset, end)
	return b, err
}

// givenUpIn returns how many of the offsets [from, to) a repair gave up.
func (p *Partition) givenUpIn(from, to int64) (n int64) {
	for _, g := range *p.gaps.Load() {
		n += max(0, min(g.To, to)-max(g.From, from))
	}
	return n
}

// timeAt returns when the first record of [offset, end) was appended, zero if
// there is none that can be read.
func (p *Partition) timeAt(offset, end int64) (time.Time, error) {
	r := p.keeping(Offset(offset))
	r.scan.Most = minReadBytes
	for {
		rec, err := r.TryBefore(end)
		switch {
		case err == nil:
			return rec.Timestamp, nil
		case !Skippable(err):
			if err == ErrEnd {
				err = nil
			}
			return time.Time{}, err
		}
	}
}

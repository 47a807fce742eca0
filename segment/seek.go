package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// SeekOffset returns the position of a batch at or before the one that holds
// offset, and the offset it begins with. Reading on from there finds it.
func (s *Segment) SeekOffset(offset int64) (position, base int64, err error) {
	return s.seek(query{offset: offset})
}

// SeekTime returns the position of a batch at or before the first one that
// was appended at or after t, in nanoseconds since 1970 UTC.
func (s *Segment) SeekTime(t int64) (position, base int64, err error) {
	return s.seek(query{time: t, byTime: true})
}

// A query asks for an offset or for a time.
type query struct {
	offset, time int64
	byTime       bool
}

// A finder is an index, in memory or in a file.
type finder interface {
	FindOffset(int64) (index.Entry, bool, error)
	FindTime(int64) (index.Entry, bool, error)
}

func (q query) in(f finder) (index.Entry, bool, error) {
	if q.byTime {
		return f.FindTime(q.time)
	}
	return f.FindOffset(q.offset)
}

// seek asks the index and believes it only as far as the batch it names bears
// it out. A wrong index of a sealed segment is made anew and asked again;
// without one the answer is the segment's beginning, which is always right.
func (s *Segment) seek(q query) (position, base int64, err error) {
	for try := range 2 {
		e, ok, err := s.lookUp(q)
		if err == nil && !ok {
			break
		}
		if err == nil {
			if _, err = s.CheckEntry(e); err == nil {
				return e.Position, e.Offset, nil
			}
		}
		if !mendable(err) {
			return 0, 0, err
		}
		if try > 0 || s.writing.Load() {
			break
		}
		if err = s.reindex(); err != nil {
			return 0, 0, err
		}
	}
	return FirstFrame, s.Base, nil
}

// mendable reports whether an error of the index is one that a new index
// would not have.
func mendable(err error) bool {
	return errors.Is(err, index.ErrWrong) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrNotRegular)
}

// lookUp asks the index in memory, else the file.
func (s *Segment) lookUp(q query) (index.Entry, bool, error) {
	if x := s.idx.Load(); x != nil {
		if e, ok, err := q.in(x); ok || err != nil || x.Whole() {
			return e, ok, err
		}
	}
	if s.place.Cache == index.All {
		x, err := s.load()
		if err != nil {
			return index.Entry{}, false, err
		}
		return q.in(x)
	}
	f, err := index.Open(s.place.Dir, IndexName(s.Base), s.ID, s.Base)
	if err != nil {
		return index.Entry{}, false, err
	}
	e, ok, err := q.in(f)
	return e, ok, errors.Join(err, f.Close())
}

// load takes the index file into memory, to stay.
func (s *Segment) load() (*index.Index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.idx.Load(); x != nil {
		return x, nil
	}
	x, err := index.Load(s.place.Dir, IndexName(s.Base), s.ID, s.Base)
	if err == nil {
		s.idx.Store(x)
	}
	return x, err
}

// reindex reads the whole segment and writes its index anew.
func (s *Segment) reindex() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.build()
	if err != nil {
		return err
	}
	// Where it cannot be written (a full disk, a read-only store) it stays in
	// memory: a reader gets its answer all the same.
	written := !s.place.ReadOnly && x.Write(s.place.Dir, IndexName(s.Base)) == nil
	if !written || s.place.Cache == index.All {
		s.idx.Store(x)
	}
	return nil
}

// build makes an index of what the segment's batches say.
func (s *Segment) build() (*index.Index, error) {
	x := index.New(s.ID, s.Base)
	var c Scanner
	c.Start(s, FirstFrame, s.Base, s.Readable())
	for last := int64(0); ; {
		at := c.Position()
		var b record.Batch
		err := c.Next(&b)
		var damage *DamageError
		switch {
		case err == io.EOF:
			return x, nil
		case errors.As(err, &damage):
			if _, err = c.Search(s.End()); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		if last == 0 || at >= last+index.Every {
			x.Add(index.Entry{Offset: b.Base, Position: at, Time: b.Time})
			last = at
		}
	}
}

// CheckEntry returns the batch that an index entry names. An error that wraps
// index.ErrWrong says that there is no such batch.
func (s *Segment) CheckEntry(e index.Entry) (record.Batch, error) {
	wrong := fmt.Errorf("index of segment %s: %w: no batch of offset %d at position %d", s.Name(), index.ErrWrong, e.Offset, e.Position)
	if e.Position < FirstFrame || e.Position%record.FrameAlign != 0 || e.Position >= s.Readable() {
		return record.Batch{}, wrong
	}
	var c Scanner
	c.Start(s, e.Position, e.Offset, s.Readable())
	var b record.Batch
	err := c.Next(&b)
	var damage *DamageError
	if errors.As(err, &damage) || err == nil && b.Time != e.Time {
		return record.Batch{}, wrong
	}
	return b, err
}

// FirstTime returns the append time of the segment's first record that can be
// read, 0 if there is none.
func (s *Segment) FirstTime() (int64, error) {
	var c Scanner
	c.Start(s, FirstFrame, s.Base, s.Readable())
	for {
		var b record.Batch
		err := c.Next(&b)
		var damage *DamageError
		switch {
		case err == io.EOF:
			return 0, nil
		case errors.As(err, &damage):
			if found, err := c.Search(s.End()); !found {
				return 0, err
			}
		case err != nil:
			return 0, err
		case b.Count > 0:
			return b.Time, nil
		}
	}
}

// LastTime returns the append time of the segment's last batch that can be
// read, 0 if there is none.
func (s *Segment) LastTime() (int64, error) { return s.lastTime(s.End(), 0) }

// LastRecordTime returns the append time of the segment's last record that can
// be read, 0 if there is none. Markers may be younger.
func (s *Segment) LastRecordTime() (int64, error) { return s.lastTime(s.End()-1, 1) }

// lastTime returns the append time of the last batch of at least so many
// records. It looks from the index entry at or below offset on, and in all of
// the segment if there is none.
func (s *Segment) lastTime(offset int64, records int) (int64, error) {
	pos, base, err := s.SeekOffset(offset)
	if err != nil {
		return 0, err
	}
	last, err := s.lastTimeFrom(pos, base, records)
	if err == nil && last == 0 && pos > FirstFrame {
		return s.lastTimeFrom(FirstFrame, s.Base, records)
	}
	return last, err
}

func (s *Segment) lastTimeFrom(pos, base int64, records int) (last int64, err error) {
	var c Scanner
	c.Start(s, pos, base, s.Readable())
	for {
		var b record.Batch
		err := c.Next(&b)
		var damage *DamageError
		switch {
		case err == io.EOF:
			return last, nil
		case errors.As(err, &damage):
			if found, err := c.Search(s.End()); !found {
				return last, err
			}
		case err != nil:
			return 0, err
		case b.Count >= records:
			last = b.Time
		}
	}
}

// ResumeIndex takes the segment's index into memory for its writer, making it
// anew if the file is wrong.
func (s *Segment) ResumeIndex() error {
	if s.writing.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := index.Load(s.place.Dir, IndexName(s.Base), s.ID, s.Base)
	if err != nil {
		if !mendable(err) {
			return err
		}
		if x, err = s.build(); err != nil {
			return err
		}
	}
	x.Keep(func(e index.Entry) bool { return e.Position < s.Readable() })
	last, ok, _ := x.FindOffset(s.End())
	if ok {
		_, err = s.CheckEntry(last)
		if errors.Is(err, index.ErrWrong) {
			if x, err = s.build(); err == nil {
				last, _, _ = x.FindOffset(s.End())
			}
		}
		if err != nil {
			return err // the disk's: it says nothing about the index
		}
	}
	s.Resume(x, last.Position)
	return nil
}

// LastAppended returns when the segment's last record was appended, by the
// writer's clock if the writer said so, else by the record's own time; 0 if no
// record can be read. It is found out once; the segment must be sealed.
func (s *Segment) LastAppended() (int64, error) {
	if t := s.last.Load(); t != 0 {
		return t, nil
	}
	t, err := s.LastRecordTime()
	if err == nil {
		s.last.CompareAndSwap(0, t)
	}
	return s.last.Load(), err
}

// Ended notes when the writer appended the last record, by its clock: append
// times can be ahead of that.
func (s *Segment) Ended(at int64) {
	s.last.Store(at)
	s.mine.Store(true)
}

// Mine reports whether Ended was called.
func (s *Segment) Mine() bool { return s.mine.Load() }

// Package segment is one data file of a partition: its header, its batches,
// its index and the window through which it is written. Several segments, one
// behind the other, make a package partition Partition; docs/FORMAT.md has the
// layout.
//
// A Segment does what it is told and decides nothing: when to roll, what to
// sync and what damage means is the partition's business.
package segment

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
)

// A Place is where a segment's files are.
type Place struct {
	Dir      fs.Dir
	Files    *Files
	ReadOnly bool            // somebody else writes: open files for reading only, write no index
	Cache    index.CacheMode // which indexes stay in memory

	Topic     [16]byte // whose segments these are, as their headers say
	Partition int
}

// A Segment is one data file. Its readers may be many; those who change it
// are one at a time, which the partition sees to.
type Segment struct {
	Header
	place  Place
	salt   uint32
	handle handle

	// readable is the position up to which readers may look, end the offset
	// they get to there. The writer moves them, position first.
	readable atomic.Int64
	end      atomic.Int64
	window   atomic.Pointer[window] // while it is mapped
	before   *window                // the last window there was; the writer's
	last     atomic.Int64           // when its last batch was appended, if that was found out; 0: not yet
	mine     atomic.Bool            // last is by the writer's clock

	writing atomic.Bool                 // the index is the writer's to keep
	mu      yield.Mutex                 // guards loading and building an index
	idx     atomic.Pointer[index.Index] // in memory: while writing, or if the cache mode keeps it
	since   int64                       // the writer's: position of the last batch with an index entry
}

// Plan returns a new segment that is not on disk yet: batches can be encoded
// for it, since its id and base are known.
func Plan(place Place, h Header) *Segment {
	s := attach(place, h)
	s.Resume(index.New(h.ID, h.Base), 0)
	s.readable.Store(FirstFrame)
	s.end.Store(h.Base)
	return s
}

// Open reads the header of the segment file whose name says base. An error
// that wraps ErrHeader says that the file does not begin with one.
func Open(place Place, base int64) (*Segment, error) {
	s := attach(place, Header{Base: base})
	if err := s.readHeader(); err != nil {
		s.Close()
		return nil, fmt.Errorf("open segment %s: %w", Name(base), err)
	}
	s.salt = record.Salt(s.ID)
	return s, nil
}

func (s *Segment) readHeader() error {
	f, err := s.handle.borrow()
	if err != nil {
		return err
	}
	defer s.handle.release()
	b := make([]byte, FirstFrame)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err
	}
	h, err := decodeHeader(b[:n], func(h Header) bool {
		return h.Base == s.Base && h.Topic == s.place.Topic && h.Partition == s.place.Partition
	})
	if err == nil && h.Base != s.Base {
		err = fmt.Errorf("%w: it is that of base offset %d", ErrHeader, h.Base)
	}
	if err == nil {
		s.Header = h
	}
	return err
}

func attach(place Place, h Header) *Segment {
	s := &Segment{Header: h, place: place, salt: record.Salt(h.ID)}
	name := Name(h.Base)
	s.handle = handle{table: place.Files, open: func() (fs.File, error) {
		return place.Dir.Open(name, !place.ReadOnly)
	}}
	return s
}

// Name returns the name of the segment's file.
func (s *Segment) Name() string { return Name(s.Base) }

// Salt returns what the checksums of its frames start from.
func (s *Segment) Salt() uint32 { return s.salt }

// Readable returns the position up to which readers may look.
func (s *Segment) Readable() int64 { return s.readable.Load() }

// End returns the offset behind the last record that readers may see.
func (s *Segment) End() int64 { return s.end.Load() }

// Publish lets readers see everything up to position and offset. The bytes
// are there before the offset is.
func (s *Segment) Publish(position, offset int64) {
	s.readable.Store(position)
	yield.Point()
	s.end.Store(offset)
}

// Borrow keeps the segment's file open until Release.
func (s *Segment) Borrow() (fs.File, error) {
	f, err := s.handle.borrow()
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return f, nil
}

// Release gives the file back.
func (s *Segment) Release() { s.handle.release() }

// CloseFile closes the segment's file unless somebody has borrowed it. It is
// opened again when it is needed.
func (s *Segment) CloseFile() { s.handle.close(false) }

// Close closes the segment's file for good, now or when the last who borrowed
// it gives it back. Reading then fails with io/fs.ErrClosed.
func (s *Segment) Close() { s.handle.close(true) }

// Size returns how long the segment's file is now, reserved space included.
func (s *Segment) Size() (int64, error) {
	f, err := s.Borrow()
	if err != nil {
		return 0, err
	}
	defer s.Release()
	return f.Size()
}

// ReadAt fills b from position. It reads the window while there is one, else
// the file, and never more than is readable. Where somebody else writes the
// file, zeros stand behind its end: space is reserved and given back there at
// any time.
func (s *Segment) ReadAt(b []byte, position int64) error {
	yield.Point()
	if w := s.window.Load(); w != nil && w.borrow() {
		yield.Point()
		return errors.Join(w.read(b, position), w.release())
	}
	f, err := s.Borrow()
	if err != nil {
		return err
	}
	defer s.Release()
	n, err := f.ReadAt(b, position)
	if err == io.EOF && s.place.ReadOnly {
		clear(b[n:])
		return nil
	}
	if err != nil {
		return fmt.Errorf("read segment %s at position %d: %w", s.Name(), position, noEOF(err))
	}
	return nil
}

// copyOf is ReadAt into memory that is made for it, without clearing it first
// where there is a window.
func (s *Segment) copyOf(size int, position int64) (b []byte, err error) {
	yield.Point()
	if w := s.window.Load(); w != nil && w.borrow() {
		yield.Point()
		b, err = w.copyOf(size, position)
		return b, errors.Join(err, w.release())
	}
	b = make([]byte, size)
	return b, s.ReadAt(b, position)
}

// noEOF keeps a file that is shorter than it should be from passing for a log
// that ended well.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Create makes the file of a planned segment, reserves space for it, and
// writes its header. The file stays borrowed. Nothing is synced. After an
// error it is removed. A *NotMadeError says that there was none to remove: the
// name is taken, or there is not enough space or no descriptor.
func (s *Segment) Create(reserve int64) (fs.File, error) {
	f, err := s.handle.borrowBy(func() (fs.File, error) { return s.place.Dir.Create(s.Name()) })
	if errors.Is(err, fs.ErrExist) || fs.IsShort(err) {
		err = &NotMadeError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	if err = f.Allocate(0, reserve); err == nil {
		_, err = f.WriteAt(s.Header.encode(), 0)
	}
	if err != nil {
		// Nothing refers to the file yet; left behind, it would be taken
		// for what a crash left.
		s.Release()
		s.CloseFile()
		err = errors.Join(err, s.place.Dir.Remove(s.Name()))
		return nil, fmt.Errorf("create segment %s: %w", s.Name(), err)
	}
	return f, nil
}

// A NotMadeError says that Create made no file, for certain.
type NotMadeError struct{ error }

// Unwrap returns why.
func (e *NotMadeError) Unwrap() error { return e.error }

// Map opens the window over the first size bytes of a borrowed file. It waits
// for readers who are still inside the one before: a file is mapped once.
func (s *Segment) Map(f fs.File, size int64) error {
	if s.before != nil {
		<-s.before.gone
		yield.Woken()
	}
	m, err := f.Map(size)
	if err != nil {
		return fmt.Errorf("map segment %s: %w", s.Name(), err)
	}
	s.before = newWindow(m)
	s.window.Store(s.before)
	return nil
}

// Unmap closes the window. Readers inside it finish first.
func (s *Segment) Unmap() error {
	if w := s.window.Swap(nil); w != nil {
		yield.Point()
		return w.release()
	}
	return nil
}

// EncodeMapped writes a frame into the window. The window's range must have
// been allocated. It belongs to the writer.
func (s *Segment) EncodeMapped(run *record.Run, count, size int, stamp record.Stamp) error {
	if err := s.window.Load().encode(run, count, size, stamp); err != nil {
		return fmt.Errorf("write segment %s: %w", s.Name(), err)
	}
	return nil
}

// Touch makes the window's pages of [from, to) ready for writing ahead of time,
// if there still is a window.
func (s *Segment) Touch(from, to int64) error {
	w := s.window.Load()
	if w == nil || !w.borrow() {
		return nil
	}
	yield.Point()
	w.touch(from, to)
	return w.release()
}

// Note enters a batch into the index if it is its turn. The writer calls it
// once for each, in order.
func (s *Segment) Note(base, position, time int64) {
	if !s.writing.Load() || s.since != 0 && position < s.since+index.Every {
		return // before Resume since is not the writer's yet
	}
	s.since = position
	if x := s.idx.Load(); x != nil {
		x.Add(index.Entry{Offset: base, Position: position, Time: time})
	}
}

// Resume makes the segment the one that is written: from now on its writer
// keeps its index, whose last entry is at position since.
func (s *Segment) Resume(x *index.Index, since int64) {
	s.idx.Store(x)
	s.since = since
	s.writing.Store(true)
}

// IndexDue returns how many index entries the file lacks.
func (s *Segment) IndexDue() int {
	if x := s.idx.Load(); x != nil {
		return x.Unwritten()
	}
	return 0
}

// WriteIndex writes the entries that the index file lacks. Nothing is synced:
// an index is a cache. It belongs to the writer. Where somebody else writes the
// segment it does nothing.
func (s *Segment) WriteIndex() error {
	x := s.idx.Load()
	if x == nil || x.Unwritten() == 0 || s.place.ReadOnly {
		return nil
	}
	if err := x.Write(s.place.Dir, IndexName(s.Base)); err != nil {
		return err
	}
	if s.place.Cache == index.None {
		x.Forget()
	}
	return nil
}

// Seal ends the writing: what is left of the index is written, and unless the
// cache mode keeps it, dropped from memory. An index that cannot be written
// stays in memory.
func (s *Segment) Seal() error {
	err := s.WriteIndex()
	if err == nil && s.place.Cache != index.All {
		s.idx.Store(nil)
	}
	s.writing.Store(false)
	return err
}

// Sealed reports whether the segment is done with: nobody writes it any more.
func (s *Segment) Sealed() bool { return !s.writing.Load() }

// Unnote forgets index entries at or behind position: the batches they name
// were not written after all. It belongs to the writer.
func (s *Segment) Unnote(position int64) {
	x := s.idx.Load()
	if x == nil {
		return
	}
	x.Keep(func(e index.Entry) bool { return e.Position < position })
	s.since = min(s.since, position-1)
}

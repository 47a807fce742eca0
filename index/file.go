package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/braidlog/braidlog/internal/fs"
)

const (
	magic       = "braididx"
	version     = 1
	headerBytes = 48
	entryBytes  = 16
	// maxFileBytes bounds what Load takes into memory: the entries of the
	// largest segment.
	maxFileBytes = headerBytes + (1<<30)/Every*entryBytes
)

// ErrWrong is in the chain of every error that says that an index file is not
// the index of its segment.
var ErrWrong = errors.New("not an index of this segment")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write appends the entries that the file called name lacks, making the file
// if need be, and cuts off those that were given up. A file that somebody
// removed begins anew with what is in memory. Nothing is synced. Calls must
// not overlap; Add and Keep may run meanwhile.
func (x *Index) Write(d fs.Dir, name string) error {
	err := x.write(d, name)
	if errors.Is(err, fs.ErrNotExist) {
		x.startOver()
		err = x.write(d, name)
	}
	if err != nil {
		return fmt.Errorf("write index %s: %w", name, err)
	}
	return nil
}

func (x *Index) write(d fs.Dir, name string) error {
	todo := x.pending()
	if len(todo.entries) == 0 && todo.written > 0 && !todo.stale {
		return nil
	}
	f, err := x.openForWrite(d, name, todo.written)
	if err != nil {
		return err
	}
	if err = errors.Join(x.writeTo(f, todo), f.Close()); err != nil {
		return err
	}
	x.wrote(todo)
	return nil
}

// writeTo writes the backlog behind what the file has.
func (x *Index) writeTo(f fs.File, todo backlog) error {
	end := headerBytes + int64(todo.written)*entryBytes
	if todo.stale {
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	b := make([]byte, 0, len(todo.entries)*entryBytes)
	for _, e := range todo.entries {
		b = appendEntry(b, e, x.base)
	}
	_, err := f.WriteAt(b, end)
	return err
}

// openForWrite opens the file, or makes it with its header if nothing was
// written yet. What stands there from before is not ours then.
func (x *Index) openForWrite(d fs.Dir, name string, written int) (fs.File, error) {
	if written > 0 {
		return d.Open(name, true)
	}
	f, err := d.Create(name)
	if errors.Is(err, fs.ErrExist) {
		if err = d.Remove(name); err == nil {
			f, err = d.Create(name)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(x.header(), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (x *Index) header() []byte {
	b := make([]byte, headerBytes)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	copy(b[16:], x.id[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(x.base))
	binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	return b
}

func appendEntry(b []byte, e Entry, base int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(e.Offset-base))
	b = binary.LittleEndian.AppendUint32(b, uint32(e.Position))
	return binary.LittleEndian.AppendUint64(b, uint64(e.Time))
}

func parseEntry(b []byte, base int64) Entry {
	return Entry{
		Offset:   base + int64(binary.LittleEndian.Uint32(b)),
		Position: int64(binary.LittleEndian.Uint32(b[4:])),
		Time:     int64(binary.LittleEndian.Uint64(b[8:])),
	}
}

// cutShort takes the end of a file that was longer when it was opened, since
// somebody else writes it, for a wrong index.
func cutShort(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: it was cut meanwhile", ErrWrong)
	}
	return err
}

// A File is an index file opened for look-ups that keep nothing in memory.
type File struct {
	f     fs.File
	base  int64
	count int
}

// Open opens the index file called name of the segment with this id and base
// offset. An error that wraps ErrWrong or fs.ErrNotExist means that the file
// has to be made anew.
func Open(d fs.Dir, name string, id [16]byte, base int64) (*File, error) {
	f, err := d.Open(name, false)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := &File{f: f, base: base}
	if err = x.check(name, id); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

func (x *File) check(name string, id [16]byte) error {
	size, err := x.f.Size()
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	if size < headerBytes || size > maxFileBytes {
		return fmt.Errorf("open index %s: %w: it has %d bytes", name, ErrWrong, size)
	}
	got := make([]byte, headerBytes)
	if _, err = x.f.ReadAt(got, 0); err != nil {
		return fmt.Errorf("open index: %w", cutShort(err))
	}
	if string(got) != string(New(id, x.base).header()) {
		return fmt.Errorf("open index %s: %w: header does not match", name, ErrWrong)
	}
	x.count = int((size - headerBytes) / entryBytes)
	return nil
}

// Close closes the file.
func (x *File) Close() error { return x.f.Close() }

// Len returns the number of entries.
func (x *File) Len() int { return x.count }

// At returns entry i, as it stands in the file.
func (x *File) At(i int) (Entry, error) {
	b := make([]byte, entryBytes)
	if _, err := x.f.ReadAt(b, headerBytes+int64(i)*entryBytes); err != nil {
		return Entry{}, fmt.Errorf("read index: %w", cutShort(err))
	}
	return parseEntry(b, x.base), nil
}

// FindOffset is Index.FindOffset on the file.
func (x *File) FindOffset(offset int64) (Entry, bool, error) {
	return x.find(func(e Entry) bool { return e.Offset > offset })
}

// FindTime is Index.FindTime on the file.
func (x *File) FindTime(t int64) (Entry, bool, error) {
	return x.find(func(e Entry) bool { return e.Time >= t })
}

func (x *File) find(beyond func(Entry) bool) (found Entry, ok bool, err error) {
	n := sort.Search(x.count, func(i int) bool {
		if err != nil {
			return true
		}
		var e Entry
		e, err = x.At(i)
		return err == nil && beyond(e)
	})
	if err != nil || n == 0 {
		return Entry{}, false, err
	}
	found, err = x.At(n - 1)
	// In a file of garbage the search ends anywhere.
	return found, err == nil && !beyond(found), err
}

// Load reads the whole file into an Index, up to the last entry that rises.
// Errors are as of Open.
func Load(d fs.Dir, name string, id [16]byte, base int64) (x *Index, err error) {
	f, err := Open(d, name, id, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, f.count*entryBytes)
	if _, err = f.f.ReadAt(b, headerBytes); err != nil && !(err == io.EOF && len(b) == 0) {
		return nil, fmt.Errorf("read index %s: %w", name, cutShort(err))
	}
	x = New(id, base)
	last := Entry{Offset: -1, Time: -1 << 63}
	for ; len(b) > 0; b = b[entryBytes:] {
		e := parseEntry(b, base)
		if e.Position <= last.Position || e.Offset < last.Offset || e.Time < last.Time {
			break
		}
		x.Add(e)
		last = e
	}
	x.written, x.stale = x.count, len(b) > 0
	return x, nil
}

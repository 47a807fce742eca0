package fs

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// An osFile is an open regular file of the operating system.
type osFile struct {
	f      *os.File
	fd     int    // f's descriptor
	path   string // for messages
	write  bool
	mapped atomic.Bool
}

func newOSFile(f *os.File, path string, write bool) *osFile {
	return &osFile{f: f, fd: int(f.Fd()), path: path, write: write}
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, wrap("read", f.path, err)
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, wrap("write", f.path, err)
}

func (f *osFile) Size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, wrap("size", f.path, err)
	}
	return fi.Size(), nil
}

func (f *osFile) Truncate(size int64) error {
	return wrap("truncate", f.path, f.f.Truncate(size))
}

func (f *osFile) Sync() error { return wrap("sync", f.path, f.datasync()) }

func (f *osFile) Close() error { return wrap("close", f.path, f.f.Close()) }

func (f *osFile) Allocate(off, n int64) error {
	err := errRange
	if off >= 0 && n > 0 {
		err = f.orCutBack(func() error { return f.allocate(off, n) })
	}
	return wrap("allocate", f.path, err)
}

// orCutBack restores the length if lengthen fails: a disk that fills up
// halfway should not lose the little that is left to zeros.
func (f *osFile) orCutBack(lengthen func() error) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	err = lengthen()
	if err != nil {
		_ = f.f.Truncate(size) // the caller learns why lengthening failed
	}
	return err
}

// zeros is what appendZeros writes. It is never written to.
var zeros [64 << 10]byte

// appendZeros lengthens the file to end by writing, which takes the space that
// a mere Truncate would only promise. Bytes that exist stay untouched, and so
// do holes among them.
func (f *osFile) appendZeros(end int64) error {
	size, err := f.Size()
	for err == nil && size < end {
		var n int
		n, err = f.f.WriteAt(zeros[:min(int64(len(zeros)), end-size)], size)
		size += int64(n)
	}
	return err
}

func (f *osFile) Map(size int64) (*Mapping, error) {
	m, err := f.mapOnce(size)
	if err != nil {
		return nil, wrap("map", f.path, err)
	}
	return m, nil
}

func (f *osFile) mapOnce(size int64) (*Mapping, error) {
	switch {
	case !canMap:
		return nil, ErrNoMapping
	case size <= 0:
		return nil, errRange
	case !f.write:
		return nil, errReadOnly
	case !f.mapped.CompareAndSwap(false, true):
		return nil, errMapped
	}
	m, err := f.mmap(size)
	if err != nil {
		f.mapped.Store(false)
		return nil, err
	}
	unmap := m.unmap
	m.unmap = func() error {
		if !f.mapped.CompareAndSwap(true, false) {
			return wrap("unmap", f.path, errUnmapped)
		}
		return wrap("unmap", f.path, unmap())
	}
	return m, nil
}

// retry calls fn again for as long as a signal interrupts it.
func retry(interrupted error, fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, interrupted) {
			return err
		}
	}
}

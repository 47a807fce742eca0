package fs

import (
	"errors"
	"io"
	iofs "io/fs"
)

// A memFile is an open file of a Mem.
type memFile struct {
	m      *Mem
	path   string // full, when it was opened
	node   *node
	write  bool // immutable, like what is above
	closed bool // guarded by m.mu
}

// op is one operation on the file, which must not be closed.
func (f *memFile) op(kind OpKind, off, n int64, effect func() error) error {
	return f.m.do(Op{Kind: kind, Name: f.path, Off: off, Len: n}, func() error {
		if f.closed {
			return iofs.ErrClosed
		}
		return effect()
	})
}

// change is an operation that needs the file to be open for writing.
func (f *memFile) change(kind OpKind, off, n int64, effect func() error) error {
	return f.op(kind, off, n, func() error {
		switch {
		case !f.write:
			return errReadOnly
		case off < 0 || n < 0:
			return errRange
		}
		return effect()
	})
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	atEnd := false
	err = f.op(OpReadAt, off, int64(len(p)), func() error {
		if off < 0 {
			return errRange
		}
		n = copy(p, f.node.data[min(off, int64(len(f.node.data))):])
		atEnd = n < len(p)
		return nil
	})
	if atEnd {
		return n, io.EOF // unwrapped, as io.ReaderAt has it
	}
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.change(OpWriteAt, off, int64(len(p)), func() error {
		n = len(p)
		f.node.write(p, int(off))
		return nil
	})
	var short *ShortWriteError
	if errors.As(err, &short) {
		n = min(short.N, len(p))
		err = f.writeShort(p[:n], off, short.Err)
	}
	return n, err
}

func (f *memFile) writeShort(p []byte, off int64, cause error) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.halted != nil {
		return wrap(OpWriteAt.String(), f.path, f.m.halted)
	}
	f.node.write(p, int(off))
	return wrap(OpWriteAt.String(), f.path, cause)
}

func (f *memFile) Size() (size int64, err error) {
	err = f.op(OpSize, 0, 0, func() error {
		size = int64(len(f.node.data))
		return nil
	})
	return size, err
}

func (f *memFile) Truncate(size int64) error {
	return f.change(OpTruncate, 0, size, func() error {
		f.node.truncate(int(size))
		return nil
	})
}

func (f *memFile) Allocate(off, n int64) error {
	return f.change(OpAllocate, off, n, func() error {
		if n == 0 {
			return errRange
		}
		f.node.grow(int(off + n))
		return nil
	})
}

func (f *memFile) Sync() error {
	err := f.op(OpSync, 0, 0, func() error {
		f.node.sync()
		f.m.past.synced()
		return nil
	})
	if err != nil && !errors.Is(err, iofs.ErrClosed) {
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		if f.m.halted == nil {
			f.node.failSync(aftermathOf(err))
		}
	}
	return err
}

// Close closes the file even when it is made to fail, as close(2) does.
func (f *memFile) Close() error {
	err := f.op(OpClose, 0, 0, func() error {
		f.closed = true
		return nil
	})
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.closed = true
	delete(f.m.open, f)
	return err
}

func (f *memFile) Map(size int64) (*Mapping, error) {
	var m *Mapping
	err := f.change(OpMap, 0, size, func() error {
		switch {
		case size == 0:
			return errRange
		case f.node.mapped:
			return errMapped
		}
		f.node.mapped = true
		b := make([]byte, size)
		copy(b, f.node.data)
		m = &Mapping{
			Bytes:   b,
			publish: func(from, to int64) error { return f.publish(b[from:to], from) },
			unmap:   f.unmap,
		}
		return nil
	})
	return m, err
}

func (f *memFile) publish(p []byte, off int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.halted != nil {
		return wrap("publish", f.path, f.m.halted)
	}
	if off+int64(len(p)) > int64(len(f.node.data)) {
		return wrap("publish", f.path, errFault)
	}
	f.node.write(p, int(off))
	return nil
}

func (f *memFile) unmap() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.node.mapped {
		return wrap("unmap", f.path, errUnmapped)
	}
	f.node.mapped = false
	return nil
}

//go:build linux && race

package fs

import (
	"io"
	"strconv"
)

const canMap = strconv.IntSize == 64

// mmap uses the heap, where the race detector sees every load and store; it
// knows nothing of mapped memory.
func (f *osFile) mmap(size int64) (*Mapping, error) { return f.heapMapping(size) }

// heapMapping stands in for a mapping: a copy of the file's first size bytes,
// of which published ranges are written back.
func (f *osFile) heapMapping(size int64) (*Mapping, error) {
	b := make([]byte, size)
	if _, err := f.f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	publish := func(from, to int64) error {
		end, err := f.Size()
		if err == nil && to > end {
			err = wrap("publish", f.path, errFault)
		}
		if err == nil {
			_, err = f.WriteAt(b[from:to], from)
		}
		return err
	}
	return &Mapping{Bytes: b, publish: publish, unmap: func() error { return nil }}, nil
}

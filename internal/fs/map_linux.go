//go:build linux && !race

package fs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// A 32-bit address space is too small for windows of many partitions.
const canMap = strconv.IntSize == 64

func (f *osFile) mmap(size int64) (*Mapping, error) {
	b, err := unix.Mmap(f.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &Mapping{
		Bytes: b,
		unmap: func() error { return unix.Munmap(b) },
		touch: func(from, to int64) { populate(b, from, to) },
	}, nil
}

// populate makes pages writable ahead of time (Linux 5.14). An older kernel
// refuses, and a disk that fails does so again when the page is written.
func populate(b []byte, from, to int64) {
	page := int64(unix.Getpagesize())
	from, to = from&^(page-1), min((to+page-1)&^(page-1), int64(len(b)))
	if from < to {
		unix.Madvise(b[from:to], unix.MADV_POPULATE_WRITE) // #nosec G104 -- a hint
	}
}

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
	return &Mapping{Bytes: b, unmap: func() error { return unix.Munmap(b) }}, nil
}

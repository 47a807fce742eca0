package fs

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// datasync spares the journal commit that a change of timestamps alone would
// cost. The length counts as data.
func (f *osFile) datasync() error {
	defer runtime.KeepAlive(f.f)
	return retry(unix.EINTR, func() error { return unix.Fdatasync(f.fd) })
}

func (f *osFile) allocate(off, n int64) error {
	defer runtime.KeepAlive(f.f)
	err := retry(unix.EINTR, func() error { return unix.Fallocate(f.fd, 0, off, n) })
	if errors.Is(err, errors.ErrUnsupported) {
		return f.appendZeros(off + n)
	}
	return err
}

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fs

import (
	"os"

	"golang.org/x/sys/unix"
)

// firstOwn is the first descriptor that is not one of the three that every
// program writes to.
const firstOwn = 3

// aboveStd returns f under a descriptor that is not that of standard input,
// output or error: if the program closed one of those, f may have got its
// number, and what somebody prints would land in it. f is closed if it is not
// what is returned. Directories may have such a number: nobody can write to them.
func aboveStd(f *os.File) (*os.File, error) {
	if f.Fd() >= firstOwn {
		return f, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, firstOwn)
	if err != nil {
		return nil, closeAfter(f, err)
	}
	moved := os.NewFile(uintptr(fd), f.Name()) // #nosec G115 -- a descriptor is not negative
	if err := f.Close(); err != nil {
		return nil, closeAfter(moved, err)
	}
	return moved, nil
}

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock uses flock and not fcntl: fcntl's locks belong to the process, so a
// second open of the store in it would get them too, and its close lose them.
func tryLock(f *os.File) error {
	err := retry(unix.EINTR, func() error {
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errBusy
	}
	return err
}

func tryLockDir(f *os.File) error {
	if err := tryLock(f); errors.Is(err, errBusy) {
		return err
	}
	return nil // locked, or of a file system that cannot
}

func unlockDir(f *os.File) error {
	_ = unlock(f) // of a file system that cannot lock it there is nothing to let go
	return nil
}

// unlock lets go at once. Closing alone does not while a process that is just
// being started still has a copy of the descriptor.
func unlock(f *os.File) error {
	return retry(unix.EINTR, func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) })
}

package fs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockRange is the one byte that is locked, far behind the content: Windows
// keeps others from reading what is locked, and they want to read the holder.
func lockRange() *windows.Overlapped {
	return &windows.Overlapped{OffsetHigh: 1 << 30}
}

func tryLock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, lockRange())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errBusy
	}
	return err
}

// tryLockDir does nothing: Windows cannot lock a directory. Here the lock is as
// good as the file, and whoever removes the file has removed the lock.
func tryLockDir(*os.File) error { return nil }

func unlockDir(*os.File) error { return nil }

// unlock is wanted because Windows may take its time after a mere close.
func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockRange())
}

//go:build !plan9

package fs

import (
	"errors"
	"syscall"
)

// Causes that tests inject and that IsShort knows, so that no other package
// needs to import syscall. They are constants in spirit: never assign to them.
var (
	ENOSPC error = syscall.ENOSPC
	EDQUOT error = syscall.EDQUOT
	EIO    error = syscall.EIO
	EMFILE error = syscall.EMFILE
	ENFILE error = syscall.ENFILE
	EINTR  error = syscall.EINTR
)

// IsNoSpace reports whether err says that the disk or the user's share of it
// is full. False for nil.
func IsNoSpace(err error) bool {
	return errors.Is(err, ENOSPC) || errors.Is(err, EDQUOT) || isPlatformNoSpace(err)
}

// IsNoFiles reports whether err says that the process or the machine has as
// many files open as it may: what was to be opened was not, and nothing was done
// with it. False for nil.
func IsNoFiles(err error) bool {
	return errors.Is(err, EMFILE) || errors.Is(err, ENFILE) || isPlatformNoFiles(err)
}

package fs

import "errors"

// Plan 9 has no error numbers; these exist to be injected by tests.
var (
	ENOSPC = errors.New("no space left on device")
	EDQUOT = errors.New("disk quota exceeded")
	EIO    = errors.New("i/o error")
	EMFILE = errors.New("too many open files")
	EINTR  = errors.New("interrupted")
	ENFILE = errors.New("too many open files in system")
)

// IsNoSpace reports whether err says that the disk is full. Here it knows
// injected errors only.
func IsNoSpace(err error) bool {
	return errors.Is(err, ENOSPC) || errors.Is(err, EDQUOT)
}

// IsNoFiles reports whether err says that too many files are open. Here it
// knows injected errors only.
func IsNoFiles(err error) bool { return errors.Is(err, EMFILE) || errors.Is(err, ENFILE) }

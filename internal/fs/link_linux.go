package fs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// linkFile lets the open file f also be found at p below to, as a clone or, if
// that is refused for whatever reason, under a second name.
func linkFile(f *os.File, to *osDir, p string) error {
	cloned, err := clone(f, to, p)
	if cloned || err != nil {
		return err
	}
	return hardLink(f, to, p)
}

// clone makes p a file that shares the blocks of f. If it cannot, nothing is
// left of it.
func clone(f *os.File, to *osDir, p string) (cloned bool, err error) {
	c, err := to.create(p)
	if err != nil {
		return false, err
	}
	refused := retry(unix.EINTR, func() error { return unix.IoctlFileClone(int(c.Fd()), int(f.Fd())) })
	err = c.Close()
	if refused != nil || err != nil {
		return false, errors.Join(err, to.root.Remove(p))
	}
	return true, nil
}

// hardLink gives f the name p. It names f by its descriptor, so that f is what
// is linked, whatever its name stands for by now.
func hardLink(f *os.File, to *osDir, p string) error {
	dir, err := to.root.Open(path.Dir(p))
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(f)
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	err = unix.Linkat(unix.AT_FDCWD, self, int(dir.Fd()), path.Base(p), unix.AT_SYMLINK_FOLLOW)
	if noLink(err) {
		err = fmt.Errorf("%w: %w", ErrNoLink, err)
	}
	return closeAfter(dir, err)
}

// noLink reports whether an error says that linking is impossible between
// these two places: another file system, one without links, too many links
// already, forbidden, or no /proc.
func noLink(err error) bool {
	for _, e := range []error{unix.EXDEV, unix.EPERM, unix.EACCES, unix.EMLINK, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

package fs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// OS is the operating system's file system. The zero value is ready to use.
//
// Only the path given to OpenDir may contain symbolic links; below it they are
// refused wherever they stand in a name.
type OS struct{}

// BootID implements FS. It is empty on systems other than Linux and macOS.
func (OS) BootID() string { return bootID() }

// CanMap implements FS. It is true on 64-bit Linux.
func (OS) CanMap() bool { return canMap }

// OpenDir implements FS. A path that is not a directory is ErrNotRegular.
func (OS) OpenDir(path string, create bool) (Dir, error) {
	root, err := openRoot(path, create)
	if err != nil {
		return nil, wrap("open directory", path, err)
	}
	return &osDir{root: root, prefix: "."}, nil
}

func openRoot(path string, create bool) (*os.Root, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if create {
		if err := makeDir(abs); err != nil {
			return nil, err
		}
	}
	// Asked before opening, since opening a pipe would wait for its writer.
	if err := wantDir(os.Stat(abs)); err != nil {
		return nil, err
	}
	return os.OpenRoot(abs)
}

func wantDir(fi os.FileInfo, err error) error {
	if err == nil && !fi.IsDir() {
		return ErrNotRegular
	}
	return err
}

// makeDir makes path and what is missing above it. A directory's name is
// synced before anything is made inside, so whenever a crash comes, only the
// deepest directory that exists can have a name in doubt: that one's is synced
// too, though it was found and not made.
func makeDir(path string) error {
	err := wantDir(os.Stat(path))
	if err == nil {
		return ignoreForeign(syncParent(path))
	}
	if !errors.Is(err, ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, ErrExist) {
		return err
	}
	return syncParent(path)
}

func syncParent(path string) error {
	parent := filepath.Dir(path)
	if parent == path {
		return nil // the root has no name
	}
	f, err := os.Open(parent) // #nosec G304 -- the application says where its store is
	if err != nil {
		return err
	}
	return closeAfter(f, syncDir(f))
}

// ignoreForeign drops the errors of syncing the parent of a directory that
// somebody else made: it may be unreadable to us, or of a kind of file system
// that cannot be synced.
func ignoreForeign(err error) error {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

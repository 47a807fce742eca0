package fs

import (
	"errors"
	"io"
	"os"
	"path"
)

// maxHolderBytes bounds what is read of a lock file to name its holder.
const maxHolderBytes = 256

var errBusy = errors.New("the lock is taken") // never leaves this package

// Lock implements Dir. On Unix it locks the directory as well as the file:
// should somebody remove the file, the next one would lock a new file of the
// same name, but not the same directory. Where a file system cannot lock
// directories (some NFS servers) the file has to do.
func (d *osDir) Lock(name, holder string) (io.Closer, error) {
	p, err := d.at(name)
	if err != nil {
		return nil, wrap("lock", d.path(name), err)
	}
	l, err := d.lock(p, holder)
	if errors.Is(err, errBusy) {
		return nil, &LockedError{Name: d.path(name), Holder: d.holder(p)}
	}
	if err != nil {
		return nil, wrap("lock", d.path(name), err)
	}
	return l, nil
}

// An osLock holds its lock for as long as its files are open.
type osLock struct{ file, dir *os.File }

// Close lets the lock go.
func (l *osLock) Close() error {
	return errors.Join(unlock(l.file), unlockDir(l.dir), l.file.Close(), l.dir.Close())
}

// lock takes the directory first, so that who loses has made no file.
func (d *osDir) lock(p, holder string) (*osLock, error) {
	dir, err := d.root.Open(path.Dir(p))
	if err != nil {
		return nil, err
	}
	if err := tryLockDir(dir); err != nil {
		return nil, closeAfter(dir, err)
	}
	file, err := d.lockFile(p)
	if err != nil {
		return nil, closeAfter(dir, err)
	}
	l := &osLock{file: file, dir: dir}
	if err := writeHolder(file, holder); err != nil {
		return nil, closeAfter(l, err)
	}
	return l, nil
}

// lockFile locks the file that is called p at the moment it is locked.
func (d *osDir) lockFile(p string) (*os.File, error) {
	for range openTries {
		f, err := d.openOrCreate(p)
		if err != nil {
			return nil, err
		}
		if err := tryLock(f); err != nil {
			return nil, closeAfter(f, err)
		}
		if d.isNamed(f, p) {
			return f, nil
		}
		_ = f.Close() // a lock on a removed file locks nothing
	}
	return nil, errReplaced
}

func (d *osDir) openOrCreate(p string) (*os.File, error) {
	f, err := d.create(p)
	if errors.Is(err, ErrExist) {
		return d.openRegular(p, os.O_RDWR)
	}
	return f, err
}

func (d *osDir) isNamed(f *os.File, p string) bool {
	is, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := d.root.Lstat(p)
	return err == nil && os.SameFile(is, named)
}

// writeHolder writes in place: on a disk that is full there may be no room for
// what was cut off first. Where there is none for the name either, the lock is
// one without.
func writeHolder(f *os.File, holder string) error {
	_, err := f.WriteAt([]byte(holder), 0)
	if IsNoSpace(err) {
		return f.Truncate(0)
	}
	if err != nil {
		return err
	}
	return f.Truncate(int64(len(holder)))
}

// holder reads who has the lock, as well as that can be known.
func (d *osDir) holder(p string) string {
	f, err := d.openRegular(p, os.O_RDONLY)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHolderBytes))
	if err != nil {
		return ""
	}
	return string(b)
}

package fs

import (
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"strings"
	"sync/atomic"
)

// A memDir is a directory of a Mem, or a view of one below it. It is immutable
// but for closed.
type memDir struct {
	m      *Mem
	base   *node
	at     string // base's full path when it was opened
	prefix string // from base, "." for base itself
	closed *atomic.Bool
	view   bool // made by Sub
}

// orNil returns d, unless there is an error.
func (d *memDir) orNil(err error) (Dir, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *memDir) Sub(name string) Dir {
	v := *d
	v.prefix = subPrefix(d.prefix, name)
	v.view = true
	return &v
}

func (d *memDir) Close() error {
	if !d.view {
		d.closed.Store(true)
		d.m.mu.Lock()
		defer d.m.mu.Unlock()
		delete(d.m.open, d.closed)
	}
	return nil
}

func (d *memDir) path(name string) string { return path.Join(d.at, d.prefix, name) }

// resolve finds the name from base.
func (d *memDir) resolve(name string) (string, error) {
	if d.closed.Load() {
		return "", iofs.ErrClosed
	}
	return join(d.prefix, name)
}

// dirLocked finds the directory called name.
func (d *memDir) dirLocked(name string) (*node, error) {
	p, err := d.resolve(name)
	if err != nil {
		return nil, err
	}
	return d.base.dirAt(p)
}

// slotLocked finds the directory that holds name, and name's last element.
func (d *memDir) slotLocked(name string) (*node, string, error) {
	p, err := d.resolve(name)
	if err != nil {
		return nil, "", err
	}
	dir, err := d.base.dirAt(path.Dir(p))
	return dir, path.Base(p), err
}

// freeLocked is slotLocked for a name that must not be taken.
func (d *memDir) freeLocked(name string) (*node, string, error) {
	dir, last, err := d.slotLocked(name)
	if err == nil && (last == "." || dir.names[last] != nil) {
		err = ErrExist
	}
	return dir, last, err
}

// usedLocked is slotLocked for a name that must be taken.
func (d *memDir) usedLocked(name string) (*node, string, error) {
	dir, last, err := d.slotLocked(name)
	if err == nil && last == "." {
		err = errNotLocal
	}
	if err == nil && dir.names[last] == nil {
		err = ErrNotExist
	}
	return dir, last, err
}

func (d *memDir) Mkdir(name string) error {
	return d.m.do(Op{Kind: OpMkdir, Name: d.path(name)}, func() error {
		dir, last, err := d.freeLocked(name)
		if err == nil {
			d.m.applyLocked(half{dir, last, newDir()})
		}
		return err
	})
}

func (d *memDir) Remove(name string) error {
	return d.m.do(Op{Kind: OpRemove, Name: d.path(name)}, func() error {
		dir, last, err := d.usedLocked(name)
		if err != nil {
			return err
		}
		if len(dir.names[last].names) > 0 {
			return ErrExist
		}
		d.m.applyLocked(half{dir, last, nil})
		return nil
	})
}

func (d *memDir) Rename(from, to string) error {
	op := Op{Kind: OpRename, Name: d.path(from), To: d.path(to)}
	return d.m.do(op, func() error { return d.renameLocked(from, to) })
}

func (d *memDir) renameLocked(from, to string) error {
	dir, last, err := d.usedLocked(from)
	if err != nil {
		return err
	}
	toDir, toLast, err := d.slotLocked(to)
	if err != nil {
		return err
	}
	moved, replaced := dir.names[last], toDir.names[toLast]
	switch {
	case toLast == "." || replaced.isDir():
		return ErrExist
	case moved.isDir() && replaced != nil:
		return ErrNotRegular
	case moved == replaced:
		return nil
	case moved.contains(toDir):
		return errNotLocal
	}
	d.m.applyLocked(half{dir, last, nil}, half{toDir, toLast, moved})
	return nil
}

// Link implements Dir. Both names are of the same file. A directory of another
// file system, another Mem too, is ErrNoLink.
func (d *memDir) Link(name string, to Dir, as string) error {
	t, ok := to.(*memDir)
	if !ok || t.m != d.m {
		return wrap(OpLink.String(), d.path(name), ErrNoLink)
	}
	return d.m.do(Op{Kind: OpLink, Name: d.path(name), To: t.path(as)}, func() error {
		file, err := d.fileLocked(name)
		if err != nil {
			return err
		}
		dir, last, err := t.freeLocked(as)
		if err == nil {
			d.m.applyLocked(half{dir, last, file})
		}
		return err
	})
}

// Holds implements Dir.
func (d *memDir) Holds(name string) (bool, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	self, err := d.dirLocked(".")
	if err != nil {
		return false, wrap("resolve", d.path("."), err)
	}
	at := d.m.root
	for next := range strings.SplitSeq(fullPath(name)[1:], "/") {
		if at == self || at == nil {
			break
		}
		if next != "" {
			at = at.names[next]
		}
	}
	return at == self, nil
}

func (d *memDir) List(name string) ([]Entry, error) {
	var entries []Entry
	err := d.m.do(Op{Kind: OpList, Name: d.path(name)}, func() error {
		dir, err := d.dirLocked(name)
		if err == nil {
			entries = dir.entries()
		}
		return err
	})
	return entries, err
}

func (d *memDir) Sync(name string) error {
	return d.m.do(Op{Kind: OpSyncDir, Name: d.path(name)}, func() error {
		dir, err := d.dirLocked(name)
		if err == nil {
			d.m.syncDirLocked(dir)
		}
		return err
	})
}

func (d *memDir) Create(name string) (File, error) {
	f := &memFile{m: d.m, path: d.path(name), write: true}
	err := d.m.do(Op{Kind: OpCreate, Name: f.path}, func() error {
		dir, last, err := d.freeLocked(name)
		if err == nil {
			f.node = d.m.newFileLocked()
			d.m.applyLocked(half{dir, last, f.node})
			d.m.openedLocked(f, f.path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *memDir) Open(name string, write bool) (File, error) {
	f := &memFile{m: d.m, path: d.path(name), write: write}
	err := d.m.do(Op{Kind: OpOpen, Name: f.path}, func() (err error) {
		if f.node, err = d.fileLocked(name); err == nil {
			d.m.openedLocked(f, f.path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// fileLocked finds the file called name.
func (d *memDir) fileLocked(name string) (*node, error) {
	dir, last, err := d.slotLocked(name)
	if err != nil {
		return nil, err
	}
	n := dir.names[last]
	switch {
	case last == "." || n.isDir():
		return nil, ErrNotRegular
	case n == nil:
		return nil, ErrNotExist
	}
	return n, nil
}

// Lock implements Dir. As with OS, the directory is locked along with the file.
func (d *memDir) Lock(name, holder string) (io.Closer, error) {
	l := &memLock{m: d.m}
	err := d.m.do(Op{Kind: OpLock, Name: d.path(name)}, func() error {
		return d.lockLocked(l, name, holder)
	})
	var locked *LockedError
	if errors.As(err, &locked) {
		return nil, locked
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (d *memDir) lockLocked(l *memLock, name, holder string) error {
	dir, last, err := d.slotLocked(name)
	if err != nil {
		return err
	}
	file := dir.names[last]
	if last == "." || file.isDir() {
		return ErrNotRegular
	}
	if dir.locked || file.isLocked() {
		return &LockedError{Name: d.path(name), Holder: file.holder()}
	}
	if file == nil {
		file = d.m.newFileLocked()
		d.m.applyLocked(half{dir, last, file})
	}
	file.truncate(0)
	file.write([]byte(holder), 0)
	l.nodes = []*node{dir, file}
	l.markLocked(true)
	d.m.openedLocked(l, d.path(name))
	return nil
}

// A memLock is a lock on a file and its directory.
type memLock struct {
	m     *Mem
	nodes []*node
}

// Close lets the lock go.
func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.nodes == nil {
		return iofs.ErrClosed
	}
	l.markLocked(false)
	l.nodes = nil
	delete(l.m.open, l)
	return nil
}

// markLocked marks what l locks, or unmarks it.
func (l *memLock) markLocked(locked bool) {
	for _, n := range l.nodes {
		n.locked = locked
	}
}

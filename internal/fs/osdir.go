package fs

import (
	"errors"
	"os"
	"path/filepath"
)

// openTries bounds how often a file is opened again because it was replaced
// between looking at its name and opening it.
const openTries = 16

var errReplaced = errors.New("the file is being replaced again and again")

// An osDir is a directory of the operating system, or a view of one below it.
// It is immutable.
type osDir struct {
	root   *os.Root
	prefix string // from root, "." for root itself
	view   bool   // made by Sub: root is another's to close
}

func (d *osDir) Sub(name string) Dir {
	return &osDir{root: d.root, prefix: subPrefix(d.prefix, name), view: true}
}

func (d *osDir) Close() error {
	if d.view {
		return nil
	}
	return d.root.Close()
}

// path is the full path of name, for messages.
func (d *osDir) path(name string) string {
	return filepath.Join(d.root.Name(), d.prefix, name)
}

// at resolves name from the root and refuses it if anything on the way to it
// is not a directory: os.Root would follow a symbolic link that stays inside.
func (d *osDir) at(name string) (string, error) {
	p, err := join(d.prefix, name)
	if err != nil {
		return "", err
	}
	for i := range p {
		if p[i] != '/' {
			continue
		}
		if err := wantDir(d.root.Lstat(p[:i])); err != nil {
			return "", err
		}
	}
	return p, nil
}

func (d *osDir) Mkdir(name string) error {
	p, err := d.at(name)
	if err == nil {
		err = d.root.Mkdir(p, dirMode)
	}
	return wrap("mkdir", d.path(name), err)
}

func (d *osDir) Remove(name string) error {
	p, err := d.at(name)
	if err == nil {
		err = d.root.Remove(p)
	}
	return wrap("remove", d.path(name), err)
}

func (d *osDir) Rename(from, to string) error {
	err := d.rename(from, to)
	return wrap("rename", d.path(from)+" to "+d.path(to), err)
}

func (d *osDir) rename(from, to string) error {
	f, err := d.at(from)
	if err != nil {
		return err
	}
	t, err := d.at(to)
	if err != nil {
		return err
	}
	// POSIX would replace an empty directory, Windows would not.
	if fi, err := d.root.Lstat(t); err == nil && fi.IsDir() {
		return ErrExist
	}
	return d.root.Rename(f, t)
}

// Link implements Dir. On Linux it clones where it can (Btrfs, XFS, bcachefs,
// ZFS), else links.
func (d *osDir) Link(name string, to Dir, as string) error {
	t, ok := to.(*osDir)
	if !ok {
		return wrap("link", d.path(name), ErrNoLink)
	}
	return wrap("link", d.path(name)+" to "+t.path(as), d.link(name, t, as))
}

func (d *osDir) link(name string, to *osDir, as string) error {
	p, err := d.at(name)
	if err != nil {
		return err
	}
	q, err := to.at(as)
	if err != nil {
		return err
	}
	f, err := d.openRegular(p, os.O_RDONLY)
	if err != nil {
		return err
	}
	return closeAfter(f, linkFile(f, to, q))
}

// Holds implements Dir. It compares directories and not their names: those may
// differ in case, or be mounted in two places.
func (d *osDir) Holds(path string) (bool, error) {
	held, err := d.holds(path)
	return held, wrap("resolve", path, err)
}

func (d *osDir) holds(path string) (bool, error) {
	self, err := d.root.Stat(d.prefix)
	if err != nil {
		return false, err
	}
	at, err := existing(path)
	if err != nil {
		return false, err
	}
	for {
		fi, err := os.Stat(at)
		if err != nil || os.SameFile(fi, self) {
			return err == nil, err
		}
		parent := filepath.Dir(at)
		if parent == at {
			return false, nil
		}
		at = parent
	}
}

// existing returns the deepest directory, or file, that exists on the way to
// path, without symbolic links: they have another parent than their name has.
func existing(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if !errors.Is(err, ErrNotExist) {
			return real, err
		}
		path = filepath.Dir(path)
	}
}

func (d *osDir) Create(name string) (File, error) {
	p, err := d.at(name)
	if err != nil {
		return nil, wrap("create", d.path(name), err)
	}
	f, err := d.create(p)
	if err != nil {
		return nil, wrap("create", d.path(name), err)
	}
	return newOSFile(f, d.path(name), true), nil
}

func (d *osDir) create(p string) (*os.File, error) {
	if p == "." {
		return nil, ErrExist
	}
	return d.openAbove(p, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
}

func (d *osDir) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	p, err := d.at(name)
	if err != nil {
		return nil, wrap("open", d.path(name), err)
	}
	f, err := d.openRegular(p, flag)
	if err != nil {
		return nil, wrap("open", d.path(name), err)
	}
	return newOSFile(f, d.path(name), write), nil
}

// openRegular opens p if it is a regular file. It looks before it opens,
// because opening a pipe waits and opening a device may do anything; and
// makes sure afterwards that what it opened is what it looked at.
func (d *osDir) openRegular(p string, flag int) (*os.File, error) {
	for range openTries {
		was, err := d.root.Lstat(p)
		if err != nil {
			return nil, err
		}
		if !was.Mode().IsRegular() {
			return nil, ErrNotRegular
		}
		f, err := d.openAbove(p, flag, 0)
		if err != nil {
			return nil, err
		}
		is, err := f.Stat()
		if err == nil && os.SameFile(was, is) {
			return f, nil
		}
		_ = f.Close() // nothing was written
		if err != nil {
			return nil, err
		}
	}
	return nil, errReplaced
}

// openAbove is the only way to the bytes of a file.
func (d *osDir) openAbove(p string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := d.root.OpenFile(p, flag, mode)
	if err != nil {
		return nil, err
	}
	return aboveStd(f)
}

func (d *osDir) openDir(name string) (*os.File, error) {
	p, err := d.at(name)
	if err != nil {
		return nil, err
	}
	if err := wantDir(d.root.Lstat(p)); err != nil {
		return nil, err
	}
	return d.root.Open(p)
}

func (d *osDir) List(name string) ([]Entry, error) {
	f, err := d.openDir(name)
	if err != nil {
		return nil, wrap("list", d.path(name), err)
	}
	entries, err := list(f)
	if err := closeAfter(f, err); err != nil {
		return nil, wrap("list", d.path(name), err)
	}
	return entries, nil
}

func list(f *os.File) ([]Entry, error) {
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		fi, err := e.Info()
		if errors.Is(err, ErrNotExist) {
			continue // removed while we looked
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry(fi))
	}
	sortEntries(entries)
	return entries, nil
}

func entry(fi os.FileInfo) Entry {
	switch {
	case fi.IsDir():
		return Entry{Name: fi.Name(), Kind: KindDir}
	case fi.Mode().IsRegular():
		return Entry{Name: fi.Name(), Kind: KindFile, Size: fi.Size()}
	}
	return Entry{Name: fi.Name(), Kind: KindOther}
}

func (d *osDir) Sync(name string) error {
	f, err := d.openDir(name)
	if err == nil {
		err = closeAfter(f, syncDir(f))
	}
	return wrap("sync directory", d.path(name), err)
}

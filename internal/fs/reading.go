package fs

import "io"

// Reading is a view of a file system through which nothing can be changed:
// whatever would change a name or a byte, take a lock or wait for the disk
// fails and does nothing.
type Reading struct {
	FS
	// OnChange is told of each attempt. Nil: nobody is.
	OnChange func(op OpKind, name string)
}

// refuse is what becomes of an attempt to change something.
func (r Reading) refuse(op OpKind, name string) error {
	if r.OnChange != nil {
		r.OnChange(op, name)
	}
	return wrap(op.String(), name, errReading)
}

// OnlyReading returns a Reading of f, or f itself if it is one.
func OnlyReading(f FS) FS {
	if r, ok := f.(Reading); ok {
		return r
	}
	return Reading{FS: f}
}

// OpenDir implements FS. It makes nothing.
func (r Reading) OpenDir(path string, create bool) (Dir, error) {
	if create {
		return nil, r.refuse(OpOpenDir, path)
	}
	d, err := r.FS.OpenDir(path, false)
	if err != nil {
		return nil, err
	}
	return readingDir{d, r}, nil
}

// CanMap implements FS. It is false.
func (Reading) CanMap() bool { return false }

type readingDir struct {
	Dir
	r Reading
}

func (d readingDir) Sub(name string) Dir                     { return readingDir{d.Dir.Sub(name), d.r} }
func (d readingDir) Mkdir(name string) error                 { return d.r.refuse(OpMkdir, name) }
func (d readingDir) Remove(name string) error                { return d.r.refuse(OpRemove, name) }
func (d readingDir) Rename(from, _ string) error             { return d.r.refuse(OpRename, from) }
func (d readingDir) Link(name string, _ Dir, _ string) error { return d.r.refuse(OpLink, name) }
func (d readingDir) Sync(name string) error                  { return d.r.refuse(OpSyncDir, name) }

func (d readingDir) Create(name string) (File, error) {
	return nil, d.r.refuse(OpCreate, name)
}

func (d readingDir) Lock(name, _ string) (io.Closer, error) {
	return nil, d.r.refuse(OpLock, name)
}

func (d readingDir) Open(name string, write bool) (File, error) {
	if write {
		return nil, d.r.refuse(OpOpen, name)
	}
	f, err := d.Dir.Open(name, false)
	if err != nil {
		return nil, err
	}
	return readingFile{f, name, d.r}, nil
}

type readingFile struct {
	File
	name string
	r    Reading
}

func (f readingFile) WriteAt([]byte, int64) (int, error) { return 0, f.r.refuse(OpWriteAt, f.name) }
func (f readingFile) Truncate(int64) error               { return f.r.refuse(OpTruncate, f.name) }
func (f readingFile) Allocate(int64, int64) error        { return f.r.refuse(OpAllocate, f.name) }
func (f readingFile) Sync() error                        { return f.r.refuse(OpSync, f.name) }
func (f readingFile) Map(int64) (*Mapping, error)        { return nil, f.r.refuse(OpMap, f.name) }

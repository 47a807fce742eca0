package partition

import (
	"sync/atomic"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

func indexBase(name string) (int64, bool) { return segment.ParseIndexName(name) }

// A failingFS fails every read of a file or directory while now is set.
type failingFS struct {
	fs.FS
	now atomic.Bool
}

func (f *failingFS) err() error {
	if f.now.Load() {
		return fs.EIO
	}
	return nil
}

func (f *failingFS) OpenDir(path string, create bool) (fs.Dir, error) {
	d, err := f.FS.OpenDir(path, create)
	return failingDir{d, f}, err
}

type failingDir struct {
	fs.Dir
	f *failingFS
}

func (d failingDir) Sub(name string) fs.Dir { return failingDir{d.Dir.Sub(name), d.f} }
func (d failingDir) List(name string) ([]fs.Entry, error) {
	if err := d.f.err(); err != nil {
		return nil, err
	}
	return d.Dir.List(name)
}
func (d failingDir) Open(name string, write bool) (fs.File, error) {
	if err := d.f.err(); err != nil {
		return nil, err
	}
	f, err := d.Dir.Open(name, write)
	if err != nil {
		return nil, err
	}
	return failingFile{f, d.f}, nil
}

type failingFile struct {
	fs.File
	f *failingFS
}

func (f failingFile) Size() (int64, error) {
	if err := f.f.err(); err != nil {
		return 0, err
	}
	return f.File.Size()
}
func (f failingFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.f.err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

// A dyingFS is that of a process that is about to be killed: once left is set,
// so many more operations have an effect, and the last of them, if it is a
// write, only half of it. Everything that was written stays.
type dyingFS struct {
	fs.FS
	left atomic.Int64 // 0: for ever; -1: dead
	half atomic.Bool  // the last write is torn
}

// alive reports whether an operation still has its effect, and whether it is
// the last that has.
func (d *dyingFS) alive() (ok, last bool) {
	for {
		switch n := d.left.Load(); n {
		case 0:
			return true, false
		case -1:
			return false, false
		case 1:
			if d.left.CompareAndSwap(1, -1) {
				return true, true
			}
		default:
			if d.left.CompareAndSwap(n, n-1) {
				return true, false
			}
		}
	}
}

func (d *dyingFS) unlessDead(effect func() error) error {
	if ok, _ := d.alive(); !ok {
		return fs.EIO
	}
	return effect()
}

func (d *dyingFS) OpenDir(path string, create bool) (fs.Dir, error) {
	dir, err := d.FS.OpenDir(path, create)
	return dyingDir{dir, d}, err
}

type dyingDir struct {
	fs.Dir
	d *dyingFS
}

func (d dyingDir) Sub(name string) fs.Dir { return dyingDir{d.Dir.Sub(name), d.d} }
func (d dyingDir) Mkdir(name string) error {
	return d.d.unlessDead(func() error { return d.Dir.Mkdir(name) })
}
func (d dyingDir) Remove(name string) error {
	return d.d.unlessDead(func() error { return d.Dir.Remove(name) })
}
func (d dyingDir) Rename(from, to string) error {
	return d.d.unlessDead(func() error { return d.Dir.Rename(from, to) })
}
func (d dyingDir) Sync(name string) error {
	return d.d.unlessDead(func() error { return d.Dir.Sync(name) })
}
func (d dyingDir) Create(name string) (f fs.File, err error) {
	err = d.d.unlessDead(func() error {
		f, err = d.Dir.Create(name)
		return err
	})
	return dyingFile{f, d.d}, err
}
func (d dyingDir) Open(name string, write bool) (fs.File, error) {
	f, err := d.Dir.Open(name, write)
	return dyingFile{f, d.d}, err
}

type dyingFile struct {
	fs.File
	d *dyingFS
}

func (f dyingFile) WriteAt(b []byte, off int64) (int, error) {
	ok, last := f.d.alive()
	if !ok {
		return 0, fs.EIO
	}
	if last && f.d.half.Load() {
		n, err := f.File.WriteAt(b[:len(b)/2], off)
		if err == nil {
			err = fs.EIO
		}
		return n, err
	}
	return f.File.WriteAt(b, off)
}
func (f dyingFile) Truncate(size int64) error {
	return f.d.unlessDead(func() error { return f.File.Truncate(size) })
}
func (f dyingFile) Allocate(off, n int64) error {
	return f.d.unlessDead(func() error { return f.File.Allocate(off, n) })
}
func (f dyingFile) Sync() error { return f.d.unlessDead(f.File.Sync) }

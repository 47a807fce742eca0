package partition

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// A readingFS is a file system on which nothing can be changed: whoever tries
// has failed the test.
type readingFS struct {
	fs.FS
	t testing.TB
}

func (r readingFS) changes(what, name string) error {
	r.t.Errorf("read-only, and yet: %s %s", what, name)
	return fs.EIO
}

func (r readingFS) OpenDir(path string, create bool) (fs.Dir, error) {
	if create {
		return nil, r.changes("make directory", path)
	}
	d, err := r.FS.OpenDir(path, false)
	if err != nil {
		return nil, err
	}
	return readingDir{d, r}, nil
}

func (r readingFS) CanMap() bool { return true }

type readingDir struct {
	fs.Dir
	r readingFS
}

func (d readingDir) Sub(name string) fs.Dir      { return readingDir{d.Dir.Sub(name), d.r} }
func (d readingDir) Mkdir(name string) error     { return d.r.changes("mkdir", name) }
func (d readingDir) Remove(name string) error    { return d.r.changes("remove", name) }
func (d readingDir) Rename(from, _ string) error { return d.r.changes("rename", from) }
func (d readingDir) Sync(name string) error      { return d.r.changes("sync directory", name) }
func (d readingDir) Create(name string) (fs.File, error) {
	return nil, d.r.changes("create", name)
}
func (d readingDir) Lock(name, _ string) (io.Closer, error) {
	return nil, d.r.changes("lock", name)
}
func (d readingDir) Open(name string, write bool) (fs.File, error) {
	if write {
		return nil, d.r.changes("open for writing", name)
	}
	f, err := d.Dir.Open(name, false)
	if err != nil {
		return nil, err
	}
	return readingFile{f, name, d.r}, nil
}

type readingFile struct {
	fs.File
	name string
	r    readingFS
}

func (f readingFile) WriteAt([]byte, int64) (int, error) { return 0, f.r.changes("write", f.name) }
func (f readingFile) Truncate(int64) error               { return f.r.changes("truncate", f.name) }
func (f readingFile) Allocate(int64, int64) error        { return f.r.changes("allocate", f.name) }
func (f readingFile) Sync() error                        { return f.r.changes("sync", f.name) }
func (f readingFile) Map(int64) (*fs.Mapping, error)     { return nil, f.r.changes("map", f.name) }

// followOn opens the partition that open writes on m, for reading.
func followOn(t testing.TB, m fs.FS, v variant, change ...func(*Options)) *Partition {
	t.Helper()
	change = append(change, func(o *Options) { o.ReadOnly = true })
	return open(t, readingFS{m, t}, v, change...)
}

func TestFollowAppends(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		appendN(t, w, 0, 1)
		p := followOn(t, m, v)
		r := p.NewReader(First())
		for i := range 500 {
			appendN(t, w, i+1, 1)
			rec, err := r.Next(bg)
			require.NoError(t, err)
			require.Equal(t, int64(i), rec.Offset)
			require.Equal(t, string(value(i).Value), string(rec.Value))
		}
		require.Greater(t, len(p.all()), 3, "segments rolled")
		require.NoError(t, w.Close())
		readAll(t, p, 501)
		require.NoError(t, p.Close())
	})
}

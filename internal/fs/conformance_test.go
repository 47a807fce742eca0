package fs

import (
	"io"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bothFS runs test on each file system, in an empty directory.
func bothFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Helper()
	t.Run("OS", func(t *testing.T) { test(t, OS{}, t.TempDir()) })
	t.Run("Mem", func(t *testing.T) {
		m := NewMem()
		_, err := m.OpenDir("/base", true)
		require.NoError(t, err)
		test(t, m, "/base")
	})
}

// below is the path of name in dir, as errors have it.
func below(fsys FS, dir, name string) string {
	if _, ok := fsys.(OS); ok {
		return filepath.Join(dir, name)
	}
	return path.Join(dir, name)
}

func openDir(t *testing.T, fsys FS, path string) Dir {
	t.Helper()
	d, err := fsys.OpenDir(path, true)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func create(t *testing.T, d Dir, name, content string) {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func content(t *testing.T, d Dir, name string) string {
	t.Helper()
	b, err := ReadFile(d, name, 1<<20)
	require.NoError(t, err)
	return string(b)
}

func names(t *testing.T, d Dir, name string) string {
	t.Helper()
	entries, err := d.List(name)
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

// The directory of these cases holds: file ("content"), full/inner ("inner"),
// empty/.
func TestNames(t *testing.T) {
	open := func(name string) func(Dir) error {
		return func(d Dir) error {
			f, err := d.Open(name, true)
			if err != nil {
				return err
			}
			return f.Close()
		}
	}
	make := func(name string) func(Dir) error {
		return func(d Dir) error {
			f, err := d.Create(name)
			if err != nil {
				return err
			}
			return f.Close()
		}
	}
	mkdir := func(name string) func(Dir) error { return func(d Dir) error { return d.Mkdir(name) } }
	remove := func(name string) func(Dir) error { return func(d Dir) error { return d.Remove(name) } }
	rename := func(from, to string) func(Dir) error { return func(d Dir) error { return d.Rename(from, to) } }
	link := func(name, as string) func(Dir) error { return func(d Dir) error { return d.Link(name, d, as) } }
	list := func(name string) func(Dir) error {
		return func(d Dir) error { _, err := d.List(name); return err }
	}
	sync := func(name string) func(Dir) error { return func(d Dir) error { return d.Sync(name) } }

	const before = "empty file full"
	cases := []struct {
		name  string
		do    func(Dir) error
		want  error  // nil is success
		after string // names in the directory
	}{
		{"open", open("file"), nil, before},
		{"open below", open("full/inner"), nil, before},
		{"open missing", open("missing"), ErrNotExist, before},
		{"open below missing", open("missing/x"), ErrNotExist, before},
		{"open below file", open("file/x"), ErrNotRegular, before},
		{"open directory", open("full"), ErrNotRegular, before},
		{"open itself", open("."), ErrNotRegular, before},
		{"open unclean", open("full/../file"), nil, before},
		{"open outside", open("../base/file"), errNotLocal, before},
		{"open absolute", open("/base/file"), errNotLocal, before},
		{"open nothing", open(""), errNotLocal, before},

		{"create", make("new"), nil, "empty file full new"},
		{"create taken", make("file"), ErrExist, before},
		{"create over directory", make("empty"), ErrExist, before},
		{"create itself", make("."), ErrExist, before},
		{"create below missing", make("missing/x"), ErrNotExist, before},
		{"create below file", make("file/x"), ErrNotRegular, before},
		{"create outside", make("../x"), errNotLocal, before},

		{"mkdir", mkdir("new"), nil, "empty file full new"},
		{"mkdir taken", mkdir("empty"), ErrExist, before},
		{"mkdir over file", mkdir("file"), ErrExist, before},
		{"mkdir itself", mkdir("."), ErrExist, before},
		{"mkdir below missing", mkdir("missing/x"), ErrNotExist, before},
		{"mkdir outside", mkdir("../x"), errNotLocal, before},

		{"remove file", remove("file"), nil, "empty full"},
		{"remove empty directory", remove("empty"), nil, "file full"},
		{"remove full directory", remove("full"), ErrExist, before},
		{"remove missing", remove("missing"), ErrNotExist, before},
		{"remove outside", remove("../base"), errNotLocal, before},

		{"rename", rename("file", "new"), nil, "empty full new"},
		{"rename into", rename("file", "empty/new"), nil, "empty full"},
		{"rename over file", rename("file", "full/inner"), nil, "empty full"},
		{"rename to itself", rename("file", "file"), nil, before},
		{"rename directory", rename("full", "new"), nil, "empty file new"},
		{"rename over directory", rename("full", "empty"), ErrExist, before},
		{"rename file over directory", rename("file", "empty"), ErrExist, before},
		{"rename missing", rename("missing", "new"), ErrNotExist, before},
		{"rename to missing", rename("file", "missing/new"), ErrNotExist, before},
		{"rename outside", rename("file", "../new"), errNotLocal, before},
		{"rename from outside", rename("../file", "new"), errNotLocal, before},

		{"link", link("file", "new"), nil, "empty file full new"},
		{"link into", link("file", "empty/new"), nil, before},
		{"link from below", link("full/inner", "new"), nil, "empty file full new"},
		{"link taken", link("file", "full/inner"), ErrExist, before},
		{"link to itself", link("file", "file"), ErrExist, before},
		{"link over directory", link("file", "empty"), ErrExist, before},
		{"link to the directory itself", link("file", "."), ErrExist, before},
		{"link directory", link("full", "new"), ErrNotRegular, before},
		{"link the directory itself", link(".", "new"), ErrNotRegular, before},
		{"link missing", link("missing", "new"), ErrNotExist, before},
		{"link to missing", link("file", "missing/new"), ErrNotExist, before},
		{"link below file", link("file", "file/new"), ErrNotRegular, before},
		{"link outside", link("file", "../new"), errNotLocal, before},
		{"link from outside", link("../base/file", "new"), errNotLocal, before},

		{"list", list("full"), nil, before},
		{"list missing", list("missing"), ErrNotExist, before},
		{"list file", list("file"), ErrNotRegular, before},
		{"list outside", list(".."), errNotLocal, before},

		{"sync", sync("."), nil, before},
		{"sync below", sync("full"), nil, before},
		{"sync missing", sync("missing"), ErrNotExist, before},
		{"sync file", sync("file"), ErrNotRegular, before},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				create(t, d, "file", "content")
				require.NoError(t, d.Mkdir("full"))
				create(t, d, "full/inner", "inner")
				require.NoError(t, d.Mkdir("empty"))

				err := c.do(d)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.after, names(t, d, "."))
			})
		})
	}
}

// Directories that cannot be moved below themselves are an error of the system
// on one side and a check of ours on the other.
func TestRenameDirectoryBelowItself(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		require.NoError(t, d.Mkdir("a"))
		require.Error(t, d.Rename("a", "a/b"))
		require.Error(t, d.Remove("."))
		require.Error(t, d.Rename(".", "b"))
		create(t, d, "file", "")
		require.Error(t, d.Rename("a", "file"))
		require.Equal(t, "a file", names(t, d, "."))
	})
}

func TestRenameMovesContent(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		create(t, d, "old", "old")
		create(t, d, "new", "new")
		require.NoError(t, d.Rename("new", "old"))
		require.Equal(t, "new", content(t, d, "old"))
	})
}

// A link is found in its own directory, and stays when the first name goes.
func TestLink(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		from, to := openDir(t, fsys, below(fsys, dir, "from")), openDir(t, fsys, below(fsys, dir, "to"))
		create(t, from, "f", "content")
		require.NoError(t, to.Mkdir("sub"))
		err := from.Link("f", to.Sub("sub"), "g")
		if runtime.GOOS != "linux" && fsys == FS(OS{}) {
			require.ErrorIs(t, err, ErrNoLink)
			require.Empty(t, names(t, to, "sub"))
			return
		}
		require.NoError(t, err)
		require.Equal(t, "content", content(t, to, "sub/g"))
		require.NoError(t, from.Link("f", from, "h"))
		require.NoError(t, from.Remove("f"))
		require.Equal(t, "h", names(t, from, "."))
		require.Equal(t, "content", content(t, from, "h"))
		require.Equal(t, "content", content(t, to, "sub/g"))
	})
}

// Nothing can be linked from one file system to another.
func TestLinkToAnotherFileSystem(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d, m := openDir(t, fsys, dir), openDir(t, NewMem(), "/d")
		create(t, d, "f", "content")
		err := d.Link("f", m, "g")
		require.ErrorIs(t, err, ErrNoLink)
		require.ErrorContains(t, err, "link "+below(fsys, dir, "f"))
		require.Empty(t, names(t, m, "."))
		create(t, m, "f", "content")
		require.ErrorIs(t, m.Link("f", d, "g"), ErrNoLink)
		require.Equal(t, "f", names(t, d, "."))
	})
}

func TestHolds(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		at := func(name string) string { return below(fsys, dir, name) }
		d := openDir(t, fsys, at("store"))
		require.NoError(t, d.Mkdir("sub"))
		openDir(t, fsys, at("store2"))
		for path, want := range map[string]bool{
			at("store"):                true,
			at("store/sub"):            true,
			at("store/missing"):        true,
			at("store/missing/deeper"): true,
			at("store/sub/../x"):       true,
			at("store") + "/":          true,
			at("store2/../store/x"):    true,
			at("store2"):               false,
			at("store/../x"):           false,
			at("store2/store"):         false,
			at("missing/store"):        false,
			at("stor"):                 false,
			dir:                        false,
			below(fsys, dir, ".."):     false,
		} {
			held, err := d.Holds(path)
			require.NoError(t, err, path)
			require.Equal(t, want, held, path)
		}
		held, err := d.Sub("sub").Holds(at("store"))
		require.NoError(t, err)
		require.False(t, held)
		held, err = d.Sub("sub").Holds(at("store/sub/x"))
		require.NoError(t, err)
		require.True(t, held)

		require.NoError(t, d.Close())
		_, err = d.Holds(dir)
		require.Error(t, err)
	})
}

func TestSub(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		s := d.Sub("a").Sub("b")
		require.ErrorIs(t, s.Mkdir("."), ErrNotExist, "Sub makes nothing")
		require.NoError(t, d.Mkdir("a"))
		require.NoError(t, d.Sub("a").Mkdir("b"))
		create(t, s, "file", "x")
		require.Equal(t, "x", content(t, d, "a/b/file"))

		_, err := s.Open("../b/file", false)
		require.ErrorIs(t, err, errNotLocal)
		_, err = d.Sub("a/../..").Open("file", false)
		require.ErrorIs(t, err, errNotLocal)

		require.NoError(t, s.Close())
		require.Equal(t, "file", names(t, s, "."), "closing a Sub does nothing")
		require.NoError(t, d.Close())
		_, err = s.List(".")
		require.Error(t, err, "closing the directory closes its Subs")
	})
}

func TestListKindsAndSizes(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		create(t, d, "b", "12345")
		create(t, d, "a", "")
		require.NoError(t, d.Mkdir("c"))
		entries, err := d.List(".")
		require.NoError(t, err)
		require.Equal(t, []Entry{{"a", KindFile, 0}, {"b", KindFile, 5}, {"c", KindDir, 0}}, entries)
		entries, err = d.List("c")
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}

func TestOpenDir(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		deep := below(fsys, dir, "a/b/c")
		_, err := fsys.OpenDir(deep, false)
		require.ErrorIs(t, err, ErrNotExist)
		require.ErrorContains(t, err, "open directory "+deep)

		for range 2 { // making it and finding it
			d, err := fsys.OpenDir(deep, true)
			require.NoError(t, err)
			require.NoError(t, d.Close())
		}
		d := openDir(t, fsys, dir)
		create(t, d, "file", "")
		for _, create := range []bool{false, true} {
			_, err = fsys.OpenDir(below(fsys, dir, "file"), create)
			require.ErrorIs(t, err, ErrNotRegular)
		}
		_, err = fsys.OpenDir(below(fsys, dir, "file/below"), true)
		require.Error(t, err)
	})
}

func TestFileContent(t *testing.T) {
	const start = "0123456789"
	write := func(s string, off int64) func(File) error {
		return func(f File) error { _, err := f.WriteAt([]byte(s), off); return err }
	}
	truncate := func(n int64) func(File) error { return func(f File) error { return f.Truncate(n) } }
	allocate := func(off, n int64) func(File) error { return func(f File) error { return f.Allocate(off, n) } }
	cases := []struct {
		name string
		do   []func(File) error
		want string
	}{
		{"write inside", []func(File) error{write("ab", 3)}, "012ab56789"},
		{"write over the end", []func(File) error{write("ab", 9)}, "012345678ab"},
		{"write behind the end", []func(File) error{write("ab", 12)}, start + "\x00\x00ab"},
		{"write nothing behind the end", []func(File) error{write("", 12)}, start},
		{"cut", []func(File) error{truncate(4)}, "0123"},
		{"cut and lengthen", []func(File) error{truncate(4), truncate(6)}, "0123\x00\x00"},
		{"cut and write behind", []func(File) error{truncate(4), write("a", 6)}, "0123\x00\x00a"},
		{"cut and allocate", []func(File) error{truncate(4), allocate(0, 6)}, "0123\x00\x00"},
		{"cut all", []func(File) error{truncate(0)}, ""},
		{"allocate inside", []func(File) error{allocate(2, 5)}, start},
		{"allocate over the end", []func(File) error{allocate(8, 4)}, start + "\x00\x00"},
		{"allocate behind the end", []func(File) error{allocate(12, 2)}, start + "\x00\x00\x00\x00"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				create(t, d, "f", start)
				f, err := d.Open("f", true)
				require.NoError(t, err)
				for _, do := range c.do {
					require.NoError(t, do(f))
				}
				require.NoError(t, f.Sync())
				size, err := f.Size()
				require.NoError(t, err)
				require.EqualValues(t, len(c.want), size)
				require.NoError(t, f.Close())
				require.Equal(t, c.want, content(t, d, "f"))
			})
		})
	}
}

func TestReadAt(t *testing.T) {
	cases := []struct {
		name   string
		len    int
		off    int64
		want   string
		err    error
		failed bool
	}{
		{name: "all", len: 3, want: "abc"},
		{name: "inside", len: 1, off: 1, want: "b"},
		{name: "over the end", len: 5, off: 1, want: "bc", err: io.EOF},
		{name: "at the end", len: 1, off: 3, err: io.EOF},
		{name: "behind the end", len: 1, off: 9, err: io.EOF},
		{name: "nothing", off: 9},
		{name: "negative", len: 1, off: -1, failed: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				create(t, d, "f", "abc")
				f, err := d.Open("f", false)
				require.NoError(t, err)
				b := make([]byte, c.len)
				n, err := f.ReadAt(b, c.off)
				if c.failed {
					require.Error(t, err)
				} else {
					require.Equal(t, c.err, err, "io.EOF is not wrapped")
				}
				require.Equal(t, c.want, string(b[:n]))
				require.NoError(t, f.Close())
			})
		})
	}
}

func TestFileRefuses(t *testing.T) {
	cases := []struct {
		name  string
		write bool
		do    func(File) error
	}{
		{"write to read-only", false, func(f File) error { _, err := f.WriteAt([]byte("x"), 0); return err }},
		{"truncate read-only", false, func(f File) error { return f.Truncate(0) }},
		{"allocate read-only", false, func(f File) error { return f.Allocate(0, 10) }},
		{"map read-only", false, func(f File) error { _, err := f.Map(10); return err }},
		{"write at negative", true, func(f File) error { _, err := f.WriteAt([]byte("x"), -1); return err }},
		{"truncate to negative", true, func(f File) error { return f.Truncate(-1) }},
		{"allocate at negative", true, func(f File) error { return f.Allocate(-1, 10) }},
		{"allocate nothing", true, func(f File) error { return f.Allocate(0, 0) }},
		{"map nothing", true, func(f File) error { _, err := f.Map(0); return err }},
		{"map negative", true, func(f File) error { _, err := f.Map(-1); return err }},
		{"close twice", true, func(f File) error { _ = f.Close(); return f.Close() }},
		{"size after close", true, func(f File) error { _ = f.Close(); _, err := f.Size(); return err }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				create(t, d, "f", "abc")
				f, err := d.Open("f", c.write)
				require.NoError(t, err)
				err = c.do(f)
				require.ErrorContains(t, err, below(fsys, dir, "f"))
				_ = f.Close()
				require.Equal(t, "abc", content(t, d, "f"))
			})
		})
	}
}

func TestMapping(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		create(t, d, "f", "abc")
		f, err := d.Open("f", true)
		require.NoError(t, err)
		if !fsys.CanMap() {
			_, err := f.Map(8)
			require.ErrorIs(t, err, ErrNoMapping)
			require.NoError(t, f.Close())
			return
		}
		const size = 10_000 // three pages, of which the file has one
		m, err := f.Map(size)
		require.NoError(t, err)
		require.Len(t, m.Bytes, size)
		require.Equal(t, "abc", string(m.Bytes[:3]))
		_, err = f.Map(size)
		require.ErrorIs(t, err, errMapped)

		m.Bytes[1] = 'x'
		require.NoError(t, m.Publish(1, 2))
		require.NoError(t, f.Allocate(0, size))
		m.Bytes[size-1] = 'y'
		require.NoError(t, m.Publish(size-1, size))
		require.NoError(t, f.Sync())
		got := content(t, d, "f")
		require.Equal(t, "axc", got[:3])
		require.Equal(t, "\x00y", got[size-2:])

		require.NoError(t, m.Unmap())
		require.Error(t, m.Unmap())
		m, err = f.Map(3)
		require.NoError(t, err)
		require.Equal(t, "axc", string(m.Bytes))
		require.NoError(t, m.Unmap())
		require.NoError(t, f.Close())
	})
}

func TestLock(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		create(t, d, "LOCK", "a longer name left by the last holder")
		lock, err := d.Lock("LOCK", "first")
		require.NoError(t, err)
		require.Equal(t, "first", content(t, d, "LOCK"))

		_, err = openDir(t, fsys, dir).Lock("LOCK", "second")
		require.ErrorIs(t, err, ErrLocked)
		var locked *LockedError
		require.ErrorAs(t, err, &locked)
		require.Equal(t, LockedError{Name: below(fsys, dir, "LOCK"), Holder: "first"}, *locked)
		require.Equal(t, "first", content(t, d, "LOCK"), "the loser writes nothing")

		require.NoError(t, lock.Close())
		require.Error(t, lock.Close())
		lock, err = d.Lock("LOCK", "third")
		require.NoError(t, err)
		require.NoError(t, lock.Close())
		require.Equal(t, "LOCK", names(t, d, "."), "the file stays")
	})
}

func TestLockHolderIsBounded(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		lock, err := d.Lock("LOCK", strings.Repeat("x", 10*maxHolderBytes))
		require.NoError(t, err)
		_, err = d.Lock("LOCK", "second")
		var locked *LockedError
		require.ErrorAs(t, err, &locked)
		require.Len(t, locked.Holder, maxHolderBytes)
		require.NoError(t, lock.Close())
	})
}

func TestLockRefuses(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		require.NoError(t, d.Mkdir("sub"))
		_, err := d.Lock("sub", "x")
		require.ErrorIs(t, err, ErrNotRegular)
		_, err = d.Lock("missing/LOCK", "x")
		require.ErrorIs(t, err, ErrNotExist)
		_, err = d.Lock("../LOCK", "x")
		require.ErrorIs(t, err, errNotLocal)
		// A failed attempt locks nothing.
		lock, err := d.Lock("LOCK", "x")
		require.NoError(t, err)
		require.NoError(t, lock.Close())
	})
}

func TestLockedErrorText(t *testing.T) {
	require.EqualError(t, &LockedError{Name: "d/LOCK", Holder: "pid 7"}, "d/LOCK is locked by pid 7")
	require.EqualError(t, &LockedError{Name: "d/LOCK"}, "d/LOCK is locked")
}

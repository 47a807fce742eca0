//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What is neither file nor directory is listed, may be renamed and removed as
// a name, and is opened by nobody: neither blocking on it nor following it.
func TestOSRefusesSpecialFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("x"), 0o600))
	cases := []struct {
		name string
		make func(path string) error
	}{
		{"pipe", func(path string) error { return unix.Mkfifo(path, 0o600) }},
		{"socket", func(path string) error { return listen(path) }},
		{"link to file", func(path string) error { return os.Symlink("file", path) }},
		{"link to directory", func(path string) error { return os.Symlink("dir", path) }},
		{"link outside", func(path string) error { return os.Symlink(outside, path) }},
		{"link to nothing", func(path string) error { return os.Symlink("nothing", path) }},
		{"link to itself", func(path string) error { return os.Symlink("special", path) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir()) // a socket's path must be short
			d := openDir(t, OS{}, ".")
			create(t, d, "file", "content")
			require.NoError(t, d.Mkdir("dir"))
			require.NoError(t, c.make("special"))

			for _, write := range []bool{false, true} {
				_, err := d.Open("special", write)
				require.ErrorIs(t, err, ErrNotRegular)
			}
			_, err := d.Create("special")
			require.ErrorIs(t, err, ErrExist)
			_, err = d.Lock("special", "x")
			require.ErrorIs(t, err, ErrNotRegular)
			_, err = d.List("special")
			require.ErrorIs(t, err, ErrNotRegular)
			require.ErrorIs(t, d.Sync("special"), ErrNotRegular)
			_, err = d.Open("special/x", false)
			require.ErrorIs(t, err, ErrNotRegular)
			require.ErrorIs(t, d.Mkdir("special/x"), ErrNotRegular)
			require.ErrorIs(t, d.Rename("file", "special/x"), ErrNotRegular)
			require.ErrorIs(t, d.Rename("special/x", "y"), ErrNotRegular)
			require.ErrorIs(t, d.Remove("special/x"), ErrNotRegular)
			require.ErrorIs(t, d.Link("special", d, "y"), ErrNotRegular)
			require.ErrorIs(t, d.Link("file", d, "special/x"), ErrNotRegular)
			require.ErrorIs(t, d.Link("file", d, "special"), ErrExist)

			entries, err := d.List(".")
			require.NoError(t, err)
			require.Equal(t, Entry{Name: "special", Kind: KindOther}, entries[2])
			require.NoError(t, d.Rename("special", "dir/renamed"))
			require.NoError(t, RemoveAll(d, "dir"))
			require.Equal(t, "content", content(t, d, "file"))
		})
	}
	require.FileExists(t, outside)
}

func listen(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return closeAfter(os.NewFile(uintptr(fd), path), unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
}

func TestOSRefusesDevices(t *testing.T) {
	d := openDir(t, OS{}, "/dev")
	for _, write := range []bool{false, true} {
		_, err := d.Open("null", write)
		require.ErrorIs(t, err, ErrNotRegular)
	}
	_, err := OS{}.OpenDir("/dev/null", false)
	require.ErrorIs(t, err, ErrNotRegular)
}

func TestRemoveAllDoesNotFollow(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "f"), nil, 0o600))
	dir := t.TempDir()
	d := openDir(t, OS{}, dir)
	require.NoError(t, d.Mkdir("a"))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "a", "link")))
	require.NoError(t, RemoveAll(d, "a"))
	require.FileExists(t, filepath.Join(outside, "f"))
}

// A directory is the same one by whichever way one comes to it.
func TestHoldsFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, OS{}, filepath.Join(dir, "store"))
	require.NoError(t, d.Mkdir("sub"))
	link := func(to, name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Symlink(to, path))
		return path
	}
	inside, outside := link("store/sub", "inside"), link("..", "store/outside")
	loop := link("loop", "loop")
	for path, want := range map[string]bool{
		inside:                          true,
		filepath.Join(inside, "x"):      true,
		outside:                         false,
		filepath.Join(outside, "x"):     false,
		filepath.Join(outside, "store"): true,
	} {
		held, err := d.Holds(path)
		require.NoError(t, err, path)
		require.Equal(t, want, held, path)
	}
	_, err := d.Holds(loop)
	require.ErrorContains(t, err, "resolve "+loop)

	t.Chdir(filepath.Join(dir, "store", "sub"))
	held, err := d.Holds("x")
	require.NoError(t, err)
	require.True(t, held, "relative")
}

// The path itself belongs to the user, who may well have /var on another disk.
func TestOpenDirFollowsItsPath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("real", link))
	create(t, openDir(t, OS{}, link), "f", "")
	require.FileExists(t, filepath.Join(dir, "real", "f"))
}

func TestOSModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	d := openDir(t, OS{}, dir)
	create(t, d, "f", "")
	require.NoError(t, d.Mkdir("sub"))
	lock, err := d.Lock("LOCK", "x")
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	for name, want := range map[string]os.FileMode{".": 0o700, "f": 0o600, "sub": 0o700, "LOCK": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, fi.Mode().Perm(), name)
	}
}

// Removing or replacing the lock file lets nobody in.
func TestLockSurvivesItsFile(t *testing.T) {
	cases := []struct {
		name   string
		tamper func(d Dir) error
	}{
		{"removed", func(d Dir) error { return d.Remove("LOCK") }},
		{"replaced", func(d Dir) error { return Replace(d, "LOCK", []byte("thief")) }},
		{"renamed", func(d Dir) error { return d.Rename("LOCK", "other") }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				lock, err := d.Lock("LOCK", "first")
				require.NoError(t, err)
				require.NoError(t, c.tamper(d))
				_, err = openDir(t, fsys, dir).Lock("LOCK", "second")
				require.ErrorIs(t, err, ErrLocked)
				require.NoError(t, lock.Close())
				lock, err = d.Lock("LOCK", "second")
				require.NoError(t, err)
				require.NoError(t, lock.Close())
			})
		})
	}
}

// A file that is locked though its directory is not: somebody linked it here.
func TestLockOfLinkedFile(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, OS{}, dir)
	require.NoError(t, d.Mkdir("a"))
	require.NoError(t, d.Mkdir("b"))
	lock, err := d.Lock("a/LOCK", "first")
	require.NoError(t, err)
	require.NoError(t, os.Link(filepath.Join(dir, "a/LOCK"), filepath.Join(dir, "b/LOCK")))
	_, err = d.Lock("b/LOCK", "second")
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, "first", locked.Holder)
	require.NoError(t, lock.Close())
}

// lockFile gives up on a file that lost its name between opening and locking.
func TestIsNamed(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir()).(*osDir)
	f, err := d.create("f")
	require.NoError(t, err)
	require.True(t, d.isNamed(f, "f"))
	require.NoError(t, d.Remove("f"))
	require.False(t, d.isNamed(f, "f"))
	create(t, d, "f", "")
	require.False(t, d.isNamed(f, "f"))
	require.NoError(t, f.Close())
}

func TestOSErrorsKeepTheirCause(t *testing.T) {
	dir := t.TempDir()
	_, err := openDir(t, OS{}, dir).Open("missing", false)
	require.ErrorIs(t, err, unix.ENOENT)
	require.EqualError(t, err, "open "+filepath.Join(dir, "missing")+": no such file or directory")
}

// A process that is being started has copies of all descriptors for a moment.
func TestLockIsLetGoThoughItsDescriptorsAreCopied(t *testing.T) {
	dir, err := OS{}.OpenDir(t.TempDir(), false)
	require.NoError(t, err)
	defer dir.Close()
	first, err := dir.Lock("LOCK", "me")
	require.NoError(t, err)
	for _, f := range []*os.File{first.(*osLock).file, first.(*osLock).dir} {
		fd, err := unix.Dup(int(f.Fd()))
		require.NoError(t, err)
		defer unix.Close(fd)
	}
	require.NoError(t, first.Close())
	second, err := dir.Lock("LOCK", "me")
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

package fs

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBootID(t *testing.T) {
	require.Len(t, OS{}.BootID(), len("ca1ddbc9-46b5-4bd1-9d5c-e6ff5e3f2f9c"))
	require.Equal(t, OS{}.BootID(), OS{}.BootID())
}

// Allocated means that blocks were taken, not that a length was set.
func TestAllocateTakesSpace(t *testing.T) {
	const want = 1 << 20
	ways := map[string]func(f *osFile) error{
		"fallocate": func(f *osFile) error { return f.Allocate(0, want) },
		"zeros":     func(f *osFile) error { return f.appendZeros(want) },
	}
	for name, allocate := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := openDir(t, OS{}, dir)
			f, err := d.Create("f")
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("kept"), 0)
			require.NoError(t, err)
			require.NoError(t, allocate(f.(*osFile)))
			require.NoError(t, f.Sync())

			var st unix.Stat_t
			require.NoError(t, unix.Stat(filepath.Join(dir, "f"), &st))
			require.EqualValues(t, want, st.Size)
			require.GreaterOrEqual(t, st.Blocks*512, int64(want))
			b := make([]byte, 5)
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			require.Equal(t, "kept\x00", string(b))
			require.NoError(t, f.Close())
		})
	}
}

func TestFailedAllocateKeepsLength(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir())
	create(t, d, "f", "abc")
	f, err := d.Open("f", true)
	require.NoError(t, err)
	require.Error(t, f.Allocate(0, 1<<62), "no disk is that big")
	require.NoError(t, f.Close())
	require.Equal(t, "abc", content(t, d, "f"))
}

func TestAllocateGivesBackWhatItGot(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir())
	create(t, d, "f", "abc")
	f, err := d.Open("f", true)
	require.NoError(t, err)
	of := f.(*osFile)
	err = of.orCutBack(func() error {
		require.NoError(t, of.appendZeros(1000))
		return ENOSPC
	})
	require.ErrorIs(t, err, ENOSPC)
	require.NoError(t, f.Close())
	require.Equal(t, "abc", content(t, d, "f"))
}

// A descriptor would be left behind by a refusal that forgot to close.
func TestRefusalsCloseWhatTheyOpened(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir())
	lock, err := d.Lock("LOCK", "first")
	require.NoError(t, err)
	before := openDescriptors(t)
	for range 10 {
		_, err = d.Lock("LOCK", "second")
		require.ErrorIs(t, err, ErrLocked)
		_, err = d.Lock("missing/LOCK", "second")
		require.Error(t, err)
		_, err = ReadFile(d, "LOCK", 1)
		require.Error(t, err)
		require.NoError(t, d.Sync("."))
	}
	require.Equal(t, before, openDescriptors(t))
	require.NoError(t, lock.Close())
	require.Equal(t, before-2, openDescriptors(t))
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

// A program that closed its standard input has its number free. No file gets it.
func TestNoFileTakesAStandardDescriptor(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir())
	create(t, d, "there", "content")
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	require.NoError(t, unix.Close(0))
	defer func() {
		require.NoError(t, unix.Dup3(saved, 0, 0))
		require.NoError(t, unix.Close(saved))
	}()
	before := openDescriptors(t)
	var open []io.Closer
	for _, way := range []func() (File, error){
		func() (File, error) { return d.Create("made") },
		func() (File, error) { return d.Open("there", true) },
		func() (File, error) { return d.Open("there", false) },
	} {
		f, err := way()
		require.NoError(t, err)
		require.GreaterOrEqual(t, f.(*osFile).fd, 3)
		open = append(open, f)
	}
	lock, err := d.Lock("LOCK", "me")
	require.NoError(t, err)
	require.GreaterOrEqual(t, lock.(*osLock).file.Fd(), uintptr(3))
	_, err = d.Lock("LOCK", "somebody else")
	require.ErrorIs(t, err, ErrLocked, "moved or not")
	_, err = unix.Write(0, []byte("printed"))
	require.Error(t, err)
	for _, c := range append(open, lock) {
		require.NoError(t, c.Close())
	}
	require.Equal(t, before, openDescriptors(t))
	require.Equal(t, "content", content(t, d, "there"))
}

// A file that is moved is the same one: written to, mapped and locked as ever,
// and not handed to programs that are started.
func TestMovedFileWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	require.NoError(t, unix.Close(0))
	defer func() {
		require.NoError(t, unix.Dup3(saved, 0, 0))
		require.NoError(t, unix.Close(saved))
	}()
	low, err := os.Create(path)
	require.NoError(t, err)
	require.Zero(t, low.Fd())
	f, err := aboveStd(low)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("content"), 0)
	require.NoError(t, err)
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC)
	require.Equal(t, path, f.Name())
	require.NoError(t, f.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "content", string(b))
}

// Whichever way a file was linked, its bytes are there once.
func TestLinkSharesTheFile(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, OS{}, dir).(*osDir)
	create(t, d, "f", "content")
	f, err := d.openRegular("f", os.O_RDONLY)
	require.NoError(t, err)
	defer f.Close()

	cloned, err := clone(f, d, "cloned")
	require.NoError(t, err)
	if cloned {
		require.Equal(t, "content", content(t, d, "cloned"))
		onFile("cloned", func(f File) error { _, err := f.WriteAt([]byte("C"), 0); return err })(t, d)
		require.Equal(t, "content", content(t, d, "f"), "a clone is a file of its own")
		require.NoError(t, d.Remove("cloned"))
	}
	require.Equal(t, "f", names(t, d, "."), "a refused clone leaves nothing")

	require.NoError(t, hardLink(f, d, "linked"))
	require.Equal(t, "content", content(t, d, "linked"))
	was, err := os.Stat(filepath.Join(dir, "f"))
	require.NoError(t, err)
	is, err := os.Stat(filepath.Join(dir, "linked"))
	require.NoError(t, err)
	require.True(t, os.SameFile(was, is))

	require.ErrorIs(t, hardLink(f, d, "linked"), ErrExist)
	require.ErrorIs(t, linkFile(f, d, "linked"), ErrExist)
	require.Equal(t, "f linked", names(t, d, "."))
}

// What is linked is what was opened, whatever its name stands for by then.
func TestLinkIsOfTheOpenFile(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir()).(*osDir)
	create(t, d, "f", "first")
	f, err := d.openRegular("f", os.O_RDONLY)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, d.Rename("f", "moved"))
	create(t, d, "f", "second")
	require.NoError(t, hardLink(f, d, "linked"))
	require.Equal(t, "first", content(t, d, "linked"))
}

func TestLinkAcrossDevices(t *testing.T) {
	d := openDir(t, OS{}, t.TempDir()).(*osDir)
	create(t, d, "f", "content")
	f, err := d.openRegular("f", os.O_RDONLY)
	require.NoError(t, err)
	defer f.Close()
	require.ErrorIs(t, hardLink(f, openDir(t, OS{}, "/proc").(*osDir), "linked"), ErrNoLink)
}

func TestNoLink(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, unix.EXDEV: true, unix.EPERM: true, unix.EMLINK: true, unix.EOPNOTSUPP: true,
		unix.EEXIST: false, unix.ENOSPC: false, unix.EIO: false, unix.EROFS: false,
	} {
		require.Equal(t, want, noLink(err), "%v", err)
	}
}

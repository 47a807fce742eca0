package braidlog

import (
	"bytes"
	"context"
	iofs "io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// This file has what SECURITY.md promises and no other test shows.

// lived is a store on a real disk in which everything has happened that makes
// a file or a directory: its own, its archive's and its backup's.
func lived(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(filepath.Join(dir, "store"), Options{idle: true})
	require.NoError(t, err)
	topic := ensure(t, s, TopicConfig{
		Partitions: 2, SegmentBytes: 4 << 10, Archive: Archive{Dir: filepath.Join(dir, "archive")},
		Retention: Retention{PartitionBytes: 8 << 10},
	})
	for range 40 {
		for n := range 2 {
			_, err = topic.AppendTo(bg, n, Record{Value: make([]byte, 700)})
			require.NoError(t, err)
		}
	}
	require.NoError(t, topic.Enforce(bg))
	require.NoError(t, topic.Partition(1).Trim(bg, 35))
	require.NoError(t, s.Backup(bg, filepath.Join(dir, "backup")))
	require.NoError(t, s.Close())

	// Damage in the active segment, and a repair that sets it aside.
	segments, err := filepath.Glob(filepath.Join(dir, "store/topics/orders/partitions/0/*.log"))
	require.NoError(t, err)
	last := segments[len(segments)-1]
	b, err := os.ReadFile(last)
	require.NoError(t, err)
	b[1100]++
	require.NoError(t, os.WriteFile(last, b, 0o600))
	s, err = Open(filepath.Join(dir, "store"), Options{idle: true})
	require.NoError(t, err)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	_, err = topic.Partition(0).Repair(bg, partition.CutAtDamage)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Whatever the mask of the process is, nobody else may read or write.
func TestEveryFileIsItsOwners(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	lived(t, dir)
	kinds := map[string]int{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e iofs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := e.Info()
		require.NoError(t, err)
		want := iofs.FileMode(0o600)
		if e.IsDir() {
			want = iofs.ModeDir | 0o700
		}
		require.Equal(t, want, fi.Mode(), path)
		kinds[kindOf(e.Name())]++
		return nil
	}))
	for _, kind := range []string{"LOCK", "store.json", "checkpoint", "topic.json", "partition.json", ".log", ".index", "cut-", "archive", "backup"} {
		require.NotZero(t, kinds[kind], "%s was not made: %v", kind, kinds)
	}
}

func kindOf(name string) string {
	switch ext := filepath.Ext(name); {
	case len(name) > 4 && name[:4] == "cut-":
		return "cut-"
	case ext == ".log" || ext == ".index":
		return ext
	}
	return name
}

// Whoever removes or replaces the lock file does not get in, nor does anybody
// else.
func TestLockSurvivesAnUnlinkedFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	for _, tamper := range []func() error{
		func() error { return os.Remove(filepath.Join(dir, lockFile)) },
		func() error { return os.WriteFile(filepath.Join(dir, lockFile), []byte("mine"), 0o600) },
	} {
		require.NoError(t, tamper())
		_, err = Open(dir, Options{})
		require.ErrorIs(t, err, ErrLocked)
	}
	require.NoError(t, s.Close())
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// A program that closed its standard streams may print all the same: none of it
// gets into a file of the store.
func TestPrintingHitsNoFile(t *testing.T) {
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	restore := func() { require.NoError(t, unix.Dup3(saved, 0, 0)) }
	defer func() { require.NoError(t, unix.Close(saved)) }()
	defer restore()
	for _, level := range []Durability{Sync, OS} {
		restore()
		dir := t.TempDir()
		s, err := Open(dir, Options{})
		require.NoError(t, err)
		require.NoError(t, unix.Close(0)) // now: else it is a directory that gets the number
		topic := ensure(t, s, TopicConfig{Partitions: 1, Durability: level})
		printed := bytes.Repeat([]byte("printed "), 100)
		for i := range 50 {
			_, err = topic.Append(bg, rec("k", i))
			require.NoError(t, err)
			_, err = unix.Write(0, printed)
			require.Error(t, err)
			_, err = unix.Pwrite(0, printed, 1024)
			require.Error(t, err)
		}
		r, err := s.Verify(bg)
		require.NoError(t, err)
		require.Empty(t, r.Damaged)
		require.NoError(t, s.Close())
	}
}

// Pipes, sockets and devices in place of a file of the store are refused, and
// nobody waits for them.
func TestSpecialFilesAreRefused(t *testing.T) {
	for _, name := range []string{storeFile, checkpointFile, lockFile, "topics/orders/topic.json", "topics/orders/partitions/0/00000000000000000000.log"} {
		dir := t.TempDir()
		s, err := Open(dir, Options{})
		require.NoError(t, err)
		topic := ensure(t, s, TopicConfig{Partitions: 1})
		_, err = topic.Append(bg, rec("k", 1))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		path := filepath.Join(dir, name)
		require.NoError(t, os.Remove(path))
		require.NoError(t, unix.Mkfifo(path, 0o600))

		s, err = Open(dir, Options{})
		if err == nil {
			err = useOf(s)
			_ = s.Close() // that of the checkpoint fails too, or replaces it
		}
		require.ErrorIs(t, err, fs.ErrNotRegular, name)
		fi, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, iofs.ModeNamedPipe, fi.Mode().Type(), name)
	}
}

// useOf returns why the topic of a store cannot be used.
func useOf(s *Store) error {
	topic, err := s.Topic("orders")
	if err != nil {
		return err
	}
	_, err = topic.AppendTo(context.Background(), 0, rec("k", 2))
	return err
}

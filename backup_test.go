package braidlog

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// openBackup opens a store somewhere else than openMem.
func openBackup(t testing.TB, m *fs.Mem, path string, heap bool) *Store {
	t.Helper()
	s, err := Open(path, Options{fs: m, forceHeap: heap})
	require.NoError(t, err)
	return s
}

// requireVouched requires that nothing had to be read to open a store.
func requireVouched(t testing.TB, s *Store) {
	t.Helper()
	for _, name := range s.Topics() {
		topic, err := s.Topic(name)
		require.NoError(t, err)
		for i, r := range topic.Recovery() {
			require.True(t, r.Vouched || topic.Partition(i).End() == 0, "%s/%d", name, i)
			require.Zero(t, r.ReadBytes)
		}
	}
}

// namesIn lists a directory, missing or not.
func namesIn(t testing.TB, m *fs.Mem, path string) (names []string) {
	t.Helper()
	d, err := m.OpenDir(path, false)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return nil
	}
	found, err := d.List(".")
	require.NoError(t, err)
	for _, e := range found {
		names = append(names, e.Name)
	}
	return names
}

// requireNoDir requires that a directory is not there.
func requireNoDir(t testing.TB, m *fs.Mem, path string) {
	t.Helper()
	_, err := m.OpenDir(path, false)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// tree returns every file below a directory, by path.
func tree(t testing.TB, d fs.Dir, prefix string, all map[string]uint32) map[string]uint32 {
	t.Helper()
	found, err := d.List(".")
	require.NoError(t, err)
	for _, e := range found {
		if e.Kind == fs.KindDir {
			tree(t, d.Sub(e.Name), prefix+e.Name+"/", all)
			continue
		}
		b, err := fs.ReadFile(d, e.Name, 1<<30)
		require.NoError(t, err)
		all[prefix+e.Name] = crc32.ChecksumIEEE(b)
	}
	return all
}

func treeOf(t testing.TB, fsys fs.FS, path string) map[string]uint32 {
	t.Helper()
	d, err := fsys.OpenDir(path, false)
	require.NoError(t, err)
	defer d.Close()
	return tree(t, d, "", map[string]uint32{})
}

// noLinks makes a file system out of m that cannot link.
func noLinks(op fs.Op) error {
	if op.Kind == fs.OpLink {
		return fs.ErrNoLink
	}
	return nil
}

const backupPartitions = 3

// A pair of appenders: record n goes to partition a, and once that is
// acknowledged, record n to partition b.
func appendPairs(ctx context.Context, t testing.TB, topic *Topic, name string, a, b int) {
	for n := 0; ctx.Err() == nil; n++ {
		for _, p := range []int{a, b} {
			if _, err := topic.AppendTo(bg, p, rec(name, n)); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// Backups of a store that is appended to, at all levels and with both windows.
// Each holds of every partition the first records and no others; everything
// that was acknowledged before; and nothing whose past is missing.
func TestBackupWhileAppending(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for _, level := range []Durability{Sync, Interval, OS} {
			t.Run(level.String(), func(t *testing.T) {
				m := fs.NewMem()
				s := openBackup(t, m, "/store", heap)
				topic := ensure(t, s, TopicConfig{Partitions: backupPartitions, Durability: level, SegmentBytes: 4 << 10})
				ctx, cancel := context.WithCancel(bg)
				var all sync.WaitGroup
				for n := range backupPartitions {
					all.Go(func() { appendPairs(ctx, t, topic, fmt.Sprint("pair", n), n, (n+1)%backupPartitions) })
				}
				var least [][]int64
				const backups = 6
				c := topic.NewCursor(partition.First())
				for i := range backups {
					for range 150 { // so much is appended between two of them
						_, err := c.Next(bg)
						require.NoError(t, err)
					}
					var ends []int64
					for n := range backupPartitions {
						ends = append(ends, topic.Partition(n).End())
					}
					require.NoError(t, s.Backup(bg, fmt.Sprint("/backup", i)))
					least = append(least, ends)
				}
				cancel()
				all.Wait()
				require.NoError(t, c.Close())
				want := readStore(t, "the source", s)
				require.NoError(t, s.Close())
				require.Zero(t, s.shared.OpenFiles())
				for i := range backups {
					b := openBackup(t, m, fmt.Sprint("/backup", i), heap)
					requireVouched(t, b)
					requirePrefix(t, readStore(t, fmt.Sprint("backup ", i), b), want, least[i])
					require.NoError(t, b.Close())
				}
			})
		}
	})
}

// requirePrefix compares a backup with what its source holds later.
func requirePrefix(t testing.TB, got, want found, least []int64) {
	counts := map[string][backupPartitions]int{}
	for n, p := range got["orders"] {
		whole := want["orders"][n]
		require.GreaterOrEqual(t, p.end, least[n], "partition %d: what was acknowledged before", n)
		require.Len(t, p.entries, int(p.end))
		require.True(t, slices.Equal(whole.entries[:p.end], p.entries), "partition %d", n)
		for _, e := range p.entries {
			name, _, _ := strings.Cut(e.value, " ")
			c := counts[name]
			c[n]++
			counts[name] = c
		}
	}
	for i := range backupPartitions {
		c := counts[fmt.Sprint("pair", i)]
		first, second := c[i], c[(i+1)%backupPartitions]
		require.GreaterOrEqual(t, first, second, "pair %d: a record without the one before it", i)
		require.LessOrEqual(t, first, second+1, "pair %d: only one is appended at a time", i)
	}
}

// fillShop makes two topics, of several segments and of one, and an empty one.
func fillShop(t testing.TB, s *Store, level Durability) {
	t.Helper()
	orders := ensure(t, s, TopicConfig{Partitions: 2, Durability: level, SegmentBytes: 4 << 10})
	for i := range 250 {
		_, err := orders.Append(bg, rec(fmt.Sprint("k", i%7), i))
		require.NoError(t, err)
	}
	for _, name := range []string{"refunds", "nothing"} {
		topic, err := s.CreateTopic(bg, name, TopicConfig{Partitions: 1, Durability: level})
		require.NoError(t, err)
		if name == "refunds" {
			_, err = topic.Append(bg, rec("k", 1))
			require.NoError(t, err)
		}
	}
}

// A backup is a store like any other: it is appended to, its topics are
// deleted, it is backed up, and nothing of that is seen by the source; nor the
// other way about.
func TestBackupAndSourceGoTheirWays(t *testing.T) {
	for _, linked := range []bool{true, false} {
		t.Run(fmt.Sprint("linked ", linked), func(t *testing.T) {
			m := fs.NewMem()
			if !linked {
				m.OnOp(noLinks)
			}
			s := openMem(t, m)
			fillShop(t, s, OS)
			require.NoError(t, s.Backup(bg, "/backup"))
			before := readStore(t, "source", s)
			require.NoError(t, s.Close()) // and so nobody but the backup changes it
			source := treeOf(t, m, "/store")
			b := openBackup(t, m, "/backup", false)
			requireVouched(t, b)
			require.Equal(t, before, readStore(t, "backup", b))
			require.Equal(t, []string{"nothing", "orders", "refunds"}, b.Topics())
			require.NoError(t, b.Backup(bg, "/again"))

			topic, err := b.Topic("orders")
			require.NoError(t, err)
			require.Equal(t, OS, topic.Config().Durability)
			pos, err := topic.AppendTo(bg, 0, rec("only here", 1))
			require.NoError(t, err)
			require.Equal(t, before["orders"][0].end, pos.Offset)
			require.NoError(t, topic.SetConfig(bg, TopicConfig{Durability: Sync}))
			require.NoError(t, b.DeleteTopic(bg, "refunds"))
			require.NoError(t, b.Close())
			require.Equal(t, source, treeOf(t, m, "/store"))

			backup := treeOf(t, m, "/backup")
			s = openMem(t, m)
			orders := ensure(t, s, TopicConfig{})
			for i := range 100 {
				_, err = orders.Append(bg, rec("k", i))
				require.NoError(t, err)
			}
			require.NoError(t, s.DeleteTopic(bg, "orders"))
			require.NoError(t, s.Close())
			require.Equal(t, backup, treeOf(t, m, "/backup"))

			m = m.Crash(func() bool { return false })
			again := openBackup(t, m, "/again", false)
			requireVouched(t, again)
			require.Equal(t, before, readStore(t, "backup of the backup", again))
			require.NoError(t, again.Close())
		})
	}
}

// A backup is not taken for its source by the archive, where it would replace
// what its source put there.
func TestBackupDoesNotArchiveOverItsSource(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	grow := func(s *Store) *Topic {
		topic := ensure(t, s, TopicConfig{
			Partitions: 1, SegmentBytes: 4 << 10, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{Dir: "/archive"},
		})
		for i := range 300 {
			_, err := topic.Append(bg, rec("k", i))
			require.NoError(t, err)
		}
		return topic
	}
	require.NoError(t, grow(s).Enforce(bg))
	require.NoError(t, s.Backup(bg, "/backup"))
	require.NoError(t, s.Close())
	archived := treeOf(t, m, "/archive")
	require.Greater(t, len(archived), 3)

	b := openBackup(t, m, "/backup", false)
	require.NotEqual(t, s.file.data.Store, b.file.data.Store)
	err := grow(b).Enforce(bg)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "it is of another store")
	require.NoError(t, b.Close())
	require.Equal(t, archived, treeOf(t, m, "/archive"))
}

// On a real disk: sealed segments share it, and everything is read back.
func TestBackupOnDisk(t *testing.T) {
	for _, level := range []Durability{Sync, OS} {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		s, err := Open(at("store"), Options{})
		require.NoError(t, err)
		fillShop(t, s, level)
		require.NoError(t, s.Backup(bg, at("made/deep/backup")))
		want := readStore(t, "source", s)
		require.NoError(t, s.Close())
		source := treeOf(t, fs.OS{}, at("store"))
		b, err := Open(at("made/deep/backup"), Options{})
		require.NoError(t, err)
		requireVouched(t, b)
		require.Equal(t, want, readStore(t, "backup", b))

		sealed, err := filepath.Glob(at("store/topics/orders/partitions/0/*.log"))
		require.NoError(t, err)
		require.Greater(t, len(sealed), 2)
		for _, name := range sealed[:len(sealed)-1] {
			rel, err := filepath.Rel(at("store"), name)
			require.NoError(t, err)
			requireShared(t, name, at("made/deep/backup/"+filepath.ToSlash(rel)))
		}
		topic, err := b.Topic("orders")
		require.NoError(t, err)
		for i := range 200 {
			_, err = topic.AppendTo(bg, 0, rec("only here", i))
			require.NoError(t, err)
		}
		require.NoError(t, b.DeleteTopic(bg, "orders"))
		require.NoError(t, b.Close())
		require.Equal(t, source, treeOf(t, fs.OS{}, at("store")))
	}
}

// A link to a disk that is not there, as one that is not mounted, stays: without
// it the next backup would go somewhere else.
func TestBackupThroughALinkThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Symlink(at("disk"), at("backups")); err != nil {
		t.Logf("links cannot be made here: %v", err)
		return
	}
	s, err := Open(at("store"), Options{})
	require.NoError(t, err)
	fillShop(t, s, Sync)
	for _, path := range []string{"backups", "backups/today", "backups/of/today"} {
		require.Error(t, s.Backup(bg, at(path)), path)
		to, err := os.Readlink(at("backups"))
		require.NoError(t, err, path)
		require.Equal(t, at("disk"), to)
	}
	require.NoError(t, os.Mkdir(at("disk"), 0o700))
	require.NoError(t, s.Backup(bg, at("backups/today")))
	require.DirExists(t, at("disk/today"))
	require.NoError(t, s.Close())
}

// requireShared requires that two files are one or, if they were cloned or
// copied, that they hold the same.
func requireShared(t testing.TB, a, b string) {
	t.Helper()
	of := func(name string) (os.FileInfo, []byte) {
		fi, err := os.Stat(name)
		require.NoError(t, err)
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		return fi, content
	}
	was, content := of(a)
	is, copied := of(b)
	require.True(t, os.SameFile(was, is) || slices.Equal(content, copied), "%s, %s", a, b)
}

func TestBackupIntoBadDirectories(t *testing.T) {
	m := filled(t, Sync)
	s := openMem(t, m)
	full, err := m.OpenDir("/full/store", true)
	require.NoError(t, err)
	require.NoError(t, fs.Replace(full, "file", []byte("content")))
	require.NoError(t, s.Backup(bg, "/backup"))
	partial, err := m.OpenDir("/partial", true)
	require.NoError(t, err)
	require.NoError(t, fs.Replace(partial, partialFile, nil))
	before := treeOf(t, m, "/")

	for path, want := range map[string]string{
		"":                  `back up store to : invalid directory: ""`,
		"/store":            "back up store to /store: invalid directory: it is in the store",
		"/store/":           "back up store to /store/: invalid directory: it is in the store",
		"/full/../store":    "back up store to /full/../store: invalid directory: it is in the store",
		"/store/backup":     "back up store to /store/backup: invalid directory: it is in the store",
		"/store/topics/new": "back up store to /store/topics/new: invalid directory: it is in the store",
		"/":                 "back up store to /: invalid directory: it is not empty, it has backup",
		"/full":             "back up store to /full: invalid directory: it is not empty, it has store",
		"/full/store":       "back up store to /full/store: invalid directory: it is not empty, it has file",
		"/backup":           "back up store to /backup: invalid directory: it is not empty, it has checkpoint",
		"/partial":          "back up store to /partial: invalid directory: it has an unfinished backup",
	} {
		err := s.Backup(bg, path)
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, ErrInvalid)
		require.Equal(t, before, treeOf(t, m, "/"))
	}
	err = s.Backup(bg, "/full/store/file")
	require.ErrorIs(t, err, fs.ErrNotRegular)
	require.ErrorContains(t, err, "back up store to /full/store/file: ")
	err = s.Backup(bg, "/full/store/file/below")
	require.ErrorContains(t, err, "back up store to /full/store/file/below: ")

	var none context.Context
	require.ErrorIs(t, s.Backup(none, "/new"), ErrInvalid)
	ended, cancel := context.WithCancel(bg)
	cancel()
	require.ErrorIs(t, s.Backup(ended, "/new"), context.Canceled)
	require.Equal(t, before, treeOf(t, m, "/"))
	requireNoDir(t, m, "/new")
	attached, err := Open("/backup", Options{fs: m, ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, attached.Backup(bg, "/new"), ErrReadOnly)
	require.NoError(t, attached.Close())
	require.NoError(t, s.Close())
	err = s.Backup(bg, "/new")
	require.EqualError(t, err, "back up store to /new: store is closed")
	require.ErrorIs(t, err, ErrClosed)
	requireNoDir(t, m, "/new")
}

// An empty directory that was there is used, and is there again after an
// error.
func TestBackupIntoAnEmptyDirectory(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	fillShop(t, s, Sync)
	_, err := m.OpenDir("/backup", true)
	require.NoError(t, err)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpLink {
			return fs.EIO
		}
		return nil
	})
	require.ErrorIs(t, s.Backup(bg, "/backup"), fs.EIO)
	_, err = m.OpenDir("/backup", false)
	require.NoError(t, err)
	require.Empty(t, namesIn(t, m, "/backup"))
	m.OnOp(nil)
	require.NoError(t, s.Backup(bg, "/backup"))
	require.Equal(t, []string{"checkpoint", "store.json", "topics"}, namesIn(t, m, "/backup"))
	require.NoError(t, s.Close())
}

// After an error the directories are gone too that were made above the backup's,
// and no others.
func TestBackupThatFailsInNewDirectories(t *testing.T) {
	m := filled(t, Sync)
	s := openMem(t, m)
	_, err := m.OpenDir("/there", true)
	require.NoError(t, err)
	for _, kind := range []fs.OpKind{fs.OpCreate, fs.OpLink} {
		m.OnOp(func(op fs.Op) error {
			if op.Kind == kind {
				return fs.EIO
			}
			return nil
		})
		for _, path := range []string{"/there/of/today", "/there/of/today/", "/there/x/../of/today", "/new/of/today"} {
			require.ErrorIs(t, s.Backup(bg, path), fs.EIO)
			requireNoDir(t, m, "/there/of")
			requireNoDir(t, m, "/new")
		}
	}
	m.OnOp(func(op fs.Op) error {
		if op.Kind != fs.OpLink {
			return nil
		}
		_, err := m.OpenDir("/there/of/tomorrow", true) // by somebody else
		return errors.Join(err, fs.EIO)
	})
	require.ErrorIs(t, s.Backup(bg, "/there/of/today"), fs.EIO)
	require.Equal(t, []string{"tomorrow"}, namesIn(t, m, "/there/of"))
	m.OnOp(nil)
	require.NoError(t, s.Backup(bg, "/there/of/today"))
	require.NoError(t, s.Close())
}

func TestUnfinishedBackupIsRefused(t *testing.T) {
	m := made(t, Sync)
	d, err := m.OpenDir("/store", false)
	require.NoError(t, err)
	require.NoError(t, fs.Replace(d, partialFile, []byte("anything")))
	before := treeOf(t, m, "/store")
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrPartialBackup)
	require.EqualError(t, err, "open store /store: an unfinished backup: there is backup.partial")
	require.Equal(t, before, treeOf(t, m, "/store"))

	m = fs.NewMem()
	d, err = m.OpenDir("/store", true)
	require.NoError(t, err)
	require.NoError(t, d.Mkdir(partialFile)) // whatever it is
	_, err = Open("/store", Options{fs: m})
	require.Error(t, err)
	require.NotContains(t, namesIn(t, m, "/store"), storeFile)
}

// at returns a hook that does something before operation n from now on, once.
func at(n int64, do func()) func(fs.Op) error {
	var mu sync.Mutex
	var count int64
	return func(fs.Op) error {
		mu.Lock()
		count++
		now := count == n
		mu.Unlock()
		if now {
			do()
		}
		return nil
	}
}

// ctx ends at any operation: either the backup is whole, or nothing is left.
func TestBackupThatIsCancelled(t *testing.T) {
	base := filled(t, Sync)
	for n := int64(1); ; n++ {
		m := base.Kill()
		s := openMem(t, m)
		want := readStore(t, "source", s)
		ctx, cancel := context.WithCancel(bg)
		m.OnOp(at(n, cancel))
		err := s.Backup(ctx, "/backup")
		came := ctx.Err() != nil
		m.OnOp(nil)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled, "operation %d", n)
			requireNoDir(t, m, "/backup")
		} else {
			requireBackup(t, fmt.Sprintf("cancelled at operation %d", n), m, want)
		}
		require.NoError(t, s.Close())
		cancel()
		if !came {
			return
		}
	}
}

// filled is a disk with a store that was closed.
func filled(t testing.TB, level Durability) *fs.Mem {
	t.Helper()
	m := fs.NewMem()
	s := openMem(t, m)
	fillShop(t, s, level)
	require.NoError(t, s.Close())
	return m
}

func requireBackup(t testing.TB, what string, m *fs.Mem, want found) {
	t.Helper()
	b, err := Open("/backup", Options{fs: m})
	require.NoError(t, err, what)
	requireVouched(t, b)
	require.Equal(t, want, readStore(t, what, b), what)
	require.NoError(t, b.Close(), what)
}

// requireWholeOrRefused requires of what an interrupted backup left that it is
// not there, or completely empty, or does not open, or has everything.
func requireWholeOrRefused(t testing.TB, what string, m *fs.Mem, want found) (whole bool) {
	t.Helper()
	if len(namesIn(t, m, "/backup")) == 0 {
		return false
	}
	b, err := Open("/backup", Options{fs: m})
	if err != nil {
		require.ErrorIs(t, err, ErrPartialBackup, what)
		return false
	}
	require.NoError(t, b.Close(), what)
	requireBackup(t, what, m, want)
	return true
}

// Whenever the process or the power ends: no half a backup opens, and the
// source is as it was.
func TestBackupSurvivesACrashAtEveryOperation(t *testing.T) {
	for _, linked := range []bool{true, false} {
		t.Run(fmt.Sprint("linked ", linked), func(t *testing.T) {
			m := filled(t, OS)
			s := openMem(t, m)
			orders := ensure(t, s, TopicConfig{})
			for i := range 20 { // unsynced when the backup begins
				_, err := orders.Append(bg, rec("k", i))
				require.NoError(t, err)
			}
			want := readStore(t, "source", s)
			w := newWorld(t, false, true, 1)
			w.m = m
			var mu sync.Mutex
			var all []image
			m.OnOp(func(op fs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if changes(op) {
					all = append(all, w.capture(op.String())...)
				}
				if !linked {
					return noLinks(op)
				}
				return nil
			})
			require.NoError(t, s.Backup(bg, "/backup"))
			m.OnOp(nil)
			all = append(all, w.capture("at the end")...)
			for n, i := range all {
				whole := requireWholeOrRefused(t, i.at, i.m, want)
				require.True(t, whole || n < len(all)-4, i.at)
				requireSource(t, i, want)
			}
			require.NoError(t, s.Close())
		})
	}
}

// requireSource requires that the source of a backup opens after the end of
// the process with what it had, and after the end of power with a part of that.
func requireSource(t testing.TB, i image, want found) {
	t.Helper()
	s, err := Open("/store", Options{fs: i.m})
	require.NoError(t, err, i.at)
	got := readStore(t, i.at, s).entries()
	require.NoError(t, s.Close(), i.at)
	if i.killed {
		require.Equal(t, want.entries(), got, i.at)
		return
	}
	for name, parts := range want.entries() {
		for n, entries := range parts {
			require.LessOrEqual(t, len(got[name][n]), len(entries), i.at)
			require.Equal(t, entries[:len(got[name][n])], got[name][n], i.at)
		}
	}
}

// Whatever operation fails, once or from then on: an error says so, or the
// backup is whole. After one failure nothing is left; where everything fails,
// what is left does not open.
func TestBackupSurvivesTheFailureOfEveryOperation(t *testing.T) {
	for _, linked := range []bool{true, false} {
		for _, forever := range []bool{false, true} {
			t.Run(fmt.Sprintf("linked %t, forever %t", linked, forever), func(t *testing.T) {
				base := filled(t, Sync)
				for n := int64(1); failBackup(t, base.Kill(), n, linked, forever); n++ {
				}
			})
		}
	}
}

// failBackup reports whether the backup came as far as operation n.
func failBackup(t *testing.T, m *fs.Mem, n int64, linked, forever bool) bool {
	s := openMem(t, m)
	want := readStore(t, "source", s)
	var mu sync.Mutex
	var count int64
	what := "nothing"
	m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !linked && op.Kind == fs.OpLink {
			return fs.ErrNoLink
		}
		if count++; count < n || count > n && !forever {
			return nil
		}
		if count == n {
			what = op.String()
		}
		return fs.EIO
	})
	err := s.Backup(bg, "/backup")
	m.OnOp(nil)
	mu.Lock()
	what = fmt.Sprintf("operation %d, %s, fails", n, what)
	came := count >= n
	mu.Unlock()
	switch {
	case err == nil:
		requireBackup(t, what, m, want)
	case forever:
		require.ErrorIs(t, err, fs.EIO, what)
		requireWholeOrRefused(t, what, m.Kill(), want)
		requireWholeOrRefused(t, what, m.Crash(func() bool { return false }), want)
		requireWholeOrRefused(t, what, m.Crash(func() bool { return true }), want)
	default:
		require.ErrorIs(t, err, fs.EIO, what)
		require.ErrorContains(t, err, "back up store to /backup: ", what)
		requireNoDir(t, m, "/backup")
	}
	require.Equal(t, want, readStore(t, what, s), what)
	require.NoError(t, s.Close(), what)
	return came
}

// While a backup is undone the power goes: nothing that is left opens.
func TestBackupSurvivesACrashWhileItIsUndone(t *testing.T) {
	base := filled(t, Sync)
	for _, fails := range []string{"link", "sync directory /backup/topics/orders/partitions", "write /backup/store.json.tmp", "remove /backup/backup.partial", "sync directory /backup"} {
		m := base.Kill()
		s := openMem(t, m)
		want := readStore(t, "source", s)
		w := newWorld(t, false, true, 2)
		w.m = m
		var mu sync.Mutex
		var all []image
		last := ""
		m.OnOp(func(op fs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			before := last
			last = op.String()
			if changes(op) {
				all = append(all, w.capture(fails+" fails, then "+last)...)
			}
			if !strings.HasPrefix(last, fails) {
				return nil
			}
			if fails == "sync directory /backup" && !strings.HasPrefix(before, "remove /backup/backup.partial") {
				return nil
			}
			if fails != "link" {
				fails += "\x00" // once is enough
			}
			return fs.EIO
		})
		require.ErrorIs(t, s.Backup(bg, "/backup"), fs.EIO)
		m.OnOp(nil)
		requireNoDir(t, m, "/backup")
		for _, i := range all {
			requireWholeOrRefused(t, i.at, i.m, want)
		}
		require.NoError(t, s.Close())
	}
}

// A backup has the damage of its source.
func TestBackupOfDamage(t *testing.T) {
	m := filled(t, Sync)
	var names []string
	for name := range treeOf(t, m, "/store/topics/orders/partitions/0") {
		if strings.HasSuffix(name, ".log") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	require.Greater(t, len(names), 2)
	const dir = "/store/topics/orders/partitions/0/"
	spoil := func(name string) {
		change(t, m, dir+name, func(b []byte) []byte { b[1024+60] ^= 1; return b })
	}
	spoil(names[1])
	for _, active := range []bool{false, true} {
		if active {
			last := names[len(names)-1]
			spoil(last)
			for _, cache := range []string{"/store/checkpoint", dir + strings.TrimSuffix(last, "log") + "index"} {
				change(t, m, cache, func(b []byte) []byte { return nil }) // so that Open finds it
			}
		}
		s := openMem(t, m)
		require.NoError(t, s.Backup(bg, "/backup"))
		b := openBackup(t, m, "/backup", false)
		was, is := lostIn(t, s), lostIn(t, b)
		require.Len(t, was, map[bool]int{false: 1, true: 2}[active])
		require.Equal(t, was, is)
		for _, s := range []*Store{s, b} {
			topic, err := s.Topic("orders")
			require.NoError(t, err)
			require.Equal(t, !active, topic.Stats().Partitions[0].Writable)
			require.NoError(t, s.Close())
		}
		d, err := m.OpenDir("/", false)
		require.NoError(t, err)
		require.NoError(t, fs.RemoveAll(d, "backup"))
	}
}

// lostIn reads everything and returns what is damaged.
func lostIn(t testing.TB, s *Store) (lost []string) {
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	for _, err := range topic.Records(bg, partition.First()) {
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			lost = append(lost, err.Error())
		}
	}
	return lost
}

// What could not be opened cannot be copied, and is named.
func TestBackupOfWhatDoesNotOpen(t *testing.T) {
	m := filled(t, Sync)
	m.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/orders/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	s := openMem(t, m)
	m.OnOp(nil)
	err := s.Backup(bg, "/backup")
	require.ErrorContains(t, err, "back up store to /backup: back up orders/1: open orders/1: ")
	require.ErrorIs(t, err, fs.EIO)
	requireNoDir(t, m, "/backup")
	require.NoError(t, s.Close())

	change(t, m, "/store/topics/orders/topic.json", func([]byte) []byte { return nil })
	s = openMem(t, m)
	err = s.Backup(bg, "/backup")
	require.ErrorContains(t, err, "back up store to /backup: open topic orders: ")
	require.ErrorIs(t, err, ErrCorrupt)
	requireNoDir(t, m, "/backup")
	require.NoError(t, s.Close())
}

// What happens to the store meanwhile does not make a backup of two moments:
// it has all of the one, or there is none.
func TestBackupWhileTheStoreChanges(t *testing.T) {
	base := filled(t, Sync)
	for name, c := range map[string]struct {
		do   func(t *testing.T, s *Store)
		want error // of the backup, if it comes in between; nil: it goes well
	}{
		"closed":  {func(t *testing.T, s *Store) { require.NoError(t, s.Close()) }, ErrClosed},
		"deleted": {func(t *testing.T, s *Store) { require.NoError(t, s.DeleteTopic(bg, "orders")) }, ErrClosed},
		"deleted and made again": {func(t *testing.T, s *Store) {
			require.NoError(t, s.DeleteTopic(bg, "orders"))
			fillAgain(t, s)
		}, ErrClosed},
		"made": {func(t *testing.T, s *Store) {
			_, err := s.CreateTopic(bg, "more", TopicConfig{})
			require.NoError(t, err)
		}, nil},
		"configured": {func(t *testing.T, s *Store) {
			topic, err := s.Topic("orders")
			require.NoError(t, err)
			require.NoError(t, topic.SetConfig(bg, TopicConfig{Durability: OS}))
		}, nil},
		"appended": {func(t *testing.T, s *Store) { fillAgain(t, s) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				m := base.Kill()
				s := openMem(t, m)
				want := readStore(t, "source", s)
				done, frozen := false, false
				var mu sync.Mutex
				var doing sync.WaitGroup
				m.OnOp(at(n, func() {
					mu.Lock()
					defer mu.Unlock()
					// The first directory is made after the moment.
					frozen = slices.Contains(namesIn(t, m, "/backup"), topicsDir)
					done = true
					begins(t, s, &doing, func() { c.do(t, s) })
				}))
				err := s.Backup(bg, "/backup")
				doing.Wait()
				m.OnOp(nil)
				mu.Lock()
				what := fmt.Sprintf("%s at operation %d", name, n)
				switch {
				case err != nil:
					require.NotNil(t, c.want, "%s: %v", what, err)
					require.ErrorIs(t, err, c.want, what)
					requireNoDir(t, m, "/backup")
				case frozen || !done:
					requireBackup(t, what, m, want)
				default:
					openBackup(t, m, "/backup", false).Close()
				}
				over := !done
				mu.Unlock()
				if err = s.Close(); c.want == nil {
					require.NoError(t, err)
				}
				if over {
					return
				}
			}
		})
	}
}

// begins does something and returns when it is done, or waits for the backup:
// closing a partition waits for who copies it.
func begins(t *testing.T, s *Store, doing *sync.WaitGroup, do func()) {
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	done := make(chan struct{})
	doing.Go(func() {
		defer close(done)
		do()
	})
	for topic.Partition(0).Writable() || topic.Partition(1).Writable() {
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

// fillAgain appends to a topic that is made if it is missing.
func fillAgain(t *testing.T, s *Store) {
	topic := ensure(t, s, TopicConfig{Partitions: 2, SegmentBytes: 4 << 10})
	for i := range 250 {
		_, err := topic.Append(bg, rec(fmt.Sprint("other", i%7), i))
		require.NoError(t, err)
	}
}

// Two backups into one directory, and a store that is opened where a backup is
// being made: at most one of them has the directory, and what it has is whole.
func TestBackupHasItsDirectoryToItself(t *testing.T) {
	base := filled(t, Sync)
	for n := int64(1); ; n++ {
		m := base.Kill()
		s := openMem(t, m)
		want := readStore(t, "source", s)
		var second error
		came := false
		m.OnOp(at(n, func() {
			came = true
			second = s.Backup(bg, "/backup")
		}))
		first := s.Backup(bg, "/backup")
		m.OnOp(nil)
		what := fmt.Sprintf("operation %d: %v, %v", n, first, second)
		require.True(t, (first == nil) != (second == nil) || !came && first == nil, what)
		requireBackup(t, what, m, want)
		require.NoError(t, s.Close())
		if !came {
			break
		}
	}
	for n := int64(1); ; n++ {
		m := base.Kill()
		s := openMem(t, m)
		want := readStore(t, "source", s)
		var other *Store
		var second error
		came := false
		m.OnOp(at(n, func() {
			came = true
			if other, second = Open("/backup", Options{fs: m}); second == nil {
				require.NoError(t, other.Close())
			}
		}))
		first := s.Backup(bg, "/backup")
		m.OnOp(nil)
		what := fmt.Sprintf("operation %d: %v, %v", n, first, second)
		switch {
		case first == nil:
			requireBackup(t, what, m, want)
		case second == nil:
			require.ErrorIs(t, first, ErrInvalid, what)
			requireEmptyStore(t, m)
		default: // each saw the other one
			require.ErrorIs(t, first, ErrInvalid, what)
			require.ErrorIs(t, second, ErrPartialBackup, what)
			require.Equal(t, []string{lockFile}, namesIn(t, m, "/backup"), what)
		}
		require.NoError(t, s.Close())
		if !came {
			break
		}
	}
}

// requireEmptyStore requires that somebody's new store is left alone.
func requireEmptyStore(t testing.TB, m *fs.Mem) {
	t.Helper()
	s, err := Open("/backup", Options{fs: m})
	require.NoError(t, err)
	require.Empty(t, s.Topics())
	require.NoError(t, s.Close())
}

package braidlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// attach opens the store that openMem writes, for reading. Whoever tries to
// change anything fails the test.
func attach(t testing.TB, f fs.FS) *Store {
	t.Helper()
	s, err := Open("/store", Options{ReadOnly: true, fs: reading(t, f)})
	require.NoError(t, err)
	return s
}

func reading(t testing.TB, f fs.FS) fs.FS {
	return fs.Reading{FS: f, OnChange: func(op fs.OpKind, name string) {
		t.Errorf("read-only, and yet: %v %s", op, name)
	}}
}

// waitFor returns the next record of a reader or cursor, waiting for it as long
// as a test may take.
func waitFor(t testing.TB, r interface {
	Next(context.Context) (*Record, error)
}) *Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	rec, err := r.Next(ctx)
	require.NoError(t, err)
	return rec
}

// eventually waits until what is true.
func eventually(t testing.TB, what func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !what(); {
		require.True(t, time.Now().Before(end), "never came true")
		<-time.After(time.Millisecond)
	}
}

func TestReadOnlyFollowsTheWriter(t *testing.T) {
	for _, level := range []Durability{Sync, Interval, OS} {
		for _, heap := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, heap %t", level, heap), func(t *testing.T) {
				m := fs.NewMem()
				w := openMem(t, m, func(o *Options) { o.forceHeap = heap })
				orders := ensure(t, w, TopicConfig{Durability: level, SegmentBytes: 4 << 10})
				s := attach(t, m)
				topic, err := s.Topic("orders")
				require.NoError(t, err)
				require.Equal(t, level, topic.Config().Durability)
				require.Equal(t, "key", topic.Placement())
				cursor := topic.NewCursor(partition.First())
				next := map[string]int{}
				for i := range 300 {
					_, err = orders.Append(bg, rec(fmt.Sprint("key", i%7), i/7))
					require.NoError(t, err)
				}
				for range 300 { // the last ones of each partition wait for its marker
					r := waitFor(t, cursor)
					key := string(r.Key)
					require.Equal(t, fmt.Sprint(key, " ", next[key]), string(r.Value))
					require.Equal(t, "orders", r.Topic)
					next[key]++
				}
				require.NoError(t, cursor.Close())
				require.Len(t, values(t, topic.Records(bg, partition.First())), 300)
				require.Equal(t, values(t, orders.Key(bg, []byte("key3"))), values(t, topic.Key(bg, []byte("key3"))))
				require.EqualValues(t, 300, topic.Stats().Records)
				require.NoError(t, w.Close())
				require.NoError(t, s.Close())
				require.ErrorIs(t, s.Close(), ErrClosed)
			})
		}
	}
}

// What is done to topics while somebody reads is found.
func TestReadOnlyFindsTopics(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	s := attach(t, m)
	require.Empty(t, s.Topics())
	_, err := s.Topic("orders")
	require.ErrorIs(t, err, ErrTopicNotFound)
	orders := ensure(t, w, TopicConfig{Durability: OS, Partitions: 2})
	require.Equal(t, []string{"orders"}, s.Topics())
	old, err := s.Topic("orders")
	require.NoError(t, err)
	again, err := s.Topic("orders")
	require.NoError(t, err)
	require.Same(t, old, again)
	_, err = orders.AppendTo(bg, 1, rec("a", 1))
	require.NoError(t, err)
	require.Equal(t, []string{"a 1"}, values(t, old.Records(bg, partition.First())))

	// Settings follow.
	require.NoError(t, orders.SetConfig(bg, TopicConfig{Durability: Sync, SegmentBytes: 256 << 20}))
	again, err = s.Topic("orders")
	require.NoError(t, err)
	require.Same(t, old, again)
	require.Equal(t, settingsOf(orders.Config()), settingsOf(old.Config()))

	// One that is deleted is gone, also for who waits, and another one may come.
	waits := old.Partition(1).NewReader(partition.End())
	done := make(chan error)
	go func() {
		_, err := waits.Next(bg)
		done <- err
	}()
	require.NoError(t, w.DeleteTopic(bg, "orders"))
	err = <-done
	require.ErrorIs(t, err, ErrTopicNotFound)
	require.EqualError(t, err, "read orders/1: topic not found: it was deleted")
	_, err = s.Topic("orders")
	require.ErrorIs(t, err, ErrTopicNotFound)
	require.Empty(t, s.Topics())
	orders = ensure(t, w, TopicConfig{Durability: OS, Partitions: 3})
	_, err = orders.AppendTo(bg, 1, rec("b", 2))
	require.NoError(t, err)
	renewed, err := s.Topic("orders")
	require.NoError(t, err)
	require.NotSame(t, old, renewed)
	require.Equal(t, 3, renewed.NumPartitions())
	require.Equal(t, []string{"b 2"}, values(t, renewed.Records(bg, partition.First())))
	for _, err = range old.Records(bg, partition.First()) {
		require.ErrorIs(t, err, ErrTopicNotFound)
	}

	// Deleted and made again while nobody looked: the old one does not get
	// another one's records.
	require.NoError(t, w.DeleteTopic(bg, "orders"))
	orders = ensure(t, w, TopicConfig{Durability: OS, Partitions: 3})
	_, err = orders.AppendTo(bg, 1, rec("c", 3))
	require.NoError(t, err)
	_, err = orders.AppendTo(bg, 1, rec("c", 4))
	require.NoError(t, err)
	eventually(t, func() bool {
		_, err = renewed.Partition(1).NewReader(partition.Offset(1)).TryNext()
		return err != ErrEnd
	})
	require.ErrorIs(t, err, ErrTopicNotFound)
	found, err := s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, []string{"c 3", "c 4"}, values(t, found.Records(bg, partition.First())))
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
}

// What is half made or half deleted is left alone, and not shown.
func TestReadOnlyLeavesLeftovers(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	ensure(t, w, TopicConfig{Partitions: 1})
	require.NoError(t, w.Close())
	d, err := m.OpenDir("/store", false)
	require.NoError(t, err)
	for _, name := range []string{".new-1", ".deleted-2", "not a topic", "broken"} {
		require.NoError(t, d.Mkdir(topicsDir+"/"+name))
	}
	f, err := d.Create(topicsDir + "/broken/" + topicFile)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	s := attach(t, m)
	require.Equal(t, []string{"broken", "orders"}, s.Topics())
	_, err = s.Topic("broken")
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = s.Topic("not a topic")
	require.ErrorIs(t, err, ErrTopicNotFound)
	_, err = s.Topic("../topics/orders")
	require.ErrorIs(t, err, ErrTopicNotFound)
	require.NoError(t, s.Close())
	found, err := d.List(topicsDir)
	require.NoError(t, err)
	require.Len(t, found, 5)
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	ensure(t, w, TopicConfig{Partitions: 2})
	s := attach(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	_, creating := s.CreateTopic(bg, "new", TopicConfig{})
	_, creatingOld := s.CreateTopic(bg, "orders", TopicConfig{})
	_, ensuring := s.EnsureTopic(bg, "new", TopicConfig{})
	_, changing := s.EnsureTopic(bg, "orders", TopicConfig{Durability: OS})
	_, appending := topic.Append(bg, rec("a", 1))
	_, appendingTo := topic.AppendTo(bg, 1, rec("a", 1))
	for _, c := range []struct {
		err  error
		want string
	}{
		{creating, "create topic new: read-only"},
		{creatingOld, "create topic orders: read-only"},
		{ensuring, "create topic new: read-only"},
		{changing, "configure topic orders: read-only"},
		{topic.SetConfig(bg, TopicConfig{SegmentBytes: 256 << 20}), "configure topic orders: read-only"},
		{s.DeleteTopic(bg, "orders"), "delete topic orders: read-only"},
		{appending, "append to orders: read-only"},
		{appendingTo, "append to orders: read-only"},
		{topic.AppendAsync(bg, rec("a", 1), nil), "append to orders: read-only"},
		{topic.AppendBatch(bg, []Record{rec("a", 1)}), "append to orders: read-only"},
		{topic.AppendBatch(bg, nil), "append to orders: read-only"},
		{topic.Enforce(bg), "enforce retention of orders: read-only"},
		{s.Backup(bg, "/backup"), "back up store to /backup: read-only"},
		{topic.Partition(0).Trim(bg, 0), "trim orders/0: read-only"},
	} {
		require.ErrorIs(t, c.err, ErrReadOnly, c.want)
		require.EqualError(t, c.err, c.want)
	}
	require.ErrorIs(t, topic.Sync(bg), ErrReadOnly)
	require.ErrorIs(t, topic.Purge(bg), ErrReadOnly)
	n, err := topic.Route(rec("a", 1))
	require.NoError(t, err)
	require.Less(t, n, 2)

	// What changes nothing is as ever.
	same, err := s.EnsureTopic(bg, "orders", TopicConfig{Partitions: 2, Durability: Sync, Partitioner: partitioner.Key()})
	require.NoError(t, err)
	require.Same(t, topic, same)
	require.NoError(t, topic.SetConfig(bg, TopicConfig{}))
	_, err = s.EnsureTopic(bg, "orders", TopicConfig{Partitions: 3})
	require.ErrorIs(t, err, ErrConfigMismatch)
	report, err := s.Verify(bg)
	require.NoError(t, err)
	require.Equal(t, 2, report.Partitions)

	require.NoError(t, s.Close())
	_, err = topic.Append(bg, rec("a", 1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Topic("orders")
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, w.Close())
}

func TestReadOnlyNeedsAStore(t *testing.T) {
	m := fs.NewMem()
	_, err := Open("/store", Options{ReadOnly: true, fs: reading(t, m)})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, err, "open store /store: open directory /store: file does not exist")
	_, err = m.OpenDir("/store", true)
	require.NoError(t, err)
	_, err = Open("/store", Options{ReadOnly: true, fs: reading(t, m)})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, err, "open store /store: there is no store: open /store/store.json: file does not exist")
}

// Neither keeps the other out, in whatever order they come.
func TestReadOnlyTakesNoLock(t *testing.T) {
	m := fs.NewMem()
	require.NoError(t, openMem(t, m).Close())
	first := attach(t, m)
	w := openMem(t, m)
	second := attach(t, m)
	_, err := Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, first.Close())
	require.NoError(t, w.Close())
	w = openMem(t, m)
	require.NoError(t, second.Close())
	require.NoError(t, w.Close())
}

// A checkpoint may be all that tells of the last records: where a segment had
// no room for a marker.
func TestReadOnlyHeedsTheCheckpoint(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	topic := ensure(t, w, TopicConfig{Partitions: 1, SegmentBytes: 4 << 10})
	s := attach(t, m)
	followed, err := s.Topic("orders")
	require.NoError(t, err)
	r := followed.Partition(0).NewReader(partition.First())
	for range 4 { // which fill the segment to the last byte
		_, err = topic.Append(bg, Record{Value: make([]byte, (4<<10-1024)/4-48-8)})
		require.NoError(t, err)
	}
	for range 3 {
		waitFor(t, r)
	}
	require.EqualValues(t, 3, followed.Partition(0).End())
	require.NoError(t, w.Close())
	require.EqualValues(t, 3, waitFor(t, r).Offset)
	require.NoError(t, s.Close())
	s = attach(t, m)
	followed, err = s.Topic("orders")
	require.NoError(t, err)
	require.EqualValues(t, 4, followed.Partition(0).End())
	require.True(t, followed.Recovery()[0].Vouched)
	require.NoError(t, s.Close())
}

// A partitioner that is not known here does not keep anybody from reading.
func TestReadOnlyWithoutThePartitioner(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	mine := partitioner.Func("mine", func(_ Record, n int) (int, error) { return n - 1, nil })
	topic := ensure(t, w, TopicConfig{Partitioner: mine, Durability: OS})
	_, err := topic.Append(bg, rec("a", 1))
	require.NoError(t, err)
	s := attach(t, m)
	found, err := s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, []string{"a 1"}, values(t, found.Records(bg, partition.First())))
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
}

// An archive is read as a store, and never written as one.
func TestArchiveIsReadOnly(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	c := TopicConfig{
		Partitions: 1, SegmentBytes: 4 << 10, Durability: OS,
		Archive: Archive{Dir: "/archive"}, Retention: Retention{PartitionBytes: 8 << 10},
	}
	topic := ensure(t, w, TopicConfig{Partitions: 1, SegmentBytes: 4 << 10, Durability: OS})
	for i := range 100 {
		_, err := topic.Append(bg, rec("a", i))
		require.NoError(t, err)
	}
	require.NoError(t, topic.Partition(0).Trim(bg, 90)) // which is not archived
	require.NoError(t, topic.SetConfig(bg, c))
	for i := 100; i < 300; i++ {
		_, err := topic.Append(bg, rec("a", i))
		require.NoError(t, err)
	}
	require.NoError(t, topic.Enforce(bg))
	kept := topic.Partition(0).Start()
	require.Greater(t, kept, int64(100))

	_, err := Open("/archive", Options{fs: m})
	require.ErrorIs(t, err, ErrReadOnly)
	require.EqualError(t, err, "open store /archive: read-only: it is an archive")
	s, err := Open("/archive", Options{ReadOnly: true, fs: reading(t, m)})
	require.NoError(t, err)
	archived, err := s.Topic("orders")
	require.NoError(t, err)
	p := archived.Partition(0)
	require.Equal(t, kept, p.End())
	require.Greater(t, p.Start(), int64(0))
	require.LessOrEqual(t, p.Start(), int64(90))
	r := p.NewReader(partition.First())
	for i := p.Start(); i < kept; i++ {
		rec, err := r.TryNext()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("a ", i), string(rec.Value))
	}
	_, err = r.TryNext()
	require.Equal(t, ErrEnd, err)
	require.Empty(t, p.Recovery().Lost)

	// What is archived later is found there.
	for i := 300; i < 500; i++ {
		_, err := topic.Append(bg, rec("a", i))
		require.NoError(t, err)
	}
	require.NoError(t, topic.Enforce(bg))
	require.Greater(t, topic.Partition(0).Start(), kept)
	for i := kept; i < topic.Partition(0).Start(); i++ {
		require.Equal(t, fmt.Sprint("a ", i), string(waitFor(t, r).Value))
	}
	require.NoError(t, s.Close())
	require.NoError(t, w.Close())
}

// Before it raised a level the writer made everything durable; from then on
// nothing is seen earlier.
func TestReadOnlyFollowsARaisedLevel(t *testing.T) {
	m := fs.NewMem()
	w := openMem(t, m)
	topic := ensure(t, w, TopicConfig{Partitions: 1, Durability: OS})
	s := attach(t, m)
	followed, err := s.Topic("orders")
	require.NoError(t, err)
	p := followed.Partition(0)
	_, err = topic.Append(bg, rec("a", 1))
	require.NoError(t, err)
	require.EqualValues(t, 1, p.End())
	require.NoError(t, topic.SetConfig(bg, TopicConfig{Durability: Sync}))
	entered, open := make(chan struct{}), make(chan struct{})
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync {
			entered <- struct{}{}
			<-open
		}
		return nil
	})
	done := make(chan error)
	go func() {
		_, err := topic.Append(bg, rec("a", 2))
		done <- err
	}()
	<-entered
	require.EqualValues(t, 1, p.End())
	require.Equal(t, Sync, followed.Config().Durability)
	m.OnOp(nil)
	close(open)
	require.NoError(t, <-done)
	require.EqualValues(t, 1, waitFor(t, p.NewReader(partition.End())).Offset)
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
}

// Whatever a crash left, it can be looked at, and stays as it is.
func TestReadOnlyOfAnyCrash(t *testing.T) {
	m := fs.NewMem()
	var images []*fs.Mem
	var mu sync.Mutex
	flip := false
	m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind != fs.OpReadAt && op.Kind != fs.OpClose {
			images = append(images, m.Kill(), m.Crash(func() bool { flip = !flip; return flip }))
		}
		return nil
	})
	steps := func() {
		w := openMem(t, m, func(o *Options) { o.idle, o.forceHeap = true, true })
		for _, level := range []Durability{Sync, OS} {
			topic, err := w.EnsureTopic(bg, level.String(), TopicConfig{Partitions: 1, Durability: level, SegmentBytes: 4 << 10})
			require.NoError(t, err)
			for i := range 12 {
				_, err = topic.Append(bg, Record{Value: append(fmt.Append(nil, i, " "), make([]byte, 500)...)})
				require.NoError(t, err)
			}
			require.NoError(t, topic.Partition(0).Trim(bg, 5))
		}
		require.NoError(t, w.DeleteTopic(bg, "os"))
		require.NoError(t, w.Close())
	}
	steps()
	m.OnOp(nil)
	stores := 0
	for i, image := range images {
		s, err := Open("/store", Options{ReadOnly: true, fs: reading(t, image)})
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err, "image %d", i)
		stores++
		shown := map[string]int{}
		for _, name := range s.Topics() {
			topic, err := s.Topic(name)
			require.NoError(t, err, "image %d", i)
			shown[name] = len(values(t, topic.Records(bg, partition.First())))
		}
		require.NoError(t, s.Close(), "image %d", i)
		w := openMem(t, image, func(o *Options) { o.idle = true })
		for name, n := range shown {
			topic, err := w.Topic(name)
			require.NoError(t, err, "image %d", i)
			require.GreaterOrEqual(t, len(values(t, topic.Records(bg, partition.First()))), n, "image %d: %s", i, name)
		}
		require.NoError(t, w.Close())
	}
	require.Greater(t, stores, len(images)/2)
}

// A session of reading leaves a real directory as it was, to the nanosecond,
// and needs no right to write in it.
func TestReadOnlyLeavesADirectoryAlone(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, Options{})
	require.NoError(t, err)
	for _, level := range []Durability{Sync, OS} {
		topic, err := w.EnsureTopic(bg, level.String(), TopicConfig{Durability: level, Partitions: 2, SegmentBytes: 8 << 10})
		require.NoError(t, err)
		for i := range 300 {
			_, err = topic.Append(bg, rec(strconv.Itoa(i%5), i))
			require.NoError(t, err)
		}
	}
	look := func() {
		before := snapshot(t, dir)
		s, err := Open(dir, Options{ReadOnly: true})
		require.NoError(t, err)
		for _, name := range s.Topics() {
			topic, err := s.Topic(name)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(values(t, topic.Records(bg, partition.First()))), 298)
			for i := range topic.NumPartitions() {
				p := topic.Partition(i)
				last, err := p.Record(bg, p.End()-1)
				require.NoError(t, err)
				_, err = p.Resolve(partition.At(last.Timestamp))
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(bg, 30*time.Millisecond)
				_, err = p.NewReader(partition.End()).Next(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
			}
		}
		require.NoError(t, s.Close())
		require.Equal(t, before, snapshot(t, dir))
	}
	requireAtRest(t, dir, w)
	look() // while the writer lives
	require.NoError(t, w.Close())
	look()
	chmod(t, dir, 0o500, 0o400)
	t.Cleanup(func() { chmod(t, dir, 0o700, 0o600) })
	look()
}

// requireAtRest has a writer sync, and waits until its files tell of that: then
// it writes nothing for a while.
func requireAtRest(t testing.TB, dir string, w *Store) {
	s, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	for _, name := range w.Topics() {
		written, err := w.Topic(name)
		require.NoError(t, err)
		require.NoError(t, written.Sync(bg))
		followed, err := s.Topic(name)
		require.NoError(t, err)
		for i := range written.NumPartitions() {
			end := written.Partition(i).End()
			eventually(t, func() bool { return followed.Partition(i).Durable() == end })
		}
	}
	require.NoError(t, s.Close())
}

// snapshot returns what there is to know of every file below dir.
func snapshot(t testing.TB, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		all[path] = fmt.Sprint(fi.Mode(), fi.Size(), fi.ModTime().UnixNano(), sha256.Sum256(content))
		return nil
	}))
	return all
}

// chmod sets the modes of all directories and files below dir.
func chmod(t testing.TB, dir string, dirs, files os.FileMode) {
	var paths []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for _, path := range paths {
		require.NoError(t, os.Chmod(path, 0o700))
	}
	for i := len(paths) - 1; i >= 0; i-- { // what is inside first
		fi, err := os.Stat(paths[i])
		require.NoError(t, err)
		mode := files
		if fi.IsDir() {
			mode = dirs
		}
		require.NoError(t, os.Chmod(paths[i], mode))
	}
}

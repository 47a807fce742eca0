package braidlog

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// This file opens far more partitions than files, on a real file system, and
// watches what the process holds meanwhile.

const (
	manyFiles     = 64      // MaxOpenFiles
	manyAppenders = 32      // that append, or read, at the same time
	manyMemory    = 8 << 10 // bytes of the heap that a partition may take
)

// manyTopics are the topics, with their share of the partitions, in tenths.
var manyTopics = []struct {
	level Durability
	share int
}{{Sync, 3}, {Interval, 3}, {OS, 4}}

// manyPartitions is how many partitions there are in all.
func manyPartitions() int {
	if racing {
		return 1_000
	}
	return 10_000
}

// A watcher looks at what the process holds, beyond what it held at first.
type watcher struct {
	t           *testing.T
	descriptors int // at first
	goroutines  int // at first
	looks       atomic.Int64
	at          time.Time
}

func newWatcher(t *testing.T) *watcher {
	return &watcher{t: t, descriptors: descriptors(t), goroutines: runtime.NumGoroutine(), at: time.Now()}
}

// descriptors returns how many file descriptors the process has.
func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// look requires, once in a hundred calls, that files and goroutines are within
// bounds: the budget, and of each who appends or works in the background a few
// that are not segment files, or on their way to be.
func (w *watcher) look() {
	const workers = manyAppenders + 16 // of the store; Open and Close take 16
	if w.looks.Add(1)%100 != 0 {
		return
	}
	if n := descriptors(w.t) - w.descriptors; n > manyFiles+4*workers {
		w.t.Errorf("%d files are open", n)
	}
	n := runtime.NumGoroutine() - w.goroutines
	for tries := 0; n > 2*workers && tries < 1000; tries++ {
		runtime.Gosched() // those that a timer began, and that are about to end
		n = runtime.NumGoroutine() - w.goroutines
	}
	if n > 2*workers {
		w.t.Errorf("%d goroutines are running", n)
	}
}

// lap logs how long something took, and what the heap has.
func (w *watcher) lap(what string) (heap int64) {
	took := time.Since(w.at)
	runtime.GC()
	runtime.GC() // and what tests before this one left in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.t.Logf("%-20s %6.2f s, %3d MB in the heap", what, took.Seconds(), m.HeapAlloc>>20)
	w.at = time.Now()
	return int64(m.HeapAlloc)
}

// A crowd is the topics of the store under test.
type crowd struct {
	*watcher
	s      *Store
	topics []*Topic
}

func (c *crowd) open(dir string) {
	var err error
	c.s, err = Open(dir, Options{MaxOpenFiles: manyFiles})
	require.NoError(c.t, err)
	c.topics = nil
	for _, m := range manyTopics {
		config := TopicConfig{Partitions: manyPartitions() / 10 * m.share, Durability: m.level}
		if racing {
			config.SegmentBytes = 1 << 20 // windows are slices of the heap then
		}
		topic, err := c.s.EnsureTopic(bg, m.level.String(), config)
		require.NoError(c.t, err)
		c.topics = append(c.topics, topic)
	}
}

// each calls f for every nth partition, from several goroutines.
func (c *crowd) each(nth int, f func(topic *Topic, i int) error) {
	type place struct {
		topic *Topic
		i     int
	}
	var all []place
	for _, topic := range c.topics {
		for i := 0; i < topic.NumPartitions(); i += nth {
			all = append(all, place{topic, i})
		}
	}
	var next atomic.Int64
	var g sync.WaitGroup
	for range manyAppenders {
		g.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(all)); n = next.Add(1) - 1 {
				if err := f(all[n].topic, all[n].i); err != nil {
					c.t.Error(err)
				}
				c.look()
			}
		})
	}
	g.Wait()
}

func (c *crowd) append(nth, round int) {
	c.each(nth, func(topic *Topic, i int) error {
		pos, err := topic.AppendTo(bg, i, Record{Value: fmt.Appendf(nil, "%d of %d", round, i)})
		if err == nil && pos.Offset != int64(round) {
			err = fmt.Errorf("%s/%d: offset %d, not %d", topic.Name(), i, pos.Offset, round)
		}
		return err
	})
}

func (c *crowd) read(nth, round int) {
	c.each(nth, func(topic *Topic, i int) error {
		r, err := topic.Partition(i).Record(bg, int64(round))
		if want := fmt.Sprintf("%d of %d", round, i); err == nil && string(r.Value) != want {
			err = fmt.Errorf("%s/%d: %q, not %q", topic.Name(), i, r.Value, want)
		}
		return err
	})
}

// quickDir returns a directory where syncs cost nothing, if there is one: making
// a partition waits for four, and there are thousands.
func quickDir(t *testing.T) string {
	const memory, room = "/dev/shm", 1 << 30
	var st unix.Statfs_t
	if unix.Statfs(memory, &st) != nil || st.Type != unix.TMPFS_MAGIC || int64(st.Bavail)*int64(st.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "braidlog")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestManyMorePartitionsThanFiles(t *testing.T) {
	c := crowd{watcher: newWatcher(t)}
	dir := quickDir(t)
	c.open(dir)
	before := c.lap("made")
	c.append(1, 0)
	heap := c.lap("appended to each")
	if !racing {
		require.Less(t, (heap-before)/int64(manyPartitions()), int64(manyMemory), "bytes a partition")
	}
	c.append(10, 1)
	c.lap("to a tenth again")
	c.read(1, 0)
	c.read(10, 1)
	c.lap("read")
	require.NoError(t, c.s.Close())
	require.Zero(t, c.s.shared.OpenFiles())
	c.lap("closed")

	c.open(dir)
	c.lap("opened")
	for _, topic := range c.topics {
		for i, r := range topic.Recovery() {
			require.True(t, r.Vouched, "%s/%d", topic.Name(), i)
		}
	}
	c.read(1, 0)
	c.read(10, 1)
	c.append(10, 2)
	c.read(10, 2)
	c.lap("read, appended")
	require.NoError(t, c.s.Close())
	c.lap("closed again")
	require.LessOrEqual(t, descriptors(t), c.descriptors)
}

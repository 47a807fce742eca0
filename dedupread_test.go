package braidlog

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
)

// reopened closes a store and opens its topic again.
func reopened(t *testing.T, m *fs.Mem, s *Store, change ...func(*Options)) (*Store, *Topic) {
	t.Helper()
	require.NoError(t, s.Close())
	s = openMem(t, m, change...)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	return s, topic
}

// windowOf has the window read from the log and returns its ids, oldest first.
func windowOf(t *testing.T, topic *Topic) (ids [][16]byte) {
	t.Helper()
	require.NoError(t, topic.ids.lock(bg))
	defer topic.ids.mu.Unlock()
	require.Len(t, topic.ids.window.at, len(topic.ids.window.firsts))
	for _, f := range topic.ids.window.firsts {
		ids = append(ids, f.id)
	}
	return ids
}

// The window that is read from the log is the one that was there before, in
// however many partitions and between however many records without ids.
func TestWindowIsReadFromTheLog(t *testing.T) {
	for _, without := range []int{0, 3, 200} {
		for _, entries := range []int{1, 7, 50, 1000} {
			m := fs.NewMem()
			s := openMem(t, m)
			topic := ensure(t, s, withDedup(dedupConfig(OS), Dedup{DedupOn, entries, time.Hour}))
			rng := rand.New(rand.NewPCG(uint64(without), uint64(entries)))
			var want [][16]byte
			for i := range 60 {
				for range rng.IntN(without + 1) {
					require.NoError(t, topic.AppendAsync(bg, rec("k", i), nil))
				}
				_, err := topic.AppendTo(bg, rng.IntN(3), idRec(i))
				require.NoError(t, err)
				want = append(want, id(i))
			}
			want = want[max(0, len(want)-entries):]
			require.Equal(t, want, windowOf(t, topic))
			s, topic = reopened(t, m, s)
			require.Equal(t, want, windowOf(t, topic), "%d ids, up to %d records between two", entries, without)
			require.NoError(t, s.Close())
		}
	}
}

// The log is read back as far as it has to be, and no further.
func TestWindowIsReadNoFurtherThanNeeded(t *testing.T) {
	m := fs.NewMem()
	clk := clock.Start()
	withClock := func(o *Options) { o.clock = clk }
	s := openMem(t, m, withClock)
	c := withDedup(dedupConfig(OS), Dedup{DedupOn, 10, time.Hour})
	c.SegmentBytes, c.IndexCache = 128<<20, CacheAll
	topic := ensure(t, s, c)
	fill := func(from, n int, id bool) {
		for i := range n {
			r := idRec(from + i)
			if !id {
				r.ID = noID
			}
			r.Value = make([]byte, 1000)
			require.NoError(t, topic.AppendAsync(bg, r, nil))
		}
	}
	var read atomic.Int64
	count := func(op fs.Op) error {
		if op.Kind == fs.OpReadAt && strings.HasSuffix(op.Name, ".log") {
			read.Add(op.Len)
		}
		return nil
	}
	readBytes := func() (n int64) {
		s, topic = reopened(t, m, s, withClock)
		read.Store(0)
		m.OnOp(count)
		windowOf(t, topic)
		m.OnOp(nil)
		return read.Load()
	}
	fill(0, 6000, true)
	require.Less(t, readBytes(), int64(500_000), "of 6 MB the last ten ids of each partition")
	fill(0, 6000, false)
	require.Greater(t, readBytes(), int64(6_000_000), "everything that has none, to find the last ten")

	// Two partitions have all that is wanted, so the third need not be searched.
	for i := range 20 {
		_, err := topic.AppendTo(bg, i%2, idRec(10_000+i))
		require.NoError(t, err)
	}
	h := &harvest{entries: 10}
	m.OnOp(count)
	for n := range 3 {
		read.Store(0)
		require.NoError(t, h.read(bg, n, topic.Partition(n)))
	}
	m.OnOp(nil)
	require.Less(t, read.Load(), int64(500_000))
	h = &harvest{entries: 10}
	var begun atomic.Bool
	m.OnOp(func(op fs.Op) error { // the same, while the third is being searched
		if !begun.Swap(true) {
			for n := range 2 {
				found, err := idsOf(bg, n, topic.Partition(n), 0, topic.Partition(n).End())
				require.NoError(t, err)
				h.add(found)
			}
			read.Store(0)
		}
		return count(op)
	})
	require.NoError(t, h.read(bg, 2, topic.Partition(2)))
	m.OnOp(nil)
	require.Less(t, read.Load(), int64(500_000))
	clk.Skip(2 * time.Hour)
	require.Less(t, readBytes(), int64(500_000), "all of it is too old")
	require.NoError(t, s.Close())
}

// What is damaged cannot be recognized; all else can, and appends go on.
func TestWindowIsReadPastDamage(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.SegmentBytes = 4 << 10
	topic := ensure(t, s, c)
	for i := range 60 {
		r := idRec(i)
		r.Value = make([]byte, 300)
		_, err := topic.AppendTo(bg, 0, r)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	change(t, m, "/store/topics/orders/partitions/0/00000000000000000000.log", func(b []byte) []byte {
		b[2000] ^= 1
		return b
	})
	s = openMem(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	lost := 0
	for i := range 60 {
		pos, err := topic.Append(bg, idRec(i))
		require.NoError(t, err)
		if !pos.Duplicate {
			lost++
		}
	}
	require.Equal(t, 1, lost)
	require.NoError(t, s.Close())
}

// An I/O error says nothing about ids: the append fails and has done nothing,
// and the next one tries again.
func TestWindowThatCannotBeRead(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, dedupConfig(Sync))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	s, topic = reopened(t, m, s)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpReadAt && strings.Contains(op.Name, "/partitions/1/") {
			return fs.EIO
		}
		return nil
	})
	for name, again := range everyWay {
		_, err := again(bg, topic, idRec(3))
		require.ErrorIs(t, err, fs.EIO, name)
		require.ErrorContains(t, err, "append to orders: look for ids: ", name)
		require.ErrorContains(t, err, "orders/1", name)
	}
	_, err := topic.AppendTo(bg, 0, rec("k", 1))
	require.NoError(t, err, "one without an id is no repeat")
	m.OnOp(nil)
	pos, err := topic.Append(bg, idRec(1))
	require.NoError(t, err)
	require.Equal(t, Position{1, 0, true}, pos)
	pos, err = topic.Append(bg, idRec(3))
	require.NoError(t, err)
	require.False(t, pos.Duplicate)
	require.NoError(t, s.Close())
}

// A partition that could not be opened may have any id.
func TestWindowOfABrokenPartition(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, dedupConfig(Sync))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	require.NoError(t, s.Close())
	m.OnOp(func(op fs.Op) error {
		if op.Kind != fs.OpOpenDir && strings.Contains(op.Name, "/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	s = openMem(t, m)
	m.OnOp(nil)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	_, err = topic.Append(bg, idRec(0))
	require.ErrorIs(t, err, fs.EIO)
	require.ErrorContains(t, err, "orders/1")
	_, err = topic.AppendTo(bg, 0, rec("k", 1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Of appends that come first together one reads the log. The others wait, each
// as long as its context says.
func TestWindowIsReadOnce(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.Partitions = 1
	topic := ensure(t, s, c)
	for i := range 4 {
		_, err := topic.Append(bg, idRec(i))
		require.NoError(t, err)
	}
	s, topic = reopened(t, m, s)
	var readers atomic.Int64
	entered, open := make(chan struct{}), make(chan struct{})
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpReadAt && strings.HasSuffix(op.Name, ".log") && readers.Add(1) == 1 {
			entered <- struct{}{}
			<-open
		}
		return nil
	})
	leader := appendSoon(bg, topic, idRec(0))
	<-entered
	ctx, cancel := context.WithCancel(bg)
	left := watch(ctx)
	gone := appendSoon(left, topic, idRec(1))
	<-left.waits
	cancel()
	r := <-gone
	require.ErrorIs(t, r.err, context.Canceled)
	require.NotErrorIs(t, r.err, ErrOutcomeUnknown, "it did nothing")
	var all []chan placed
	for i := range 4 {
		waiting := watch(bg)
		all = append(all, appendSoon(waiting, topic, idRec(i)))
		<-waiting.waits
	}
	require.EqualValues(t, 1, readers.Load())
	open <- struct{}{}
	require.Equal(t, placed{Position{0, 0, true}, nil}, <-leader)
	once := readers.Load()
	for i, ch := range all {
		require.Equal(t, placed{Position{0, int64(i), true}, nil}, <-ch)
	}
	require.Equal(t, once, readers.Load())
	m.OnOp(nil)
	require.NoError(t, s.Close())
}

// The context of who reads may end too: the next one reads.
func TestReaderOfTheWindowLeaves(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, dedupConfig(Sync))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	s, topic = reopened(t, m, s)
	ctx, cancel := context.WithCancel(bg)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpReadAt {
			cancel()
		}
		return nil
	})
	_, err := topic.Append(ctx, idRec(2))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrOutcomeUnknown)
	m.OnOp(nil)
	pos, err := topic.Append(bg, idRec(2))
	require.NoError(t, err)
	require.Equal(t, Position{2, 0, true}, pos)
	require.NoError(t, s.Close())
}

// Settings that change while the log is read have it read again.
func TestSettingsChangeWhileTheWindowIsRead(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{DedupOn, 1, time.Hour}))
	for i := range 9 {
		_, err := topic.Append(bg, idRec(i))
		require.NoError(t, err)
	}
	s, topic = reopened(t, m, s)
	var once sync.Once
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpReadAt && strings.HasSuffix(op.Name, ".log") {
			once.Do(func() {
				topic.setState(newTopicState(withDedup(topic.Config(), Dedup{DedupOn, 9, time.Hour}), topic.Placement()))
			})
		}
		return nil
	})
	require.Len(t, windowOf(t, topic), 9)
	m.OnOp(nil)
	requireOnce(t, topic, 9)
	require.NoError(t, s.Close())
}

// What is trimmed away while the log is read is left out.
func TestWindowIsReadWhileTheLogIsTrimmed(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, heapIf(true))
	c := dedupConfig(OS)
	c.Partitions, c.SegmentBytes = 1, 4<<10
	topic := ensure(t, s, c)
	p := topic.Partition(0)
	for i := range 100 {
		r := idRec(i)
		if i >= 60 {
			r.ID = noID
		}
		r.Value = make([]byte, 300)
		_, err := topic.Append(bg, r)
		require.NoError(t, err)
	}
	var begun atomic.Bool
	m.OnOp(func(op fs.Op) error {
		late := op.Name > "/store/topics/orders/partitions/0/00000000000000000070"
		if op.Kind == fs.OpReadAt && late && !begun.Swap(true) {
			return p.Trim(bg, 55) // it is reading the last records, and has still to read the rest
		}
		return nil
	})
	h := &harvest{entries: 20}
	require.NoError(t, h.read(bg, 0, p))
	m.OnOp(nil)
	require.True(t, begun.Load())
	var found []int64
	for _, f := range h.firsts {
		found = append(found, f.offset)
	}
	require.Equal(t, []int64{55, 56, 57, 58, 59}, found)
	require.NoError(t, s.Close())
}

// Appends to a partition by itself do not look for repeats, and are found.
func TestAppendsToAPartitionAreFound(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, dedupConfig(OS))
	for range 2 {
		_, err := topic.Partition(1).Append(bg, idRec(0))
		require.NoError(t, err)
	}
	pos, err := topic.Append(bg, idRec(0))
	require.NoError(t, err)
	require.Equal(t, Position{1, 0, true}, pos, "the first of the two")
	require.NoError(t, s.Close())
}

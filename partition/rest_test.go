package partition

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// mark returns the durable mark that the files of m tell of: what recovery
// finds without a checkpoint.
func mark(t *testing.T, m *fs.Mem, v variant) int64 {
	m = m.Crash(func() bool { return true })
	shared, err := NewShared(SharedOptions{FS: m})
	require.NoError(t, err)
	root, err := m.OpenDir("/p", true)
	require.NoError(t, err)
	p := &Partition{shared: shared, parent: root, name: ".", dir: root, opts: Options{Config: Config{Durability: v.level}}}
	c, err := p.opts.Config.WithDefaults()
	require.NoError(t, err)
	p.config.Store(&c)
	p.segments.Store(&[]*segment.Segment{})
	f := &finding{newest: -1}
	require.NoError(t, p.look(f))
	require.NoError(t, p.examine(f))
	for _, s := range f.opened {
		s.Close()
	}
	shared.Close()
	return f.durable
}

func TestMarkers(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, c := range []struct {
			name string
			do   func(p *Partition)
		}{
			{"a pause after a sync", func(p *Partition) { require.NoError(t, p.Sync(bg)); rests(p, time.Second) }},
			{"idleness", func(p *Partition) { rests(p, time.Hour) }},
			{"close", func(p *Partition) { require.NoError(t, p.Close()) }},
			{"idleness and close", func(p *Partition) { rests(p, time.Hour); require.NoError(t, p.Close()) }},
			{"giving the file back", func(p *Partition) { quiet(p); require.True(t, p.tryDetach()) }},
		} {
			m := fs.NewMem()
			p := open(t, m, v)
			appendN(t, p, 0, 7)
			require.Less(t, mark(t, m, v), int64(7), "%s: before", c.name)
			c.do(p)
			require.Equal(t, int64(7), mark(t, m, v), c.name)
			if !p.ended.Load() {
				before := contents(t, m)
				rests(p, time.Second)
				rests(p, time.Second)
				require.Equal(t, before, contents(t, m), "%s: one marker is enough", c.name)
				require.NoError(t, p.Close())
			}
		}
	})
}

// After a kill, what is found is durable, and has a witness, once the
// partition is closed.
func TestMarkerAfterAKill(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 7)
		killed := m.Kill()
		require.NoError(t, p.Close())
		begun := false
		shared, err := NewShared(SharedOptions{FS: killed, ForceHeap: v.heap, Begin: func() (uint32, error) { begun = true; return 3, nil }})
		require.NoError(t, err)
		killed.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpWriteAt || op.Kind == fs.OpTruncate {
				require.True(t, begun, "%v before the store knows", op)
			}
			return nil
		})
		p, err = Open("/p", Options{Shared: shared, SameBoot: true, Config: Config{Durability: v.level}})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		shared.Close()
		require.Equal(t, int64(7), mark(t, killed, v))
	})
}

// A marker that only the page cache has is written again too: what is appended
// behind it, and acknowledged, would be lost with it.
func TestMarkerThatOnlyThePageCacheHas(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(2, 100)(w)
		syncs()(w)
		rests(w.p, time.Second)
		m := w.m.Kill()
		require.NoError(t, w.p.Close())
		w.open(m, false) // another process
		require.NoError(t, w.p.Close())
		c, ok := w.p.Checkpoint()
		require.True(t, ok)
		w.checkpoint = &c
		w.open(m.Crash(func() bool { return false }), true)
		appends(1, 100)(w)
		syncs()(w)
		m = w.m.Crash(func() bool { return false })
		require.NoError(t, w.p.Close())
		w.checkpoint = nil
		w.open(m, false)
		require.Len(t, readEntries(t, "", w.p), 3)
		require.NoError(t, w.p.Close())
	})
}

// Nor is one passed over whose offset the index knows by the batch behind it.
func TestMarkerInFrontOfAnIndexedBatch(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(1, 915)(w)
		syncs()(w)
		rests(w.p, time.Second)
		require.Equal(t, int64(segment.FirstFrame+index.Every), w.p.tail.pos, "the next batch is indexed, and in the sector behind the marker's")
		w.m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync {
				return fs.EIO
			}
			return nil
		})
		seg := w.p.all()[0]
		_, err := w.p.Append(bg, numbered(1, 939))
		if v.level != Sync {
			require.NoError(t, err)
			err = w.p.Sync(bg)
		}
		require.ErrorIs(t, err, fs.EIO)
		require.NoError(t, seg.WriteIndex())
		m := w.m.Kill()
		_ = w.p.Close() // it failed
		w.open(m, false)
		require.NoError(t, w.p.Sync(bg))
		require.Len(t, readEntries(t, "", w.p), 2)
		m = w.m.Crash(func() bool { return false })
		require.NoError(t, w.p.Close())
		w.open(m, false)
		require.Len(t, readEntries(t, "", w.p), 2)
		require.NoError(t, w.p.Close())
	})
}

// An idle partition holds no file, and its file is as long as what is in it.
func TestIdle(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		for round := range 3 {
			appendN(t, p, round*4, 4)
			require.NotZero(t, p.shared.OpenFiles())
			rests(p, time.Hour)
			require.Zero(t, p.shared.OpenFiles())
			require.Nil(t, p.w.seg)
			require.Equal(t, int64(round*4+4), p.Durable())
			require.Equal(t, p.tail.pos, int64(len(contents(t, m)[p.tail.seg.Name()])))
		}
		readAll(t, p, 12)
		require.NoError(t, p.Close())
		require.Zero(t, p.shared.OpenFiles())
		p = open(t, m, v)
		readAll(t, p, 12)
		require.NoError(t, p.Close())
		require.Zero(t, p.shared.OpenFiles())
	})
}

// Partitions that share a budget of files keep to it, and nobody waits for
// anybody.
func TestFileBudget(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		const partitions, rounds = 50, 6
		m := fs.NewMem()
		shared, err := NewShared(SharedOptions{FS: m, MaxOpenFiles: 8, ForceHeap: v.heap})
		require.NoError(t, err)
		var all []*Partition
		for i := range partitions {
			p, err := Open(fmt.Sprintf("/p%d", i), Options{Shared: shared, SameBoot: true, Number: i, Config: Config{Durability: v.level, SegmentBytes: 4 << 10}})
			require.NoError(t, err)
			all = append(all, p)
		}
		// What workers hold at this very moment may exceed the budget; the next
		// file that is opened brings it back.
		within := func() {
			for tries := 0; shared.OpenFiles() > 8; tries++ {
				require.Less(t, tries, 1000)
				for _, p := range all {
					quiet(p)
				}
				_, err := all[tries%partitions].Record(bg, 0)
				require.NoError(t, err)
			}
		}
		for round := range rounds {
			for _, p := range all {
				for i := range 10 {
					_, err := p.Append(bg, numbered(round*10+i, 90))
					require.NoError(t, err)
				}
				within()
			}
		}
		// At once they may exceed it, and come back to it.
		var wg sync.WaitGroup
		for _, p := range all {
			wg.Go(func() {
				for i := range 10 {
					if _, err := p.Append(bg, numbered(rounds*10+i, 90)); err != nil {
						t.Error(err)
					}
					if _, err := p.Record(bg, int64(i*7)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, p := range all {
			found := readEntries(t, "", p)
			require.Len(t, found, rounds*10+10)
			for i, e := range found {
				require.Equal(t, entry{int64(i), i}, e)
			}
		}
		within()
		for _, p := range all {
			require.NoError(t, p.Close())
		}
		require.Zero(t, shared.OpenFiles())
		shared.Close()
	})
}

func TestSegmentsRollByAge(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v, func(o *Options) { o.SegmentAge = time.Hour })
		appendN(t, p, 0, 3)
		require.Len(t, p.all(), 1)
		p.mu.Lock()
		p.tail.first -= int64(time.Hour)
		p.mu.Unlock()
		appendN(t, p, 3, 3)
		require.Len(t, p.all(), 2)
		readAll(t, p, 6)
		require.NoError(t, p.Close())
	})
}

// The age of a segment is known after a restart.
func TestAgeOutlivesAnOpen(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 3)
		first := p.tail.first
		require.NoError(t, p.Close())
		p = open(t, m, v)
		appendN(t, p, 3, 1)
		require.Equal(t, first, p.tail.first)
		require.NoError(t, p.Close())
	})
}

func TestSegmentsHoldAtMostMaxOffsets(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	appendN(t, p, 0, 1)
	p.mu.Lock()
	before := p.tail
	p.tail.next = p.tail.seg.Base + segment.MaxOffsets - 3
	require.False(t, p.fullLocked(3, 100, p.tail.used))
	require.True(t, p.fullLocked(4, 100, p.tail.used))
	p.tail = before
	p.mu.Unlock()
	require.NoError(t, p.Close())
}

// Times never fall, also where a new segment has no record yet to tell.
func TestTimesNeverFall(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 1)
		p.mu.Lock()
		p.tail.time += int64(30 * time.Minute) // as if the clock had been ahead
		p.mu.Unlock()
		appendN(t, p, 1, 1)
		killed := m.Kill()
		require.NoError(t, p.Close())
		// The power goes, so that a segment without records is last; twice.
		for range 2 {
			p = open(t, killed, v, func(o *Options) { o.SameBoot = false })
			killed = killed.Kill()
			require.NoError(t, p.Close())
		}
		p = open(t, killed, v)
		_, err := p.Append(bg, value(2))
		require.NoError(t, err)
		var last time.Time
		for rec, err := range p.Records(bg, First()) {
			require.NoError(t, err)
			require.False(t, rec.Timestamp.Before(last), "%v before %v", rec.Timestamp, last)
			last = rec.Timestamp
		}
		require.NoError(t, p.Close())
	})
}

// Close gives every file back, those too that are being read.
func TestCloseWhileReading(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 300)
		entered, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpReadAt && op.Name != "" {
				once.Do(func() { close(entered); <-goOn })
			}
			return nil
		})
		done := make(chan error)
		go func() {
			_, err := p.Record(bg, 5)
			done <- err
		}()
		<-entered
		require.NoError(t, p.Close())
		close(goOn)
		if err := <-done; err != nil {
			require.ErrorIs(t, err, ErrClosed)
		}
		require.Zero(t, p.shared.OpenFiles())
	}
}

// The first appends after an open that read nothing take the index into
// memory while others append.
func TestAppendAtOnceAfterACleanClose(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 30)
		require.NoError(t, p.Close())
		c, ok := p.Checkpoint()
		require.True(t, ok)
		p = open(t, m, v, func(o *Options) { o.Checkpoint, o.Clean, o.SegmentBytes = &c, true, 64<<10 })
		require.True(t, p.Recovery().Vouched)
		require.Zero(t, p.Recovery().ReadBytes)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 50 {
					if _, err := p.Append(bg, value(i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(430), p.End())
		require.NoError(t, p.Close())
	})
}

// Readers look on while segments roll, files come and go, and the partition
// rests.
func TestReadersSeeEveryRecordOnce(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		const n = 2000
		m := fs.NewMem()
		p := open(t, m, v)
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		var slow atomic.Int64
		for range 3 {
			wg.Go(func() {
				want := int64(0)
				for rec, err := range p.Tail(ctx, First()) {
					if err != nil || rec.Offset != want || string(rec.Value) != string(value(int(want)).Value) {
						t.Errorf("offset %d, want %d: %v", rec.Offset, want, err)
						break
					}
					if want++; want == n {
						break
					}
				}
				slow.Add(1)
			})
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for i := 0; i < n; {
			k := 1 + rng.IntN(9)
			recs := make([]record.Record, min(k, n-i))
			for j := range recs {
				recs[j] = value(i + j)
			}
			require.NoError(t, p.AppendBatch(bg, recs))
			i += len(recs)
			if rng.IntN(20) == 0 {
				rests(p, time.Hour)
			}
		}
		wg.Wait()
		cancel()
		require.Equal(t, int64(3), slow.Load())
		require.NoError(t, p.Close())
	})
}

// A last record ahead of the clock decides the times of the next ones, and
// nothing else: syncs, rest and age go by the clock.
func TestRecordsAheadOfTheClock(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		p.mu.Lock()
		p.tail.time = p.shared.clock.Now() + int64(2*time.Hour)
		ahead := p.tail.time
		p.mu.Unlock()
		appendN(t, p, 0, 1)
		require.NoError(t, p.Close())
		p = open(t, m, v)
		require.InDelta(t, 2*time.Hour, p.Recovery().Ahead, float64(time.Minute))
		appendN(t, p, 1, 1)
		rec, err := p.Record(bg, 1)
		require.NoError(t, err)
		require.Equal(t, ahead, rec.Timestamp.UnixNano())
		p.mu.Lock()
		now := p.shared.clock.Now()
		require.LessOrEqual(t, p.tail.first, now)
		require.LessOrEqual(t, p.dueLocked(now), now+int64(idleDelay))
		if v.level == Interval {
			require.LessOrEqual(t, p.dueLocked(now), now+int64(DefaultSyncTime))
		}
		p.mu.Unlock()
		require.NoError(t, p.Close())
	})
}

package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// countOps counts the operations of a kind on segment files from now on.
func countOps(m *fs.Mem, kind fs.OpKind) *atomic.Int64 {
	n := new(atomic.Int64)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == kind && strings.HasSuffix(op.Name, ".log") {
			n.Add(1)
		}
		return nil
	})
	return n
}

// requireSyncs compares the figures with the file system's.
func requireSyncs(t *testing.T, want int64, s Stats) {
	t.Helper()
	require.Equal(t, want, s.Syncs)
	require.Equal(t, want > 0, s.SyncTime > 0, "%v", s.SyncTime)
	require.LessOrEqual(t, s.LongestSync, s.SyncTime)
	require.GreaterOrEqual(t, int64(s.LongestSync)*want, int64(s.SyncTime))
}

func TestFiguresOfAppends(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		require.Equal(t, Stats{Writable: true}, p.Stats())
		syncs := countOps(m, fs.OpSync)
		appendN(t, p, 0, 30)
		recs := make([]record.Record, 50)
		for i := range recs {
			recs[i] = value(i)
		}
		require.NoError(t, p.AppendBatch(bg, recs))
		for i := range 20 {
			require.NoError(t, p.AppendAsync(bg, value(i), nil))
		}
		require.NoError(t, p.Sync(bg))
		rests(p, time.Second) // a marker is no record, and its group none
		s := p.Stats()
		require.EqualValues(t, 100, s.Appends)
		require.EqualValues(t, [3]int64{0, 100, 100}, [3]int64{s.Start, s.End, s.Durable})
		require.EqualValues(t, len(p.all()), s.Segments)
		require.Equal(t, p.Bytes(), s.Bytes)
		require.Greater(t, s.Bytes, int64(100*30))
		requireSyncs(t, syncs.Load(), s)
		if p.mapped {
			require.Zero(t, s.Groups)
			require.Zero(t, s.GroupRecords)
			require.Zero(t, s.LargestGroup)
		} else {
			require.EqualValues(t, 100, s.GroupRecords)
			require.GreaterOrEqual(t, s.Groups, int64(31))
			require.EqualValues(t, 50, s.LargestGroup, "the batch")
		}
		require.NoError(t, p.Close())
		requireSyncs(t, syncs.Load(), p.Stats())

		p = open(t, m.Kill(), v)
		s = p.Stats()
		require.EqualValues(t, 100, s.End)
		require.Zero(t, s.Appends, "since it was opened")
		require.Zero(t, s.Groups)
		requireSyncs(t, 0, s)
		require.NoError(t, p.Close())
	})
}

func TestSyncsAreCountedWhereverTheyHappen(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		count := countOps(w.m, fs.OpSync)
		for _, s := range []step{
			appends(40, 300), syncs(), batch(30, 200), pauses(time.Second), async(10, 500),
			configures(Sync), appends(3, 100), configures(OS), appends(30, 300), pauses(time.Hour), appends(1, 10), pauses(time.Hour),
		} {
			s(w)
		}
		quiet(w.p)
		require.Positive(t, count.Load())
		requireSyncs(t, count.Load(), w.p.Stats())
		require.NoError(t, w.p.Close())
		requireSyncs(t, count.Load(), w.p.Stats())
	})
}

func TestGroupsOfManyGoroutines(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	const goroutines, each = 16, 50
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range each {
				_, err := p.Append(bg, value(i))
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	s := p.Stats()
	require.EqualValues(t, goroutines*each, s.Appends)
	require.EqualValues(t, goroutines*each, s.GroupRecords)
	require.LessOrEqual(t, s.Groups, s.GroupRecords)
	require.LessOrEqual(t, s.LargestGroup, int64(goroutines))
	require.GreaterOrEqual(t, s.LargestGroup*s.Groups, s.GroupRecords)
	require.GreaterOrEqual(t, s.Syncs, s.Groups)
	require.NoError(t, p.Close())
}

// What was not written counts for nothing.
func TestFailedAppendsAreNotCounted(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 3)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt {
			return fs.ENOSPC
		}
		return nil
	})
	_, err := p.Append(bg, value(3))
	require.ErrorIs(t, err, ErrDiskFull)
	require.EqualValues(t, 3, p.Stats().Appends)
	require.EqualValues(t, 3, p.Stats().GroupRecords)
	m.OnOp(nil)
	appendN(t, p, 3, 1)
	require.EqualValues(t, 4, p.Stats().Appends)
	require.NoError(t, p.Close())
}

// Each kind of reader counts the records it returned.
func TestFiguresOfReads(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		appendN(t, p, 0, 100)
		recs := make([]record.Record, 100)
		for i := range recs {
			recs[i] = value(100 + i)
		}
		require.NoError(t, p.AppendBatch(bg, recs))
		total := int64(0)
		require.Zero(t, p.Stats().Reads)
		is := func(more int64, what string) {
			t.Helper()
			total += more
			require.Equal(t, total, p.Stats().Reads, what)
		}
		readAll(t, p, 200)
		is(200, "Records")
		for rec := range p.Records(bg, Offset(150)) {
			if rec.Offset == 159 {
				break
			}
		}
		is(10, "a loop that is left")
		for range p.RecordsBefore(bg, Offset(20), 50) {
		}
		is(30, "RecordsBefore")
		_, err := p.Record(bg, 42)
		require.NoError(t, err)
		is(1, "Record")
		_, err = p.Record(bg, 200)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		is(0, "Record that is not there")
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		for rec, err := range p.Tail(ctx, Last(60)) {
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			if rec.Offset == 199 {
				cancel()
			}
		}
		is(60, "Tail")
		r := p.NewReader(Offset(120))
		for range 7 {
			_, err := r.Next(bg)
			require.NoError(t, err)
		}
		require.NoError(t, r.Close())
		is(7, "a reader that is closed")
		require.NoError(t, r.Close())
		is(0, "once")
		r = p.NewReader(First())
		for err = nil; err == nil; _, err = r.TryNext() {
		}
		require.Equal(t, ErrEnd, err)
		is(200, "a reader at the end")
		require.NoError(t, p.Close())
		is(0, "after Close")
	})
}

// requireTimes compares First and Last with what is read.
func requireTimes(t *testing.T, p *Partition) {
	t.Helper()
	var first, last time.Time
	for rec, err := range p.Records(bg, First()) {
		if err != nil {
			require.True(t, Skippable(err), "%v", err)
			continue
		}
		if first.IsZero() {
			first = rec.Timestamp
		}
		last = rec.Timestamp
	}
	s := p.Stats()
	require.Equal(t, first, s.First)
	require.Equal(t, last, s.Last)
}

func TestFirstAndLast(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		requireTimes(t, p)
		for i := range 150 {
			appendN(t, p, i, 1)
			requireTimes(t, p)
		}
		require.NoError(t, p.AppendBatch(bg, []record.Record{value(150), value(151)}))
		require.NoError(t, p.AppendAsync(bg, value(152), nil))
		require.NoError(t, p.Sync(bg))
		requireTimes(t, p)
		reads := countOps(m, fs.OpReadAt)
		p.Stats()
		require.Zero(t, reads.Load(), "of what is known")
		rests(p, time.Second) // a marker has a time of its own
		requireTimes(t, p)
		p.start.Store(100)
		requireTimes(t, p)
		reads = countOps(m, fs.OpReadAt)
		p.Stats()
		require.Zero(t, reads.Load(), "of what is known")
		p.start.Store(p.End())
		requireTimes(t, p)
		p.start.Store(0)
		require.NoError(t, p.Close())

		c, ok := p.Checkpoint()
		require.True(t, ok)
		for _, clean := range []bool{true, false} {
			p = open(t, m, v, func(o *Options) { o.Checkpoint, o.Clean = &c, clean })
			requireTimes(t, p)
			s := p.Stats()
			require.True(t, s.First.Before(s.Last))
			p.start.Store(120)
			requireTimes(t, p)
			p.figures.newest.offset-- // as if the end had moved without an append
			p.figures.newest.time = 1
			requireTimes(t, p)
			require.NoError(t, p.Close())
			require.Equal(t, p.Stats().Last, s.Last, "still, after Close")
		}
	})
}

// Offsets that a power cut took, damage, and a disk that fails.
func TestFirstAndLastOfWhatIsLeft(t *testing.T) {
	for _, row := range recoveryTable {
		for _, v := range []variant{{Sync, true}, {OS, false}} {
			d := newDisk(t)
			for _, l := range row.script {
				l(d)
			}
			d.seg = nil
			m := d.m.Crash(func() bool { return true })
			p := open(t, m, v, func(o *Options) {
				o.SegmentBytes, o.SameBoot = 4<<10, false
				if row.checkpoint >= 0 {
					o.Checkpoint = &Checkpoint{End: row.checkpoint}
				}
			})
			requireTimes(t, p)
			requireSyncs(t, 0, p.Stats()) // recovery's own are left out
			require.NoError(t, p.Close(), row.name)
		}
	}
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 10)
	require.NoError(t, p.Close())
	p = open(t, m, variant{Sync, true})
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpReadAt {
			return fs.EIO
		}
		return nil
	})
	s := p.Stats()
	require.Zero(t, s.First)
	require.Zero(t, s.Last)
	require.EqualValues(t, 10, s.End)
	m.OnOp(nil)
	require.NotZero(t, p.Stats().First, "asked again")
	require.NoError(t, p.Close())
}

// A repair changes what is first and last, and its syncs count.
func TestFiguresAfterARepair(t *testing.T) {
	for _, row := range recoveryTable {
		for _, v := range []variant{{Sync, true}, {OS, false}} {
			for _, policy := range []RepairPolicy{KeepIntact, CutAtDamage} {
				d := newDisk(t)
				for _, l := range row.script {
					l(d)
				}
				d.seg = nil
				m := d.m.Crash(func() bool { return true })
				p := open(t, m, v, func(o *Options) {
					o.SegmentBytes = 4 << 10
					if row.checkpoint >= 0 {
						o.Checkpoint = &Checkpoint{End: row.checkpoint}
					}
				})
				requireTimes(t, p)
				count := countOps(m, fs.OpSync)
				if _, err := p.Repair(bg, policy); err != nil {
					require.ErrorIs(t, err, ErrNotDamaged, row.name)
				}
				requireTimes(t, p)
				if p.Writable() {
					_, err := p.Append(bg, value(0))
					require.NoError(t, err, row.name)
				}
				requireTimes(t, p)
				require.NoError(t, p.Close(), row.name)
				requireSyncs(t, count.Load(), p.Stats())
			}
		}
	}
}

func TestFiguresOfABrokenPartition(t *testing.T) {
	shared, err := NewShared(SharedOptions{})
	require.NoError(t, err)
	p := Broken(Options{Number: 3, Shared: shared}, errors.New("its disk failed"))
	require.Equal(t, Stats{}, p.Stats())
	require.NoError(t, p.Close())
	shared.Close()
}

func TestFiguresAsJSON(t *testing.T) {
	b, err := json.Marshal(Stats{SyncTime: 3, LongestSync: 2, First: time.Unix(1, 5).UTC()})
	require.NoError(t, err)
	require.JSONEq(t, `{"start": 0, "end": 0, "durable": 0, "writable": false, "bytes": 0, "segments": 0,
		"first": "1970-01-01T00:00:01.000000005Z", "appends": 0, "reads": 0, "syncs": 0, "sync_ns": 3, "longest_sync_ns": 2,
		"groups": 0, "group_records": 0, "largest_group": 0}`, string(b))
}

// Stats may be asked for while everything else goes on.
func TestFiguresWhileInUse(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(bg)
		for range 2 {
			wg.Go(func() {
				for before := (Stats{}); ctx.Err() == nil; {
					s := p.Stats()
					require.GreaterOrEqual(t, s.End, before.End)
					require.Equal(t, s.Appends, s.End)
					require.GreaterOrEqual(t, s.Reads, before.Reads)
					require.False(t, s.Last.Before(before.Last), fmt.Sprint(s.Last, before.Last))
					require.Equal(t, s.End > 0, !s.First.IsZero())
					before = s
				}
			})
			wg.Go(func() {
				for range p.Tail(ctx, First()) {
				}
			})
		}
		appendN(t, p, 0, 2000)
		cancel()
		wg.Wait()
		require.NoError(t, p.Close())
	})
}

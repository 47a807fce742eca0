package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

var bg = context.Background()

// A variant is a level and a window that every test of appends runs with.
type variant struct {
	level Durability
	heap  bool
}

func (v variant) String() string {
	if v.heap {
		return v.level.String() + "/heap"
	}
	return v.level.String() + "/mapped"
}

var variants = []variant{{Sync, true}, {Interval, true}, {OS, true}, {Interval, false}, {OS, false}}

func eachVariant(t *testing.T, test func(t *testing.T, v variant)) {
	for _, v := range variants {
		t.Run(v.String(), func(t *testing.T) { test(t, v) })
	}
}

// open opens a partition on m. It is not closed by the test's end.
func open(t testing.TB, m fs.FS, v variant, change ...func(*Options)) *Partition {
	t.Helper()
	p, err := tryOpen(m, v, change...)
	require.NoError(t, err)
	return p
}

func tryOpen(m fs.FS, v variant, change ...func(*Options)) (*Partition, error) {
	shared, err := NewShared(SharedOptions{FS: m, ForceHeap: v.heap})
	if err != nil {
		return nil, err
	}
	o := Options{Shared: shared, SameBoot: true, Config: Config{Durability: v.level, SegmentBytes: 8 << 10}}
	for _, c := range change {
		c(&o)
	}
	p, err := Open("/p", o)
	if err != nil {
		shared.Close()
		return nil, err
	}
	p.own = true
	return p, nil
}

func value(i int) record.Record {
	return record.Record{Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, "value %d of some length", i)}
}

func appendN(t testing.TB, p *Partition, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		offset, err := p.Append(bg, value(i))
		require.NoError(t, err)
		require.Equal(t, int64(i), offset)
	}
}

// readAll reads everything and checks that record i is value(i).
func readAll(t testing.TB, p *Partition, n int) {
	t.Helper()
	i := 0
	for rec, err := range p.Records(bg, First()) {
		require.NoError(t, err)
		require.Equal(t, int64(i), rec.Offset)
		require.Equal(t, string(value(i).Value), string(rec.Value))
		require.Equal(t, string(value(i).Key), string(rec.Key))
		i++
	}
	require.Equal(t, n, i)
}

func TestAppendAndReadBack(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 500)
		require.Greater(t, len(p.all()), 3, "segments rolled")
		require.Equal(t, int64(500), p.End())
		readAll(t, p, 500)
		rec, err := p.Record(bg, 123)
		require.NoError(t, err)
		require.Equal(t, string(value(123).Value), string(rec.Value))
		require.NoError(t, p.Close())

		p = open(t, m, v)
		require.Nil(t, p.Recovery().Cut)
		readAll(t, p, 500)
		appendN(t, p, 500, 100)
		readAll(t, p, 600)
		require.NoError(t, p.Close())
	})
}

func TestConcurrentAppends(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		var wg sync.WaitGroup
		seen := make([][]int64, 8)
		for g := range 8 {
			wg.Go(func() {
				for i := range 100 {
					offset, err := p.Append(bg, value(i))
					if err != nil {
						t.Error(err)
						return
					}
					seen[g] = append(seen[g], offset)
				}
			})
		}
		wg.Wait()
		all := map[int64]bool{}
		for _, s := range seen {
			for i, o := range s {
				require.False(t, all[o])
				all[o] = true
				require.True(t, i == 0 || s[i-1] < o)
			}
		}
		require.Len(t, all, 800)
		require.NoError(t, p.Close())
	})
}

func TestAppendBatchFillsInAndIsCutIntoFrames(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v, func(o *Options) { o.SegmentBytes = 16 << 20 })
		recs := make([]record.Record, 3000)
		for i := range recs {
			recs[i] = record.Record{Value: make([]byte, 1000)}
		}
		require.NoError(t, p.AppendBatch(bg, recs))
		for i, r := range recs {
			require.Equal(t, int64(i), r.Offset)
			require.False(t, r.Timestamp.IsZero())
		}
		require.Equal(t, int64(3000), p.End())
		require.NoError(t, p.AppendBatch(bg, nil))
		require.NoError(t, p.Close())
	})
}

func TestAsyncCallbacksComeOnceAndInOrder(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		var got []int64 // one callback at a time: no lock is needed
		for i := range 300 {
			require.NoError(t, p.AppendAsync(bg, value(i), func(offset int64, err error) {
				if err == nil {
					got = append(got, offset)
				}
			}))
		}
		require.NoError(t, p.Sync(bg))
		require.Equal(t, int64(300), p.Durable())
		require.NoError(t, p.Close())
		require.Len(t, got, 300)
		for i, o := range got {
			require.Equal(t, int64(i), o)
		}
	})
}

func TestTailFollows(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		got := make(chan int64)
		var last error
		var wg sync.WaitGroup
		wg.Go(func() {
			for rec, err := range p.Tail(ctx, First()) {
				if err != nil {
					last = err
					close(got)
					return
				}
				got <- rec.Offset
			}
		})
		for i := range 200 {
			appendN(t, p, i, 1)
			require.Equal(t, int64(i), <-got)
		}
		cancel()
		_, open := <-got
		require.False(t, open)
		require.ErrorIs(t, last, context.Canceled)
		wg.Wait()
		require.NoError(t, p.Close())
	})
}

func TestStarts(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	appendN(t, p, 0, 50)
	for _, c := range []struct {
		start Start
		want  int64
	}{
		{First(), 0}, {End(), 50}, {Last(10), 40}, {Last(0), 50}, {Last(1000), 0},
		{Offset(0), 0}, {Offset(50), 50}, {After(12), 13}, {After(49), 50},
		{At(time.Unix(0, 0)), 0}, {At(time.Now().Add(time.Hour)), 50}, {At(time.Time{}), 0},
	} {
		n, err := p.Resolve(c.start)
		require.NoError(t, err, c.start)
		require.Equal(t, c.want, n, c.start)
	}
	for _, s := range []Start{Offset(-1), Offset(51), After(50), Last(-1)} {
		_, err := p.Resolve(s)
		require.Error(t, err, s)
	}
	var out *OffsetError
	_, err := p.Record(bg, 50)
	require.ErrorAs(t, err, &out)
	require.Equal(t, [2]int64{0, 50}, [2]int64{out.Start, out.End})
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	require.NoError(t, p.Close())
}

func TestAtIsExact(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		appendN(t, p, 0, 400)
		times := make([]time.Time, 0, 400)
		for rec, err := range p.Records(bg, First()) {
			require.NoError(t, err)
			times = append(times, rec.Timestamp)
		}
		for i, at := range times {
			want := i
			for want > 0 && !times[want-1].Before(at) {
				want--
			}
			n, err := p.Resolve(At(at))
			require.NoError(t, err)
			require.Equal(t, int64(want), n)
			n, err = p.Resolve(At(at.Add(1)))
			require.NoError(t, err)
			for want < len(times) && !times[want].After(at) {
				want++
			}
			require.Equal(t, int64(want), n)
		}
		require.NoError(t, p.Close())
	})
}

func TestUseAfterClose(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	appendN(t, p, 0, 1)
	r := p.NewReader(First())
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Close(), ErrClosed)
	_, err := p.Append(bg, value(0))
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.Next(bg)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, p.Sync(bg), ErrClosed)
	_, err = p.Record(bg, 0)
	require.ErrorIs(t, err, ErrClosed)
}

func TestEndedContextMeansNothingHappened(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err := p.Append(ctx, value(0))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.Is(err, ErrOutcomeUnknown))
	require.Zero(t, p.End())
	require.NoError(t, p.Close())
}

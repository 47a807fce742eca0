package partition

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// A gate stops operations of a kind on data files until it is opened.
type gate struct {
	entered chan struct{} // told of each operation that stands at the gate
	open    chan error    // each value lets one through, with that error
	count   atomic.Int64
}

func (g *gate) hook(kind fs.OpKind) func(fs.Op) error {
	return func(op fs.Op) error {
		if op.Kind != kind {
			return nil
		}
		g.count.Add(1)
		g.entered <- struct{}{}
		return <-g.open
	}
}

func newGate(m *fs.Mem, kind fs.OpKind) *gate {
	g := &gate{entered: make(chan struct{}), open: make(chan error)}
	m.OnOp(g.hook(kind))
	return g
}

// gathered returns how many records wait for the group behind the one being
// written.
func (p *Partition) gathered() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		n += g.end - g.base
	}
	return n
}

// until yields until what is true.
func until(t *testing.T, what func() bool) {
	for end := time.Now().Add(10 * time.Second); !what(); {
		require.True(t, time.Now().Before(end), "never came true")
		<-time.After(50 * time.Microsecond)
	}
}

type result struct {
	offset int64
	err    error
}

func appendSoon(ctx context.Context, p *Partition, i int) chan result {
	ch := make(chan result, 1)
	go func() {
		offset, err := p.Append(ctx, value(i))
		ch <- result{offset, err}
	}()
	return ch
}

func TestSyncShowsARecordWhenItIsDurable(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 3)
	r := p.NewReader(End())
	g := newGate(m, fs.OpSync)
	done := appendSoon(bg, p, 3)
	<-g.entered
	require.Equal(t, int64(3), p.End())
	require.Equal(t, int64(3), p.Durable())
	_, err := r.TryNext()
	require.Equal(t, ErrEnd, err)
	_, err = p.Record(bg, 3)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	m.OnOp(nil)
	g.open <- nil
	require.Equal(t, result{3, nil}, <-done)
	require.Equal(t, int64(4), p.End())
	rec, err := r.TryNext()
	require.NoError(t, err)
	require.Equal(t, int64(3), rec.Offset)
	require.NoError(t, p.Close())
}

// A group that gathers while another is synced shares one sync.
func TestAppendsShareSyncs(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	first := appendSoon(bg, p, 1)
	<-g.entered
	var rest []chan result
	for i := range 50 {
		rest = append(rest, appendSoon(bg, p, 2+i))
	}
	until(t, func() bool { return p.gathered() == 50 })
	g.open <- nil
	<-g.entered
	require.Equal(t, result{1, nil}, <-first, "released before the next sync")
	require.Equal(t, int64(2), p.End())
	g.open <- nil
	for _, ch := range rest {
		require.NoError(t, (<-ch).err)
	}
	require.Equal(t, int64(2), g.count.Load(), "syncs")
	m.OnOp(nil)
	require.NoError(t, p.Close())
}

// Followers leave when their context ends, with the one outcome that is true;
// the leader stays for its sync.
func TestFollowersLeaveAndTheLeaderDoesNot(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	ctx, cancel := context.WithCancel(bg)
	leader := appendSoon(ctx, p, 1)
	<-g.entered
	follower := appendSoon(ctx, p, 2)
	patient := appendSoon(bg, p, 3)
	until(t, func() bool { return p.gathered() == 2 })
	until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.groups[0].waiters) == 2
	})
	cancel()
	left := <-follower
	require.ErrorIs(t, left.err, ErrOutcomeUnknown)
	require.ErrorIs(t, left.err, context.Canceled)
	require.Equal(t, int64(-1), left.offset)
	select {
	case r := <-leader:
		require.Fail(t, "the leader left", "%v", r)
	default:
	}
	m.OnOp(nil)
	g.open <- nil
	require.Equal(t, result{1, nil}, <-leader)
	require.NoError(t, (<-patient).err)
	require.Equal(t, int64(4), p.End())
	require.NoError(t, p.Close())
}

// Everybody may leave: their records are written all the same.
func TestAGroupThatEverybodyLeft(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	leader := appendSoon(bg, p, 1)
	<-g.entered
	ctx, cancel := context.WithCancel(bg)
	follower := appendSoon(ctx, p, 2)
	until(t, func() bool { return p.gathered() == 1 })
	cancel()
	require.ErrorIs(t, (<-follower).err, ErrOutcomeUnknown)
	g.open <- nil
	require.NoError(t, (<-leader).err)
	<-g.entered
	m.OnOp(nil)
	g.open <- nil
	require.NoError(t, p.Sync(bg))
	require.Equal(t, int64(3), p.End())
	require.NoError(t, p.Close())
}

// A sync that failed is not tried again: the second one may succeed over data
// that is gone.
func TestASyncIsTriedOnce(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 5)
		require.NoError(t, p.Sync(bg))
		quiet(p)
		failed := false
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync && !failed {
				failed = true
				return fs.EIO
			}
			return nil
		})
		_, err := p.Append(bg, value(5))
		require.Equal(t, v.level == Sync, errors.Is(err, ErrOutcomeUnknown))
		require.ErrorIs(t, errors.Join(err, p.Sync(bg)), fs.EIO)
		require.True(t, failed)
		require.Equal(t, int64(5), p.Durable())
		require.ErrorIs(t, p.Close(), ErrFailed)
	})
}

// What is appended during a sync is not durable by it.
func TestASyncCoversWhatWasThereBefore(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		if v.heap || v.level == Sync {
			t.Log("appends wait for the sync")
			return
		}
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 5)
		during := false
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync && strings.HasSuffix(op.Name, ".log") && !during {
				during = true
				appendN(t, p, 5, 1)
			}
			return nil
		})
		require.NoError(t, p.Sync(bg))
		require.True(t, during)
		require.Equal(t, int64(5), p.Durable())
		require.Equal(t, int64(6), p.End())
		require.NoError(t, p.Close())
	})
}

// A write that failed may have reached the file whole. If the append says that
// nothing was written, nothing is there when the process ends.
func TestAFailedWriteLeavesNothing(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 5)
		quiet(p)
		failed := false
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpWriteAt && strings.HasSuffix(op.Name, ".log") && !failed {
				failed = true
				return &fs.ShortWriteError{N: int(op.Len), Err: fs.ENOSPC}
			}
			return nil
		})
		_, err := p.Append(bg, value(5))
		m.OnOp(nil)
		require.Equal(t, failed, err != nil)
		require.Equal(t, failed, p.heapWindow(), "a mapped window is not written to")
		if failed {
			require.ErrorIs(t, err, fs.ENOSPC)
			require.False(t, errors.Is(err, ErrOutcomeUnknown))
			killed := open(t, m.Kill(), v)
			readAll(t, killed, 5)
			require.NoError(t, killed.Close())
		}
		require.NoError(t, p.Close())
	})
}

func (p *Partition) heapWindow() bool { return !p.mapped }

// Whoever leaves at the moment the baton comes hands it on.
func TestTheBatonOfWhoLeaves(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		appendN(t, p, 0, 1)
		quiet(p)
		for range 20 { // now and then it sees both at once, and takes either
			require.NoError(t, p.take(bg))
			ctx, cancel := context.WithCancel(bg)
			took := make(chan error)
			go func() { took <- p.take(ctx) }()
			for p.waitingForBaton() == 0 {
				runtime.Gosched()
			}
			p.mu.Lock()
			cancel()
			p.passLocked()
			p.mu.Unlock()
			if <-took == nil {
				p.pass()
			}
			p.mu.Lock()
			held := p.baton
			p.mu.Unlock()
			require.False(t, held, "nobody has it, and nobody can take it")
		}
		require.NoError(t, p.Close())
	})
}

func (p *Partition) waitingForBaton() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.wanted)
}

// The first sync error poisons: no later one is believed.
func TestASyncErrorPoisons(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 5)
		require.NoError(t, p.Sync(bg))
		quiet(p)
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync {
				return fs.EIO
			}
			return nil
		})
		_, err := p.Append(bg, value(5))
		if v.level == Sync {
			require.ErrorIs(t, err, ErrOutcomeUnknown)
			require.ErrorIs(t, err, fs.EIO)
			require.Equal(t, int64(5), p.End())
		} else {
			require.NoError(t, err)
			require.ErrorIs(t, p.Sync(bg), fs.EIO)
		}
		m.OnOp(nil)
		for range 2 {
			_, err = p.Append(bg, value(6))
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorIs(t, err, fs.EIO, "says why")
			require.False(t, errors.Is(err, ErrOutcomeUnknown))
			require.ErrorIs(t, p.Sync(bg), ErrFailed)
			require.False(t, p.Writable())
			require.Equal(t, int64(5), p.Durable())
		}
		require.ErrorIs(t, p.AppendBatch(bg, []record.Record{value(1)}), ErrFailed)
		require.ErrorIs(t, p.AppendAsync(bg, value(1), nil), ErrFailed)
		n := 5
		if v.level != Sync {
			n = 6
		}
		readAll(t, p, n)
		require.ErrorIs(t, p.Close(), ErrFailed)
		_, ok := p.Checkpoint()
		require.False(t, ok)
		require.Zero(t, p.shared.OpenFiles())

		// What the failed sync left only in memory is written again before
		// anybody is told that it is durable.
		p = open(t, m, v)
		readAll(t, p, 6)
		require.NoError(t, p.Sync(bg))
		require.Equal(t, int64(6), p.Durable())
		p2 := open(t, m.Crash(func() bool { return false }), v)
		readAll(t, p2, 6)
		require.NoError(t, p2.Close())
		require.NoError(t, p.Close())
	})
}

// Of a group that failed and those behind it, each is told what is certain.
func TestOutcomesBehindAFailedGroup(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	first := appendSoon(bg, p, 1)
	<-g.entered
	second := appendSoon(bg, p, 2)
	until(t, func() bool { return p.gathered() == 1 })
	m.OnOp(nil)
	g.open <- fs.EIO
	require.ErrorIs(t, (<-first).err, ErrOutcomeUnknown)
	r := <-second
	require.ErrorIs(t, r.err, ErrFailed)
	require.False(t, errors.Is(r.err, ErrOutcomeUnknown))
	require.Error(t, p.Close())
	p = open(t, m.Kill(), variant{Sync, true})
	require.Equal(t, int64(2), p.End(), "the first, by chance; never the second")
	require.NoError(t, p.Close())
}

// AppendAsync waits for room in the buffer and for nothing else.
func TestAsyncWaitsForRoom(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true}, func(o *Options) { o.SegmentBytes = 64 << 20 })
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	big := record.Record{Value: make([]byte, 1<<20)}
	told := make(chan result, 100)
	tell := func(offset int64, err error) { told <- result{offset, err} }
	require.NoError(t, p.AppendAsync(bg, big, tell))
	<-g.entered
	for range 3 {
		require.NoError(t, p.AppendAsync(bg, big, tell))
	}
	ctx, cancel := context.WithCancel(bg)
	blocked := make(chan error)
	go func() { blocked <- p.AppendAsync(ctx, big, tell) }()
	until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.space != nil
	})
	cancel()
	err := <-blocked
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.Is(err, ErrOutcomeUnknown))
	go func() { blocked <- p.AppendAsync(bg, big, tell) }()
	m.OnOp(nil)
	g.open <- nil
	require.NoError(t, <-blocked)
	require.NoError(t, p.Sync(bg))
	for i := range 5 {
		require.Equal(t, result{int64(i + 1), nil}, <-told)
	}
	require.NoError(t, p.Close())
	require.Empty(t, told)
}

// Appends that wait when the partition closes are finished, and those that
// come later refused.
func TestCloseWaitsForAppends(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	g := newGate(m, fs.OpSync)
	first := appendSoon(bg, p, 1)
	<-g.entered
	second := appendSoon(bg, p, 2)
	until(t, func() bool { return p.gathered() == 1 })
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	until(t, func() bool { return !p.Writable() })
	_, err := p.Append(bg, value(3))
	require.ErrorIs(t, err, ErrClosed)
	m.OnOp(nil)
	g.open <- nil
	require.NoError(t, (<-first).err)
	require.NoError(t, (<-second).err)
	require.NoError(t, <-closed)
	p = open(t, m.Crash(func() bool { return false }), variant{Sync, true})
	readAll(t, p, 3)
	require.NoError(t, p.Close())
}

// At level Interval a sync starts at the threshold, and at twice the
// threshold appends wait for it.
func TestIntervalThresholds(t *testing.T) {
	for _, heap := range []bool{true, false} {
		m := fs.NewMem()
		p := open(t, m, variant{Interval, heap}, func(o *Options) {
			o.SegmentBytes = 1 << 20
			o.SyncEvery = SyncEvery{Records: 10, Time: time.Hour, Bytes: 1 << 20}
		})
		appendN(t, p, 0, 1)
		require.NoError(t, p.Sync(bg))
		g := newGate(m, fs.OpSync)
		appendN(t, p, 1, 9)
		require.Zero(t, g.count.Load(), "below the threshold")
		appendN(t, p, 10, 1)
		<-g.entered
		n := 11
		if !heap { // the heap window writes when the sync is over
			appendN(t, p, n, 10)
			n += 10
			require.Equal(t, int64(n), p.End())
		}
		waits := appendSoon(bg, p, n)
		until(t, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.space != nil || len(p.groups) > 0
		})
		require.Equal(t, int64(1), p.Durable())
		m.OnOp(nil)
		g.open <- nil
		require.Equal(t, result{int64(n), nil}, <-waits)
		require.NoError(t, p.Close())
	}
}

// By time, it is the timer that asks for the sync.
func TestIntervalByTime(t *testing.T) {
	for _, heap := range []bool{true, false} {
		m := fs.NewMem()
		p := open(t, m, variant{Interval, heap}, func(o *Options) { o.SyncEvery.Time = 5 * time.Second })
		appendN(t, p, 0, 3)
		rests(p, time.Second)
		require.Zero(t, p.Durable())
		rests(p, 6*time.Second)
		require.Equal(t, int64(3), p.Durable())
		require.NoError(t, p.Close())
	}
}

// Level OS asks for no sync, until the level is changed.
func TestConfigureStartsTheInterval(t *testing.T) {
	for _, heap := range []bool{true, false} {
		p := open(t, fs.NewMem(), variant{OS, heap})
		appendN(t, p, 0, 3)
		rests(p, time.Second)
		require.Zero(t, p.Durable())
		c := p.Config()
		c.Durability, c.SyncEvery.Time = Interval, 2*time.Second
		require.NoError(t, p.Configure(bg, c))
		p.mu.Lock()
		due := p.dueAt - p.shared.clock.Now()
		p.mu.Unlock()
		require.LessOrEqual(t, due, int64(2*time.Second))
		rests(p, 3*time.Second)
		require.Equal(t, int64(3), p.Durable())
		require.NoError(t, p.Close())
	}
}

// Many append, read, change the settings and sync at once; the race detector
// and the readers look on.
func TestConfigureWhileAppending(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}, {Interval, true}} {
		m := fs.NewMem()
		p := open(t, m, v)
		var wg sync.WaitGroup
		var acked atomic.Int64
		told := func(_ int64, err error) {
			if err != nil {
				t.Error(err)
			}
			acked.Add(1)
		}
		turns := make(chan int) // each for an append
		for n := range 5 {
			wg.Go(func() {
				for i := range turns {
					if n == 0 {
						if err := p.AppendAsync(bg, value(i), told); err != nil {
							t.Error(err)
						}
						continue
					}
					told(p.Append(bg, value(i)))
				}
			})
		}
		ctx, cancel := context.WithCancel(bg)
		var read sync.WaitGroup
		read.Go(func() {
			next := int64(0)
			for rec, err := range p.Tail(ctx, First()) {
				if errors.Is(err, context.Canceled) {
					return
				}
				if err != nil || rec.Offset != next {
					t.Errorf("offset %d, want %d: %v", rec.Offset, next, err)
					return
				}
				next++
			}
		})
		for i := range 60 {
			wg.Go(func() {
				for range 50 {
					turns <- i
				}
			})
			c := p.Config()
			c.Durability = []Durability{Sync, OS, Interval}[i%3]
			c.SegmentBytes = []int64{8 << 10, 16 << 10, 64 << 10, 4 << 10}[i%4]
			c.MaxRecordBytes, c.MaxKeyBytes = 0, 0
			require.NoError(t, p.Configure(bg, c))
			if i%7 == 0 {
				require.NoError(t, p.Sync(bg))
			}
			if i%5 == 0 {
				rests(p, time.Hour)
			}
			until(t, func() bool { return acked.Load() > int64(i)*40 })
		}
		until(t, func() bool { return acked.Load() == 60*50 })
		close(turns)
		wg.Wait()
		require.NoError(t, p.Sync(bg))
		end := p.End()
		require.Equal(t, int64(60*50), end)
		cancel()
		read.Wait()
		require.NoError(t, p.Close())
		p = open(t, m.Crash(func() bool { return false }), v)
		require.Nil(t, p.Recovery().Cut)
		require.Empty(t, p.Recovery().Lost)
		require.Equal(t, end, p.End())
		require.NoError(t, p.Close())
	}
}

// A waiter whose context ended at the moment it was told goes back to the pool
// as good as new: marked as gone, its next user would wait for ever.
func TestAWaiterToldWhileLeavingIsUsedAgain(t *testing.T) {
	p := open(t, fs.NewMem(), variant{Sync, true})
	w := &waiter{ch: make(chan outcome, 1), gone: true}
	require.NoError(t, p.told(outcome{}, &group{finished: true}, w))
	require.False(t, w.gone)
	require.NoError(t, p.Close())
}

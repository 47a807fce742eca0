package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
)

// This file is about followers over time: they wait, and the writer trims,
// restarts, changes its level or goes away meanwhile.

// waitFor reads the next record, waiting for it as long as a test may take.
func waitFor(t testing.TB, r *Reader) (offset int64, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	rec, err := r.Next(ctx)
	require.NoError(t, err)
	return rec.Offset, string(rec.Value)
}

// Readers who wait are woken by a worker, with nobody else looking.
func TestFollowersWait(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		p := followOn(t, m, v)
		const readers, records = 5, 300
		got := make(chan int64, readers)
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				r := p.NewReader(First())
				for i := range records {
					offset, value_ := waitFor(t, r)
					require.Equal(t, int64(i), offset)
					require.Equal(t, string(value(i).Value), value_)
					if i%100 == 0 {
						got <- offset
					}
				}
			})
		}
		for from := 0; from < records; from += 100 {
			appendN(t, w, from, 100)
			for range readers { // and now they are all waiting, or about to
				require.Equal(t, int64(from), <-got)
			}
		}
		rests(w, time.Second) // the marker
		wg.Wait()
		require.NoError(t, p.Close())
		require.NoError(t, w.Close())
	})
}

func TestCloseEndsTheWaitOfFollowers(t *testing.T) {
	m := fs.NewMem()
	require.NoError(t, open(t, m, variant{OS, true}).Close()) // makes the directory
	p := followOn(t, m, variant{OS, true})
	done := make(chan error)
	go func() {
		_, err := p.NewReader(First()).Next(bg)
		done <- err
	}()
	until(t, func() bool { return p.watch.waiting.Load() == 1 })
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-done, ErrClosed)
	require.ErrorIs(t, p.Close(), ErrClosed)
	_, err := p.Record(bg, 0)
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, p.End())
}

// What is not used for a while is closed, so that what the writer removes takes
// no space.
func TestFollowerGivesItsFilesBack(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{OS, true})
	appendN(t, w, 0, 300)
	p := followOn(t, m, variant{OS, true})
	readAll(t, p, 300)
	require.Positive(t, p.shared.OpenFiles())
	now := p.shared.clock.Now()
	require.Greater(t, p.lookAfter(now+int64(time.Second)), now)
	require.Positive(t, p.shared.OpenFiles())
	require.Equal(t, int64(never), p.lookAfter(now+int64(time.Minute)))
	until(t, func() bool { return p.shared.OpenFiles() == 0 })
	readAll(t, p, 300)
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

// While nobody waits nobody looks, and the more often it was in vain the
// longer a worker pauses.
func TestFollowerPauses(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{OS, true})
	p := followOn(t, m, variant{OS, true})
	stop := p.Watch(make(chan struct{}, 1))
	turns := func() int64 { return p.follow.turn.Load() }
	pause := func() time.Duration {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.follow.pause
	}
	until(t, func() bool { return pause() == maxPause })
	appendN(t, w, 0, 1)
	until(t, func() bool { return p.visible.Load() == 1 && pause() < maxPause })
	until(t, func() bool { return pause() == maxPause })
	stop()
	until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.follow.busy && p.dueAt > p.shared.clock.Now()+int64(idleDelay)/2
	})
	before := turns()
	appendN(t, w, 1, 1)
	require.Equal(t, before, turns())
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

func TestFollowTrims(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		appendN(t, w, 0, 400)
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second)
		p := followOn(t, m, v)
		first, ahead, far := p.NewReader(First()), p.NewReader(Offset(200)), p.NewReader(Offset(350))
		for _, r := range []*Reader{first, ahead, far} {
			_, err := r.TryNext()
			require.NoError(t, err)
		}
		require.NoError(t, w.Trim(bg, 300))
		require.Equal(t, int64(300), p.Start())
		require.Equal(t, int64(400), p.End())
		for _, r := range []*Reader{first, ahead} {
			var err error
			for err == nil { // it finishes the piece it has
				_, err = r.TryNext()
			}
			var out *OffsetError
			require.ErrorAs(t, err, &out)
			require.Equal(t, [2]int64{300, 400}, [2]int64{out.Start, out.End})
			require.Less(t, out.Offset, int64(300))
			_, err = r.TryNext()
			require.ErrorIs(t, err, ErrOffsetOutOfRange, "it stays so")
		}
		require.Len(t, readOn(t, far), 49)
		require.Len(t, values(t, p, 300), 100)
		_, err := p.Record(bg, 299)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		from, err := p.Resolve(At(time.Unix(0, 0)))
		require.NoError(t, err)
		require.Equal(t, int64(300), from)

		// All of it goes, and more comes.
		p.follow.rest() // so that the files have to be opened again
		require.NoError(t, w.Trim(bg, 400))
		require.Empty(t, readOn(t, far))
		require.Equal(t, int64(400), p.Start())
		require.Equal(t, int64(400), p.End())
		appendN(t, w, 400, 20)
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second)
		require.NoError(t, p.follow.refresh(true))
		require.Len(t, p.all(), 1)
		require.Len(t, readOn(t, far), 20)
		require.Empty(t, p.Recovery().Lost)
		require.NoError(t, p.Close())
		require.NoError(t, w.Close())
	})
}

// A trim removes files while they are being read.
func TestTrimWhileFollowersRead(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		m := fs.NewMem()
		w := open(t, m, v)
		p := followOn(t, m, v)
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					last := int64(-1)
					for rec, err := range p.Tail(ctx, First()) {
						if errors.Is(err, context.Canceled) || errors.Is(err, ErrOffsetOutOfRange) {
							break // from the new start again
						}
						if err != nil || last >= 0 && rec.Offset != last+1 || string(rec.Value) != string(value(int(rec.Offset)).Value) {
							t.Errorf("offset %d after %d: %v", rec.Offset, last, err)
							return
						}
						last = rec.Offset
					}
				}
			})
		}
		for i := range 60 {
			appendN(t, w, 50*i, 50)
			require.NoError(t, w.Trim(bg, max(0, int64(50*i-70))))
		}
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second)
		until(t, func() bool { return p.End() == 3000 })
		r := p.NewReader(Offset(2950))
		for i := 2950; i < 3000; i++ {
			offset, _ := waitFor(t, r)
			require.Equal(t, int64(i), offset)
		}
		cancel()
		wg.Wait()
		require.NoError(t, p.Close())
		require.NoError(t, w.Close())
	}
}

// After an end that may have been a power cut the writer goes on behind a gap.
func TestFollowOverAGap(t *testing.T) {
	for _, level := range []Durability{Interval, OS} {
		m := fs.NewMem()
		v := variant{level, true}
		w := open(t, m, v)
		appendN(t, w, 0, 10)
		p := followOn(t, m, v)
		r := p.NewReader(First())
		require.Len(t, readOn(t, r), 10)
		require.NoError(t, w.Close())
		w = open(t, m, v, func(o *Options) { o.SameBoot = false })
		gap := w.Recovery().Gap
		require.NotNil(t, gap)
		require.NoError(t, p.follow.refresh(true))
		require.Equal(t, gap.To, p.End())
		require.Empty(t, readOn(t, r))
		offset, err := w.Append(bg, value(10))
		require.NoError(t, err)
		require.Equal(t, gap.To, offset)
		require.Equal(t, []string{string(value(10).Value)}, readOn(t, r))
		require.NoError(t, w.Close())
		require.NoError(t, p.Close())
	}
}

// The writer's end may leave a batch that is written and not known to be
// durable. It is shown when the next writer made it so and says so.
func TestFollowAnotherWriter(t *testing.T) {
	m := fs.NewMem()
	v := variant{Sync, true}
	dying := &dyingFS{FS: m}
	w := open(t, dying, v)
	appendN(t, w, 0, 5)
	p := followOn(t, m, v)
	r := p.NewReader(First())
	require.Len(t, readOn(t, r), 4)
	dying.left.Store(1) // the write, and not the sync
	_, err := w.Append(bg, value(5))
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.Error(t, w.Close())
	require.Len(t, readOn(t, r), 1)
	require.NoError(t, p.follow.refresh(true))
	require.Empty(t, readOn(t, r))
	w = open(t, m, v)
	require.Equal(t, int64(6), w.End())
	require.Empty(t, readOn(t, r))
	appendN(t, w, 6, 1)
	require.Equal(t, []string{string(value(5).Value)}, readOn(t, r))
	require.NoError(t, w.Close())
	require.Equal(t, []string{string(value(6).Value)}, readOn(t, r))
	require.NoError(t, p.Close())
}

// The level is the one in force, as soon as anything new is shown.
func TestFollowTheLevel(t *testing.T) {
	m := fs.NewMem()
	var level atomic.Int32
	level.Store(int32(OS))
	v := variant{OS, true}
	w := open(t, m, v)
	p := followOn(t, m, v, func(o *Options) {
		o.Outside = func() (Outside, error) { return Outside{Durability: Durability(level.Load())}, nil }
	})
	set := func(d Durability) {
		c := w.Config()
		c.Durability = d
		require.NoError(t, w.Configure(bg, c))
		level.Store(int32(d))
	}
	appendN(t, w, 0, 3)
	require.Equal(t, int64(3), p.End())
	require.Zero(t, p.Durable())
	set(Sync)
	g := newGate(m, fs.OpSync)
	done := appendSoon(bg, w, 3)
	<-g.entered
	require.Equal(t, int64(3), p.End(), "what was seen stays, and no more is")
	require.Equal(t, int64(3), p.Durable())
	m.OnOp(nil)
	g.open <- nil
	require.NoError(t, (<-done).err)
	require.Equal(t, int64(3), p.End())
	set(Interval)
	require.NoError(t, p.follow.refresh(true))
	require.Equal(t, int64(4), p.End())
	appendN(t, w, 4, 1)
	require.Equal(t, int64(5), p.End())
	require.NoError(t, w.Close())
	require.NoError(t, p.Close())
}

// What is gone is told to everybody who reads or waits, and given back.
func TestFollowedPartitionIsGone(t *testing.T) {
	m := fs.NewMem()
	gone := errors.New("it was deleted")
	var deleted atomic.Bool
	w := open(t, m, variant{OS, true})
	appendN(t, w, 0, 300)
	p := followOn(t, m, variant{OS, true}, func(o *Options) {
		o.Outside = func() (o Outside, err error) {
			if deleted.Load() {
				o.Gone = gone
			}
			return o, nil
		}
	})
	waits, inside := p.NewReader(End()), p.NewReader(First())
	_, err := inside.TryNext()
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := waits.Next(bg)
		done <- err
	}()
	until(t, func() bool { return p.watch.waiting.Load() == 1 })
	deleted.Store(true)
	require.ErrorIs(t, <-done, gone)
	require.Zero(t, p.shared.OpenFiles())
	for err = nil; err == nil; {
		_, err = inside.TryNext()
	}
	require.ErrorIs(t, err, gone)
	require.ErrorContains(t, err, "read partition 0")
	_, err = p.Record(bg, 1)
	require.ErrorIs(t, err, gone)
	for _, err = range p.Records(bg, First()) {
		require.ErrorIs(t, err, gone)
	}
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

// An I/O error says nothing about content: it is told, and goes.
func TestFollowersHearOfErrors(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{OS, true})
	appendN(t, w, 0, 5)
	failing := &failingFS{FS: m}
	p := open(t, failing, variant{OS, true}, func(o *Options) { o.ReadOnly = true })
	r := p.NewReader(First())
	require.Len(t, readOn(t, r), 5)
	done := make(chan error)
	go func() {
		_, err := p.NewReader(End()).Next(bg)
		done <- err
	}()
	until(t, func() bool { return p.watch.waiting.Load() == 1 })
	failing.now.Store(true)
	err := <-done
	require.ErrorIs(t, err, fs.EIO)
	require.ErrorContains(t, err, "read partition 0")
	_, err = r.TryNext()
	require.ErrorIs(t, err, fs.EIO)
	_, err = p.Resolve(End())
	require.ErrorIs(t, err, fs.EIO)
	require.Equal(t, int64(5), p.End(), "as far as is known")
	appendN(t, w, 5, 1)
	failing.now.Store(false)
	require.Len(t, readOn(t, r), 1)
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

// An error that only a worker meets, when it looks at more than is read, is told
// to who waits.
func TestFollowersHearOfErrorsOutside(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{Sync, true})
	p := followOn(t, m, variant{Sync, true}, func(o *Options) {
		o.Outside = func() (Outside, error) { return Outside{}, fs.EIO }
	})
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	_, err := p.NewReader(End()).Next(ctx)
	require.ErrorIs(t, err, fs.EIO)
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

// Damage that comes while a partition is followed is told to who reads it, and
// what is behind is read.
func TestFollowOverDamage(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		p := followOn(t, m, v)
		r := p.NewReader(First())
		appendN(t, w, 0, 5)
		spoilRecord(t, m, w, 3)
		appendN(t, w, 5, 5)
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second)
		require.NoError(t, p.follow.refresh(true))
		for range 3 {
			_, err := r.TryNext()
			require.NoError(t, err)
		}
		_, err := r.TryNext()
		var c *CorruptError
		require.ErrorAs(t, err, &c)
		require.Equal(t, span2{3, 4}, span2{c.FromOffset, c.ToOffset})
		require.Len(t, readOn(t, r), 6)
		require.Len(t, p.Recovery().Lost, 1)

		// And where it was good when it was found, so that nobody looks again.
		spoilRecord(t, m, w, 1)
		_, err = p.Record(bg, 1)
		require.ErrorAs(t, err, &c)
		require.Equal(t, span2{1, 2}, span2{c.FromOffset, c.ToOffset})
		_, err = p.Record(bg, 2)
		require.NoError(t, err)
		appendN(t, w, 10, 400)
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second)
		require.NoError(t, p.follow.refresh(true))
		require.Len(t, readOn(t, r), 400)
		require.NoError(t, p.Close())
		require.NoError(t, w.Close())
	})
}

// spoilRecord changes a byte of the batch that record i of the first segment
// is in.
func spoilRecord(t *testing.T, m *fs.Mem, w *Partition, i int) {
	d, err := m.OpenDir("/p", false)
	require.NoError(t, err)
	f, err := d.Open(w.all()[0].Name(), true)
	require.NoError(t, err)
	b := make([]byte, 8<<10)
	_, err = f.ReadAt(b, 0)
	require.True(t, err == nil || err.Error() == "EOF")
	want := string(value(i).Value)
	for at := range b {
		if string(b[at:min(at+len(want), len(b))]) == want {
			_, err = f.WriteAt([]byte{'!'}, int64(at))
			require.NoError(t, err)
			require.NoError(t, f.Close())
			return
		}
	}
	require.Fail(t, "no such record")
}

// Look-ups give what the writer's give, in every cache mode, while segments
// grow and with indexes missing.
func TestFollowerLooksUp(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, mode := range []index.CacheMode{index.ActiveSegment, index.All, index.None} {
			m := fs.NewMem()
			large := func(o *Options) { o.SegmentBytes, o.IndexCache = 32<<10, mode }
			w := open(t, m, v, large)
			p := followOn(t, m, v, large)
			for n := 0; n < 1500; n += 250 {
				appendN(t, w, n, 250)
				require.NoError(t, w.Sync(bg))
				rests(w, time.Second)
				require.NoError(t, p.follow.refresh(n%500 == 0))
				require.Equal(t, w.End(), p.End())
				late := followOn(t, m, v, large)
				for i := 0; i < n+250; i += 37 {
					want, err := w.Record(bg, int64(i))
					require.NoError(t, err)
					for _, p := range []*Partition{p, late} {
						got, err := p.Record(bg, int64(i))
						require.NoError(t, err)
						require.Equal(t, want, got)
						at, err := p.Resolve(At(want.Timestamp))
						require.NoError(t, err)
						wantAt, err := w.Resolve(At(want.Timestamp))
						require.NoError(t, err)
						require.Equal(t, wantAt, at)
					}
				}
				far, err := late.Resolve(At(time.Now().Add(time.Hour)))
				require.NoError(t, err)
				require.Equal(t, late.End(), far)
				require.NoError(t, late.Close())
			}
			require.NoError(t, w.Close())
			for name := range contents(t, m) {
				if _, ok := indexBase(name); ok {
					d, name := dirOf(t, m, "/p/"+name)
					require.NoError(t, d.Remove(name))
				}
			}
			late := followOn(t, m, v, large)
			for i := 0; i < 1500; i += 37 {
				rec, err := late.Record(bg, int64(i))
				require.NoError(t, err)
				require.Equal(t, string(value(i).Value), string(rec.Value))
			}
			require.NoError(t, late.Close())
			require.NoError(t, p.Close())
		}
	})
}

// Nothing that changes a partition is done, and the error says what and why.
func TestReadOnlyRefuses(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{Sync, true})
	appendN(t, w, 0, 3)
	p := followOn(t, m, variant{Sync, true})
	_, appending := p.Append(bg, value(0))
	_, repairing := p.Repair(bg, KeepIntact)
	for what, err := range map[string]error{
		"append":    appending,
		"repair":    repairing,
		"trim":      p.Trim(bg, 1),
		"sync":      p.Sync(bg),
		"configure": p.Configure(bg, Config{}),
	} {
		require.ErrorIs(t, err, ErrReadOnly)
		require.EqualError(t, err, fmt.Sprintf("%s partition 0: read-only", what))
	}
	require.ErrorIs(t, p.AppendAsync(bg, value(0), nil), ErrReadOnly)
	require.False(t, p.Writable())
	found, err := p.Verify(bg, nil)
	require.NoError(t, err)
	require.Empty(t, found)
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Sync(bg), ErrClosed)
	_, ok := p.Checkpoint()
	require.False(t, ok)
	require.NoError(t, w.Close())
	_, err = tryOpen(reading(t, fs.NewMem()), variant{Sync, true}, func(o *Options) { o.ReadOnly = true })
	require.ErrorIs(t, err, fs.ErrNotExist)
}

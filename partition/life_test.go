package partition

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/segment"
)

// The start that a trim wrote down is a durable mark: what is damaged below it
// was on disk, and is not what a crash left. Offsets that were trimmed are not
// given again.
func TestDamageBelowTheStart(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(8, 100)(w)
		require.NoError(t, w.p.Trim(bg, 8-3))
		m := w.m.Kill()
		require.NoError(t, w.p.Close())
		edit(t, m, "/s/0/"+segment.Name(0), func(b []byte) []byte { b[segment.FirstFrame+60] ^= 1; return b })
		w.open(m, false)
		require.Equal(t, int64(5), w.p.Start())
		require.Equal(t, int64(8), w.p.End())
		require.Nil(t, w.p.Recovery().Cut)
		require.Len(t, readEntries(t, "", w.p), 3)
		if !w.p.Writable() {
			_, err := w.p.Repair(bg, KeepIntact)
			require.NoError(t, err)
		}
		appends(1, 100)(w)
		require.Len(t, readEntries(t, "", w.p), 4)
		require.NoError(t, w.p.Close())
	})
}

// Damage to the active segment that is repaired while appends go on does not
// stop them after the next Open, and makes nothing of a power loss that a
// power loss would not.
func TestRepairOfTheActiveSegment(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(6, 100)(w)
		require.NoError(t, w.p.giveBack(bg))
		edit(t, w.m, "/s/0/"+segment.Name(0), func(b []byte) []byte { b[segment.FirstFrame+60] ^= 1; return b })
		report, err := w.p.Repair(bg, KeepIntact)
		require.NoError(t, err)
		require.Equal(t, []GapError{{"", 0, 0, 1}}, report.GivenUp)
		appends(2, 100)(w)
		intact, gaps, lost := readSpans(t, w.p)
		require.Equal(t, []span2{{1, 8}}, intact)
		require.Equal(t, []span2{{0, 1}}, gaps)
		require.Empty(t, lost)
		for i, m := range []*fs.Mem{w.m.Kill(), w.m.Crash(func() bool { return false })} {
			p, err := w.openOn(m, false, i == 0, nil)
			require.NoError(t, err)
			require.Empty(t, p.Recovery().Lost)
			require.True(t, p.Writable())
			require.NoError(t, p.Close())
		}
		require.NoError(t, w.p.Close())
	})
}

// What a repair calls durable is.
func TestRepairMakesDurableWhatItCallsSo(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(6, 100)(w)
		end := w.p.End()
		_, err := w.p.giveUpDamage(bg, []span{{end - 2, end - 1}})
		require.NoError(t, err)
		p, err := w.openOn(w.m.Crash(func() bool { return false }), false, false, nil)
		require.NoError(t, err)
		require.True(t, p.Writable())
		require.Empty(t, p.Recovery().Lost)
		require.NoError(t, p.Close())
		require.NoError(t, w.p.Close())
	})
}

// A repair does not make records older than they are.
func TestRepairAgesNothing(t *testing.T) {
	c := clock.Start()
	m := fs.NewMem()
	shared, err := NewShared(SharedOptions{FS: m, Clock: c})
	require.NoError(t, err)
	p, err := Open("/p", Options{Shared: shared, Config: Config{SegmentBytes: 4 << 10}})
	require.NoError(t, err)
	appendN(t, p, 0, 100)
	c.Skip(1000 * time.Hour)
	fresh := p.Now()
	appendN(t, p, 100, 100)
	require.NoError(t, p.giveBack(bg))
	last := p.all()[len(p.all())-1]
	edit(t, m, "/p/"+last.Name(), func(b []byte) []byte { b[segment.FirstFrame+60] ^= 1; return b })
	_, err = p.Repair(bg, CutAtDamage)
	require.NoError(t, err)
	var young int
	segs, _ := p.Sealed()
	for _, s := range segs {
		at, err := s.LastAppended()
		require.NoError(t, err)
		if s.To > 100 {
			require.False(t, at.Before(fresh), "%d to %d", s.From, s.To)
			young++
		}
	}
	require.Positive(t, young)
	require.NoError(t, p.Close())
	shared.Close()
}

// A segment that is being sealed when a trim comes goes all the same.
func TestTrimWaitsForTheSealing(t *testing.T) {
	for _, v := range []variant{{OS, false}, {Interval, false}} {
		w := newWorld(t, v)
		batch(3, 900)(w)
		syncs()(w)
		sealing, goOn := make(chan bool), make(chan bool)
		var once sync.Once
		w.m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpTruncate {
				once.Do(func() { close(sealing); <-goOn })
			}
			return nil
		})
		batch(3, 900)(w)
		<-sealing
		require.Equal(t, int64(3), w.p.all()[0].End())
		trimmed := make(chan error)
		go func() { trimmed <- w.p.Trim(bg, 3) }()
		until(t, func() bool { return w.p.Start() == 3 })
		close(goOn)
		require.NoError(t, <-trimmed)
		w.m.OnOp(nil)
		require.NotContains(t, contentsOf(t, w.m, "/s/0"), segment.Name(0))
		require.NoError(t, w.p.Close())
	}
}

// A partition without records takes no space to speak of.
func TestTrimOfEverythingReturnsSpace(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v, func(o *Options) { o.SegmentBytes = 1 << 20 })
		appends(100, 1000)(w)
		require.NoError(t, w.p.Trim(bg, 100))
		total := 0
		for _, b := range contentsOf(t, w.m, "/s/0") {
			total += len(b)
		}
		require.Less(t, total, 4<<10)
		require.NoError(t, w.p.Close())
	})
}

// A trim behind what a snapshot has leaves a copy that can be appended to.
func TestCopyOfWhatWasTrimmed(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(5, 100)(w)
		s := frozen(w.p)
		appends(5, 100)(w)
		require.NoError(t, w.p.Trim(bg, 8))
		q := copied(t, w.m, v, s)
		require.GreaterOrEqual(t, q.End(), q.Start())
		require.LessOrEqual(t, q.Start(), int64(8))
		end := q.End()
		offset, err := q.Append(bg, numbered(int(end), 10))
		require.NoError(t, err)
		rec, err := q.Record(bg, offset)
		require.NoError(t, err)
		require.Equal(t, end, rec.Offset)
		require.NoError(t, q.Close())
		require.NoError(t, w.p.Close())
	})
}

// A repair between a snapshot and its copy gives up nothing that the copy does
// not have: what is appended to it later is not taken for a gap.
func TestCopyOfWhatWasGivenUp(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(3, 900)(w)
		s := frozen(w.p)
		appends(6, 900)(w)
		_, err := w.p.giveUpDamage(bg, []span{{2, 7}})
		require.NoError(t, err)
		q := copied(t, w.m, v, s)
		require.Equal(t, int64(3), q.End())
		require.NoError(t, q.Close())
		require.Equal(t, []span{{2, 3}}, *q.gaps.Load())
		require.NoError(t, w.p.Close())
	})
}

// The archive of a segment does not tell of gaps behind it.
func TestArchiveTellsOfItsOwnGaps(t *testing.T) {
	w := trimmable(t, variant{Sync, true})
	_, err := w.p.giveUpDamage(bg, []span{{1, 2}, {5, 8}})
	require.NoError(t, err)
	dir := backupDir(t, w.m)
	for i, want := range [][]span{{{1, 2}}, {{1, 2}, {5, 6}}, {{1, 2}, {5, 8}}, {{1, 2}, {5, 8}}} {
		segs, _ := w.p.Sealed()
		require.NoError(t, segs[min(i, 2)].DescribeArchived(dir))
		var m partitionMeta
		require.NoError(t, meta.Read(dir, partitionFile, &m))
		require.Equal(t, want, m.Gaps)
		require.Zero(t, m.Start)
	}
	require.NoError(t, w.p.Close())
}

// A repair whose last step fails leaves what can be read readable, and no file
// open.
func TestRepairCannotOpenAnew(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(12, 900)(w)
		require.NoError(t, w.p.giveBack(bg))
		_ = readEntries(t, "", w.p)
		list := w.p.all()
		edit(t, w.m, "/s/0/"+list[1].Name(), func(b []byte) []byte { b[segment.FirstFrame+60] ^= 1; return b })
		lists := 0
		w.m.OnOp(func(op fs.Op) error {
			// The last look at the partition is that of opening it anew.
			if lists > 0 && op.Kind == fs.OpReadAt && op.Name == "/s/0/"+list[0].Name() {
				return fs.EIO
			}
			if op.Kind == fs.OpRename && op.To == "/s/0/"+list[1].Name() {
				lists++
			}
			return nil
		})
		_, err := w.p.Repair(bg, CutAtDamage)
		require.ErrorIs(t, err, fs.EIO)
		w.m.OnOp(nil)
		require.False(t, w.p.Writable())
		_, err = w.p.Record(bg, 0)
		require.NoError(t, err)
		for _, err := range w.p.Records(bg, First()) {
			require.NotErrorIs(t, err, ErrCorrupt)
		}
		require.Error(t, w.p.Close())
		require.Zero(t, w.p.shared.OpenFiles())
	})
}

// A partition that failed is not repaired, not even in its headers.
func TestRepairOfWhatFailed(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		batch(3, 900)(w)
		batch(3, 900)(w)
		syncs()(w)
		spoilHeader(t, w.m, w.p.all()[0].Name(), []int64{0})
		w.p.poison(fs.EIO)
		before := contentsOf(t, w.m, "/s/0")
		_, err := w.p.Repair(bg, KeepIntact)
		require.ErrorIs(t, err, ErrFailed)
		require.Equal(t, before, contentsOf(t, w.m, "/s/0"))
		require.Error(t, w.p.Close())
	})
}

// A trim of what recovery found leaves the rest to the first sync.
func TestTrimBeforeTheFirstSync(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for i := range 6 {
			w := newWorld(t, v)
			for range 4 {
				batch(3, 900)(w)
			}
			m := w.m.Kill()
			require.NoError(t, w.p.Close())
			p, err := w.openOn(m, false, i < 3, nil)
			require.NoError(t, err)
			require.NoError(t, p.Trim(bg, []int64{7, 12, p.End()}[i%3]))
			end := p.End()
			offset, err := p.Append(bg, numbered(0, 900))
			require.NoError(t, err)
			require.Equal(t, end, offset)
			require.NoError(t, p.Sync(bg))
			require.NoError(t, p.Close())
		}
	})
}

// A marker that is damaged costs nothing: appends go on behind it, and nothing
// is given up for it.
func TestDamagedMarker(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		appends(2, 100)(w)
		require.NoError(t, w.p.giveBack(bg))
		marker := w.p.all()[0].Readable() - markerBytes
		appends(2, 100)(w)
		require.NoError(t, w.p.giveBack(bg))
		m := w.m.Kill()
		require.NoError(t, w.p.Close())
		edit(t, m, "/s/0/"+segment.Name(0), func(b []byte) []byte { b[marker+20] ^= 1; return b })
		w.open(m, false)
		require.Len(t, readEntries(t, "", w.p), 4)
		require.Empty(t, w.p.Recovery().Lost)
		require.True(t, w.p.Writable())
		_, err := w.p.Repair(bg, CutAtDamage)
		require.ErrorIs(t, err, ErrNotDamaged)
		require.NoError(t, w.p.Close())
	})
}

// CutAtDamage cuts at the first damage that was not given up before.
func TestCutBehindAGap(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		for range 3 {
			batch(3, 900)(w)
		}
		appends(2, 10)(w)
		require.NoError(t, w.p.giveBack(bg))
		list := w.p.all()
		spoil := func(m *fs.Mem, i int) {
			edit(t, m, "/s/0/"+list[i].Name(), func(b []byte) []byte { b[segment.FirstFrame+60] ^= 1; return b })
		}
		spoil(w.m, 0)
		_, err := w.p.Repair(bg, KeepIntact)
		require.NoError(t, err)
		m := w.m.Kill()
		require.NoError(t, w.p.Close())
		spoil(m, len(list)-1)
		w.open(m, false)
		report, err := w.p.Repair(bg, CutAtDamage)
		require.NoError(t, err)
		require.Len(t, report.GivenUp, 1)
		require.Equal(t, list[len(list)-1].Base, report.GivenUp[0].From)
		intact, _, _ := readSpans(t, w.p)
		require.Equal(t, []span2{{3, report.GivenUp[0].From}}, intact)
		require.NoError(t, w.p.Close())
	})
}

// Everything that changes a partition, side by side.
func TestUpkeepUnderway(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v, func(o *Options) { o.Quota = NewQuota() })
		ctx, cancel := context.WithCancel(bg)
		var g sync.WaitGroup
		forever := func(what func(i int) error, allowed ...error) {
			g.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					err := what(i)
					for _, a := range allowed {
						if errors.Is(err, a) {
							err = nil
						}
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		dir := backupDir(t, w.m)
		forever(func(int) error { return w.p.Trim(bg, max(w.p.End()-9, 0)) }, ErrClosed)
		forever(func(int) error { return w.p.RollOld(bg, w.p.Now()) }, ErrClosed)
		forever(func(i int) error { _, err := w.p.Repair(bg, RepairPolicy(i%2)); return err }, ErrClosed, ErrNotDamaged)
		forever(func(i int) error {
			_, _, err := frozen(w.p).Copy(bg, dir, fmt.Sprint(i))
			return err
		}, ErrClosed)
		forever(func(i int) error {
			c := w.p.Config()
			c.Durability = Durability(1 + i%3)
			return w.p.Configure(bg, c)
		}, ErrClosed)
		forever(func(int) error {
			segs, _ := w.p.Sealed()
			for _, s := range segs {
				if _, err := s.LastAppended(); err != nil {
					return err
				}
			}
			return nil
		}, iofs.ErrClosed)
		forever(func(int) error {
			_, err := w.p.Resolve(At(time.Now()))
			return err
		}, ErrClosed)
		for i := range 100 {
			offset, err := w.p.Append(bg, numbered(i, 300+i))
			require.NoError(t, err)
			require.Equal(t, int64(i), offset)
		}
		require.NoError(t, w.p.Close())
		require.Equal(t, w.p.Bytes(), w.p.opts.Quota.Used())
		cancel()
		g.Wait()
		require.Zero(t, w.p.shared.OpenFiles())
	})
}

package partition

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// submit submits value(i).
func submit(t *testing.T, p *Partition, a *Pending, i int) {
	t.Helper()
	one := [1]record.Record{value(i)}
	require.NoError(t, p.Submit(bg, &record.Run{Records: one[:]}, a))
}

// Whenever and however often Then is called, each callback hears of the outcome
// once.
func TestThenBeforeAndAfter(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		appendN(t, p, 0, 3)
		told := make(chan result, 10)
		tell := func(offset int64, err error) { told <- result{offset, err} }
		var a Pending
		require.NoError(t, a.Then(tell), "before Submit")
		submit(t, p, &a, 3)
		require.NoError(t, a.Then(tell), "before the outcome")
		copied := a
		require.NoError(t, copied.Then(tell))
		require.NoError(t, a.Wait(bg))
		require.NoError(t, copied.Wait(bg))
		require.NoError(t, copied.Then(tell), "after the outcome")
		for range 4 {
			require.Equal(t, result{3, nil}, <-told)
		}
		known := p.Acknowledged(2)
		require.NoError(t, known.Wait(bg))
		require.NoError(t, known.Then(tell))
		require.Equal(t, result{2, nil}, <-told)
		require.NoError(t, p.Close())
		require.ErrorIs(t, a.Then(tell), ErrClosed)
		require.ErrorIs(t, known.Then(tell), ErrClosed)
		require.Empty(t, told)
	})
}

// Many wait for one append, and one who leaves does not take the outcome along.
func TestThenOutlivesItsContext(t *testing.T) {
	for _, fault := range []error{nil, fs.EIO} {
		m := fs.NewMem()
		p := open(t, m, variant{Sync, true})
		appendN(t, p, 0, 1)
		g := newGate(m, fs.OpSync)
		leader := appendSoon(bg, p, 1)
		<-g.entered
		var a Pending
		submit(t, p, &a, 2)
		ctx, cancel := context.WithCancel(bg)
		cancel()
		require.ErrorIs(t, a.Wait(ctx), ErrOutcomeUnknown)
		told := make(chan result, 1)
		require.NoError(t, a.Then(func(offset int64, err error) { told <- result{offset, err} }))
		require.Empty(t, told)
		m.OnOp(nil)
		g.open <- fault
		require.Equal(t, fault != nil, errors.Is((<-leader).err, ErrOutcomeUnknown))
		r := <-told
		if fault == nil {
			require.Equal(t, result{2, nil}, r)
			require.NoError(t, p.Close())
			continue
		}
		require.Equal(t, int64(-1), r.offset)
		require.ErrorIs(t, r.err, ErrFailed)
		require.False(t, errors.Is(r.err, ErrOutcomeUnknown), "it was not written, for certain")
		require.Error(t, p.Close())
	}
}

// Close waits for the callbacks of appends that nobody waits for.
func TestCloseCallsBack(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 1)
	var a Pending
	submit(t, p, &a, 1)
	told := 0
	require.NoError(t, a.Then(func(offset int64, err error) {
		require.Equal(t, result{1, nil}, result{offset, err})
		told++
	}))
	require.NoError(t, p.Close())
	require.Equal(t, 1, told)
}

// After Settle readers see what was submitted before, or it has failed.
func TestSettle(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		require.NoError(t, p.Settle(bg), "of nothing")
		appendN(t, p, 0, 1)
		var a Pending
		submit(t, p, &a, 1)
		require.NoError(t, p.Settle(bg))
		require.Equal(t, int64(2), p.End())
		require.Equal(t, v.level == Sync, p.Durable() == 2, "it does not sync where the level does not")
		if v.heap {
			submit(t, p, &a, 2)
			m.OnOp(func(op fs.Op) error {
				if op.Kind == fs.OpWriteAt {
					return fs.ENOSPC
				}
				return nil
			})
			require.NoError(t, p.Settle(bg))
			require.ErrorIs(t, a.Wait(bg), ErrDiskFull)
			m.OnOp(nil)
			require.Equal(t, int64(2), p.End())
		}
		ctx, cancel := context.WithCancel(bg)
		cancel()
		require.ErrorIs(t, p.Settle(ctx), context.Canceled)
		require.NoError(t, p.Close())
	})
}

// Each names the append of every record that was added, by its number.
func TestBatchEach(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 5)
	recs := make([]record.Record, 6)
	for i := range recs {
		recs[i] = value(i)
		recs[i].Duplicate = true
	}
	var b Batch
	b.Add(bg, p, record.Run{Records: recs, Picks: []int32{0, 2, 4}})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	b.Add(ctx, p, record.Run{Records: recs, Picks: []int32{1, 5}})
	offsets := map[int]int64{}
	b.Each(func(i int, a Pending, err error) {
		if offsets[i] = a.First; err != nil {
			require.ErrorIs(t, err, context.Canceled)
			offsets[i] = -1
			return
		}
		require.Equal(t, 1, a.Count)
		require.NoError(t, a.Wait(bg))
	})
	require.Equal(t, map[int]int64{0: 5, 2: 6, 4: 7, 1: -1, 5: -1}, offsets)
	var e *BatchError
	require.ErrorAs(t, b.Wait(bg, len(recs)), &e)
	require.Equal(t, []Outcome{Appended, NotAppended, Appended, NotAppended, Appended, NotAppended}, e.Outcomes)
	for _, i := range []int{0, 1, 2, 4, 5} {
		require.False(t, recs[i].Duplicate, "record %d", i)
	}
	require.NoError(t, p.Close())
}

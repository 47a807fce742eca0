package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// try appends n records, one by one or as a batch, and enters what became of
// them.
func (w *world) try(n, size int, asBatch bool) {
	if !asBatch {
		for range n {
			i := w.offer(1)
			offset, err := w.p.Append(bg, numbered(i, size))
			w.told(i, offset, fateOf(err))
		}
		return
	}
	first := w.offer(n)
	recs := make([]record.Record, n)
	for j := range recs {
		recs[j] = numbered(first+j, size)
	}
	err := w.p.AppendBatch(bg, recs)
	var partial *BatchError
	for j := range recs {
		f := fateOf(err)
		if errors.As(err, &partial) {
			f = map[Outcome]fate{Appended: acknowledged, NotAppended: refused, Unknown: doubtful}[partial.Outcomes[j]]
			require.Equal(w.t, f == refused, recs[j].Offset < 0)
		}
		w.told(first+j, recs[j].Offset, f)
	}
}

func fateOf(err error) fate {
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, ErrOutcomeUnknown):
		return doubtful
	}
	return refused
}

// faultScript is a small life of a partition. Its appends may fail. Small
// records come after large ones, so that a segment which had no room for the
// one has for the other.
func faultScript(w *world) {
	w.try(3, 100, false)
	w.try(4, 50, true)
	w.try(2, 900, false)
	w.try(3, 20, false)
	if w.p.Sync(bg) == nil {
		w.mu.Lock()
		w.lookLocked()
		w.mu.Unlock()
	}
	w.try(1, 900, false)
	w.try(2, 20, false)
	w.try(6, 500, true)
	rests(w.p, time.Second)
	w.try(2, 20, false)
	rests(w.p, time.Hour)
	w.try(3, 700, false)
	w.try(1, 20, false)
}

// faults are what an operation may fail with.
var faults = []struct {
	name  string
	err   error
	times int64 // how many operations in a row
}{
	{"EIO", fs.EIO, 1},
	{"no space", fs.ENOSPC, 1},
	{"short write", &fs.ShortWriteError{N: 33, Err: fs.ENOSPC}, 1},
	{"no space, thrice", fs.ENOSPC, 3},
	{"EIO, twice", fs.EIO, 2},
}

// Whatever operation fails: what was acknowledged is there, what was refused
// never comes, and unless the partition failed for good, it goes on.
func TestFailEveryOperation(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for kind, fault := range faults {
			t.Run(fault.name, func(t *testing.T) {
				for n := int64(1); ; n += fault.times { // as many as fail
					rng := rand.New(rand.NewPCG(uint64(kind), uint64(n)))
					if !failOne(t, v, n, fault.times, fault.err, rng) {
						break
					}
				}
			})
		}
	})
}

// failOne plays the script with operations [n, n+times) failing, and reports
// whether it came that far.
func failOne(t *testing.T, v variant, n, times int64, err error, rng *rand.Rand) bool {
	w := newWorld(t, v)
	first := w.m.Ops() + n
	var failed atomic.Value
	failed.Store("nothing")
	w.m.OnOp(func(op fs.Op) error {
		if op.N >= first && op.N < first+times {
			if op.N == first {
				failed.Store(op.String())
			}
			return err
		}
		return nil
	})
	faultScript(w)
	quiet(w.p)
	came := w.m.Ops() >= first
	at := fmt.Sprintf("operation %d, %s, fails", n, failed.Load())
	goesOn(t, w, at)
	all := w.capture(at, rng, 1)
	closed := w.p.Close()
	if closed == nil {
		all = append(all, w.capture(at+", closed", rng, 1)...)
	}
	require.Zero(t, w.p.shared.OpenFiles(), at)
	for _, i := range all {
		w.checkFates(i)
	}
	return came
}

// goesOn requires that a partition which did not fail for good takes appends,
// and that one which did takes none.
func goesOn(t *testing.T, w *world, at string) {
	w.m.OnOp(nil)
	i := w.offer(1)
	offset, err := w.p.Append(bg, numbered(i, 60))
	w.told(i, offset, fateOf(err))
	if err != nil {
		require.ErrorIs(t, err, ErrFailed, at)
		require.False(t, errors.Is(err, ErrOutcomeUnknown), at)
		require.False(t, w.p.Writable(), at)
		require.Error(t, w.p.Sync(bg), at)
		return
	}
	readFates(t, w, w.p, w.known, at)
	require.NoError(t, w.p.Sync(bg), at)
	w.mu.Lock()
	w.lookLocked()
	w.mu.Unlock()
}

// checkFates opens what is left and compares it with what the appender was
// told.
func (w *world) checkFates(i image) {
	p, err := w.openOn(i.m, false, i.killed, nil)
	require.NoError(w.t, err, i.at)
	require.Empty(w.t, p.Recovery().Lost, i.at)
	found := readFates(w.t, w, p, i.known, i.at)
	for n, k := range i.known {
		must := k == acknowledged && (i.killed || i.level == Sync || i.offsets[n] < i.durable)
		require.False(w.t, must && !found[n], "%s: record %d, offset %d, was acknowledged and is not there", i.at, n, i.offsets[n])
	}
	require.GreaterOrEqual(w.t, p.End(), i.visible, "%s: an offset will be given out again", i.at)
	_, err = p.Append(bg, numbered(0, 700))
	require.NoError(w.t, err, i.at)
	require.NoError(w.t, p.Close(), i.at)
}

// readFates reads p and requires that nothing refused is there.
func readFates(t testing.TB, w *world, p *Partition, known []fate, at string) map[int]bool {
	found := map[int]bool{}
	for _, e := range readEntries(t, at, p) {
		require.Less(t, e.number, len(known), at)
		require.NotEqual(t, refused, known[e.number], "%s: record %d was refused and is there", at, e.number)
		require.False(t, found[e.number], "%s: record %d is there twice", at, e.number)
		if known[e.number] == acknowledged {
			require.Equal(t, w.offsets[e.number], e.offset, at)
		}
		found[e.number] = true
	}
	return found
}

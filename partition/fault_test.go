package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
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
	{"quota, for a while", fs.EDQUOT, 12},
	{"no files, for a while", fs.EMFILE, 7},
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

// Where directories cannot be opened, and so not synced, segments cannot be
// begun, or no more than one without the one before it being durable. That is
// an error to who appends, and nothing else: once it is over everything goes
// on.
func TestNoDescriptorForADirectory(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v, func(o *Options) { o.SyncEvery.Records = 40 })
		appends(2, 900)(w)
		quiet(w.p)
		w.m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSyncDir {
				return fs.EMFILE
			}
			return nil
		})
		for range 2 { // it is told each time
			var err error
			for n := 0; err == nil; n++ {
				require.Less(t, n, 20, "a third segment that is not durable")
				i := w.offer(1)
				var offset int64
				offset, err = w.p.Append(bg, numbered(i, 900))
				w.told(i, offset, fateOf(err))
			}
			requireShort(t, err, "append")
		}
		require.True(t, w.p.Writable())
		quiet(w.p)
		if w.p.Durable() < w.p.End() {
			requireShort(t, w.p.Sync(bg), "sync")
		}
		w.m.OnOp(nil)
		appends(9, 900)(w)
		syncs()(w)
		require.Equal(t, w.p.End(), w.p.Durable())
		require.Empty(t, w.p.unmade)
		readFates(t, w, w.p, w.known, "")
		reopens(true)(w)
		readFates(t, w, w.p, w.known, "")
		require.Empty(t, w.p.Recovery().Lost)
		require.NoError(t, w.p.Close())
	})
}

// requireShort requires an error that says what there is not enough of, and
// leaves nothing in doubt.
func requireShort(t *testing.T, err error, op string) {
	require.ErrorIs(t, err, fs.EMFILE)
	require.ErrorContains(t, err, op+" partition 0: ")
	require.NotErrorIs(t, err, ErrFailed)
	require.NotErrorIs(t, err, ErrOutcomeUnknown)
}

// At level Interval appends wait for a sync that is overdue. If it cannot be
// tried they are told so, and if it can again they go on.
func TestOverdueSyncThatCannotBeTried(t *testing.T) {
	w := newWorld(t, variant{Interval, false}, func(o *Options) { o.SyncEvery.Records = 4 })
	appends(3, 900)(w)
	var mu sync.Mutex
	short := true
	w.m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == fs.OpSyncDir && short {
			return fs.EMFILE
		}
		return nil
	})
	var err error
	for n := 0; err == nil; n++ {
		require.Less(t, n, 20)
		i := w.offer(1)
		_, err = w.p.Append(bg, numbered(i, 30))
		if n == 0 {
			appends(1, 900)(w) // a segment whose name is not durable
		}
	}
	requireShort(t, err, "append")
	quiet(w.p)
	rests(w.p, time.Minute)
	require.ErrorIs(t, w.p.Close(), fs.EMFILE, "not all could be made durable")
	_, ok := w.p.Checkpoint()
	require.False(t, ok)
	mu.Lock()
	short = false
	mu.Unlock()
	w.open(w.m, false)
	appends(9, 30)(w)
	require.NoError(t, w.p.Close())
}

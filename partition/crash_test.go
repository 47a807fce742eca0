package partition

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// histories are what a partition goes through before, at every file operation,
// the process ends or the power goes.
var histories = []struct {
	name  string
	steps []step
}{
	{"nothing", nil},
	{"one record", []step{appends(1, 30)}},
	{"a few records", []step{appends(12, 100)}},
	{"batches", []step{batch(3, 40), batch(8, 60), appends(1, 10), batch(2, 500)}},
	{"a roll", []step{appends(5, 900)}},
	{"three segments", []step{batch(3, 900), batch(2, 900), batch(3, 800), appends(2, 700)}},
	{"small ones after large ones", []step{appends(3, 900), appends(4, 20), appends(2, 900)}},
	{"synced now and then", []step{appends(3, 100), syncs(), appends(3, 300), syncs(), appends(5, 700), syncs()}},
	{"asynchronous", []step{async(6, 300), syncs(), async(8, 600), syncs()}},
	{"pauses", []step{appends(3, 100), pauses(time.Second), appends(3, 100), pauses(time.Hour), appends(3, 900), pauses(time.Hour)}},
	{"closed and opened", []step{appends(4, 100), reopens(true), appends(4, 900), reopens(false), reopens(true), appends(2, 100)}},
	{"trimmed", []step{appends(3, 900), appends(3, 900), trims(2), appends(3, 900), trims(4)}},
	{"trimmed inside", []step{batch(2, 900), batch(2, 900), trims(3), appends(2, 900), pauses(time.Hour), trims(1), reopens(true), trims(0)}},
	{"purged", []step{appends(2, 300), trims(0), appends(2, 300), trims(0), trims(0), reopens(false), appends(1, 300)}},
	{"purged when detached", []step{appends(5, 600), pauses(time.Hour), trims(0), appends(5, 900)}},
	{"levels changed", []step{appends(3, 100), configures(OS), appends(4, 800), configures(Sync), appends(3, 800), configures(Interval), appends(2, 800)}},
}

func TestCrashAtEveryOperation(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for seed, h := range histories {
			t.Run(h.name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(seed), 7))
				for _, i := range imagesOf(t, v, rng, h.steps) {
					i.check(t, v, rng)
				}
			})
		}
	})
}

// imagesOf plays a history and returns images from before each operation.
func imagesOf(t *testing.T, v variant, rng *rand.Rand, steps []step) []image {
	w := &world{t: t, v: v, level: v.level, m: fs.NewMem()}
	var mu sync.Mutex
	var all []image
	w.m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind != fs.OpReadAt && op.Kind != fs.OpOpen && op.Kind != fs.OpList && op.Kind != fs.OpSize {
			all = append(all, w.capture(fmt.Sprintf("before operation %d, %v", op.N, op), rng, 1)...)
		}
		return nil
	})
	w.open(w.m, false)
	for _, s := range steps {
		s(w)
	}
	mu.Lock()
	all = append(all, w.capture("at the end", rng, 2)...)
	mu.Unlock()
	require.NoError(t, w.p.Close())
	return all
}

// check opens what is left, sees that nothing promised is missing, and goes
// on: through a second crash in the middle of recovery, and a third after
// more records were appended, or after the partition was closed again.
func (i *image) check(t *testing.T, v variant, rng *rand.Rand) {
	v.level = i.level
	copied := i.m.Kill()
	crashAt := rng.Int64N(20) + 1 // beyond the end of most recoveries
	var again *fs.Mem
	i.m.OnOp(func(op fs.Op) error {
		if op.N == crashAt && i.killed {
			again = i.m.Kill()
		} else if op.N == crashAt {
			again = i.m.Crash(func() bool { return rng.IntN(2) == 0 })
		}
		return nil
	})
	w := &world{t: t, v: v}
	p, found := i.recover(w, i.m)
	i.m.OnOp(nil)
	if rng.IntN(2) == 0 {
		i.appendAndCrash(w, i.m, p, found)
	} else {
		require.NoError(t, p.Close(), i.at)
	}
	if again != nil {
		p, second := i.recover(w, again)
		require.Equal(t, found, second, "%s, and again in recovery", i.at)
		require.NoError(t, p.Close(), i.at)
	}
	if i.killed || rng.IntN(3) == 0 {
		p, second := i.recover(w, copied)
		require.Equal(t, found, second, "%s, recovered twice", i.at)
		i.closeAndCrash(w, copied, p, found)
	}
}

// recover opens m and returns what it has.
func (i *image) recover(w *world, m *fs.Mem) (*Partition, []entry) {
	p, err := w.openOn(m, false, i.killed, i.cp)
	require.NoError(w.t, err, i.at)
	require.Empty(w.t, p.Recovery().Lost, i.at)
	found := readEntries(w.t, i.at, p)
	i.judge(w.t, found, p, i.killed)
	return p, found
}

// appendAndCrash appends one record and makes it durable, and has the power
// go.
func (i *image) appendAndCrash(w *world, m *fs.Mem, p *Partition, found []entry) {
	t := w.t
	next := p.End()
	offset, err := p.Append(bg, numbered(999999, 50))
	require.NoError(t, err, i.at)
	require.Equal(t, next, offset, i.at)
	require.NoError(t, p.Sync(bg), i.at)
	last := m.Crash(func() bool { return false })
	require.NoError(t, p.Close(), i.at)
	require.Zero(t, p.shared.OpenFiles(), i.at)
	i.expect(w, last, i.cp, append(found[:len(found):len(found)], entry{offset, 999999}), "one appended, synced")
}

// closeAndCrash closes the partition and has the power go.
func (i *image) closeAndCrash(w *world, m *fs.Mem, p *Partition, found []entry) {
	require.NoError(w.t, p.Close(), i.at)
	var cp *Checkpoint
	if c, ok := p.Checkpoint(); ok {
		cp = &c
	}
	last := m.Crash(func() bool { return false })
	i.expect(w, last, cp, found, "closed")
}

func (i *image) expect(w *world, m *fs.Mem, cp *Checkpoint, want []entry, after string) {
	p, err := w.openOn(m, false, false, cp)
	require.NoError(w.t, err, i.at)
	require.Empty(w.t, p.Recovery().Lost, "%s, then %s and crashed", i.at, after)
	require.Equal(w.t, want, readEntries(w.t, i.at, p), "%s, then %s and crashed", i.at, after)
	require.NoError(w.t, p.Close())
}

// judge compares what was found with what was promised.
func (i *image) judge(t testing.TB, found []entry, p *Partition, killed bool) {
	start := p.Start()
	require.GreaterOrEqual(t, start, i.trimmed, "%s: a trimmed record came back", i.at)
	require.LessOrEqual(t, start, max(i.trimAsked, i.trimmed), "%s: nobody asked for that trim", i.at)
	for n, e := range found {
		n += int(start)
		require.Equal(t, n, e.number, "%s: records are a prefix of those offered", i.at)
		require.Less(t, n, len(i.offsets), "%s: a record from nowhere", i.at)
		if i.known[n] == acknowledged {
			require.Equal(t, i.offsets[n], e.offset, "%s: at its offset", i.at)
		}
	}
	for n, k := range i.known {
		must := k == acknowledged && (killed || i.level == Sync || i.offsets[n] < i.durable)
		require.False(t, must && n >= int(start)+len(found), "%s: record %d was acknowledged, only %d are left", i.at, n, len(found))
	}
	seen := i.durable
	if killed || i.level == Sync {
		seen = i.visible
	}
	require.GreaterOrEqual(t, start+int64(len(found)), seen, "%s: a record that could be read is gone", i.at)
	require.GreaterOrEqual(t, p.End(), i.visible, "%s: an offset will be given out again", i.at)
}

package crash

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/rig/history"
	"github.com/braidlog/braidlog/internal/rig/report"
)

func TestShortHistories(t *testing.T) {
	r := report.New()
	Run(context.Background(), Options{Seed: 1, Length: 1, Stop: 600}, r, func(string, ...any) {})
	require.Empty(t, r.Findings())
	require.GreaterOrEqual(t, r.Count(States), int64(600))
	require.Greater(t, r.Count(Points), r.Count(Histories))
}

func TestLongerHistory(t *testing.T) {
	r := report.New()
	require.NoError(t, Again(context.Background(), "interval,mapped,2:ab", 1, r))
	require.Error(t, Again(context.Background(), "nonsense", 1, r))
	require.Empty(t, r.Findings())
	require.Greater(t, r.Count(States), int64(20))
}

// What was found once is not found again.
func TestHistoriesThatFoundBugs(t *testing.T) {
	for _, h := range []string{
		"sync,heap,1:mdc",          // a marker that only the page cache had
		"sync,heap,1:aBsstalbiibz", // the rig itself: skipped offsets taken for a promise before it knew what was lost
	} {
		r := report.New()
		require.NoError(t, Again(context.Background(), h, 1, r))
		require.Empty(t, r.Findings(), h)
	}
}

// A disk on which something is missing that was promised is a finding, each
// time it is met: what was found is remembered, the judgement is not.
func TestFinds(t *testing.T) {
	h, err := history.Parse("sync,heap,1:a")
	require.NoError(t, err)
	points, broken := record(h, 0)
	require.Empty(t, broken)
	first, last := points[0], points[len(points)-1]
	r := report.New()
	c := newRun(Options{}, r)
	older := disk{first.Mem.Hash(), first.Mem.Kill, false}
	how := func() string { return "an older disk" }
	c.judge(h, first, older, how)
	require.Empty(t, r.Findings())
	for range 2 {
		c.judge(h, last, older, how)
	}
	require.EqualValues(t, 2, r.Count("lost"))
	require.Contains(t, r.Findings()[0].String(), "-replay 'crash sync,heap,1:a'")
}

// All subsets of what is in doubt are tried, if they are not too many.
func TestChoices(t *testing.T) {
	m := fs.NewMem()
	m.Remember()
	d, err := m.OpenDir("/", true)
	require.NoError(t, err)
	f, err := d.Create("f")
	require.NoError(t, err)
	require.NoError(t, f.Truncate(20*512))
	require.NoError(t, f.Sync())
	require.NoError(t, d.Sync("."))
	for sectors := range 14 {
		l := m.PowerLoss(fs.JournalDisk)
		plain := map[uint64]bool{}
		torn := 0
		for picks := range choices(l, thorough, 1) {
			junk := false
			for _, p := range picks {
				junk = junk || p > 1
			}
			if junk {
				torn++
			} else {
				plain[l.Hash(picks)] = true
			}
		}
		if sectors <= 12 {
			require.Len(t, plain, 1<<sectors)
		} else {
			require.Greater(t, len(plain), sampled/2)
		}
		require.GreaterOrEqual(t, torn, sectors)
		_, err = f.WriteAt([]byte("something"), int64(sectors)*512)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

package partition

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
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

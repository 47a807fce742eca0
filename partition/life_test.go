package partition

import (
	"testing"

	"github.com/stretchr/testify/require"

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


package partition

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// Damage in a sealed segment is found by Open if it validates everything, also
// if a checkpoint vouches for the partition, and else when it is read.
func TestValidateFullFindsDamage(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, clean := range []bool{false, true} {
			w := newWorld(t, v)
			for range 3 {
				batch(3, 900)(w)
			}
			syncs()(w)
			sealed := w.p.all()[1]
			from, to := sealed.Base, sealed.End()
			require.NoError(t, w.p.Close())
			c, ok := w.p.Checkpoint()
			require.True(t, ok)
			edit(t, w.m, "/s/0/"+sealed.Name(), func(b []byte) []byte { b[segment.FirstFrame+100] ^= 1; return b })
			for _, how := range []Validate{ValidateNone, ValidateTail, ValidateFull} {
				w.change = []func(*Options){func(o *Options) { o.Validate = how }}
				p, err := w.openOn(w.m, clean, true, &c)
				require.NoError(t, err)
				require.True(t, p.Writable())
				r := p.Recovery()
				require.Equal(t, clean && how != ValidateFull, r.Vouched)
				if how == ValidateFull {
					require.Len(t, r.Lost, 1)
					require.Equal(t, []int64{from, to}, []int64{r.Lost[0].FromOffset, r.Lost[0].ToOffset})
					require.Greater(t, r.ReadBytes, int64(5000), "both other segments")
				} else {
					require.Empty(t, r.Lost)
				}
				_, _, lost := readSpans(t, p)
				require.Equal(t, []span2{{from, to}}, lost)
				require.NoError(t, p.Close())
			}
		}
	})
}

// After the end of the process, on a machine that did not restart, ValidateNone
// believes the last index entry; ValidateTail reads all that is not known to be
// durable. After a restart both do.
func TestValidateNoneReadsLess(t *testing.T) {
	read := func(m *fs.Mem, how Validate, sameBoot bool) (bytes int64, records int) {
		w := &world{t: t, v: variant{OS, false}, change: []func(*Options){func(o *Options) { o.Validate, o.SegmentBytes = how, 1<<20 }}}
		p, err := w.openOn(m, false, sameBoot, nil)
		require.NoError(t, err)
		r := p.Recovery()
		records = len(readEntries(t, how.String(), p))
		require.NoError(t, p.Close())
		return r.ReadBytes, records
	}
	w := newWorld(t, variant{OS, false}, func(o *Options) { o.SegmentBytes = 1 << 20 })
	appends(600, 900)(w)
	quiet(w.p)
	w.p.mu.Lock()
	seg := w.p.tail.seg
	w.p.mu.Unlock()
	require.NoError(t, seg.WriteIndex())
	killed, crashed := w.m.Kill(), w.m.Crash(func() bool { return true })
	require.NoError(t, w.p.Close())

	none, n := read(killed.Kill(), ValidateNone, true)
	require.Equal(t, 600, n)
	require.Less(t, none, int64(4<<10))
	tail, n := read(killed.Kill(), ValidateTail, true)
	require.Equal(t, 600, n)
	require.Greater(t, tail, int64(500<<10))
	again, n := read(crashed, ValidateNone, false)
	require.Equal(t, 600, n)
	require.Equal(t, tail, again)
}

// What was closed well has no gap after a restart of the machine, however much is
// read before it is believed.
func TestNoGapBehindACleanClose(t *testing.T) {
	for _, level := range []Durability{Interval, OS} {
		for _, how := range []Validate{ValidateTail, ValidateNone, ValidateFull} {
			m := fs.NewMem()
			p := open(t, m, variant{level, true})
			appendN(t, p, 0, 100)
			require.NoError(t, p.Close())
			c, ok := p.Checkpoint()
			require.True(t, ok)
			for _, clean := range []bool{true, false} {
				m := m.Crash(func() bool { return false })
				p := open(t, m, variant{level, true}, func(o *Options) {
					o.SameBoot, o.Checkpoint, o.Clean, o.Validate = false, &c, clean, how
				})
				require.Equal(t, clean, p.Recovery().Gap == nil, "%v, %v", level, how)
				require.Equal(t, clean, p.End() == 100, "%v, %v", level, how)
				require.NoError(t, p.Close())
			}
		}
	}
}

// Damage that begins below the start is reported from the start on.
func TestDamageIsClippedAtTheStart(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 30)
	require.NoError(t, p.Trim(bg, 5))
	require.NoError(t, p.Close())
	c, _ := p.Checkpoint()
	edit(t, m, "/p/"+segment.Name(0), func(b []byte) []byte {
		for i := range b[segment.FirstFrame : segment.FirstFrame+1000] {
			b[segment.FirstFrame+i] ^= 0xff
		}
		return b
	})
	p = open(t, m, variant{Sync, true}, func(o *Options) { o.Checkpoint, o.Clean, o.Validate = &c, true, ValidateFull })
	require.Len(t, p.Recovery().Lost, 1)
	require.EqualValues(t, 5, p.Recovery().Lost[0].FromOffset)
	found, err := p.Verify(bg, nil)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.EqualValues(t, 5, found[0].FromOffset)
	require.Equal(t, p.Recovery().Lost[0].ToOffset, found[0].ToOffset)
	require.NoError(t, p.Close())
}

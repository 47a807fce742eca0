package partition

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// FuzzRecovery opens a partition whose last segment and index hold any bytes.
// That never panics, takes no more memory than the files warrant, and what is
// left can be read and, unless it is damaged, appended to.
func FuzzRecovery(f *testing.F) {
	d := newDisk(f)
	for _, l := range []line{seg(0), recs(3, 0), recs(2, 3), recs(0, 5), recs(30, 5), recs(1, 35)} {
		l(d)
	}
	x := index.New(d.seg.ID, 0)
	x.Add(index.Entry{Offset: 0, Position: segment.FirstFrame, Time: 1e18})
	x.Add(index.Entry{Offset: 35, Position: d.frame, Time: 1e18 + 35})
	require.NoError(f, x.Write(d.dir, segment.IndexName(0)))
	all := contents(f, d.m)
	good, index := []byte(all[segment.Name(0)]), []byte(all[segment.IndexName(0)])
	header := good[:segment.FirstFrame]
	f.Add(good, index, false)
	f.Add(good[:len(good)/2], index, true)
	f.Add(good[segment.FirstFrame:], index[48:], true)
	f.Add([]byte{}, []byte{}, false)
	f.Add(append(make([]byte, 40), "x"...), []byte("x"), true)
	f.Add([]byte{0xf8, 0xff, 0xff, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0}, index, true)
	f.Fuzz(func(t *testing.T, data, idx []byte, behindHeader bool) {
		if behindHeader { // the fuzzer does not find checksums
			data = append(append([]byte(nil), header...), data...)
			idx = append(append([]byte(nil), index[:min(48, len(index))]...), idx...)
		}
		openAny(t, data, idx, -1)
		openAny(t, data, idx, 4)
	})
}

func openAny(t *testing.T, data, idx []byte, checkpoint int64) {
	m := fs.NewMem()
	for name, b := range map[string][]byte{segment.Name(0): data, segment.IndexName(0): idx} {
		d, err := m.OpenDir("/p", true)
		require.NoError(t, err)
		file, err := d.Create(name)
		require.NoError(t, err)
		_, err = file.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := tryOpen(m, variant{Sync, true}, func(o *Options) {
		if checkpoint >= 0 {
			o.Checkpoint = &Checkpoint{End: checkpoint}
		}
	})
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20+16*(len(data)+len(idx))))
	if err != nil {
		return // of a newer version, with a checksum that is right
	}
	end := p.Start()
	for rec, err := range p.Records(bg, First()) {
		if err == nil {
			require.GreaterOrEqual(t, rec.Offset, end)
			end = rec.Offset + 1
		} else {
			require.True(t, Skippable(err), "%v", err)
		}
	}
	offset, err := p.Append(bg, value(0))
	if err == nil {
		require.GreaterOrEqual(t, offset, end)
	} else {
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.NoError(t, p.Close())
	require.Zero(t, p.shared.OpenFiles())
}

package partition

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// sweepDisk is a small partition of three segments at level Sync, killed
// before it could write a marker, so that its last batch is not known to be
// durable. Its records are number i at offset i; frames tells where the
// batches are.
func sweepDisk(t *testing.T) (m *fs.Mem, n int, frames []span2) {
	w := newWorld(t, variant{Sync, true})
	w.try(3, 200, true)
	w.try(2, 700, false)
	w.try(2, 300, true)
	w.try(2, 700, false)
	w.try(4, 90, true)
	w.try(2, 700, false)
	w.try(1, 40, false)
	require.Len(t, w.p.all(), 3)
	m = w.m.Crash(func() bool { return true })
	require.NoError(t, w.p.Close())
	for _, f := range w.frames {
		frames = append(frames, span2{int64(f[0]), int64(f[1])})
	}
	return m, len(w.offsets), frames
}

// TestCutAtEveryByte cuts the last segment. What is below the durable mark is
// corrupt, what is not is torn; nothing else is lost.
func TestCutAtEveryByte(t *testing.T) {
	m, n, frames := sweepDisk(t)
	_, base, size := lastSegment(t, m)
	whole := 0
	for at := int64(0); at <= size; at++ {
		c := m.Crash(func() bool { return true })
		edit(t, c, "/s/0/"+segment.Name(base), func(b []byte) []byte { return b[:at] })
		got := openSpoiled(t, c, frames, n, fmt.Sprintf("cut at %d", at))
		for _, l := range got.lost {
			require.GreaterOrEqual(t, l[0], base)
		}
		require.GreaterOrEqual(t, len(got.read), whole, "a longer file has more")
		whole = len(got.read)
	}
	require.Equal(t, n, whole)
}

// TestFlipBits flips every bit of every file, one at a time (under the race
// detector, which is slow, one in 41). No wrong byte is ever
// returned: an intact batch reads at its offset, a lost one is named exactly
// or, beyond the durable mark, cut.
func TestFlipBits(t *testing.T) {
	m, n, frames := sweepDisk(t)
	for _, e := range list(t, m, "/s/0") {
		used := used(t, m, "/s/0/"+e.Name)
		for bit := 0; bit < 8*used; bit += flipEvery {
			flip(t, m, e.Name, bit/8, 1<<(bit%8), frames, n)
		}
	}
}

func flip(t *testing.T, m *fs.Mem, name string, at int, bit byte, frames []span2, n int) {
	what := fmt.Sprintf("%s, byte %d, bit %#x", name, at, bit)
	edit(t, m, "/s/0/"+name, func(b []byte) []byte { b[at] ^= bit; return b })
	c := m.Crash(func() bool { return true })
	edit(t, m, "/s/0/"+name, func(b []byte) []byte { b[at] ^= bit; return b })
	got := openSpoiled(t, c, frames, n, what)
	frameLost := 0
	for _, f := range frames {
		if !got.has[f[0]] {
			frameLost++
		}
	}
	if !strings.HasSuffix(name, ".log") {
		require.Zero(t, frameLost, what)
	}
	require.True(t, frameLost <= 1 || got.cut >= 0, "%s: one bit costs one batch, %d are gone", what, frameLost)
}

// spoiled is what was found on a disk that something was done to.
type spoiled struct {
	read []int64
	has  map[int64]bool
	lost []span2
	cut  int64
}

// openSpoiled opens m and requires that each batch is read whole and right, or
// named as lost, or cut off; and that no file was deleted.
func openSpoiled(t *testing.T, m *fs.Mem, frames []span2, n int, what string) spoiled {
	before := list(t, m, "/s/0")
	w := &world{t: t, v: variant{Sync, true}}
	p, err := w.openOn(m, false, true, nil)
	require.NoError(t, err, what)
	got := spoiled{has: map[int64]bool{}, cut: -1}
	if c := p.Recovery().Cut; c != nil {
		got.cut = c.Offset
	}
	for rec, err := range p.Records(bg, First()) {
		var c *CorruptError
		if errors.As(err, &c) {
			got.lost = append(got.lost, span2{c.FromOffset, c.ToOffset})
			continue
		}
		require.NoError(t, err, what)
		require.Equal(t, int(rec.Offset), number(t, &rec), what)
		got.read = append(got.read, rec.Offset)
		got.has[rec.Offset] = true
	}
	end := p.End()
	for _, f := range frames {
		lost := false
		for _, l := range got.lost {
			lost = lost || l[0] <= f[0] && f[1] <= l[1]
		}
		for o := f[0]; o < f[1]; o++ {
			require.Equal(t, got.has[f[0]], got.has[o], "%s: part of a batch", what)
		}
		require.False(t, lost && got.has[f[0]], "%s: offset %d is read and lost", what, f[0])
		require.True(t, lost || got.has[f[0]] || f[0] >= end, "%s: offset %d is gone without a word", what, f[0])
	}
	for o := int64(len(what)) % 5; o < end; o += 5 { // some
		checkRecord(t, p, o, got.has[o], what)
	}
	require.NoError(t, p.Close(), what)
	after := map[string]bool{}
	for _, e := range list(t, m, "/s/0") {
		after[e.Name] = true
	}
	for _, e := range before {
		gone := !after[e.Name] && !after[sidePrefix+e.Name] && strings.HasSuffix(e.Name, ".log")
		require.False(t, gone, "%s: %s was deleted", what, e.Name)
	}
	return got
}

func checkRecord(t *testing.T, p *Partition, o int64, has bool, what string) {
	rec, err := p.Record(bg, o)
	if !has {
		require.ErrorIs(t, err, ErrCorrupt, what)
		return
	}
	require.NoError(t, err, what)
	require.Equal(t, int(o), number(t, &rec), what)
}

func dirOf(t testing.TB, m *fs.Mem, path string) (fs.Dir, string) {
	i := strings.LastIndexByte(path, '/')
	d, err := m.OpenDir(path[:i], true)
	require.NoError(t, err)
	return d, path[i+1:]
}

// edit changes a file, durably.
func edit(t testing.TB, m *fs.Mem, path string, change func([]byte) []byte) {
	d, name := dirOf(t, m, path)
	b, err := fs.ReadFile(d, name, 1<<30)
	require.NoError(t, err)
	b = change(b)
	f, err := d.Open(name, true)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, errors.Join(err, f.Truncate(int64(len(b))), f.Sync(), f.Close()))
}

func list(t testing.TB, m *fs.Mem, path string) []fs.Entry {
	d, err := m.OpenDir(path, true)
	require.NoError(t, err)
	all, err := d.List(".")
	require.NoError(t, err)
	return all
}

// used returns how many bytes of a file there are before nothing but zeros.
func used(t testing.TB, m *fs.Mem, path string) int {
	d, name := dirOf(t, m, path)
	b, err := fs.ReadFile(d, name, 1<<30)
	require.NoError(t, err)
	return len(strings.TrimRight(string(b), "\x00"))
}

func lastSegment(t testing.TB, m *fs.Mem) (name string, base, size int64) {
	for _, e := range list(t, m, "/s/0") {
		if b, ok := segment.ParseName(e.Name); ok {
			name, base, size = e.Name, b, int64(used(t, m, "/s/0/"+e.Name)+7)&^7
		}
	}
	return name, base, size
}

// indexSpoilers are things to do to an index file.
var indexSpoilers = map[string]func(t *testing.T, m *fs.Mem, name string, b []byte){
	"left alone": func(*testing.T, *fs.Mem, string, []byte) {},
	"removed": func(t *testing.T, m *fs.Mem, name string, _ []byte) {
		d, name := dirOf(t, m, "/p/"+name)
		require.NoError(t, d.Remove(name))
	},
	"emptied": func(t *testing.T, m *fs.Mem, name string, _ []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte { return nil })
	},
	"cut in an entry": func(t *testing.T, m *fs.Mem, name string, b []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte { return b[:len(b)-5] })
	},
	"entries of zeros": func(t *testing.T, m *fs.Mem, name string, b []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte { clear(b[48:]); return b })
	},
	"entries of ones": func(t *testing.T, m *fs.Mem, name string, b []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte { return append(b[:48], bytes.Repeat([]byte{0xff}, 160)...) })
	},
	"entries moved": func(t *testing.T, m *fs.Mem, name string, b []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte {
			for i := 48; i+16 <= len(b); i += 16 {
				b[i+4] += 8
			}
			return b
		})
	},
	"entries in another order": func(t *testing.T, m *fs.Mem, name string, b []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte {
			if len(b) >= 80 {
				first := bytes.Clone(b[48:64])
				copy(b[48:], b[64:80])
				copy(b[64:], first)
			}
			return b
		})
	},
	"garbage": func(t *testing.T, m *fs.Mem, name string, _ []byte) {
		edit(t, m, "/p/"+name, func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 300) })
	},
}

// Any bytes in place of an index, or none, change no answer, in no cache mode,
// and are made good.
func TestIndexIsOnlyACache(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 300)
		times := make([]time.Time, 0, 300)
		for rec, err := range p.Records(bg, First()) {
			require.NoError(t, err)
			times = append(times, rec.Timestamp)
		}
		require.NoError(t, p.Close())
		good := contents(t, m)
		for _, how := range slices.Sorted(maps.Keys(indexSpoilers)) {
			for _, mode := range []index.CacheMode{index.ActiveSegment, index.All, index.None} {
				c := m.Crash(func() bool { return true })
				for name, b := range good {
					if strings.HasSuffix(name, ".index") {
						indexSpoilers[how](t, c, name, []byte(b))
					}
				}
				what := fmt.Sprintf("%s, %v", how, mode)
				p := open(t, c, v, func(o *Options) {
					o.IndexCache = mode
					o.Checkpoint = &Checkpoint{End: 299} // of an older close: recovery begins at an entry below
				})
				require.Nil(t, p.Recovery().Cut, what)
				require.Empty(t, p.Recovery().Lost, what)
				for i := 0; i < 300; i += 7 {
					rec, err := p.Record(bg, int64(i))
					require.NoError(t, err, what)
					require.Equal(t, string(value(i).Value), string(rec.Value), what)
					n, err := p.Resolve(At(times[i]))
					require.NoError(t, err, what)
					require.True(t, n <= int64(i) && times[n].Equal(times[i]), what)
					require.True(t, n == 0 || times[n-1].Before(times[i]), what)
				}
				appendN(t, p, 300, 100)
				readAll(t, p, 400)
				require.NoError(t, p.Close(), what)
				p = open(t, c, v, func(o *Options) { o.IndexCache = mode })
				readAll(t, p, 400)
				require.NoError(t, p.Close(), what)
			}
		}
	})
}

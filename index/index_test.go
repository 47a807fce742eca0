package index

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

const base = int64(1000)

var id = [16]byte{1, 2, 3}

// entry is number i of a log whose batches hold 5 records, take 1 KiB and come
// two at a time: times stand still for every other one.
func entry(i int) Entry {
	return Entry{Offset: base + 5*int64(i), Position: 1024 * int64(i+1), Time: 100 * int64(i/2)}
}

func filled(n int) *Index {
	x := New(id, base)
	for i := range n {
		x.Add(entry(i))
	}
	return x
}

// none stands for an answer that there is no such entry.
const none = -1

// finder is what Index and File have in common.
type finder interface {
	FindOffset(int64) (Entry, bool, error)
	FindTime(int64) (Entry, bool, error)
}

func requireAnswer(t *testing.T, want int, got Entry, ok bool, err error) {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, want != none, ok)
	if ok {
		require.Equal(t, entry(want), got)
	}
}

var offsetTable = []struct {
	name   string
	n      int
	offset int64
	want   int
}{
	{"empty", 0, base, none},
	{"before the first", 4, base - 1, none},
	{"far before the first", 4, math.MinInt64, none},
	{"the first", 4, base, 0},
	{"inside the first batch", 4, base + 4, 0},
	{"the second", 4, base + 5, 1},
	{"the last", 4, base + 15, 3},
	{"behind the last", 4, base + 1_000_000, 3},
	{"far behind the last", 4, math.MaxInt64, 3},
	{"end of the first chunk", 3 * chunkEntries, base + 5*chunkEntries - 1, chunkEntries - 1},
	{"beginning of the second chunk", 3 * chunkEntries, base + 5*chunkEntries, chunkEntries},
	{"in the last chunk", 3 * chunkEntries, math.MaxInt64, 3*chunkEntries - 1},
}

var timeTable = []struct {
	name string
	n    int
	time int64
	want int
}{
	{"empty", 0, 0, none},
	{"far before the first", 6, math.MinInt64, none},
	{"the first time", 6, 0, none},
	{"just behind the first time", 6, 1, 1},
	{"a time that two have", 6, 100, 1},
	{"between two times", 6, 101, 3},
	{"the last time", 6, 200, 3},
	{"behind the last", 6, 201, 5},
	{"far behind the last", 6, math.MaxInt64, 5},
	{"across chunks", 3 * chunkEntries, 100 * chunkEntries, 2*chunkEntries - 1},
}

func TestFind(t *testing.T) {
	forms := []struct {
		name string
		make func(t *testing.T, n int) finder
	}{
		{"in memory", func(_ *testing.T, n int) finder { return filled(n) }},
		{"loaded", func(t *testing.T, n int) finder { return load(t, written(t, n)) }},
		{"file", func(t *testing.T, n int) finder { return open(t, written(t, n)) }},
	}
	for _, form := range forms {
		for _, c := range offsetTable {
			t.Run(form.name+"/offset/"+c.name, func(t *testing.T) {
				e, ok, err := form.make(t, c.n).FindOffset(c.offset)
				requireAnswer(t, c.want, e, ok, err)
			})
		}
		for _, c := range timeTable {
			t.Run(form.name+"/time/"+c.name, func(t *testing.T) {
				e, ok, err := form.make(t, c.n).FindTime(c.time)
				requireAnswer(t, c.want, e, ok, err)
			})
		}
	}
}

func TestKeep(t *testing.T) {
	for _, c := range []struct {
		name       string
		n, keep    int
		wantFirst  int
		wantLength int
	}{
		{"nothing of nothing", 0, 0, none, 0},
		{"nothing", 4, 0, none, 0},
		{"some", 4, 3, 2, 3},
		{"all", 4, 4, 3, 4},
		{"a chunk", 2*chunkEntries + 1, chunkEntries, chunkEntries - 1, chunkEntries},
		{"a chunk and a bit", 2*chunkEntries + 1, chunkEntries + 1, chunkEntries, chunkEntries + 1},
		{"nothing of many", 2 * chunkEntries, 0, none, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := filled(c.n)
			x.Keep(func(e Entry) bool { return e.Position < 1024*int64(c.keep+1) })
			require.Equal(t, c.wantLength, x.Len())
			e, ok, err := x.FindOffset(math.MaxInt64)
			requireAnswer(t, c.wantFirst, e, ok, err)
			for i := c.keep; i < c.n+3; i++ {
				x.Add(entry(i))
			}
			requireSame(t, filled(c.n+3), x)
		})
	}
}

func TestAddGivesUpWhatStandsBehind(t *testing.T) {
	x := filled(10)
	other := Entry{Offset: base + 7, Position: 3000, Time: 50}
	x.Add(other)
	require.Equal(t, 3, x.Len())
	e, ok, err := x.FindOffset(math.MaxInt64)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, other, e)
}

func TestForget(t *testing.T) {
	for _, c := range []struct {
		name           string
		written, added int
		wantWhole      bool
		wantFirst      int // the first entry still in memory
	}{
		{"less than a chunk", 100, 0, true, 0},
		{"a chunk that is not written", 0, chunkEntries, true, 0},
		{"a chunk", chunkEntries, 0, false, none},
		{"a chunk and what is not written", chunkEntries, 7, false, chunkEntries},
		{"chunks of which half is written", chunkEntries * 3 / 2, chunkEntries, false, chunkEntries},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dir(t)
			x := filled(c.written)
			require.NoError(t, x.Write(d, name))
			for i := c.written; i < c.written+c.added; i++ {
				x.Add(entry(i))
			}
			x.Forget()
			require.Equal(t, c.wantWhole, x.Whole())
			require.Equal(t, c.written+c.added, x.Len())
			if c.wantFirst != none {
				first := entry(c.wantFirst)
				_, ok, _ := x.FindOffset(first.Offset - 1)
				require.False(t, ok)
				e, ok, err := x.FindOffset(first.Offset)
				requireAnswer(t, c.wantFirst, e, ok, err)
			}
			require.NoError(t, x.Write(d, name))
			require.Zero(t, x.Unwritten())
			requireSame(t, filled(c.written+c.added), load(t, d))
		})
	}
}

// TestKeepAfterForget gives up entries when some are in the file only.
func TestKeepAfterForget(t *testing.T) {
	const n = 2*chunkEntries + 100
	for _, keep := range []int{n, n - 1, 2*chunkEntries + 1, 2 * chunkEntries} {
		d := dir(t)
		x := filled(n)
		require.NoError(t, x.Write(d, name))
		x.Forget()
		require.False(t, x.Whole())
		x.Keep(func(e Entry) bool { return e.Position < entry(keep).Position })
		require.Equal(t, keep, x.Len())
		for i := keep; i < n+50; i++ {
			x.Add(entry(i))
		}
		require.NoError(t, x.Write(d, name))
		requireSame(t, filled(n+50), load(t, d))
	}
}

func TestKeepNeverReachesWhatOnlyTheFileHas(t *testing.T) {
	x := filled(chunkEntries + 1)
	require.NoError(t, x.Write(dir(t), name))
	x.Forget()
	x.Keep(func(Entry) bool { return false })
	require.Equal(t, chunkEntries, x.Len())
	_, ok, _ := x.FindOffset(math.MaxInt64)
	require.False(t, ok)
}

func TestCacheModeNames(t *testing.T) {
	for mode, want := range map[CacheMode]string{ActiveSegment: "active", All: "all", None: "none", 9: "unknown"} {
		require.Equal(t, want, mode.String())
	}
}

// requireSame requires that got answers as want does.
func requireSame(t *testing.T, want, got *Index) {
	t.Helper()
	require.Equal(t, want.Len(), got.Len())
	for i := -1; i <= want.Len(); i++ {
		at := entry(i)
		for _, d := range []int64{-1, 0, 1} {
			w, wantOK, _ := want.FindOffset(at.Offset + d)
			g, gotOK, _ := got.FindOffset(at.Offset + d)
			if w != g || wantOK != gotOK {
				t.Fatalf("offset %d: want %v, got %v", at.Offset+d, w, g)
			}
			w, wantOK, _ = want.FindTime(at.Time + d)
			g, gotOK, _ = got.FindTime(at.Time + d)
			if w != g || wantOK != gotOK {
				t.Fatalf("time %d: want %v, got %v", at.Time+d, w, g)
			}
		}
	}
}

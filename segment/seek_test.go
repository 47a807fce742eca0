package segment

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/stretchr/testify/require"
)

// Ways in which an index file can be wrong. None may change an answer.
var spoils = []struct {
	name string
	mend bool // a sealed segment makes it anew
	do   func(t *testing.T, d fs.Dir, good []byte)
}{
	{"as written", true, func(t *testing.T, d fs.Dir, good []byte) { put(t, d, indexName, good) }},
	{"deleted", true, func(*testing.T, fs.Dir, []byte) {}},
	{"empty", true, func(t *testing.T, d fs.Dir, _ []byte) { put(t, d, indexName, nil) }},
	{"garbage", true, func(t *testing.T, d fs.Dir, good []byte) { put(t, d, indexName, noise(len(good))) }},
	{"garbage behind a good header", true, func(t *testing.T, d fs.Dir, good []byte) {
		put(t, d, indexName, append(good[:48:48], noise(len(good)-48)...))
	}},
	{"zeros behind a good header", true, func(t *testing.T, d fs.Dir, good []byte) {
		put(t, d, indexName, append(good[:48:48], make([]byte, len(good)-48)...))
	}},
	{"half of it", false, func(t *testing.T, d fs.Dir, good []byte) { put(t, d, indexName, good[:48+(len(good)-48)/32*16]) }},
	{"only a header", false, func(t *testing.T, d fs.Dir, good []byte) { put(t, d, indexName, good[:48]) }},
	{"times of a minute later", true, func(t *testing.T, d fs.Dir, good []byte) {
		put(t, d, indexName, changed(good, func(e []byte) { e[12]++ }))
	}},
	{"positions of the batch behind", true, func(t *testing.T, d fs.Dir, good []byte) {
		put(t, d, indexName, changed(good, func(e []byte) { e[4] += 64 }))
	}},
	{"a directory", false, func(t *testing.T, d fs.Dir, _ []byte) {
		require.NoError(t, d.Mkdir(indexName))
		put(t, d, indexName+"/not ours", nil)
	}},
}

var indexName = IndexName(sampleHeader.Base)

func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// changed applies change to every entry of an index file.
func changed(good []byte, change func(entry []byte)) []byte {
	b := append([]byte(nil), good...)
	for at := 48; at+16 <= len(b); at += 16 {
		change(b[at : at+16])
	}
	return b
}

var modes = []index.CacheMode{index.ActiveSegment, index.All, index.None}

// TestSeek compares every answer with reading the whole segment, in all cache
// modes, while it is written and sealed, for every wrong index.
func TestSeek(t *testing.T) {
	for _, mode := range modes {
		for _, spoil := range spoils {
			for _, state := range []string{"writing", "sealed", "opened", "read-only"} {
				t.Run(fmt.Sprintf("%v/%s/%s", mode, spoil.name, state), func(t *testing.T) {
					place := newPlace(t, fs.NewMem())
					place.Cache = mode
					s, _, batches := begin(t, place, pieces(4, 50))
					require.NoError(t, s.WriteIndex())
					good := readFile(t, place.Dir, indexName)
					require.NoError(t, place.Dir.Remove(indexName))
					if state != "writing" {
						require.NoError(t, s.Seal())
						s.Release()
					}
					spoil.do(t, place.Dir, good)
					place.ReadOnly = state == "read-only"
					if state == "opened" || place.ReadOnly {
						s = open(t, place, batches)
					}
					requireExact(t, s, batches)
					if spoil.mend && state == "opened" && mode != index.All {
						require.True(t, bytes.Equal(good, readFile(t, place.Dir, indexName)), "made anew")
					}
				})
			}
		}
	}
}

func readFile(t testing.TB, d fs.Dir, name string) []byte {
	t.Helper()
	f, err := d.Open(name, false)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

// requireExact asks for every offset and every time there is, and those
// between and around.
func requireExact(t *testing.T, s *Segment, batches []record.Batch) {
	t.Helper()
	last := batches[len(batches)-1]
	for offset := s.Base; offset < last.End(); offset++ {
		position, base, err := s.SeekOffset(offset)
		require.NoError(t, err)
		requireLeadsTo(t, s, position, base, batches, func(b record.Batch) bool { return b.End() > offset })
	}
	for tm := batches[0].Time - 1; tm <= last.Time+1; tm++ {
		position, base, err := s.SeekTime(tm)
		require.NoError(t, err)
		requireLeadsTo(t, s, position, base, batches, func(b record.Batch) bool { return b.Time >= tm })
	}
}

// requireLeadsTo requires that a batch of offset base begins at position, and
// that the first batch that is wanted is that one or behind it: so reading on
// finds it.
func requireLeadsTo(t *testing.T, s *Segment, position, base int64, batches []record.Batch, wanted func(record.Batch) bool) {
	t.Helper()
	begins := position == FirstFrame && base == s.Base
	for _, b := range batches {
		begins = begins || b.Position == position && b.Base == base
		if wanted(b) {
			if !begins || b.Position < position {
				t.Fatalf("want the batch at %d, got offset %d at position %d", b.Position, base, position)
			}
			return
		}
	}
	if !begins {
		t.Fatalf("no batch of offset %d begins at position %d", base, position)
	}
}

// TestSeekIsNear: with an index, an answer is at most the distance of two
// entries and one batch away.
func TestSeekIsNear(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, _, batches := begin(t, place, plain(2000))
	check := func(s *Segment) {
		t.Helper()
		for i, b := range batches {
			position, _, err := s.SeekOffset(b.Base)
			require.NoError(t, err)
			require.LessOrEqual(t, b.Position-position, int64(index.Every+64), "offset %d", b.Base)
			if position, _, err = s.SeekTime(b.Time); i > 0 {
				require.NoError(t, err)
				require.LessOrEqual(t, b.Position-position, int64(index.Every+128), "time %d", b.Time)
			}
		}
	}
	check(s)
	require.NoError(t, s.Seal())
	check(s)
	check(open(t, place, batches))
}

// TestSeekBehindDamage: batches that can be read are found although others
// before them cannot.
func TestSeekBehindDamage(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	b, batches := layOut(Plan(place, sampleHeader), plain(200))
	clear(b[at(50):at(60)])
	put(t, place.Dir, Name(sampleHeader.Base), b)
	s := open(t, place, batches)
	for _, want := range append(batches[:50:50], batches[100:]...) {
		position, base, err := s.SeekOffset(want.Base)
		require.NoError(t, err)
		requireLeadsTo(t, s, position, base, batches, func(b record.Batch) bool { return b.Base == want.Base })
	}
}

func TestFirstTime(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces []piece
		damage int // this batch is damaged
		want   int64
	}{
		{"nothing", nil, -1, 0},
		{"markers", []piece{{0, 0, 5}, {0, 0, 6}}, -1, 0},
		{"a marker first", []piece{{0, 0, 5}, {1, 1, 6}, {1, 1, 7}}, -1, 6},
		{"the first damaged", []piece{{1, 1, 6}, {1, 1, 7}}, 0, 7},
		{"all damaged", []piece{{1, 1, 6}}, 0, 0},
	} {
		place := newPlace(t, fs.NewMem())
		b, batches := layOut(Plan(place, sampleHeader), c.pieces)
		if c.damage >= 0 {
			b[batches[c.damage].Position+50] ^= 1
		}
		put(t, place.Dir, Name(sampleHeader.Base), b)
		got, err := open(t, place, batches).FirstTime()
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
	}
}

// The last batch's time, a marker's too, and the last record's.
func TestLastTimes(t *testing.T) {
	for _, c := range []struct {
		name           string
		pieces         []piece
		damage         []int // these batches are damaged
		batch, records int64
	}{
		{"nothing", nil, nil, 0, 0},
		{"markers", []piece{{0, 0, 5}, {0, 0, 6}}, nil, 6, 0},
		{"a marker last", []piece{{0, 0, 5}, {1, 1, 6}, {2, 1, 7}, {0, 0, 8}}, nil, 8, 7},
		{"a record last", []piece{{1, 1, 6}, {0, 0, 8}, {1, 1, 9}}, nil, 9, 9},
		{"the last damaged", []piece{{1, 1, 6}, {1, 1, 7}, {1, 1, 8}}, []int{2}, 7, 7},
		{"all damaged", []piece{{1, 1, 6}, {1, 1, 7}}, []int{0, 1}, 0, 0},
		{"behind an index entry of a marker", []piece{{1, 1, 6}, {1, 2000, 7}, {0, 0, 8}, {1, 1, 9}}, []int{3}, 8, 7},
	} {
		place := newPlace(t, fs.NewMem())
		s, f, batches := begin(t, place, c.pieces)
		for _, d := range c.damage {
			_, err := f.WriteAt([]byte{'x'}, batches[d].Position+50)
			require.NoError(t, err)
		}
		require.NoError(t, s.Seal())
		s.Release()
		got, err := s.LastTime()
		require.NoError(t, err, c.name)
		require.Equal(t, c.batch, got, c.name)
		got, err = s.LastRecordTime()
		require.NoError(t, err, c.name)
		require.Equal(t, c.records, got, c.name)
	}
}

// TestResumeIndex goes on writing a segment whose index file is as it should
// be, or not.
func TestResumeIndex(t *testing.T) {
	for _, spoil := range spoils {
		t.Run(spoil.name, func(t *testing.T) {
			place := newPlace(t, fs.NewMem())
			all := pieces(5, 120)
			first, _, before := begin(t, place, all[:70])
			require.NoError(t, first.Seal())
			good := readFile(t, place.Dir, indexName)
			require.NoError(t, place.Dir.Remove(indexName))
			spoil.do(t, place.Dir, good)

			s := open(t, place, before)
			require.NoError(t, s.ResumeIndex())
			require.NoError(t, s.ResumeIndex(), "twice is once")
			b, batches := layOut(s, all)
			f, err := s.Borrow()
			require.NoError(t, err)
			_, err = f.WriteAt(b, 0)
			require.NoError(t, err)
			for _, batch := range batches[70:] {
				s.Note(batch.Base, batch.Position, batch.Time)
			}
			s.Publish(int64(len(b)), batches[len(batches)-1].End())
			requireExact(t, s, batches)
			if err = s.Seal(); spoil.name == "a directory" {
				require.Error(t, err, "it stays in memory")
			} else {
				require.NoError(t, err)
			}
			requireExact(t, s, batches)
			requireExact(t, open(t, place, batches), batches)
		})
	}
}

// TestUnnote takes batches back that were not written after all, and writes
// others in their place.
func TestUnnote(t *testing.T) {
	for _, mode := range modes {
		place := newPlace(t, fs.NewMem())
		place.Cache = mode
		s, f, _ := begin(t, place, pieces(6, 60))
		require.NoError(t, s.WriteIndex())
		_, kept := layOut(s, pieces(6, 30))
		s.Unnote(kept[29].Next())
		b, batches := layOut(s, append(pieces(6, 30), plain(400)...))
		require.NoError(t, f.Truncate(int64(len(b))))
		_, err := f.WriteAt(b, 0)
		require.NoError(t, err)
		for _, batch := range batches[30:] {
			s.Note(batch.Base, batch.Position, batch.Time)
		}
		s.Publish(int64(len(b)), batches[len(batches)-1].End())
		for _, want := range batches {
			position, base, err := s.SeekOffset(want.Base)
			require.NoError(t, err)
			requireLeadsTo(t, s, position, base, batches, func(b record.Batch) bool { return b.End() > want.Base })
		}
		require.NoError(t, s.Seal())
		require.Zero(t, s.IndexDue())
	}
}

// TestAnErrorOfTheDiskIsAnErrorOfSeek, and not a reason to answer otherwise
// or to write anything.
func TestAnErrorOfTheDiskIsAnErrorOfSeek(t *testing.T) {
	for n := int64(1); ; n++ {
		m := fs.NewMem()
		place := newPlace(t, m)
		s, _, batches := begin(t, place, plain(200))
		require.NoError(t, s.Seal())
		good := readFile(t, place.Dir, indexName)
		begun := m.Ops()
		m.FailNth(begun+n, fs.EIO)
		_, _, err := s.SeekOffset(batches[150].Base)
		over := m.Ops() < begun+n
		m.OnOp(nil)
		require.Equal(t, good, readFile(t, place.Dir, indexName))
		if over {
			require.NoError(t, err)
			return
		}
		require.True(t, errors.Is(err, fs.EIO), "operation %d: %v", n, err)
	}
}

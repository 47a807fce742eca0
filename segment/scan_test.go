package segment

import (
	"errors"
	"io"
	"math"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/stretchr/testify/require"
)

// scanAll reads every batch of an undamaged segment.
func scanAll(t testing.TB, s *Segment) (out []record.Batch) {
	t.Helper()
	var c Scanner
	c.Start(s, FirstFrame, s.Base, s.Readable())
	for {
		var b record.Batch
		err := c.Next(&b)
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, b)
	}
}

// plain is batches of one record each whose frames take 64 bytes.
func plain(n int) []piece {
	out := make([]piece, n)
	for i := range out {
		out[i] = piece{count: 1, size: 12, time: int64(i)}
	}
	return out
}

// at returns the position of plain batch number i.
func at(i int) int { return FirstFrame + 64*i }

// A found is what a scan of a damaged segment meets: a good batch by its
// offset, or damage.
type found struct {
	offset int64 // of the batch, or of the record that is missing
	damage bool
	empty  bool // the damage is zeros
}

// walk reads on behind damage, as recovery does.
func walk(t testing.TB, s *Segment, limit int64) (out []found) {
	t.Helper()
	var c Scanner
	c.Start(s, FirstFrame, s.Base, limit)
	for {
		var b record.Batch
		err := c.Next(&b)
		var damage *DamageError
		switch {
		case err == io.EOF:
			return out
		case err == nil:
			out = append(out, found{offset: b.Base})
		case errors.As(err, &damage):
			require.Equal(t, c.Position(), damage.Position)
			out = append(out, found{damage.Offset, true, errors.Is(err, ErrEmpty)})
			_, err = c.Search(math.MaxInt64)
			require.NoError(t, err)
		default:
			require.NoError(t, err)
		}
	}
}

func TestScannerOnDamage(t *testing.T) {
	good := func(offsets ...int64) (out []found) {
		for _, o := range offsets {
			out = append(out, found{offset: o})
		}
		return out
	}
	bad := func(offset int64) found { return found{offset, true, false} }
	empty := func(offset int64) found { return found{offset, true, true} }
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   []found
	}{
		{"none", func(b []byte) []byte { return b }, good(1000, 1001, 1002, 1003, 1004)},
		{"a bit in the first batch", func(b []byte) []byte { b[at(0)+60] ^= 1; return b },
			append([]found{bad(1000)}, good(1001, 1002, 1003, 1004)...)},
		{"a bit in the middle", func(b []byte) []byte { b[at(2)+9] ^= 1; return b },
			append(append(good(1000, 1001), bad(1002)), good(1003, 1004)...)},
		{"a bit in the last", func(b []byte) []byte { b[at(4)+50] ^= 1; return b },
			append(good(1000, 1001, 1002, 1003), bad(1004))},
		{"two in a row", func(b []byte) []byte { b[at(1)+50] ^= 1; b[at(2)+50] ^= 1; return b },
			append(append(good(1000), bad(1001)), good(1003, 1004)...)},
		{"two apart", func(b []byte) []byte { b[at(1)+50] ^= 1; b[at(3)+50] ^= 1; return b },
			append(append(append(append(good(1000), bad(1001)), good(1002)...), bad(1003)), good(1004)...)},
		{"zeros in the middle", func(b []byte) []byte { clear(b[at(1):at(3)]); return b },
			append(append(good(1000), empty(1001)), good(1003, 1004)...)},
		{"zeros behind", func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
			append(good(1000, 1001, 1002, 1003, 1004), empty(1005))},
		{"a length that leads on", func(b []byte) []byte { b[at(1)] = 128; return b },
			append(append(good(1000), bad(1001)), good(1002, 1003, 1004)...)},
		{"a length that leads out of the file", func(b []byte) []byte { b[at(1)+2] = 255; return b },
			append(append(good(1000), bad(1001)), good(1002, 1003, 1004)...)},
		{"an impossible length", func(b []byte) []byte { b[at(1)+3] = 255; return b },
			append(append(good(1000), bad(1001)), good(1002, 1003, 1004)...)},
		{"a length of zero", func(b []byte) []byte { b[at(1)] = 0; return b },
			append(append(good(1000), empty(1001)), good(1002, 1003, 1004)...)},
		{"the last is cut", func(b []byte) []byte { return b[:at(4)+20] },
			append(good(1000, 1001, 1002, 1003), bad(1004))},
		{"a copy of an earlier batch", func(b []byte) []byte { copy(b[at(2):], b[at(1):at(2)]); return b },
			append(append(good(1000, 1001), bad(1002)), good(1003, 1004)...)},
		{"batches of another segment", func(b []byte) []byte {
			other, _ := layOut(Plan(Place{}, Header{ID: [16]byte{99}, Base: 1000}), plain(5))
			copy(b[at(1):at(3)], other[at(1):at(3)])
			return b
		}, append(append(good(1000), bad(1001)), good(1003, 1004)...)},
		{"a batch that begins with an offset passed already", func(b []byte) []byte {
			back := []record.Record{{Value: make([]byte, 12)}}
			run, _, n := cut(record.Run{Records: back}, 1<<20, 1)
			run.Encode(b[at(3):at(3)+n], run.Len(), record.Stamp{Salt: record.Salt(sampleHeader.ID), Position: int64(at(3)), Base: 1001})
			return b
		}, append(append(good(1000, 1001, 1002), bad(1003)), good(1004)...)},
		{"one that leaves offsets out", func(b []byte) []byte {
			ahead := []record.Record{{Value: make([]byte, 12)}}
			run, _, n := cut(record.Run{Records: ahead}, 1<<20, 1)
			run.Encode(b[at(4):at(4)+n], run.Len(), record.Stamp{Salt: record.Salt(sampleHeader.ID), Position: int64(at(4)), Base: 2000})
			return b
		}, append(good(1000, 1001, 1002, 1003), bad(1004))},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := newPlace(t, fs.NewMem())
			b, _ := layOut(Plan(place, sampleHeader), plain(5))
			b = c.change(b)
			put(t, place.Dir, Name(sampleHeader.Base), b)
			s := open(t, place, nil)
			s.Publish(int64(len(b)), math.MaxInt64)
			require.Equal(t, c.want, walk(t, s, int64(len(b))))
		})
	}
}

// TestSearchStopsAtMost: what is found behind damage must end where the next
// segment begins, or it is not of this log.
func TestSearchStopsAtMost(t *testing.T) {
	for _, c := range []struct {
		most int64
		want bool
	}{{1004, false}, {1003, false}, {1005, true}, {math.MaxInt64, true}} {
		place := newPlace(t, fs.NewMem())
		b, _ := layOut(Plan(place, sampleHeader), plain(5))
		clear(b[at(1):at(4)])
		put(t, place.Dir, Name(sampleHeader.Base), b)
		s := open(t, place, nil)
		s.Publish(int64(len(b)), 1005)
		var sc Scanner
		sc.Start(s, int64(at(1)), 1001, int64(len(b)))
		got, err := sc.Search(c.most)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "at most %d", c.most)
		if got {
			require.Equal(t, int64(at(4)), sc.Position())
			require.Equal(t, int64(1004), sc.Offset())
		} else {
			require.Equal(t, int64(len(b)), sc.Position(), "at the limit")
		}
	}
}

// TestAnyFlippedBitLosesOneBatch flips every bit behind the header: the batch
// that has it is missing, and all others are read.
func TestAnyFlippedBitLosesOneBatch(t *testing.T) {
	const n = 4
	place := newPlace(t, fs.NewMem())
	b, _ := layOut(Plan(place, sampleHeader), plain(n))
	put(t, place.Dir, Name(sampleHeader.Base), b)
	s := open(t, place, nil)
	s.Publish(int64(len(b)), sampleHeader.Base+n)
	f, err := place.Dir.Open(Name(sampleHeader.Base), true)
	require.NoError(t, err)
	for bit := FirstFrame * 8; bit < len(b)*8; bit++ {
		flipped := []byte{b[bit/8] ^ 1<<(bit%8)}
		_, err = f.WriteAt(flipped, int64(bit/8))
		require.NoError(t, err)
		lost := int64((bit/8 - FirstFrame) / 64)
		got := walk(t, s, int64(len(b)))
		require.Len(t, got, n, "bit %d", bit)
		for i, g := range got {
			if g.offset != sampleHeader.Base+int64(i) || g.damage != (int64(i) == lost) {
				t.Fatalf("bit %d: %+v", bit, got)
			}
		}
		_, err = f.WriteAt(b[bit/8:bit/8+1], int64(bit/8))
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// TestCutAtEveryByte: what is whole is read, what follows is damage or the end.
func TestCutAtEveryByte(t *testing.T) {
	const n = 3
	place := newPlace(t, fs.NewMem())
	b, _ := layOut(Plan(place, sampleHeader), plain(n))
	put(t, place.Dir, Name(sampleHeader.Base), b)
	s := open(t, place, nil)
	for cut := len(b); cut >= FirstFrame; cut-- {
		f, err := place.Dir.Open(Name(sampleHeader.Base), true)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(int64(cut)))
		require.NoError(t, f.Close())
		s.Publish(int64(cut), sampleHeader.Base+n)
		got := walk(t, s, int64(cut))
		whole := (cut - FirstFrame) / 64
		for i, g := range got {
			require.Equal(t, i >= whole, g.damage, "cut at %d", cut)
		}
		require.Len(t, got, (cut-FirstFrame+63)/64, "cut at %d", cut)
	}
}

// TestScannerSizes reads batches smaller and larger than its pieces, with
// every way of setting it up.
func TestScannerSizes(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, _, batches := begin(t, place, append(pieces(2, 100), piece{1, 700_000, 1 << 40}, piece{3, 10, 1 << 40}))
	for _, most := range []int{0, MinChunkBytes, 64 << 10} {
		for _, keep := range []bool{false, true} {
			c := Scanner{Most: most, Keep: keep}
			c.Start(s, FirstFrame, s.Base, s.Readable())
			require.Same(t, s, c.Segment())
			var kept []record.Batch
			for i := range batches {
				require.Equal(t, batches[i].Position, c.Position())
				require.Equal(t, batches[i].Base, c.Offset())
				var b record.Batch
				require.NoError(t, c.Next(&b))
				require.True(t, same(batches[i], b))
				requireReadable(t, &b)
				kept = append(kept, b)
			}
			require.ErrorIs(t, c.Next(new(record.Batch)), io.EOF)
			if keep {
				for i := range kept {
					requireReadable(t, &kept[i])
				}
			}
		}
	}
}

// requireReadable decodes a batch's records: its memory must still be its own.
func requireReadable(t testing.TB, b *record.Batch) {
	t.Helper()
	var r record.Record
	for d, i := b.Records(), int64(0); d.Left() > 0; i++ {
		require.NoError(t, d.Next(&r))
		require.Equal(t, b.Base+i, r.Offset)
	}
}

func TestScannerExtended(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, _, batches := begin(t, place, plain(3))
	var c Scanner
	c.Start(s, FirstFrame, s.Base, batches[0].Next())
	var b record.Batch
	require.NoError(t, c.Next(&b))
	require.ErrorIs(t, c.Next(&b), io.EOF)
	c.Extend(s.Readable())
	require.NoError(t, c.Next(&b))
	require.NoError(t, c.Next(&b))
	require.True(t, same(batches[2], b))
	require.ErrorIs(t, c.Next(&b), io.EOF)
}

// TestScannerAllocatesNothing once its buffer has grown.
func TestScannerAllocatesNothing(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, _, _ := begin(t, place, plain(300))
	var c Scanner
	var b record.Batch
	c.Start(s, FirstFrame, s.Base, s.Readable())
	for c.Next(&b) == nil {
	}
	c.Start(s, FirstFrame, s.Base, s.Readable())
	require.NoError(t, c.Next(&b))
	got := testing.AllocsPerRun(40, func() {
		if err := c.Next(&b); err != nil {
			t.Error(err)
		}
	})
	require.Zero(t, got)
}

// TestAnErrorOfTheDiskIsNotDamage: whichever read fails, the scan neither
// ends nor reports damage.
func TestAnErrorOfTheDiskIsNotDamage(t *testing.T) {
	for n := int64(1); ; n++ {
		m := fs.NewMem()
		place := newPlace(t, m)
		s, _, batches := begin(t, place, pieces(3, 60))
		begun := m.Ops()
		m.FailNth(begun+n, fs.EIO)
		var c Scanner
		c.Start(s, FirstFrame, s.Base, s.Readable())
		var got int
		var err error
		for b := new(record.Batch); err == nil; got++ {
			err = c.Next(b)
		}
		if m.Ops() < begun+n {
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, len(batches), got-1)
			return
		}
		require.ErrorIs(t, err, fs.EIO)
		var damage *DamageError
		require.False(t, errors.As(err, &damage))
		var b record.Batch
		require.NoError(t, c.Next(&b), "it goes on where it was")
		require.True(t, same(batches[got-1], b))
	}
}

// TestFileShorterThanItShouldBe is neither an end nor damage.
func TestFileShorterThanItShouldBe(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, f, _ := begin(t, place, plain(3))
	require.NoError(t, f.Truncate(int64(at(2))))
	var c Scanner
	c.Start(s, FirstFrame, s.Base, s.Readable())
	var b record.Batch
	require.ErrorIs(t, c.Next(&b), io.ErrUnexpectedEOF)
}

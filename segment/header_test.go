package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/stretchr/testify/require"
)

var sampleHeader = Header{
	ID: [16]byte{1, 2, 3}, Topic: [16]byte{4, 5}, Partition: 6,
	Base: 1000, PrevID: [16]byte{7}, PrevEnd: 990, Durable: 980,
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		sampleHeader,
		{ID: meta.NewID()},
		{ID: meta.NewID(), Partition: math.MaxInt32, Base: math.MaxInt64, PrevID: meta.NewID(), PrevEnd: math.MaxInt64, Durable: math.MaxInt64},
	} {
		b := h.encode()
		require.Len(t, b, FirstFrame)
		got, err := decodeHeader(b, anyHeader)
		require.NoError(t, err)
		require.Equal(t, h, got)
	}
}

// TestOneOfTwoCopiesIsEnough flips every bit of the pair: alone it does no
// harm, in both copies it is noticed.
func TestOneOfTwoCopiesIsEnough(t *testing.T) {
	b := sampleHeader.encode()
	for i := range FirstFrame * 8 {
		b[i/8] ^= 1 << (i % 8)
		got, err := decodeHeader(b, anyHeader)
		require.NoError(t, err, "bit %d", i)
		require.Equal(t, sampleHeader, got, "bit %d", i)

		other := (i/8 + blockBytes) % FirstFrame
		b[other] ^= 1 << (i % 8)
		_, err = decodeHeader(b, anyHeader)
		require.ErrorIs(t, err, ErrHeader, "bit %d of both", i%(blockBytes*8))
		b[other] ^= 1 << (i % 8)
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestHeaderCutShort(t *testing.T) {
	b := sampleHeader.encode()
	for n := range len(b) {
		got, err := decodeHeader(b[:n], anyHeader)
		if n < blockBytes {
			require.ErrorIs(t, err, ErrHeader, "%d bytes", n)
			continue
		}
		require.NoError(t, err, "%d bytes", n)
		require.Equal(t, sampleHeader, got)
	}
}

// seal puts the right checksum on both copies of a header.
func seal(b []byte) []byte {
	copy(b[blockBytes:], b[:blockBytes])
	for at := 0; at < FirstFrame; at += blockBytes {
		block := b[at : at+blockBytes]
		binary.LittleEndian.PutUint32(block[blockBytes-4:], crc32.Checksum(block[:blockBytes-4], castagnoli))
	}
	return b
}

func TestNewerVersion(t *testing.T) {
	for _, damage := range []struct {
		name string
		at   int
	}{
		{"both copies", -1},
		{"only the first", blockBytes},
		{"only the second", 0},
	} {
		b := sampleHeader.encode()
		binary.LittleEndian.PutUint32(b[8:], version+1)
		seal(b)
		if damage.at >= 0 {
			b[damage.at] ^= 1
		}
		_, err := decodeHeader(b, anyHeader)
		var newer *VersionError
		require.ErrorAs(t, err, &newer, damage.name)
		require.Equal(t, VersionError{Found: version + 1, Known: version}, *newer)
		require.NotErrorIs(t, err, ErrHeader, "a newer segment is not a broken one")
	}
}

func TestHeaderOfImpossibleNumbers(t *testing.T) {
	for name, change := range map[string]func(h *Header){
		"negative base":                func(h *Header) { h.Base = -1 },
		"negative previous end":        func(h *Header) { h.PrevEnd = -1 },
		"previous end behind the base": func(h *Header) { h.PrevEnd = h.Base + 1 },
		"negative durable offset":      func(h *Header) { h.Durable = -1 },
		"durable offset to come":       func(h *Header) { h.Durable = h.Base + 1 },
	} {
		h := sampleHeader
		change(&h)
		_, err := decodeHeader(h.encode(), anyHeader)
		require.ErrorIs(t, err, ErrHeader, name)
	}
}

func TestOpenReadsTheHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		base int64
		file func() []byte
		want error
	}{
		{"as written", 1000, sampleHeader.encode, nil},
		{"one copy", 1000, func() []byte { return sampleHeader.encode()[:blockBytes] }, nil},
		{"under another name", 1001, sampleHeader.encode, ErrHeader},
		{"empty", 1000, func() []byte { return nil }, ErrHeader},
		{"zeros", 1000, func() []byte { return make([]byte, FirstFrame) }, ErrHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := newPlace(t, fs.NewMem())
			put(t, place.Dir, Name(c.base), c.file())
			s, err := Open(place, c.base)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.ErrorContains(t, err, Name(c.base))
				return
			}
			require.NoError(t, err)
			require.Equal(t, sampleHeader, s.Header)
		})
	}
}

// TestAnErrorOfTheDiskIsNotABadHeader: recovery sets files with bad headers
// aside.
func TestAnErrorOfTheDiskIsNotABadHeader(t *testing.T) {
	for n := int64(1); ; n++ {
		m := fs.NewMem()
		place := newPlace(t, m)
		put(t, place.Dir, Name(1000), sampleHeader.encode())
		begun := m.Ops()
		m.FailNth(begun+n, fs.EIO)
		_, err := Open(place, 1000)
		if m.Ops() < begun+n {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, fs.EIO)
		require.NotErrorIs(t, err, ErrHeader)
	}
	_, err := Open(newPlace(t, fs.NewMem()), 1000)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestNewID(t *testing.T) {
	seen := make(map[[16]byte]bool)
	for range 1000 {
		id := meta.NewID()
		require.NotZero(t, id)
		require.False(t, seen[id])
		seen[id] = true
	}
}

var nameTable = []struct {
	name string
	base int64
	ok   bool
}{
	{"00000000000000000000.log", 0, true},
	{"00000000000000001000.log", 1000, true},
	{"09223372036854775807.log", math.MaxInt64, true},
	{"09223372036854775808.log", 0, false},
	{"99999999999999999999.log", 0, false},
	{"+0000000000000000001.log", 0, false},
	{"-0000000000000000001.log", 0, false},
	{"0000000000000000_000.log", 0, false},
	{"0000000000000000100.log", 0, false},
	{"000000000000000001000.log", 0, false},
	{"00000000000000001000.index", 0, false},
	{"00000000000000001000.LOG", 0, false},
	{"00000000000000001000.log.tmp", 0, false},
	{"cut-00000000000000001000.log", 0, false},
	{"0000000000000000100a.log", 0, false},
	{"٠٠٠٠٠٠٠٠٠٠.log", 0, false}, // digits, and 20 bytes
	{".log", 0, false},
	{"", 0, false},
}

func TestParseName(t *testing.T) {
	for _, c := range nameTable {
		base, ok := ParseName(c.name)
		require.Equal(t, c.ok, ok, c.name)
		if c.ok {
			require.Equal(t, c.base, base, c.name)
		}
	}
	require.Equal(t, "00000000000000001000.log", Name(1000))
	require.Equal(t, "00000000000000001000.index", IndexName(1000))
}

func FuzzName(f *testing.F) {
	for _, c := range nameTable {
		f.Add(c.name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		base, ok := ParseName(name)
		if ok && (base < 0 || Name(base) != name) {
			t.Errorf("%q was taken for base offset %d", name, base)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(sampleHeader.encode())
	f.Add(sampleHeader.encode()[:blockBytes])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkHeader(t, b)
		// The same with a checksum that is right, so that what is behind it
		// is tried too.
		if len(b) >= FirstFrame {
			checkHeader(t, seal(append([]byte(nil), b[:FirstFrame]...)))
		}
	})
}

func checkHeader(t *testing.T, b []byte) {
	t.Helper()
	h, err := decodeHeader(b, anyHeader)
	var newer *VersionError
	if err != nil {
		if !errors.Is(err, ErrHeader) && !errors.As(err, &newer) {
			t.Errorf("neither kind of error: %v", err)
		}
		return
	}
	if h.Base < 0 || h.PrevEnd < 0 || h.PrevEnd > h.Base || h.Durable < 0 || h.Durable > h.Base {
		t.Errorf("impossible: %+v", h)
	}
	again, err := decodeHeader(h.encode(), anyHeader)
	if err != nil || again != h {
		t.Errorf("%+v becomes %+v, %v", h, again, err)
	}
}

func anyHeader(Header) bool { return true }

// A copy of the header that is of another segment does not stand for this
// one's: the other copy does.
func TestStrayCopyOfAHeader(t *testing.T) {
	mine := Header{ID: [16]byte{1}, Topic: [16]byte{2}, Partition: 3, Base: 7}
	isMine := func(h Header) bool {
		return h.Base == mine.Base && h.Topic == mine.Topic && h.Partition == mine.Partition
	}
	for name, other := range map[string]Header{
		"of another topic":     {ID: [16]byte{9}, Topic: [16]byte{9}, Partition: 3, Base: 7},
		"of another partition": {ID: [16]byte{9}, Topic: [16]byte{2}, Partition: 4, Base: 7},
		"of another segment":   {ID: [16]byte{9}, Topic: [16]byte{2}, Partition: 3, Base: 8},
	} {
		for at := 0; at < FirstFrame; at += blockBytes {
			b := mine.encode()
			copy(b[at:], other.encode()[:blockBytes])
			h, err := decodeHeader(b, isMine)
			require.NoError(t, err)
			require.Equal(t, mine, h, "%s at %d", name, at)
		}
		h, err := decodeHeader(other.encode(), isMine)
		require.NoError(t, err)
		require.Equal(t, other, h, "both copies are of another: who asked finds out")
	}
}

package record

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var stamp = Stamp{Salt: Salt([16]byte{1, 2, 3}), Position: 1024, Base: 1000, Time: 981_173_106_000_000_789, Durable: 990, Epoch: 7}

func sample() []Record {
	return []Record{
		{Key: []byte("ab"), Value: []byte("hello")},
		{Value: []byte{}, Headers: []Header{{"h", []byte("1")}, {"h", nil}, {"", []byte{}}},
			OriginTime: time.Unix(0, 12345).UTC(), ID: [16]byte{9}},
		{},
		{Key: []byte{}},
	}
}

func encode(t *testing.T, recs []Record) []byte {
	t.Helper()
	head, rest, n := cut(Run{Records: recs}, 1<<20, 1<<20)
	require.Zero(t, rest.Len())
	b := make([]byte, n)
	head.Encode(b, head.Len(), stamp)
	return b
}

func decode(t *testing.T, b *Batch) []Record {
	t.Helper()
	var out []Record
	for d := b.Records(); d.Left() > 0; {
		var r Record
		require.NoError(t, d.Next(&r))
		out = append(out, r)
	}
	return out
}

func TestBatchRoundTrip(t *testing.T) {
	b := encode(t, sample())
	require.Zero(t, len(b)%FrameAlign)
	got, err := Parse(append(b, 1, 2, 3), stamp.Salt, stamp.Position)
	require.NoError(t, err)
	require.Equal(t, int64(1000), got.Base)
	require.Equal(t, int64(1004), got.End())
	require.Equal(t, int64(1024+len(b)), got.Next())
	require.Equal(t, int64(990), got.Durable)
	require.Equal(t, uint32(7), got.Epoch)
	want := sample()
	for i := range want {
		want[i].Offset = 1000 + int64(i)
		want[i].Timestamp = time.Unix(0, stamp.Time).UTC()
	}
	require.Equal(t, want, decode(t, &got))
}

func TestAnyFlippedBitIsNoticed(t *testing.T) {
	b := encode(t, sample())
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		_, err := Parse(b, stamp.Salt, stamp.Position)
		require.Error(t, err, "bit %d", i)
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestCutFrameIsShort(t *testing.T) {
	b := encode(t, sample())
	for n := range b {
		_, err := Parse(b[:n], stamp.Salt, stamp.Position)
		var short *ShortError
		require.ErrorAs(t, err, &short, "%d bytes", n)
	}
}

func TestFrameOfAnotherPlaceIsRefused(t *testing.T) {
	b := encode(t, sample())
	_, err := Parse(b, stamp.Salt, stamp.Position+8)
	require.ErrorIs(t, err, ErrBad)
	_, err = Parse(b, stamp.Salt+1, stamp.Position)
	require.ErrorIs(t, err, ErrBad)
	_, err = Parse(make([]byte, 64), stamp.Salt, 0)
	require.ErrorIs(t, err, ErrNothing)
}

// TestForgedDifferences forges what only a wrong writer makes: the
// checksum is right.
func TestForgedDifferences(t *testing.T) {
	const offset = HeaderBytes + 2 // behind length and flags of the first record
	for what, at := range map[string]int{"offset": offset, "time": offset + 1} {
		b := encode(t, sample()[:1])
		b[at] = 5
		binary.LittleEndian.PutUint32(b[atCRC:], checksum(stamp.Salt, b))
		batch, err := Parse(b, stamp.Salt, stamp.Position)
		require.NoError(t, err)
		d := batch.Records()
		require.ErrorIs(t, d.Next(&Record{}), ErrBad, what)
	}
}

func TestRunIsCutIntoFrames(t *testing.T) {
	recs := make([]Record, 10)
	for i := range recs {
		recs[i].Value = make([]byte, 100)
	}
	var got []int
	for run := (Run{Records: recs}); run.Len() > 0; {
		head, rest, n := cut(run, 400, 1000)
		require.LessOrEqual(t, n, 400)
		got, run = append(got, head.Len()), rest
	}
	require.Equal(t, []int{3, 3, 3, 1}, got)
	head, _, n := cut(Run{Records: recs}, 10, 1000)
	require.Equal(t, 1, head.Len(), "one record always fits")
	require.Greater(t, n, 10)
	head, _, _ = cut(Run{Records: recs, Picks: []int32{4, 2}}, 1<<20, 1)
	require.Same(t, &recs[4], head.At(0))
}

func TestCloneSharesNothing(t *testing.T) {
	r := Record{Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"h", []byte("x")}}}
	c := r.Clone()
	r.Key[0], r.Value[0], r.Headers[0].Value[0] = 'X', 'X', 'X'
	require.Equal(t, Record{Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"h", []byte("x")}}}, c)
	require.Nil(t, (&Record{}).Clone().Key)
	c = (&Record{Key: []byte{}}).Clone()
	require.NotNil(t, c.Key)
}

func TestKeys(t *testing.T) {
	require.Equal(t, []byte{1, 0, 0, 0}, Uint32Key(1))
	require.Equal(t, []byte{1, 0, 0, 0, 0, 0, 0, 0}, Uint64Key(1))
	require.Equal(t, []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, Uint128Key(1, 2))
	require.Equal(t, []byte("é"), StringKey("é"))
	require.NotNil(t, StringKey(""))
}

func FuzzParse(f *testing.F) {
	head, _, n := cut(Run{Records: sample()}, 1<<20, 100)
	b := make([]byte, n)
	head.Encode(b, head.Len(), stamp)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := Parse(b, stamp.Salt, stamp.Position)
		if err != nil {
			return
		}
		var r Record
		for d := batch.Records(); d.Left() > 0; {
			if d.Next(&r) != nil {
				return
			}
		}
	})
}

// FuzzRecords feeds the record decoder without the checksum in front of it.
func FuzzRecords(f *testing.F) {
	head, _, n := cut(Run{Records: sample()}, 1<<20, 100)
	b := make([]byte, n)
	head.Encode(b, head.Len(), stamp)
	f.Add(b[HeaderBytes:], 4)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		if count < 0 || count > len(b)/minRecordBytes {
			return
		}
		batch := Batch{Count: count, body: b}
		var r Record
		for d := batch.Records(); d.Left() > 0; {
			if d.Next(&r) != nil {
				return
			}
			require.LessOrEqual(t, r.UserBytes(), len(b))
		}
	})
}

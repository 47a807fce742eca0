package record

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roundTrip encodes records as one frame and decodes them.
func roundTrip(t *testing.T, recs ...Record) []Record {
	t.Helper()
	b, err := Parse(encode(t, recs), stamp.Salt, stamp.Position)
	require.NoError(t, err)
	return decode(t, &b)
}

func TestNilAndEmptyDiffer(t *testing.T) {
	for _, v := range [][]byte{nil, {}, {0}} {
		for _, in := range []Record{
			{Key: v},
			{Value: v},
			{Key: v, Value: v},
			{Headers: []Header{{"", v}}},
			{Headers: []Header{{"name", v}, {"name", nil}, {"name", []byte{}}}},
			{Key: v, Value: v, Headers: []Header{{"", v}}, ID: [16]byte{1}, OriginTime: time.Unix(0, 1).UTC()},
		} {
			in.Offset, in.Timestamp = stamp.Base, time.Unix(0, stamp.Time).UTC()
			require.Equal(t, in, roundTrip(t, in)[0])
			require.Equal(t, in, in.Clone())
		}
	}
}

func TestEmptyHeadersAreNoHeaders(t *testing.T) {
	require.Empty(t, roundTrip(t, Record{Headers: []Header{}})[0].Headers)
}

// TestDecodedOverAnother: nothing of the record before shows through.
func TestDecodedOverAnother(t *testing.T) {
	full := Record{Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"a", []byte("1")}, {"b", nil}},
		ID: [16]byte{1}, OriginTime: time.Unix(9, 9).UTC()}
	b, err := Parse(encode(t, []Record{full, {}, {Value: []byte{}}, full, {Key: []byte("x"), Value: []byte("y")}}), stamp.Salt, stamp.Position)
	require.NoError(t, err)
	r := Record{Topic: "orders", Partition: 3}
	d := b.Records()
	for i, want := range []Record{full, {}, {Value: []byte{}}, full, {Key: []byte("x"), Value: []byte("y")}} {
		require.Equal(t, 5-i, d.Left())
		require.NoError(t, d.Next(&r))
		want.Topic, want.Partition, want.Offset, want.Timestamp = "orders", 3, stamp.Base+int64(i), time.Unix(0, stamp.Time).UTC()
		got := r
		if len(got.Headers) == 0 {
			got.Headers = nil
		}
		require.Equal(t, want, got, "record %d", i)
	}
	require.ErrorIs(t, d.Next(&r), ErrBad, "behind the last")
}

// TestSizesAtTheEdges: lengths at which a varint gets longer.
func TestSizesAtTheEdges(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 129, 16382, 16383, 16384, 16385, 1<<21 - 1, 1 << 21} {
		v := make([]byte, n)
		for _, in := range []Record{
			{Key: v}, {Value: v}, {Headers: []Header{{"h", v}}}, {Headers: []Header{{strings.Repeat("n", n), nil}}},
		} {
			run, _, size := cut(Run{Records: []Record{in}}, MaxFrameBytes, 1)
			frame := make([]byte, size)
			run.Encode(frame, run.Len(), stamp)
			b, err := Parse(frame, stamp.Salt, stamp.Position)
			require.NoError(t, err)
			out := decode(t, &b)[0]
			require.Equal(t, len(in.Key), len(out.Key))
			require.Equal(t, len(in.Value), len(out.Value))
			require.Equal(t, in.UserBytes(), out.UserBytes())
			require.True(t, slices.EqualFunc(in.Headers, out.Headers, func(a, b Header) bool {
				return a.Key == b.Key && len(a.Value) == len(b.Value) && (a.Value == nil) == (b.Value == nil)
			}))
		}
	}
}

func TestManyHeaders(t *testing.T) {
	for _, n := range []int{1, 127, 128, 20_000} {
		in := Record{Headers: make([]Header, n)}
		for i := range in.Headers {
			in.Headers[i].Key = string(rune('a' + i%26))
		}
		out := roundTrip(t, in)[0]
		require.Equal(t, in.Headers, out.Headers)
	}
}

func TestOriginTimes(t *testing.T) {
	for _, nanos := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		in := time.Unix(0, nanos)
		out := roundTrip(t, Record{OriginTime: in})[0].OriginTime
		require.True(t, in.Equal(out))
		require.Equal(t, time.UTC, out.Location())
	}
	require.True(t, roundTrip(t, Record{})[0].OriginTime.IsZero())
	elsewhere := time.Date(2001, 2, 3, 4, 5, 6, 7, time.FixedZone("x", 3600))
	require.Equal(t, elsewhere.UTC(), roundTrip(t, Record{OriginTime: elsewhere})[0].OriginTime)
}

// random returns a record that has each thing or not.
func random(rnd *rand.Rand) Record {
	bytes := func() []byte {
		switch rnd.IntN(4) {
		case 0:
			return nil
		case 1:
			return []byte{}
		}
		b := make([]byte, rnd.IntN(300))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	r := Record{Key: bytes(), Value: bytes()}
	for range rnd.IntN(4) {
		r.Headers = append(r.Headers, Header{string(bytes()), bytes()})
	}
	if rnd.IntN(2) == 0 {
		r.ID[rnd.IntN(16)] = 1
	}
	if rnd.IntN(2) == 0 {
		r.OriginTime = time.Unix(0, rnd.Int64()).UTC()
	}
	return r
}

// TestRandomRuns cuts runs of random records into frames: every length is
// what Encode fills, no frame is longer than allowed unless it is of one
// record, and together they are the records in order.
func TestRandomRuns(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		run := Run{Records: make([]Record, 1+rnd.IntN(40))}
		want := make([]int, len(run.Records)) // places in Records, in order
		for i := range run.Records {
			run.Records[i] = random(rnd)
			want[i] = i
		}
		if rnd.IntN(2) == 0 {
			run.Picks = make([]int32, 1+rnd.IntN(60))
			want = want[:0]
			for i := range run.Picks {
				run.Picks[i] = int32(rnd.IntN(len(run.Records)))
				want = append(want, int(run.Picks[i]))
			}
		}
		records := run.Records
		limit, most := HeaderBytes+rnd.IntN(3000), 1+rnd.IntN(10)
		for run.Len() > 0 {
			head, rest, n := cut(run, limit, most)
			require.Zero(t, n%FrameAlign)
			require.LessOrEqual(t, head.Len(), most)
			if head.Len() > 1 {
				require.LessOrEqual(t, n, (limit+FrameAlign-1)&^(FrameAlign-1), "seed %d", seed)
			}
			requireFrame(t, seed, head, n, records, want)
			want, run = want[head.Len():], rest
		}
		require.Empty(t, want, "seed %d", seed)
	}
}

// requireFrame requires that the frame of run, in n bytes, holds the records
// at the places want begins with.
func requireFrame(t *testing.T, seed uint64, run Run, n int, records []Record, want []int) {
	t.Helper()
	frame := make([]byte, n+8)
	for i := range frame {
		frame[i] = 0xaa // what is not written would show
	}
	run.Encode(frame[:n:n], run.Len(), stamp)
	require.Equal(t, uint64(0xaaaaaaaaaaaaaaaa), binary.LittleEndian.Uint64(frame[n:]))
	b, err := Parse(frame, stamp.Salt, stamp.Position)
	require.NoError(t, err, "seed %d", seed)
	require.Equal(t, n, b.Length)
	for i, got := range decode(t, &b) {
		require.Equal(t, want[i], run.Index(i), "seed %d", seed)
		expect := records[want[i]].Clone()
		expect.Offset, expect.Timestamp = stamp.Base+int64(i), time.Unix(0, stamp.Time).UTC()
		require.Equal(t, expect, got, "seed %d", seed)
	}
	padding := frame[n-FrameAlign : n]
	require.Less(t, n-bytesUsed(&b), FrameAlign, "padding %x", padding)
}

// bytesUsed counts a frame's header and records, without padding.
func bytesUsed(b *Batch) int {
	d := b.Records()
	for d.Left() > 0 {
		if d.Next(new(Record)) != nil {
			return 0
		}
	}
	return b.Length - len(d.rest)
}

// TestStoredFramePassesForNone: a user may store anything as a value, frames
// too. Wherever it comes to stand, it is not taken for one of this segment:
// one of another segment has another salt, one of this has another position.
func TestStoredFramePassesForNone(t *testing.T) {
	const inner = 64 // bytes of the stored frame
	stored := func(s Stamp) []byte {
		run, _, n := cut(Run{Records: []Record{{Value: make([]byte, 12)}}}, 1<<20, 1)
		require.Equal(t, inner, n)
		b := make([]byte, n)
		run.Encode(b, run.Len(), s)
		return b
	}
	// In a record without a key, the value begins behind the frame's header,
	// two bytes of length and three more.
	const before = HeaderBytes + 5
	for shift := range FrameAlign {
		at := int64(before + shift)
		for name, s := range map[string]Stamp{
			"of another segment, for this place":  {Salt: stamp.Salt + 1, Position: stamp.Position + at, Base: stamp.Base + 1},
			"of this segment, from another place": {Salt: stamp.Salt, Position: stamp.Position, Base: stamp.Base + 1},
		} {
			value := append(make([]byte, shift), stored(s)...)
			value = append(value, make([]byte, 200)...)
			frame := encode(t, []Record{{Value: value}})
			require.Equal(t, value[shift:shift+inner], frame[at:at+inner])
			for p := FrameAlign; p < len(frame); p++ {
				_, err := Parse(frame[p:], stamp.Salt, stamp.Position+int64(p))
				require.Error(t, err, "%s: taken for a frame at %d", name, p)
			}
		}
	}
}

// forge returns a frame with the right checksum in which change changed the
// header.
func forge(t *testing.T, change func(head []byte)) []byte {
	t.Helper()
	b := encode(t, sample())
	change(b)
	binary.LittleEndian.PutUint32(b[atCRC:], checksum(stamp.Salt, b))
	return b
}

// TestWhatANewerVersionWrites has the right checksum and is refused.
func TestWhatANewerVersionWrites(t *testing.T) {
	le := binary.LittleEndian
	for name, change := range map[string]func(b []byte){
		"format":                  func(b []byte) { b[atFormat] = FrameFormat + 1 },
		"byte behind the format":  func(b []byte) { b[atFormat+1] = 1 },
		"compression":             func(b []byte) { b[atFlags] = 1 },
		"control":                 func(b []byte) { b[atFlags] = 8 },
		"unknown flag":            func(b []byte) { b[atFlags+1] = 0x80 },
		"negative base offset":    func(b []byte) { le.PutUint64(b[atBase:], 1<<63) },
		"negative durable offset": func(b []byte) { le.PutUint64(b[atDurable:], 1<<63) },
		"more records than fit":   func(b []byte) { le.PutUint32(b[atCount:], uint32(len(b)-HeaderBytes)/minRecordBytes+1) },
		"most records":            func(b []byte) { le.PutUint32(b[atCount:], math.MaxUint32) },
	} {
		_, err := Parse(forge(t, change), stamp.Salt, stamp.Position)
		require.ErrorIs(t, err, ErrBad, name)
	}
	_, err := Parse(forge(t, func([]byte) {}), stamp.Salt, stamp.Position)
	require.NoError(t, err)
}

func TestPeekLength(t *testing.T) {
	for _, c := range []struct {
		word uint32
		want int
		ok   bool
	}{
		{0, 0, true}, {1, 0, false}, {8, 0, false}, {40, 0, false}, {47, 0, false}, {48, 48, true}, {49, 0, false}, {56, 56, true},
		{MaxFrameBytes, MaxFrameBytes, true}, {MaxFrameBytes + 8, 0, false}, {math.MaxUint32, 0, false}, {math.MaxUint32 - 7, 0, false},
	} {
		got, err := PeekLength(binary.LittleEndian.AppendUint32(nil, c.word))
		require.Equal(t, c.want, got, "%d", c.word)
		require.Equal(t, c.ok, err == nil, "%d", c.word)
	}
}

// TestRecordsThatDoNotAddUp: behind a checksum that is right, lengths and
// counts may still be anything. None is believed.
func TestRecordsThatDoNotAddUp(t *testing.T) {
	many := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f} // a varint near 2^63
	most := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	over := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	// record is one whose own length is right.
	record := func(body ...[]byte) []byte {
		b := join(body...)
		return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	}
	start := []byte{0, 0} // offset and time delta
	for name, b := range map[string][]byte{
		"nothing":                      {},
		"too short":                    {2, 0, 0, 0},
		"length behind the end":        {9, 0, 0, 0},
		"length near 2^63":             join(many, make([]byte, 8)),
		"length of 2^64-1":             join(most, make([]byte, 8)),
		"length over 2^64":             join(over, make([]byte, 8)),
		"length without an end":        {0x80, 0x80, 0x80, 0x80},
		"unknown flag":                 record([]byte{32}, start),
		"offset without an end":        record([]byte{0, 0x80, 0x80}),
		"time without an end":          record([]byte{0, 0, 0x80}),
		"no flags, but a value":        record([]byte{0}, start, []byte("x")),
		"origin time cut":              record([]byte{hasOrigin}, start, make([]byte, 7)),
		"id cut":                       record([]byte{hasID}, start, make([]byte, 15)),
		"origin time, no id":           record([]byte{hasOrigin | hasID}, start, make([]byte, 8)),
		"key without a length":         record([]byte{hasKey}, start),
		"key behind the end":           record([]byte{hasKey}, start, []byte{3, 'a', 'b'}),
		"key of 2^64-1":                record([]byte{hasKey}, start, most, []byte("ab")),
		"headers without a count":      record([]byte{hasHeaders}, start),
		"more headers than bytes":      record([]byte{hasHeaders}, start, []byte{2, 0, 0, 0}),
		"2^64-1 headers":               record([]byte{hasHeaders}, start, most, make([]byte, 100)),
		"header name behind the end":   record([]byte{hasHeaders}, start, []byte{1, 5, 'a', 0}),
		"header value behind the end":  record([]byte{hasHeaders}, start, []byte{1, 1, 'a', 3, 'b'}),
		"header value of 2^64-1":       record([]byte{hasHeaders}, start, []byte{1, 1, 'a'}, most),
		"header value without an end":  record([]byte{hasHeaders}, start, []byte{1, 1, 'a', 0x80}),
		"headers, then what is unused": record([]byte{hasHeaders}, start, []byte{1, 1, 'a', 0, 'x'}),
	} {
		batch := Batch{Count: 1, body: b}
		d := batch.Records()
		require.ErrorIs(t, d.Next(new(Record)), ErrBad, name)
	}
	batch := Batch{Count: 1, body: record([]byte{hasHeaders | hasValue}, start, []byte{1, 1, 'a', 0, 'x'})}
	d := batch.Records()
	require.NoError(t, d.Next(new(Record)), "and one that does")
}

// TestHotPathsAllocateNothing: an append encodes and a reader decodes without
// making garbage.
func TestHotPathsAllocateNothing(t *testing.T) {
	recs := sample()
	frame := encode(t, recs)
	none := func(what string, f func()) {
		t.Helper()
		require.Zero(t, testing.AllocsPerRun(100, f), what)
	}
	none("cut and encode", func() {
		head, _, n := cut(Run{Records: recs}, 1<<20, 100)
		head.Encode(frame[:n], head.Len(), stamp)
	})
	picks := []int32{2, 0, 1, 3}
	none("cut and encode picks", func() {
		head, _, n := cut(Run{Records: recs, Picks: picks}, 1<<20, 100)
		head.Encode(frame[:n], head.Len(), stamp)
	})
	r := Record{Headers: make([]Header, 0, 8)}
	none("parse and decode", func() {
		b, err := Parse(frame, stamp.Salt, stamp.Position)
		if err != nil {
			t.Error(err)
		}
		for d := b.Records(); d.Left() > 0; {
			if err := d.Next(&r); err != nil {
				t.Error(err)
			}
		}
	})
	frame[60] ^= 1
	none("damage", func() {
		if _, err := Parse(frame, stamp.Salt, stamp.Position); err == nil {
			t.Error("no damage")
		}
	})
}

// TestKeyAndValueCannotGrow: what a decoded slice is appended to is not the
// record behind it.
func TestKeyAndValueCannotGrow(t *testing.T) {
	b, err := Parse(encode(t, []Record{{Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"h", []byte("x")}}}, {Key: []byte("a"), Value: []byte("b")}}), stamp.Salt, stamp.Position)
	require.NoError(t, err)
	for d := b.Records(); d.Left() > 0; {
		var r Record
		require.NoError(t, d.Next(&r))
		require.Equal(t, len(r.Key), cap(r.Key))
		require.Equal(t, len(r.Value), cap(r.Value))
		for _, h := range r.Headers {
			require.Equal(t, len(h.Value), cap(h.Value))
		}
	}
}

package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// decodeLong is DecodeSingle by the long way.
func decodeLong(b []byte, position, base int64) (r Record, n int) {
	var d Decoder
	n = d.Open(b, stamp.Salt, position, base)
	if n == 0 || d.Left() != 1 || d.Next(&r) != nil {
		return Record{}, 0
	}
	return r, n
}

// TestBothWaysDecodeTheSame compares the short way with the long one over
// records of every shape. The short way may refuse, and must not for the usual
// ones.
func TestBothWaysDecodeTheSame(t *testing.T) {
	for key := -1; key < 300; key += 7 {
		for _, value := range []int{-1, 0, 1, 50, 115, 116, 117, 128, 1000, 16300, 16400} {
			for _, extra := range []Record{{}, {ID: [16]byte{1}}, {OriginTime: time.Unix(5, 0)}, {Headers: []Header{{"a", nil}}}} {
				r := extra
				if key >= 0 {
					r.Key = bytes.Repeat([]byte{7}, key)
				}
				if value >= 0 {
					r.Value = bytes.Repeat([]byte{8}, value)
				}
				b := append(encode(t, []Record{r}), 1, 2, 3)
				want, n := decodeLong(b, stamp.Position, stamp.Base)
				require.NotZero(t, n)
				got := Record{Key: []byte("old"), ID: [16]byte{9}, OriginTime: time.Unix(1, 1), Headers: []Header{{"old", nil}}}
				what := fmt.Sprint(key, " ", value, " ", extra)
				switch got.DecodeSingle(b, stamp.Salt, stamp.Position, stamp.Base) {
				case n:
					require.Empty(t, got.Headers, what)
					got.Headers = nil
					require.Equal(t, want, got, what)
				case 0:
					plain := len(extra.Headers) == 0 && extra.ID == [16]byte{} && extra.OriginTime.IsZero()
					size := 4 + key + value
					require.False(t, plain && key >= 0 && key < 128 && value >= 0 && size >= 128 && size < 1<<14, what)
					require.Equal(t, "old", string(got.Key), "left alone")
				default:
					t.Fatal(what)
				}
			}
		}
	}
}

func TestShortWayRefusesWhatTheLongWayRefuses(t *testing.T) {
	_, good := frame()
	var r Record
	require.Equal(t, len(good), r.DecodeSingle(good, stamp.Salt, stamp.Position, stamp.Base))
	for i := range good {
		require.Zero(t, r.DecodeSingle(good[:i], stamp.Salt, stamp.Position, stamp.Base), "cut at %d", i)
	}
	for i := range len(good) * 8 {
		good[i/8] ^= 1 << (i % 8)
		require.Zero(t, r.DecodeSingle(good, stamp.Salt, stamp.Position, stamp.Base), "bit %d", i)
		good[i/8] ^= 1 << (i % 8)
	}
	require.Zero(t, r.DecodeSingle(good, stamp.Salt+1, stamp.Position, stamp.Base))
	require.Zero(t, r.DecodeSingle(good, stamp.Salt, stamp.Position+8, stamp.Base))
	require.Zero(t, r.DecodeSingle(good, stamp.Salt, stamp.Position, stamp.Base+1))
}

// FuzzDecodeSingle forges frames whose checksum is right.
func FuzzDecodeSingle(f *testing.F) {
	_, good := frame()
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b)&^(FrameAlign-1)]
		if len(b) < HeaderBytes {
			return
		}
		binary.LittleEndian.PutUint32(b[atLength:], uint32(len(b)))
		binary.LittleEndian.PutUint32(b[atCRC:], checksum(stamp.Salt, b))
		position, base := int64(binary.LittleEndian.Uint32(b[atPosition:])), int64(binary.LittleEndian.Uint64(b[atBase:]))
		var r Record
		if n := r.DecodeSingle(b, stamp.Salt, position, base); n != 0 {
			want, long := decodeLong(b, position, base)
			require.Equal(t, long, n)
			require.Equal(t, want, r)
		}
	})
}

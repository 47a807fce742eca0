package meta

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

type sample struct {
	Format int    `json:"format"`
	Name   string `json:"name"`
	ID     ID     `json:"id"`
}

func TestRoundTrip(t *testing.T) {
	want := sample{1, "orders", ID{1, 2, 0xff}}
	b, err := Encode(want)
	require.NoError(t, err)
	var got sample
	require.NoError(t, Decode("x", b, &got))
	require.Equal(t, want, got)
}

// TestAnyFlippedBitIsNoticed allows for the newline behind the object and for
// the case of names, which JSON forgives.
func TestAnyFlippedBitIsNoticed(t *testing.T) {
	want := sample{1, "orders", ID{1, 2, 0xff}}
	b, err := Encode(want)
	require.NoError(t, err)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		var got sample
		if Decode("x", b, &got) == nil {
			require.Equal(t, want, got, "bit %d", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	b, err := Encode(sample{Format: 2})
	require.NoError(t, err)
	var v *VersionError
	require.ErrorAs(t, Decode("store.json", b, &sample{}), &v)
	require.Equal(t, VersionError{"store.json", 2, 1}, *v)
}

// What could not be read again is not written: the file before it stays.
func TestTooLargeIsNotWritten(t *testing.T) {
	d, err := fs.NewMem().OpenDir("/", true)
	require.NoError(t, err)
	want := sample{1, "orders", ID{1}}
	require.NoError(t, Write(d, "x", want))
	require.EqualError(t, Write(d, "x", sample{1, strings.Repeat("a", MaxBytes), ID{1}}),
		"write x: 67108956 bytes, which is more than the 67108864 that are read")
	var got sample
	require.NoError(t, Read(d, "x", &got))
	require.Equal(t, want, got)
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(sample{1, "orders", ID{1}})
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(`{"crc32c":"00000000","data":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sample
		if Decode("x", b, &s) != nil {
			return
		}
		again, err := Encode(s)
		require.NoError(t, err)
		require.NoError(t, Decode("x", again, &s))
	})
}

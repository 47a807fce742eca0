package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// The first six are those of Kafka's own UtilsTest.testMurmur2, the others of
// librdkafka's rdmurmur2.c.
var murmur2Vectors = []struct {
	key  string
	hash uint32
}{
	{"21", neg(973932308)},
	{"foobar", neg(790332482)},
	{"a-little-bit-long-string", neg(985981536)},
	{"a-little-bit-longer-string", neg(1486304829)},
	{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", neg(58897971)},
	{"abc", 479470107},
	{"", 0x106e08d9},
	{"4", 0x5a4b5ca1},
	{"34", 0x873930da},
	{"234", 0xe7c009ca},
	{"1234", 0x9fc97b14},
	{"kafka", 0xd067cf64},
	{"giberish123456789", 0x8f552b0c},
	{"AmbleWillBeRemoved,ThePrePartThatIs", 0x62b8b43f},
	{"eAmbleWillBeRemoved,ThePrePartThatIs", 0xe0e4e09e},
	{"reAmbleWillBeRemoved,ThePrePartThatIs", 0x4a62b377},
	{"PreAmbleWillBeRemoved,ThePrePartThatIs", 0x78424f1c},
}

// neg returns the bits of -v, for Java's ints have a sign.
func neg(v uint32) uint32 { return -v }

func TestMurmur2OfKafka(t *testing.T) {
	for _, v := range murmur2Vectors {
		require.Equal(t, v.hash, murmur2([]byte(v.key)), v.key)
	}
}

// Negative hashes are what sets Kafka's rule apart from an unsigned modulo.
func TestKafkaClearsTheSign(t *testing.T) {
	p := Kafka()
	for _, v := range murmur2Vectors {
		for _, n := range []int{1, 2, 3, 7, 12, 1000} {
			got, err := p.Partition(record.Record{Key: []byte(v.key)}, n)
			require.NoError(t, err)
			require.Equal(t, int(v.hash&0x7fffffff)%n, got, "%q, n = %d", v.key, n)
		}
	}
}

// murmur2Reference spells the hash out as Kafka's Java code does: signed
// words, a byte at a time, the tail by its length.
func murmur2Reference(data []byte) uint32 {
	const r = 24
	m, seed := int32(0x5bd1e995), int32(-0x68b84d74)
	length := len(data)
	word := func(i int) int32 {
		return int32(data[i]) | int32(data[i+1])<<8 | int32(data[i+2])<<16 | int32(data[i+3])<<24
	}
	shift := func(v int32, by int) int32 { return int32(uint32(v) >> by) } // Java's >>>

	h := seed ^ int32(length)
	for i := range length / 4 {
		k := word(4 * i)
		k *= m
		k ^= shift(k, r)
		k *= m
		h *= m
		h ^= k
	}
	tail := length &^ 3
	switch length % 4 {
	case 3:
		h ^= int32(data[tail+2]) << 16
		fallthrough
	case 2:
		h ^= int32(data[tail+1]) << 8
		fallthrough
	case 1:
		h ^= int32(data[tail])
		h *= m
	}
	h ^= shift(h, 13)
	h *= m
	h ^= shift(h, 15)
	return uint32(h)
}

func FuzzMurmur2(f *testing.F) {
	for _, v := range murmur2Vectors {
		f.Add([]byte(v.key))
	}
	f.Add([]byte("\xff\xfe\xfd\xfc\xfb\xfa\xf9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := murmur2(data), murmur2Reference(data); got != want {
			t.Fatalf("murmur2(%x) = %08x, want %08x", data, got, want)
		}
	})
}

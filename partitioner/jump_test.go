package partitioner

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/murmur3"
)

func TestJumpHash(t *testing.T) {
	for key, want := range []int{0, 55, 62, 8, 45, 59, 86, 97, 82, 59} {
		require.Equal(t, want, JumpHash(uint64(key), 100), "key %d", key)
	}
	// Those of the tests of Guava and of others.
	require.Equal(t, 0, JumpHash(1, 1))
	require.Equal(t, 43, JumpHash(42, 57))
	require.Equal(t, 361, JumpHash(0xdead10cc, 666))
	require.Equal(t, 520, JumpHash(256, 1024))
	require.Equal(t, -1, JumpHash(7, 0))
	require.Equal(t, -1, JumpHash(7, -7))
	for key := range uint64(100) {
		p := JumpHash(key, math.MaxInt)
		require.GreaterOrEqual(t, p, 0)
	}
}

func TestJumpHashesTheKeyFirst(t *testing.T) {
	key := []byte("order-123")
	require.Equal(t, JumpHash(murmur3.Sum64(key), 48), Jump().(KeyPartitioner).PartitionKey(key, 48))
}

// Of all keys, one in n goes to partition n-1 when that is added; the others
// stay.
func TestJumpMovesFewKeys(t *testing.T) {
	const keys = 20_000
	p := Jump().(KeyPartitioner)
	for _, n := range []int{2, 7, 50} {
		moved := 0
		for i := range keys {
			before, now := p.PartitionKey(numbered(i), n-1), p.PartitionKey(numbered(i), n)
			if before != now {
				require.Equal(t, n-1, now)
				moved++
			}
		}
		require.InDelta(t, keys/n, moved, 4*math.Sqrt(keys/float64(n)))
	}
}

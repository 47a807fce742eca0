package partitioner

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFNV1aIsThatOfTheStandardLibrary(t *testing.T) {
	for n := range 50 {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i * n)
		}
		want := fnv.New32a()
		want.Write(key)
		require.Equal(t, want.Sum32(), fnv1a(key))
	}
}

func TestSaramaHashesOfAllSigns(t *testing.T) {
	seen := map[bool]int{}
	for i := range uint32(1000) {
		key := binary.LittleEndian.AppendUint32(nil, i)
		h := int64(int32(fnv1a(key)))
		seen[h < 0]++
		for _, n := range []int{1, 3, 7, 12, 1000, math.MaxInt32, math.MaxInt} {
			want := h % int64(n)
			if want < 0 {
				want = -want
			}
			require.Equal(t, int(want), Sarama().(KeyPartitioner).PartitionKey(key, n), "hash %d, n = %d", h, n)
			require.Equal(t, int((h&math.MaxInt32)%int64(n)), SaramaReference().(KeyPartitioner).PartitionKey(key, n), "hash %d, n = %d", h, n)
		}
	}
	require.Greater(t, seen[true], 400)
	require.Greater(t, seen[false], 400)
}

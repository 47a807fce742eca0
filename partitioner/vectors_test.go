package partitioner

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/murmur3"

	"github.com/braidlog/braidlog/record"
)

// vector is a key with what other implementations make of it, as in
// testdata/partition-vectors.json. Hashes are 8 hexadecimal digits; partitions
// stand under the number of partitions.
type vector struct {
	KeyHex           string         `json:"key_hex"`
	Murmur3          string         `json:"murmur3_x86_32"`
	Murmur3Partition map[string]int `json:"murmur3_partition"`
	Murmur2          string         `json:"murmur2"`
	Murmur2Partition map[string]int `json:"murmur2_partition"`
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/partition-vectors.json")
	require.NoError(t, err)
	var vs []vector
	require.NoError(t, json.Unmarshal(text, &vs))
	require.NotEmpty(t, vs)
	return vs
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		key, err := hex.DecodeString(v.KeyHex)
		require.NoError(t, err)
		require.Equal(t, v.Murmur3, fmt.Sprintf("%08x", murmur3.Sum32(key)), "murmur3 of %q", key)
		require.Equal(t, v.Murmur2, fmt.Sprintf("%08x", murmur2(key)), "murmur2 of %q", key)
		requirePartitions(t, Key(), key, v.Murmur3Partition)
		requirePartitions(t, Kafka(), key, v.Murmur2Partition)
	}
}

// requirePartitions checks both ways to ask p about a key.
func requirePartitions(t *testing.T, p Partitioner, key []byte, want map[string]int) {
	t.Helper()
	require.NotEmpty(t, want)
	for count, partition := range want {
		n, err := strconv.Atoi(count)
		require.NoError(t, err)
		got, err := p.Partition(record.Record{Key: key}, n)
		require.NoError(t, err)
		require.Equal(t, partition, got, "%s of %q, n = %d", Placement(p), key, n)
		require.Equal(t, partition, p.(KeyPartitioner).PartitionKey(key, n), "%s of %q, n = %d", Placement(p), key, n)
	}
}

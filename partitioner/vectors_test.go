package partitioner

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/murmur3"

	"github.com/braidlog/braidlog/record"
)

// vector is a key with what other implementations make of it, as in
// testdata/partition-vectors.json. Hashes are hexadecimal digits; partitions
// stand under the number of partitions.
type vector struct {
	KeyHex           string         `json:"key_hex"`
	Murmur3          string         `json:"murmur3_x86_32"`
	Murmur3Partition map[string]int `json:"murmur3_partition"`
	Murmur2          string         `json:"murmur2"`
	Murmur2Partition map[string]int `json:"murmur2_partition"`
	XXHash           string         `json:"xxhash32"`
	XXHashPartition  map[string]int `json:"xxhash32_partition"`
	FNV1a            string         `json:"fnv1a_32"`
	CRC32            string         `json:"crc32_ieee"`
	MD5              string         `json:"md5"`
	MD5Partition     map[string]int `json:"md5_range_partition"`
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
		require.Equal(t, v.XXHash, fmt.Sprintf("%08x", xxh32(key)), "xxh32 of %q", key)
		require.Equal(t, v.FNV1a, fmt.Sprintf("%08x", fnv1a(key)), "fnv1a of %q", key)
		require.Equal(t, v.CRC32, fmt.Sprintf("%08x", crc32.ChecksumIEEE(key)), "crc32 of %q", key)
		require.Equal(t, v.MD5, fmt.Sprintf("%x", md5.Sum(key)), "md5 of %q", key)
		requirePartitions(t, Key(), key, v.Murmur3Partition)
		requirePartitions(t, Kafka(), key, v.Murmur2Partition)
		requirePartitions(t, Iggy(), key, v.XXHashPartition)
		requirePartitions(t, Kinesis(KinesisConfig{}), key, v.MD5Partition)
		requirePartitions(t, Sarama(), key, signedModulo(t, v.FNV1a))
		requirePartitions(t, SaramaReference(), key, maskedModulo(t, v.FNV1a))
		requirePartitions(t, Librdkafka(), key, unsignedModulo(t, v.CRC32))
	}
}

// signedModulo spells out what Sarama does with a hash.
func signedModulo(t *testing.T, hash string) map[string]int {
	return remainders(t, hash, func(h uint32, n int32) int32 {
		p := int32(h) % n
		if p < 0 {
			p = -p
		}
		return p
	})
}

func maskedModulo(t *testing.T, hash string) map[string]int {
	return remainders(t, hash, func(h uint32, n int32) int32 { return (int32(h) & 0x7fffffff) % n })
}

func unsignedModulo(t *testing.T, hash string) map[string]int {
	return remainders(t, hash, func(h uint32, n int32) int32 { return int32(h % uint32(n)) })
}

func remainders(t *testing.T, hash string, f func(h uint32, n int32) int32) map[string]int {
	t.Helper()
	h, err := strconv.ParseUint(hash, 16, 32)
	require.NoError(t, err)
	all := map[string]int{}
	for _, n := range []int32{1, 2, 3, 5, 6, 7, 12, 48, 100, 1000} {
		all[strconv.Itoa(int(n))] = int(f(uint32(h), n))
	}
	return all
}

// requirePartitions checks all ways to ask p about a key.
func requirePartitions(t *testing.T, p Partitioner, key []byte, want map[string]int) {
	t.Helper()
	require.NotEmpty(t, want)
	for count, partition := range want {
		n, err := strconv.Atoi(count)
		require.NoError(t, err)
		got, err := p.Partition(record.Record{Key: key}, n)
		require.NoError(t, err)
		require.Equal(t, partition, got, "%s of %q, n = %d", Placement(p), key, n)
		require.Equal(t, []int{partition}, keyPartitions(p, key, n), "%s of %q, n = %d", Placement(p), key, n)
	}
}

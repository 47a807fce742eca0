package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestSaltedSpreadsHotKeys(t *testing.T) {
	hot := "user-1" // partition 11 of 12
	p := Salted(nil, 4, func(key []byte) bool { return string(key) == hot })
	counts := make([]int, 12)
	for range 4000 {
		rec := record.Record{Key: []byte(hot)}
		want := mustRoute(t, p, rec, 12)
		require.Equal(t, want, mustRoute(t, p, rec, 12))
		require.Equal(t, want, mustPartition(t, p, rec, 12))
		counts[want]++
		require.Equal(t, 1, mustPartition(t, p, record.Record{Key: []byte("alice")}, 12), "a cold one stays")
	}
	buckets := []int{counts[11], counts[0], counts[1], counts[2]}
	require.Less(t, chiSquared(buckets), 16.266) // 3 degrees of freedom, 1 in 1000
	require.Equal(t, 4000, buckets[0]+buckets[1]+buckets[2]+buckets[3])
}

// Two hot keys that take turns still get all their buckets.
func TestSaltedKeysThatTakeTurns(t *testing.T) {
	p := Salted(nil, 2, everyKey)
	seen := map[string]map[int]bool{"a": {}, "b": {}}
	for range 100 {
		for key := range seen {
			seen[key][mustPartition(t, p, record.Record{Key: []byte(key)}, 12)] = true
		}
	}
	require.Len(t, seen["a"], 2)
	require.Len(t, seen["b"], 2)
}

// Whether a key is hot may change: where its records are is told for both.
// Of more buckets than partitions none has two: as many records go to each.
func TestSaltedWithMoreBucketsThanPartitions(t *testing.T) {
	for _, buckets := range []int{6, 7, 8, 11, 100} {
		p := Salted(nil, buckets, everyKey)
		counts := make([]int, 6)
		for range 6000 {
			counts[mustPartition(t, p, record.Record{Key: []byte("hot")}, 6)]++
		}
		require.Less(t, chiSquared(counts), 20.515, "%d buckets: %v", buckets, counts) // 5 degrees of freedom, 1 in 1000
	}
}

func TestSaltedTellsWhereKeysAre(t *testing.T) {
	heat := false
	p := Salted(nil, 4, func([]byte) bool { return heat })
	require.Equal(t, []int{0, 1, 2, 11}, p.(KeyPartitions).KeyPartitions([]byte("user-1"), 12))
	heat = true
	require.Equal(t, []int{0, 1, 2, 11}, p.(KeyPartitions).KeyPartitions([]byte("user-1"), 12))
	require.Equal(t, []int{0, 1, 2}, p.(KeyPartitions).KeyPartitions([]byte("user-1"), 3), "no more than there are")
	require.Nil(t, Salted(RoundRobin(), 4, everyKey).(KeyPartitions).KeyPartitions([]byte("user-1"), 12))
	require.NotImplements(t, (*KeyPartitioner)(nil), p)
}

func TestSaltedWithoutKey(t *testing.T) {
	p := Salted(RoundRobin(), 4, func(key []byte) bool { require.NotNil(t, key); return true })
	for want := range 5 {
		require.Equal(t, want, mustPartition(t, p, record.Record{}, 6))
	}
}

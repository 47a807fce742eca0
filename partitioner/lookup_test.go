package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestLookup(t *testing.T) {
	table := map[string]int{"eu": 4, "us": 5, "": 3}
	p := Lookup(table, nil)
	table["eu"] = 0 // copied
	for key, want := range map[string]int{"eu": 4, "us": 5, "": 3, "alice": 1, "bob": 0} {
		rec := record.Record{Key: []byte(key)}
		require.Equal(t, want, mustPartition(t, p, rec, 6), key)
		require.Equal(t, want, mustRoute(t, p, rec, 6), key)
		require.Equal(t, want, p.(KeyPartitioner).PartitionKey(rec.Key, 6), key)
		require.Equal(t, []int{want}, p.(KeyPartitions).KeyPartitions(rec.Key, 6), key)
	}
	require.Zero(t, mustPartition(t, Lookup(map[string]int{"": 3}, RoundRobin()), record.Record{}, 6), "nil is not the empty key")
	require.Equal(t, 4, mustPartition(t, Prefix("-", 1, p), record.Record{Key: []byte("eu-west")}, 6))
}

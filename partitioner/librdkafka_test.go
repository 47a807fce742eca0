package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// A nil key and an empty one stick like each other; any other is hashed.
func TestLibrdkafkaTakesAnEmptyKeyForNone(t *testing.T) {
	p := Librdkafka()
	p.(*crcKeyed).of.keyless.intN = func(int) int { return 777 }
	for _, key := range [][]byte{nil, {}} {
		require.Equal(t, 777, mustRoute(t, p, record.Record{Key: key}, 1000))
		require.Equal(t, 777, mustPartition(t, p, record.Record{Key: key}, 1000))
		require.Nil(t, p.(KeyPartitions).KeyPartitions(key, 1000))
	}
	require.Equal(t, 0xe8b7be43%1000, mustPartition(t, p, record.Record{Key: []byte("a")}, 1000))
	require.Equal(t, []int{0xe8b7be43 % 1000}, p.(KeyPartitions).KeyPartitions([]byte("a"), 1000))
	require.NotImplements(t, (*KeyPartitioner)(nil), p)
}

package partitioner

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

var urgentValue = Classify("value-1", func(rec record.Record) bool { return bytes.HasPrefix(rec.Value, []byte("!")) })

// Keys of any kind, none of which may panic.
func TestPriorityByKeyPrefix(t *testing.T) {
	p := Priority(KeyPrefix("HIGH:"), []int{5}, nil)
	byKey := Key().(KeyPartitioner)
	for key, urgent := range map[string]bool{
		"HIGH:": true, "HIGH:1": true, "HIGH": false, "H": false, "": false, "high:1": false, "xHIGH:": false,
	} {
		want := byKey.PartitionKey([]byte(key), 5)
		if urgent {
			want = 5
		}
		rec := record.Record{Key: []byte(key)}
		require.Equal(t, want, mustPartition(t, p, rec, 6), "%q", key)
		require.Equal(t, want, mustRoute(t, p, rec, 6), "%q", key)
		require.Equal(t, want, p.(KeyPartitioner).PartitionKey(rec.Key, 6), "%q", key)
		require.Equal(t, []int{want}, p.(KeyPartitions).KeyPartitions(rec.Key, 6), "%q", key)
	}
	for range 100 {
		require.NotEqual(t, 5, mustPartition(t, p, record.Record{}, 6), "no key, not urgent")
	}
}

// The others see the rest of the partitions under numbers of their own.
func TestPriorityLeavesTheRestToTheOthers(t *testing.T) {
	p := Priority(urgentValue, []int{4, 0, 3}, RoundRobin())
	var got []int
	for range 8 {
		rec := record.Record{Key: []byte("k")}
		got = append(got, mustRoute(t, p, rec, 7))
		require.Equal(t, got[len(got)-1], mustPartition(t, p, rec, 7))
	}
	require.Equal(t, []int{1, 2, 5, 6, 1, 2, 5, 6}, got)

	urgent := map[int]int{}
	for i := range 300 {
		rec := record.Record{Key: numbered(i), Value: []byte("!")}
		q := mustPartition(t, p, rec, 7)
		require.Equal(t, q, mustPartition(t, p, rec, 7))
		urgent[q]++
	}
	require.Len(t, urgent, 3)
	for _, q := range []int{0, 3, 4} {
		require.Greater(t, urgent[q], 50)
	}
	require.NotImplements(t, (*KeyPartitioner)(nil), p)
}

// By content a key may be on both sides.
func TestPriorityTellsWhereKeysAre(t *testing.T) {
	p := Priority(urgentValue, []int{1, 2}, nil)
	for i := range 100 {
		plain := mustPartition(t, p, record.Record{Key: numbered(i)}, 6)
		urgent := mustPartition(t, p, record.Record{Key: numbered(i), Value: []byte("!")}, 6)
		require.Equal(t, union([]int{plain}, []int{urgent}), p.(KeyPartitions).KeyPartitions(numbered(i), 6))
	}
	require.Nil(t, Priority(urgentValue, []int{1}, RoundRobin()).(KeyPartitions).KeyPartitions([]byte("k"), 6))
}

// Who looks at load sees that of the partitions it can choose.
func TestPriorityAroundOneByLoad(t *testing.T) {
	p := Priority(urgentValue, []int{1}, LeastLoaded()).(LoadAware)
	q, err := p.PartitionLoad(record.Record{}, lags(5, 0, 4, 3))
	require.NoError(t, err)
	require.Equal(t, 3, q)
	q, err = p.PartitionLoad(record.Record{Value: []byte("!")}, lags(5, 9, 4, 3))
	require.NoError(t, err)
	require.Equal(t, 1, q)
}

type batchEnds struct {
	Partitioner
	ends []int
}

func (b *batchEnds) BatchEnd(partition, _, _ int) { b.ends = append(b.ends, partition) }

func TestPriorityPassesBatchEndsOn(t *testing.T) {
	inner := &batchEnds{Partitioner: Key()}
	p := Priority(urgentValue, []int{1, 3}, inner).(Batcher)
	for q := range 5 {
		p.BatchEnd(q, 1, 1)
	}
	require.Equal(t, []int{0, 1, 2}, inner.ends)
}

func TestPriorityOfWrongNumbers(t *testing.T) {
	p := Priority(urgentValue, []int{1}, Func("far", func(_ record.Record, n int) (int, error) { return n, nil }))
	require.Equal(t, 3, mustPartition(t, p, record.Record{}, 3), "stays out of range")
	p = Priority(urgentValue, []int{1}, Func("neg", func(record.Record, int) (int, error) { return -7, nil }))
	require.Equal(t, -7, mustPartition(t, p, record.Record{}, 3))
}

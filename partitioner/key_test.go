package partitioner

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// Keys numbered in sequence are the most common ones, and where weak hashes
// cluster.
func TestSequentialKeysSpread(t *testing.T) {
	// The chi-squared statistic that an even spread exceeds once in a
	// thousand times, for n-1 degrees of freedom.
	critical := map[int]float64{3: 13.816, 6: 20.515, 12: 31.264}
	for _, p := range []Partitioner{Key(), Kafka()} {
		for n, limit := range critical {
			counts := make([]int, n)
			for i := range 10_000 {
				counts[p.(KeyPartitioner).PartitionKey([]byte("order-"+strconv.Itoa(i)), n)]++
			}
			require.Less(t, chiSquared(counts), limit, "%s, n = %d: %v", Placement(p), n, counts)
		}
	}
}

// chiSquared returns how far counts are from all being the same.
func chiSquared(counts []int) float64 {
	sum := 0
	for _, c := range counts {
		sum += c
	}
	want, x := float64(sum)/float64(len(counts)), 0.0
	for _, c := range counts {
		x += (float64(c) - want) * (float64(c) - want) / want
	}
	return x
}

func TestEmptyKeyIsAKeyAndNilIsNone(t *testing.T) {
	const n = 1000
	for _, c := range []struct {
		p     Partitioner
		empty int // partition of the empty key
	}{
		{Key(), 0}, // murmur3 of nothing is 0
		{Kafka(), 0x106e08d9 % n},
	} {
		other := (c.empty + 1) % n
		c.p.(*keyed).keyless.intN = func(int) int { return other }
		require.Equal(t, c.empty, mustPartition(t, c.p, record.Record{Key: []byte{}}, n))
		require.Equal(t, c.empty, c.p.(KeyPartitioner).PartitionKey([]byte{}, n))
		require.Equal(t, other, mustPartition(t, c.p, record.Record{}, n))
	}
}

func TestOnlyTheKeyDecides(t *testing.T) {
	for _, p := range []Partitioner{Key(), Kafka()} {
		key := []byte("order-1")
		want := mustPartition(t, p, record.Record{Key: key}, 12)
		full := record.Record{Key: key, Value: []byte("v"), Headers: []record.Header{{Key: "h"}}, ID: [16]byte{1}, Offset: 7}
		require.Equal(t, want, mustPartition(t, p, full, 12))
		require.Equal(t, []byte("order-1"), key)
	}
}

// Records without a key, and what BatchEnd says of them, reach a sticky
// partitioner.
func TestKeylessRecordsStick(t *testing.T) {
	for _, p := range []Partitioner{Key(), Kafka()} {
		p.(*keyed).keyless.intN = func(int) int { return 0 }
		half := record.Record{Value: make([]byte, defaultStickyBytes/2+1)}
		require.Equal(t, 0, mustPartition(t, p, half, 3))
		require.Equal(t, 0, mustPartition(t, p, record.Record{}, 3))
		p.(Batcher).BatchEnd(0, 2, 40_000)
		require.Equal(t, 1, mustPartition(t, p, record.Record{}, 3))
	}
}

func TestAnyNumberOfPartitions(t *testing.T) {
	for _, p := range []Partitioner{Key(), Kafka()} {
		for _, n := range []int{1, 2, 255, 256, 1 << 20, math.MaxInt32, math.MaxInt} {
			for _, v := range murmur2Vectors {
				got := mustPartition(t, p, record.Record{Key: []byte(v.key)}, n)
				require.True(t, got >= 0 && got < n, "%s: %d, n = %d", Placement(p), got, n)
			}
		}
	}
}

func TestPredecessors(t *testing.T) {
	p := Key().(Predecessors)
	for _, c := range []struct {
		old, n, p int
		want      []int
	}{
		{6, 6, 4, []int{4}},
		{3, 6, 4, []int{1}},       // doubled: each partition splits
		{6, 3, 1, []int{1, 4}},    // halved: two join
		{4, 6, 5, []int{1, 3}},    // equal modulo 2
		{3, 4, 2, []int{0, 1, 2}}, // nothing in common
		{1, 5, 3, []int{0}},       // there was one
		{0, 5, 3, nil},            // there was none
		{-1, 5, 3, nil},           //
		{5, 3, 3, nil},            // no such partition now
		{5, 3, -1, nil},           //
		{5, 0, 0, nil},            //
	} {
		require.Equal(t, c.want, p.Predecessors(c.old, c.n, c.p), "%+v", c)
	}
}

// Whatever the hash, the old partition is among the predecessors of the new
// one, and each predecessor is the old partition of some hash.
func TestPredecessorsAreExact(t *testing.T) {
	p := Kafka().(Predecessors)
	for old := 1; old <= 13; old++ {
		for n := 1; n <= 13; n++ {
			want := make([][]int, n)
			for hash := range old * n {
				if q := &want[hash%n]; !slices.Contains(*q, hash%old) {
					*q = append(*q, hash%old)
				}
			}
			for i := range want {
				slices.Sort(want[i])
				require.Equal(t, want[i], p.Predecessors(old, n, i), "%d of %d, %d before", i, n, old)
			}
		}
	}
}

// mustPartition asks p, which must answer.
func mustPartition(t *testing.T, p Partitioner, rec record.Record, n int) int {
	t.Helper()
	got, err := p.Partition(rec, n)
	require.NoError(t, err)
	return got
}

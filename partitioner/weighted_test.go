package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// Any 100 records in a row, not just the first.
func TestWeightedIsExact(t *testing.T) {
	for _, weights := range [][]int{{35, 35, 10, 10, 10}, {1, 99}, {100}, {0, 50, 0, 50}, {33, 33, 34}, {10, 10, 10, 10, 60}} {
		p := Weighted(weights...)
		counts := make([]int, len(weights))
		var all []int
		for i := range 1000 {
			want := mustRoute(t, p, record.Record{Key: numbered(i)}, len(weights))
			got := mustPartition(t, p, record.Record{Key: numbered(i)}, len(weights))
			require.Equal(t, want, got)
			all = append(all, got)
			counts[got]++
			if i >= 100 {
				counts[all[i-100]]--
			}
			if i >= 99 {
				require.Equal(t, weights, counts, "record %d", i)
			}
		}
	}
}

// In between it comes close: after any number of records no partition is more
// than two or three away from its share.
func TestWeightedIsEven(t *testing.T) {
	weights := []int{35, 35, 10, 10, 10}
	p := Weighted(weights...)
	counts := make([]int, len(weights))
	for i := range 100 {
		counts[mustPartition(t, p, record.Record{}, len(weights))]++
		for q, w := range weights {
			require.InDelta(t, float64(w)*float64(i+1)/100, counts[q], 2.5)
		}
	}
}

func TestWeightedWithLargeWeights(t *testing.T) {
	p := Weighted(1<<29, 1<<29)
	counts := make([]int, 2)
	for range 1000 {
		counts[mustPartition(t, p, record.Record{}, 2)]++
	}
	require.InDelta(t, 500, counts[0], 5)
	for sum := range uint64(300) {
		require.Equal(t, 1, gcd(int(goldenStep(sum+1)), int(sum+1)))
	}
}

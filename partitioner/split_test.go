package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func side(name string, p int) Partitioner {
	return Func(name, func(record.Record, int) (int, error) { return p, nil })
}

func TestSplitKeepsKeysOnTheirSide(t *testing.T) {
	p := Split(10, side("a", 0), side("b", 1))
	onA := 0
	for i := range 10_000 {
		want := mustPartition(t, p, record.Record{Key: numbered(i)}, 2)
		require.Equal(t, want, mustPartition(t, p, record.Record{Key: numbered(i), Value: []byte("v")}, 48), "other n, other content")
		if want == 0 {
			onA++
		}
	}
	require.InDelta(t, 1000, onA, 100)
}

// On each side every partition has its share: the side says nothing about the
// hash that chooses the partition.
func TestSplitIsIndependentOfTheInnerHash(t *testing.T) {
	for _, inner := range []Partitioner{Key(), Kafka(), Iggy(), Jump(), Rendezvous()} {
		p := Split(50, inner, inner)
		sides := Split(50, side("a", 0), side("b", 1))
		var counts [2][12]int
		for i := range 24_000 {
			counts[mustPartition(t, sides, record.Record{Key: numbered(i)}, 2)][mustPartition(t, p, record.Record{Key: numbered(i)}, 12)]++
		}
		for _, c := range counts {
			require.Less(t, chiSquared(c[:]), 31.264, "%s: %v", Placement(inner), counts) // 11 degrees of freedom, 1 in 1000
		}
	}
}

func TestSplitWithoutKeysCounts(t *testing.T) {
	for _, percent := range []int{0, 1, 10, 33, 50, 99, 100} {
		p := Split(percent, side("a", 0), side("b", 1))
		var last []int
		onA := 0
		for i := range 1000 {
			want := mustRoute(t, p, record.Record{}, 2)
			require.Equal(t, want, mustRoute(t, p, record.Record{}, 2))
			got := mustPartition(t, p, record.Record{}, 2)
			require.Equal(t, want, got)
			last = append(last, got)
			onA += 1 - got
			if i >= 100 {
				onA -= 1 - last[i-100]
			}
			if i >= 99 {
				require.Equal(t, percent, onA, "record %d", i)
			}
		}
	}
}

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

// Each of several Splits inside each other has its own share, whatever stands
// between them.
func TestSplitsInsideEachOther(t *testing.T) {
	a, b, c, d := side("a", 0), side("b", 1), side("c", 2), side("d", 3)
	for name, row := range map[string]struct {
		p    Partitioner
		want []float64 // hundredths of all keys
	}{
		"three thirds": {Split(34, a, Split(50, b, c)), []float64{34, 33, 33, 0}},
		"quarters":     {Split(50, Split(50, a, b), Split(50, c, d)), []float64{25, 25, 25, 25}},
		"one by one":   {Split(25, a, Split(33, b, Split(50, c, d))), []float64{25, 25, 25, 25}},
		"on the left":  {Split(75, Split(67, Split(50, d, c), b), a), []float64{25, 25, 25, 25}},
		"apart":        {Split(50, Lookup(map[string]int{"x": 3}, Prefix(":", 1, Split(50, a, b))), c), []float64{25, 25, 50, 0}},
	} {
		counts := make([]float64, 4)
		for i := range 20_000 {
			counts[mustPartition(t, row.p, record.Record{Key: numbered(i)}, 4)]++
		}
		for i, n := range counts {
			require.InDelta(t, row.want[i], n/200, 1.5, "%s: %v", name, counts)
		}
	}
}

// The side of a key is for ever, also around another Split.
func TestSplitNeverChanges(t *testing.T) {
	for want, p := range map[int]Partitioner{
		421: Split(40, side("a", 0), side("b", 1)),
		364: Split(40, Split(100, side("a", 0), nil), side("b", 1)),
	} {
		sum := 0
		for i := range 40 {
			sum += (1 - mustPartition(t, p, record.Record{Key: numbered(i)}, 2)) * i
		}
		require.Equal(t, want, sum, "of the numbers of the keys on side a")
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

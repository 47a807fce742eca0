package partitioner

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The logarithm decides where keys go: it must be the same for ever.
func TestLogarithm(t *testing.T) {
	for x := 1.0; x > 0x1p-60; x *= 0.937 {
		require.InEpsilon(t, math.Log(x)-1, logarithm(x)-1, 1e-14, "%v", x)
	}
	for x, want := range map[float64]uint64{
		0.5: 0xbfe62e42fefa39ef, 0.9: 0xbfbaf8e8210a415b, 0.3: 0xbff34378fcbda720, 0x1p-53: 0xc0425e4f7b2737fa,
	} {
		require.Equal(t, want, math.Float64bits(logarithm(x)), "%v: %x", x, math.Float64bits(logarithm(x)))
	}
}

// Keys go by weight. The bound is exceeded once in a thousand times.
func TestRendezvousGoesByWeight(t *testing.T) {
	weights := []int{35, 0, 35, 10, 10, 10}
	counts := make([]int, len(weights))
	for i := range 100_000 {
		counts[Rendezvous(weights...).(KeyPartitioner).PartitionKey(numbered(i), len(weights))]++
	}
	x := 0.0
	for p, w := range weights {
		want := float64(w) * 1000
		if w == 0 {
			require.Zero(t, counts[p])
			continue
		}
		x += (float64(counts[p]) - want) * (float64(counts[p]) - want) / want
	}
	require.Less(t, x, 18.467, "%v", counts) // 4 degrees of freedom
}

// A key leaves its partition only for the one that has gained.
func TestRendezvousMovesFewKeys(t *testing.T) {
	before, heavier := Rendezvous(2, 1, 1).(KeyPartitioner), Rendezvous(2, 3, 1).(KeyPartitioner)
	moved := 0
	for i := range 10_000 {
		was := before.PartitionKey(numbered(i), 3)
		if now := heavier.PartitionKey(numbered(i), 3); now != was {
			require.Equal(t, 1, now)
			moved++
		}
		if now := before.PartitionKey(numbered(i), 4); now != was {
			require.Equal(t, 3, now)
		}
	}
	require.InDelta(t, 10_000*(3.0/6-1.0/4), moved, 200)
}

func TestRendezvousBeyondItsWeights(t *testing.T) {
	require.EqualError(t, Rendezvous(1, 2, 3).(Checker).Check(2), `partition with "rendezvous(1,2,3)": there are 3 weights, but n is 2`)
	require.EqualError(t, Rendezvous(0, 0).(Checker).Check(2), `partition with "rendezvous(0,0)": the weights sum to 0, want more`)
	require.NoError(t, Rendezvous(0, 0).(Checker).Check(3), "the third one has weight 1")
	for i := range 100 {
		require.Equal(t, 2, Rendezvous(0, 0).(KeyPartitioner).PartitionKey(numbered(i), 3))
	}
}

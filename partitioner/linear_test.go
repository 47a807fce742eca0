package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinearIsModuloWhereItIsWhole(t *testing.T) {
	for base := 1; base <= 7; base++ {
		p := Linear(base).(KeyPartitioner)
		for n := base; n < 500; n *= 2 {
			for i := range 200 {
				require.Equal(t, Key().(KeyPartitioner).PartitionKey(numbered(i), n), p.PartitionKey(numbered(i), n), "base %d, n = %d", base, n)
			}
		}
	}
}

// A partition that is added takes keys from its parent alone, about half.
func TestLinearGrowsByOneFromOneParent(t *testing.T) {
	const keys = 10_000
	p := Linear(3)
	byKey := p.(KeyPartitioner)
	whole := 3
	for n := 3; n < 40; n++ {
		if n == 2*whole {
			whole = n
		}
		parent, stayed, moved := n-whole, 0, 0
		for i := range keys {
			before, now := byKey.PartitionKey(numbered(i), n), byKey.PartitionKey(numbered(i), n+1)
			switch {
			case before == now && now == parent:
				stayed++
			case before != now:
				require.Equal(t, [2]int{parent, n}, [2]int{before, now})
				moved++
			}
		}
		require.InDelta(t, stayed, moved, float64(stayed)/2, "n = %d", n)
		require.Equal(t, []int{parent}, p.(Predecessors).Predecessors(n, n+1, n))
		require.Equal(t, []int{parent}, p.(Predecessors).Predecessors(n, n+1, parent))
	}
}

func TestLinearBelowItsBase(t *testing.T) {
	p := Linear(4)
	require.EqualError(t, p.(Checker).Check(3), `partition with "linear(4)": n is 3, want at least the base, 4`)
	require.Equal(t, -1, p.(KeyPartitioner).PartitionKey([]byte("k"), 3))
	require.Nil(t, p.(Predecessors).Predecessors(3, 4, 0))
	require.Nil(t, p.(Predecessors).Predecessors(4, 3, 0))
}

package partitioner

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		load              Capacity
		needed, suggested int
		why               string
	}{
		{Capacity{RecordsPerSecond: 50_000, ConsumerRecordsPerSecond: 5_000, Headroom: 1.5}, 15, 24, "50000 records a second at 5000 for each partition, times 1.5, need 15;"},
		{Capacity{RecordsPerSecond: 280, ConsumerRecordsPerSecond: 50}, 6, 6, "280 records a second at 50 for each partition need 6;"},
		{Capacity{RecordsPerSecond: 280, ConsumerRecordsPerSecond: 50, Headroom: 1}, 6, 6, ""},
		{Capacity{RecordsPerSecond: 280, ConsumerRecordsPerSecond: 50, Headroom: 1.5}, 9, 12, ""},
		// Three consumers, whether 10 a second come or each handles 10.
		{Capacity{Consumers: 3, RecordsPerSecond: 10}, 3, 6, "3 consumers need 3;"},
		{Capacity{Consumers: 3, ConsumerRecordsPerSecond: 10}, 3, 6, "3 consumers need 3;"},
		{Capacity{Consumers: 3, RecordsPerSecond: 10, ConsumerRecordsPerSecond: 10}, 3, 6, "3 consumers need 3;"},
		{Capacity{Consumers: 3, RecordsPerSecond: 30, ConsumerRecordsPerSecond: 10}, 3, 6, ""},
		{Capacity{Consumers: 3, RecordsPerSecond: 70, ConsumerRecordsPerSecond: 10}, 7, 12, "70 records"},
		{Capacity{Consumers: 5, Headroom: 1.5}, 8, 12, "5 consumers, times 1.5, need 8;"},
		{Capacity{RecordsPerSecond: 0.001, ConsumerRecordsPerSecond: 5}, 1, 6, ""},
		{Capacity{RecordsPerSecond: 1e-300, ConsumerRecordsPerSecond: 1e300}, 1, 6, "need 1;"},
		{Capacity{Consumers: 6}, 6, 6, ""},
		{Capacity{Consumers: 7}, 7, 12, ""},
		{Capacity{Consumers: 25}, 25, 48, ""},
		{Capacity{Consumers: 49}, 49, 96, "of 6, 12, 24, 48 …, which move the fewest keys when they are doubled, 96 is the first that is enough"},
		{Capacity{Consumers: 98_304}, 98_304, 98_304, ""},
		// No rounding up of what is only the error of a division.
		{Capacity{RecordsPerSecond: 0.1 + 0.2, ConsumerRecordsPerSecond: 0.1}, 3, 6, ""},
		{Capacity{RecordsPerSecond: 1.1 * 1.1, ConsumerRecordsPerSecond: 0.11}, 11, 12, ""},
		{Capacity{RecordsPerSecond: 300_001, ConsumerRecordsPerSecond: 100_000}, 4, 6, ""},
	} {
		s, err := Plan(c.load)
		require.NoError(t, err, "%+v", c.load)
		require.Equal(t, c.needed, s.Needed, "%+v", c.load)
		require.Equal(t, c.suggested, s.Suggested, "%+v", c.load)
		require.Contains(t, s.Why, c.why)
	}
}

func TestPlanBadInput(t *testing.T) {
	for _, c := range []struct {
		load Capacity
		want string
	}{
		{Capacity{}, "plan partitions: RecordsPerSecond and Consumers are 0, want one of them"},
		{Capacity{ConsumerRecordsPerSecond: 10}, "plan partitions: RecordsPerSecond and Consumers are 0, want one of them"},
		{Capacity{RecordsPerSecond: 10}, "plan partitions: ConsumerRecordsPerSecond and Consumers are 0, want one of them"},
		{Capacity{RecordsPerSecond: -1, Consumers: 1}, "plan partitions: RecordsPerSecond is -1, want 0 or more"},
		{Capacity{ConsumerRecordsPerSecond: math.NaN(), Consumers: 1}, "plan partitions: ConsumerRecordsPerSecond is NaN, want 0 or more"},
		{Capacity{RecordsPerSecond: math.Inf(1), Consumers: 1}, "plan partitions: RecordsPerSecond is +Inf, want 0 or more"},
		{Capacity{Consumers: -2}, "plan partitions: Consumers is -2, want 0 or more"},
		{Capacity{Consumers: 2, Headroom: 0.5}, "plan partitions: Headroom is 0.5, want 1 or more, or 0 for 1"},
		{Capacity{Consumers: 98_305}, "plan partitions: 98305 are needed, want at most 98304"},
		{Capacity{RecordsPerSecond: 1e300, ConsumerRecordsPerSecond: 1e-300}, "plan partitions: +Inf are needed, want at most 98304"},
	} {
		s, err := Plan(c.load)
		require.EqualError(t, err, c.want)
		require.Zero(t, s)
	}
}

// Why the counts that Plan prefers are doubled: no other larger count leaves
// more keys where they are.
func TestDoublingMovesTheFewestKeys(t *testing.T) {
	const n = 6
	stays := func(m int) int {
		same := 0
		for hash := range 27_720 { // a multiple of every m here, and of n
			if hash%n == hash%m {
				same++
			}
		}
		return same
	}
	require.Equal(t, 27_720/2, stays(2*n))
	for m := n + 1; m <= 12; m++ {
		require.LessOrEqual(t, stays(m), stays(2*n), "from %d to %d", n, m)
	}
}

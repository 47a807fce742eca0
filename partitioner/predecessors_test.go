package partitioner

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// numbered returns the key of a number.
func numbered(i int) []byte { return strconv.AppendInt([]byte("order-"), int64(i), 10) }

// Over many keys, the partitions where those of a partition were before are its
// predecessors: none is missing, and none is too many.
func TestPredecessorsAgainstManyKeys(t *testing.T) {
	ps := map[string]Partitioner{
		"urgent":  Priority(KeyPrefix("order-1"), []int{1, 3}, nil),
		"content": Prefix("-", 2, Split(50, Jump(), Linear(1))),
	}
	for _, p := range []Partitioner{
		Iggy(), Sarama(), SaramaReference(), Librdkafka(), Jump(),
		Linear(1), Linear(2), Linear(3), Rendezvous(), Rendezvous(2, 0, 1), Prefix(":", 1, Kafka()), Split(30, Jump(), Rendezvous()),
	} {
		ps[Placement(p)] = p
	}
	for name, p := range ps {
		t.Run(name, func(t *testing.T) { requireExact(t, p) })
	}
}

func requireExact(t *testing.T, p Partitioner) {
	const most, keys = 9, 3000
	var places [most + 1][]int // of each key
	for n := 1; n <= most; n++ {
		for i := range keys {
			if check(p, n) == nil {
				places[n] = append(places[n], keyPartitions(p, numbered(i), n)[0])
			}
		}
	}
	for old := 1; old <= most; old++ {
		for n := 1; n <= most; n++ {
			if places[old] == nil || places[n] == nil {
				continue
			}
			want := make([][]int, n)
			for i, now := range places[n] {
				if was := places[old][i]; !slices.Contains(want[now], was) {
					want[now] = append(want[now], was)
				}
			}
			for q := range want {
				slices.Sort(want[q])
				require.Equal(t, want[q], p.(Predecessors).Predecessors(old, n, q), "%d of %d, %d before", q, n, old)
			}
		}
	}
}

// Edges of ranges are rounded: they share a few of all numbers with a neighbour,
// which no key is likely to hit.
func TestPredecessorsOfRanges(t *testing.T) {
	p := Kinesis(KinesisConfig{}).(Predecessors)
	require.Equal(t, []int{1}, p.Predecessors(4, 8, 2))
	require.Equal(t, []int{2, 3}, p.Predecessors(8, 4, 1))
	require.Equal(t, []int{0, 1}, p.Predecessors(4, 3, 0))
	require.Equal(t, []int{0, 1}, p.Predecessors(2, 3, 1))
	require.Equal(t, []int{0, 1}, p.Predecessors(2, 6, 3), "3·⌊2¹²⁸/6⌋ is a little less than 2¹²⁷")
	require.Equal(t, []int{5}, p.Predecessors(6, 6, 5))
}

// Those that need not be exact must not leave any out.
func TestPredecessorsOfSeveralPartitions(t *testing.T) {
	for _, p := range []Partitioner{
		Salted(Key(), 3, everyKey), Salted(Jump(), 2, everyKey), Salted(Linear(2), 4, everyKey),
		Lookup(map[string]int{"order-7": 1, "order-8": 0}, nil), Lookup(map[string]int{"order-7": 1}, Jump()),
		Prefix("-", 1, Salted(nil, 2, everyKey)), Kinesis(KinesisConfig{}), Adaptive(Jump(), AdaptiveConfig{}),
	} {
		for old := 2; old <= 9; old++ {
			for n := 2; n <= 9; n++ {
				for i := range 20 {
					for _, q := range keyPartitions(p, numbered(i), n) {
						before := p.(Predecessors).Predecessors(old, n, q)
						require.True(t, slices.IsSorted(before))
						require.Subset(t, before, keyPartitions(p, numbered(i), old), "%s, %d of %d, %d before", Placement(p), q, n, old)
					}
				}
			}
		}
	}
}

func TestPredecessorsOfNothing(t *testing.T) {
	for _, p := range builtIn() {
		ps, ok := p.(Predecessors)
		if !ok {
			continue
		}
		for _, c := range [][3]int{{5, 3, 3}, {5, 3, -1}, {5, 0, 0}, {0, 5, 3}, {-1, 5, 3}} {
			require.Empty(t, ps.Predecessors(c[0], c[1], c[2]), "%s: %v", Placement(p), c)
		}
	}
}

package partitioner

import (
	"math/rand/v2"

	"github.com/braidlog/braidlog/record"
)

const leastLoadedPlacement = "leastloaded"

// LeastLoaded returns a partitioner that sends each record where least waits:
// to the partition, among those that can be written, with the smallest Lag; if
// there are several, to that with the fewest bytes, and then to any. Keys are
// ignored, so records of one key are not in order. A topic without groups has
// no lag, and its partitions then grow evenly in bytes. When many goroutines
// append at once they all see the same load, and a partition may get a few
// records more than it should.
//
// Asked without load, by Partition, it chooses at random. The placement is
// "leastloaded". The idea is that of join-the-shortest-queue scheduling.
//
// Predecessors: any, since keys have no partition.
func LeastLoaded() Partitioner { return &leastLoaded{rand.IntN} }

// leastLoaded is immutable.
type leastLoaded struct {
	intN func(n int) int // uniform in [0, n), n ≥ 1
}

func (l *leastLoaded) Placement() string { return leastLoadedPlacement }

func (l *leastLoaded) Check(n int) error { return checkCount(leastLoadedPlacement, n) }

func (l *leastLoaded) Partition(_ record.Record, n int) (int, error) {
	if err := l.Check(n); err != nil {
		return 0, err
	}
	return l.intN(n), nil
}

// PartitionLoad looks at the partitions from a random one on, so that none is
// preferred among equals.
func (l *leastLoaded) PartitionLoad(_ record.Record, load []Load) (int, error) {
	n := len(load)
	if err := l.Check(n); err != nil {
		return 0, err
	}
	first := l.intN(n)
	best := first
	for i := 1; i < n; i++ {
		if p := (first + i) % n; lessLoaded(&load[p], &load[best]) {
			best = p
		}
	}
	return best, nil
}

// lessLoaded reports whether a is to be preferred to b.
func lessLoaded(a, b *Load) bool {
	switch {
	case a.Writable != b.Writable:
		return a.Writable
	case a.Lag != b.Lag:
		return a.Lag < b.Lag
	}
	return a.Bytes < b.Bytes
}

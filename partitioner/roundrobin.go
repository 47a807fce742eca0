package partitioner

import (
	"sync/atomic"

	"github.com/braidlog/braidlog/record"
)

const roundRobinPlacement = "roundrobin"

// RoundRobin returns a partitioner that sends records to partitions 0, 1, 2 …
// n-1 and 0 again, each the next: of any number of records no partition gets
// more than one more than another. Keys are ignored, so records of one key
// are not in order. It begins at 0 whenever the program starts, and counts
// for each n by itself. The placement is "roundrobin".
func RoundRobin() Partitioner {
	return &roundRobin{}
}

// roundRobin holds a cycle for each n it was asked with: nearly always one.
type roundRobin struct {
	cycles atomic.Pointer[cycle] // the newest, which leads to the others
}

// cycle counts the records among n partitions.
type cycle struct {
	n     int           // immutable
	count atomic.Uint64 // at a record a nanosecond it lasts 584 years
	older *cycle        // immutable
}

func (r *roundRobin) Placement() string { return roundRobinPlacement }

func (r *roundRobin) Partition(_ record.Record, n int) (int, error) {
	if err := checkCount(roundRobinPlacement, n); err != nil {
		return 0, err
	}
	before := r.cycle(n).count.Add(1) - 1
	return int(before % uint64(n)), nil
}

// cycle returns the one cycle for n, and makes it if this is the first time.
func (r *roundRobin) cycle(n int) *cycle {
	for {
		newest := r.cycles.Load()
		for c := newest; c != nil; c = c.older {
			if c.n == n {
				return c
			}
		}
		c := &cycle{n: n, older: newest}
		if r.cycles.CompareAndSwap(newest, c) {
			return c
		}
		// Another goroutine was first, perhaps with the same n: look again.
	}
}

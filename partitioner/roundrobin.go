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

func (r *roundRobin) Check(n int) error { return checkCount(roundRobinPlacement, n) }

func (r *roundRobin) Partition(_ record.Record, n int) (int, error) {
	if err := checkCount(roundRobinPlacement, n); err != nil {
		return 0, err
	}
	before := r.cycle(n).count.Add(1) - 1
	return int(before % uint64(n)), nil
}

// Route returns the next number and leaves it the next.
func (r *roundRobin) Route(_ record.Record, n int) (int, error) {
	if err := checkCount(roundRobinPlacement, n); err != nil {
		return 0, err
	}
	if c := find(r.cycles.Load(), n); c != nil {
		return int(c.count.Load() % uint64(n)), nil
	}
	return 0, nil
}

// cycle returns the one cycle for n, and makes it if this is the first time.
func (r *roundRobin) cycle(n int) *cycle {
	for {
		newest := r.cycles.Load()
		if c := find(newest, n); c != nil {
			return c
		}
		c := &cycle{n: n, older: newest}
		if r.cycles.CompareAndSwap(newest, c) {
			return c
		}
		// Another goroutine was first, perhaps with the same n: look again.
	}
}

// find returns the cycle for n among c and the older ones, nil if there is none.
func find(c *cycle, n int) *cycle {
	for c != nil && c.n != n {
		c = c.older
	}
	return c
}

package partitioner

import (
	"math/bits"
	"sort"
	"sync/atomic"

	"github.com/braidlog/braidlog/record"
)

const (
	weightedPlacement = "weighted"

	maxWeights = 1 << 30 // sum of all weights
)

// Weighted returns a partitioner that gives partitions records in proportion to
// their weights, one for each partition: of any 100 records in a row, weights
// of 35, 35, 10, 10 and 10 give exactly these counts, and in between it comes
// close. In general that holds for as many records in a row as the weights sum
// to, whatever their common factor. Keys are ignored, so records of one key are
// not in order. It begins anew whenever the program starts. [Rendezvous] gives
// keys by weight.
//
// A weight below 0, a sum of 0 or of more than 1,073,741,824, and another
// number of weights than of partitions make Check and Partition fail. The
// placement is "weighted(35,35,10,10,10)".
//
// The turns are those of a multiplicative walk: steps of about 0.618 of the
// sum, with no common factor, come by every place once in a round.
//
// Predecessors: any, since keys have no partition.
func Weighted(weights ...int) Partitioner {
	placement := form(weightedPlacement, numbers(weights)...)
	w := &weighted{placement: placement, ends: make([]uint64, len(weights))}
	for i, weight := range weights {
		if weight < 0 {
			return newInvalid(placement, "weight %d is %d, want at least 0", i, weight)
		}
		if weight > maxWeights || w.sum+uint64(weight) > maxWeights {
			return newInvalid(placement, "the weights sum to more than %d", maxWeights)
		}
		w.sum += uint64(weight)
		w.ends[i] = w.sum
	}
	if w.sum == 0 {
		return newInvalid(placement, "the weights sum to 0, want more")
	}
	w.step = goldenStep(w.sum)
	return w
}

type weighted struct {
	placement string        // immutable
	ends      []uint64      // immutable; places below are for this partition or one before it
	sum       uint64        // immutable; places of a round
	step      uint64        // immutable
	count     atomic.Uint64 // records so far
}

// goldenStep returns a number near sum/φ that has no factor in common with it.
func goldenStep(sum uint64) uint64 {
	step, _ := bits.Mul64(sum, goldenGamma)
	for step = max(step, 1); gcd(int(step), int(sum)) != 1; {
		step++
	}
	return step
}

func (w *weighted) Placement() string { return w.placement }

func (w *weighted) Check(n int) error {
	if err := checkCount(w.placement, n); err != nil {
		return err
	}
	if n != len(w.ends) {
		return wrong(w.placement, "there are %d weights, but n is %d", len(w.ends), n)
	}
	return nil
}

func (w *weighted) Partition(_ record.Record, n int) (int, error) {
	if err := w.Check(n); err != nil {
		return 0, err
	}
	return w.turn(w.count.Add(1) - 1), nil
}

// Route returns whose turn is next and leaves it so.
func (w *weighted) Route(_ record.Record, n int) (int, error) {
	if err := w.Check(n); err != nil {
		return 0, err
	}
	return w.turn(w.count.Load()), nil
}

// turn returns the partition of record number k.
func (w *weighted) turn(k uint64) int {
	place := k % w.sum * w.step % w.sum // below 2⁶²
	return sort.Search(len(w.ends), func(p int) bool { return place < w.ends[p] })
}

package crash

import (
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/braidlog/braidlog/internal/fs"
)

const (
	// maxSubsets is up to how many combinations all are tried: those of 12
	// sectors.
	maxSubsets = 1 << 12
	// sampled is how many are tried if there are more.
	sampled = 256
	// Of a moment of a long history, which has many, fewer are tried.
	maxSubsetsOfMany = 1 << 5
	sampledOfMany    = 24
)

// An effort is how many combinations are tried.
type effort struct{ subsets, samples int }

var (
	thorough = effort{maxSubsets, sampled}
	quick    = effort{maxSubsetsOfMany, sampledOfMany}
)

// choices yields what a disk may hold: all combinations of old and new, and with
// each sector in turn as it should never be. The slice is used again.
func choices(l *fs.PowerLoss, e effort, seed uint64) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		rng := rand.New(rand.NewPCG(seed, uint64(len(l.Doubts))))
		if !e.combine(l, rng, yield) {
			return
		}
		for i, d := range l.Doubts {
			for option := 2; options(d) > 1 && d.Sector && option < d.Options; option++ {
				for _, picks := range [][]int{none(l), all(l), some(l, rng)} {
					picks[i] = option
					if !yield(picks) {
						return
					}
				}
			}
		}
	}
}

// options returns how many of a doubt's options are tried in all combinations.
// Nobody cares what is in the lock file: it would only make more states of the
// same.
func options(d fs.Doubt) int {
	if strings.HasSuffix(d.What, "/LOCK") {
		return 1
	}
	if d.Sector {
		return min(d.Options, 2)
	}
	return d.Options
}

// combine yields all combinations, or some of them if there are too many.
func (e effort) combine(l *fs.PowerLoss, rng *rand.Rand, yield func([]int) bool) bool {
	n := 1
	for _, d := range l.Doubts {
		if n *= options(d); n > e.subsets {
			return e.sample(l, rng, yield)
		}
	}
	picks := none(l)
	for {
		if !yield(picks) {
			return false
		}
		i := 0
		for ; i < len(picks); i++ {
			if picks[i]++; picks[i] < options(l.Doubts[i]) {
				break
			}
			picks[i] = 0
		}
		if i == len(picks) {
			return true
		}
	}
}

func (e effort) sample(l *fs.PowerLoss, rng *rand.Rand, yield func([]int) bool) bool {
	if !yield(none(l)) || !yield(all(l)) {
		return false
	}
	for range e.samples {
		if !yield(some(l, rng)) {
			return false
		}
	}
	return true
}

func none(l *fs.PowerLoss) []int { return make([]int, len(l.Doubts)) }

func all(l *fs.PowerLoss) []int {
	picks := none(l)
	for i, d := range l.Doubts {
		if options(d) > 1 {
			picks[i] = d.New
		}
	}
	return picks
}

// some picks at random: a sector is mostly old or new.
func some(l *fs.PowerLoss, rng *rand.Rand) []int {
	picks := none(l)
	for i, d := range l.Doubts {
		n := options(d)
		if n > 1 && rng.IntN(8) == 0 {
			n = d.Options
		}
		picks[i] = rng.IntN(n)
	}
	return picks
}

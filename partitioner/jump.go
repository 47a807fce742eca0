package partitioner

import "github.com/twmb/murmur3"

const jumpPlacement = "jump"

// Jump returns a partitioner by jump consistent hash: when n grows, a key stays
// where it is or goes to one of the new partitions, and of all keys just the
// share goes that the new ones are of all. An empty key is a key like any
// other. Records without a key, those whose Key is nil, go where [Sticky] with
// its default sizes sends them.
//
// A key is made a number by MurmurHash3_x64_128 by Austin Appleby with seed 0,
// of which that is the first half, and then goes where [JumpHash] says. The
// placement is "jump". It costs more than [Key], by the logarithm of n.
//
// Predecessors: those of a new partition are all old ones; that of a partition
// which was there before is itself. When n shrinks, those given up are
// predecessors of all.
func Jump() Partitioner { return newRuled(jumpPlacement, jumpRule{}) }

type jumpRule struct{}

func (jumpRule) check(int) error { return nil }

func (jumpRule) locate(key []byte, n int) int { return JumpHash(murmur3.Sum64(key), n) }

func (jumpRule) predecessors(old, n, p int) []int {
	if p >= old {
		return upTo(0, old)
	}
	return append([]int{p}, upTo(n, old)...)
}

// JumpHash returns the bucket, in [0, n), of a key that is a number already, -1
// if n < 1. It is the function of Lamping and Veach, "A Fast, Minimal Memory,
// Consistent Hash Algorithm", 2014. Keys need not be hashed before: the
// function does that.
func JumpHash(key uint64, n int) int {
	if n < 1 {
		return -1
	}
	bucket := int64(0)
	for next := 0.0; next < float64(n); {
		bucket = int64(next)
		key = key*2862933555777941757 + 1
		next = float64(bucket+1) * (float64(1<<31) / float64(key>>33+1))
	}
	return int(min(bucket, int64(n)-1)) // float64(n) may be more than n, above 2⁵³
}

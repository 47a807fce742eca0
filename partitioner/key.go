package partitioner

import (
	"math"

	"github.com/twmb/murmur3"

	"github.com/braidlog/braidlog/record"
)

const keyPlacement = "key"

// Key returns the default partitioner. A record with a key goes to the
// partition numbered by the key's hash modulo n, so records of one key share a
// partition and stay in order; an empty key is a key like any other. Records
// without a key, those whose Key is nil, go where [Sticky] with its default
// sizes sends them.
//
// The hash is MurmurHash3_x86_32 by Austin Appleby with seed 0, taken as an
// unsigned number. This, and so the placement "key", will never change.
//
// When n changes, a key moves only between partitions whose numbers are equal
// modulo the greatest common divisor of both counts: doubling n splits each
// partition in two.
func Key() Partitioner {
	return &keyed{placement: keyPlacement, hash: murmur3.Sum32, keyless: newSticky(StickyConfig{})}
}

// keyed sends a key to its hash modulo n, and leaves records without a key to
// a sticky partitioner.
type keyed struct {
	placement string
	hash      func(key []byte) uint32 // pure
	keyless   *sticky
}

func (k *keyed) Placement() string { return k.placement }

func (k *keyed) Partition(rec record.Record, n int) (int, error) {
	if err := checkCount(k.placement, n); err != nil {
		return 0, err
	}
	if rec.Key == nil {
		return k.keyless.take(recordBytes(&rec), n), nil
	}
	return k.PartitionKey(rec.Key, n), nil
}

// Route is Partition that does not count a record without a key.
func (k *keyed) Route(rec record.Record, n int) (int, error) {
	if err := checkCount(k.placement, n); err != nil {
		return 0, err
	}
	if rec.Key == nil {
		return k.keyless.peek(recordBytes(&rec), n), nil
	}
	return k.PartitionKey(rec.Key, n), nil
}

// PartitionKey returns -1, which is no partition, if n < 1.
func (k *keyed) PartitionKey(key []byte, n int) int {
	if n < 1 {
		return -1
	}
	return modulo(k.hash(key), n)
}

// modulo takes both as unsigned: a hash of 32 bits is no negative int anywhere.
// A division of 32 bits takes half as long as one of 64 on many machines.
func modulo(hash uint32, n int) int {
	if uint64(n) > math.MaxUint32 {
		return int(hash)
	}
	return int(hash % uint32(n))
}

// Check finds nothing wrong with any number of partitions.
func (k *keyed) Check(n int) error { return checkCount(k.placement, n) }

func (k *keyed) BatchEnd(partition, records, bytes int) {
	k.keyless.BatchEnd(partition, records, bytes)
}

// Predecessors returns nil if there are no old or new partitions or p is none
// of the new ones. A hash h with h mod n = p has the same remainder as p modulo
// every divisor of n, so old partitions that differ from p modulo the greatest
// common divisor of both counts hold none of p's keys; and by the Chinese
// remainder theorem each of the others may.
func (k *keyed) Predecessors(old, n, p int) []int {
	if old < 1 || p < 0 || p >= n {
		return nil
	}
	step := gcd(old, n)
	ps := make([]int, 0, old/step)
	for q := p % step; q < old; q += step {
		ps = append(ps, q)
	}
	return ps
}

// gcd returns the greatest common divisor of two positive numbers.
func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

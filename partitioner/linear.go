package partitioner

import (
	"fmt"
	"strconv"

	"github.com/twmb/murmur3"
)

const linearPlacement = "linear"

// Linear returns a partitioner by linear hashing: partitions are added one at a
// time, and each takes keys from one other, its parent, about half of them. An
// empty key is a key like any other. Records without a key, those whose Key is
// nil, go where [Sticky] with its default sizes sends them.
//
// With n = base, 2·base, 4·base … a key is where [Key] has it. In between, with
// m the largest of those numbers up to n, the partitions m to n-1 are there
// already, and their parents 0 to n-m-1 were split; the others are about twice
// as full. base is the number one begins with: 1 or more, and never more than
// n, or Check and Partition fail.
//
// The algorithm is Witold Litwin's, "Linear Hashing: A New Tool for File and
// Table Addressing", 1980; the hash is that of Key. The placement is
// "linear(6)" for a base of 6.
//
// Predecessors: when one partition is added, that of the new one is its
// parent, and that of each other is itself. In general, two partitions have
// keys in common if they are equal modulo what either is a remainder of.
func Linear(base int) Partitioner {
	placement := form(linearPlacement, strconv.Itoa(base))
	if base < 1 {
		return newInvalid(placement, "the base is %d, want at least 1", base)
	}
	return newRuled(placement, linearRule(base))
}

// linearRule is the base.
type linearRule int

func (base linearRule) check(n int) error {
	if n < int(base) {
		return fmt.Errorf("n is %d, want at least the base, %d", n, int(base))
	}
	return nil
}

func (base linearRule) locate(key []byte, n int) int {
	hash, whole := uint64(murmur3.Sum32(key)), base.whole(n)
	if p := hash % (2 * whole); p < uint64(n) {
		return int(p)
	}
	return int(hash % whole)
}

// whole returns the largest number base·2^k up to n.
func (base linearRule) whole(n int) uint64 {
	m := uint64(base)
	for 2*m <= uint64(n) {
		m *= 2
	}
	return m
}

// modulus returns the m for which partition p has the hashes that are p modulo
// m.
func (base linearRule) modulus(n, p int) uint64 {
	m := base.whole(n)
	if q := uint64(p); q >= m || q+m < uint64(n) {
		return 2 * m // p is new, or was split
	}
	return m
}

// predecessors: of two moduli one divides the other, so hashes of both kinds
// exist if p and q are equal modulo the smaller one.
func (base linearRule) predecessors(old, n, p int) []int {
	if base.check(n) != nil || base.check(old) != nil {
		return nil
	}
	var ps []int
	m := base.modulus(n, p)
	for q := range old {
		if small := min(m, base.modulus(old, q)); uint64(p)%small == uint64(q)%small {
			ps = append(ps, q)
		}
	}
	return ps
}

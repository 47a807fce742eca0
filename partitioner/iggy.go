package partitioner

import (
	"encoding/binary"
	"math/bits"
)

const iggyPlacement = "iggy"

// Iggy returns a partitioner that sends a key to the partition in which a
// server of Apache Iggy puts messages of that messages key in a topic of as
// many partitions, numbered from 0: the key's hash, as an unsigned number,
// modulo n. An empty key is a key like any other, though Iggy's clients do not
// send one. Records without a key, those whose Key is nil, go where [Sticky]
// with its default sizes sends them; Iggy's balanced partitioning takes turns
// by record, as [RoundRobin] does.
//
// The hash is XXH32 by Yann Collet with seed 0, as in
// calculate_partition_id_by_messages_key_hash of apache/iggy. Servers of before
// that hashed otherwise or numbered partitions from 1. The placement is "iggy".
//
// When n changes, keys move as with [Key].
func Iggy() Partitioner {
	return &keyed{placement: iggyPlacement, hash: xxh32, keyless: newSticky(StickyConfig{})}
}

const (
	xxhPrime1 = 0x9e3779b1
	xxhPrime2 = 0x85ebca77
	xxhPrime3 = 0xc2b2ae3d
	xxhPrime4 = 0x27d4eb2f
	xxhPrime5 = 0x165667b1
)

// xxh32 is XXH32 with seed 0, as the xxHash specification describes it, little
// endian on every machine.
func xxh32(data []byte) uint32 {
	length := uint32(len(data))
	h := uint32(xxhPrime5)
	if len(data) >= 16 {
		h, data = xxh32Stripes(data)
	}
	h += length
	for ; len(data) >= 4; data = data[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(data)*xxhPrime3, 17) * xxhPrime4
	}
	for _, b := range data {
		h = bits.RotateLeft32(h+uint32(b)*xxhPrime5, 11) * xxhPrime1
	}
	h = (h ^ h>>15) * xxhPrime2
	h = (h ^ h>>13) * xxhPrime3
	return h ^ h>>16
}

// xxh32Stripes takes in all stripes of 16 bytes and returns the rest.
func xxh32Stripes(data []byte) (h uint32, rest []byte) {
	one, two := uint32(xxhPrime1), uint32(xxhPrime2) // variables: sums of constants must not overflow
	lanes := [4]uint32{one + two, two, 0, -one}
	for ; len(data) >= 16; data = data[16:] {
		for i := range lanes {
			lane := lanes[i] + binary.LittleEndian.Uint32(data[4*i:])*xxhPrime2
			lanes[i] = bits.RotateLeft32(lane, 13) * xxhPrime1
		}
	}
	h = bits.RotateLeft32(lanes[0], 1) + bits.RotateLeft32(lanes[1], 7) +
		bits.RotateLeft32(lanes[2], 12) + bits.RotateLeft32(lanes[3], 18)
	return h, data
}

package partitioner

import "math"

const (
	saramaPlacement          = "sarama"
	saramaReferencePlacement = "sarama-reference"
)

// Sarama returns a partitioner that sends a key to the partition in which
// programs that use Sarama, by default, put it in a Kafka topic of as many
// partitions: the key's hash as a signed number of 32 bits, the remainder by n,
// and that without its sign. An empty key is a key like any other. Records
// without a key, those whose Key is nil, go where [Sticky] with its default
// sizes sends them; Sarama chooses at random for each.
//
// The hash is FNV-1a of 32 bits by Fowler, Noll and Vo, as in NewHashPartitioner
// of IBM/sarama. The placement is "sarama".
//
// When n changes, keys move as with [Key].
func Sarama() Partitioner {
	return &keyed{placement: saramaPlacement, hash: saramaHash, keyless: newSticky(StickyConfig{})}
}

// SaramaReference is [Sarama] for programs that use Sarama's
// NewReferenceHashPartitioner: like Kafka's Java client it clears the hash's
// sign bit, modulo n, but the hash is Sarama's. The placement is
// "sarama-reference".
func SaramaReference() Partitioner {
	return &keyed{placement: saramaReferencePlacement, hash: saramaReferenceHash, keyless: newSticky(StickyConfig{})}
}

// saramaHash is the hash without its sign. Go's remainder, like Sarama's, has
// the sign of the dividend, so that it makes no difference which of the two
// loses it; and the lowest number, which has no positive counterpart of 32
// bits, has an unsigned one.
func saramaHash(key []byte) uint32 {
	h := fnv1a(key)
	if int32(h) < 0 {
		return -h
	}
	return h
}

func saramaReferenceHash(key []byte) uint32 { return fnv1a(key) & math.MaxInt32 }

// fnv1a is FNV-1a of 32 bits. That of hash/fnv would be on the heap.
func fnv1a(data []byte) uint32 {
	h := uint32(2166136261)
	for _, b := range data {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

package partitioner

import (
	"encoding/binary"
	"math"
)

const kafkaPlacement = "kafka"

// Kafka returns a partitioner that sends a key to the partition in which the
// producers of Apache Kafka's Java client, by default, put it in a Kafka topic
// of as many partitions: the key's hash with its sign bit cleared, modulo n.
// An empty key is a key like any other. Records without a key, those whose Key
// is nil, go where [Sticky] with its default sizes sends them.
//
// The hash is MurmurHash2 by Austin Appleby with Kafka's seed, as in
// org.apache.kafka.common.utils.Utils.murmur2. Other Kafka clients may have
// other defaults: librdkafka's equal is partitioner=murmur2_random. The
// placement is "kafka".
//
// When n changes, keys move as with [Key].
func Kafka() Partitioner {
	return &keyed{placement: kafkaPlacement, hash: kafkaHash, keyless: newSticky(StickyConfig{})}
}

// kafkaHash clears the sign bit, where others would take the absolute value,
// as Kafka's Utils.toPositive does.
func kafkaHash(key []byte) uint32 {
	return murmur2(key) & math.MaxInt32
}

// murmur2 is MurmurHash2 in its 32-bit form, little endian on every machine,
// with the seed that Kafka chose.
func murmur2(data []byte) uint32 {
	const seed, m = 0x9747b28c, 0x5bd1e995
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	if len(data) > 0 {
		for i, b := range data {
			h ^= uint32(b) << (8 * i)
		}
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

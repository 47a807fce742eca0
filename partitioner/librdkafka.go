package partitioner

import (
	"hash/crc32"

	"github.com/braidlog/braidlog/record"
)

const librdkafkaPlacement = "librdkafka"

// Librdkafka returns a partitioner that sends a key to the partition in which
// programs that use librdkafka, by default, put it in a Kafka topic of as many
// partitions: the key's CRC-32, as an unsigned number, modulo n. Those are the
// clients for C, C++, Python, .NET and others. A nil key and an empty one are
// no key; such records go where [Sticky] with its default sizes sends them, as
// librdkafka spreads them, and have no order.
//
// The hash is CRC-32 with the polynomial of IEEE 802.3, as in
// rd_kafka_msg_partitioner_consistent_random of librdkafka, whose name in
// configurations is partitioner=consistent_random. The placement is
// "librdkafka".
//
// Since an empty key decides nothing, this is no [KeyPartitioner], but
// [KeyPartitions] tells. When n changes, keys move as with [Key].
func Librdkafka() Partitioner {
	return &crcKeyed{keyed{placement: librdkafkaPlacement, hash: crc32.ChecksumIEEE, keyless: newSticky(StickyConfig{})}}
}

// crcKeyed is a keyed one for which an empty key is none.
type crcKeyed struct{ of keyed }

func (c *crcKeyed) Placement() string { return c.of.placement }

func (c *crcKeyed) Partition(rec record.Record, n int) (int, error) {
	return c.of.Partition(withoutEmptyKey(rec), n)
}

func (c *crcKeyed) Route(rec record.Record, n int) (int, error) {
	return c.of.Route(withoutEmptyKey(rec), n)
}

func withoutEmptyKey(rec record.Record) record.Record {
	if len(rec.Key) == 0 {
		rec.Key = nil
	}
	return rec
}

func (c *crcKeyed) KeyPartitions(key []byte, n int) []int {
	if len(key) == 0 {
		return nil
	}
	return []int{c.of.PartitionKey(key, n)}
}

func (c *crcKeyed) Check(n int) error { return c.of.Check(n) }

func (c *crcKeyed) BatchEnd(partition, records, bytes int) { c.of.BatchEnd(partition, records, bytes) }

// Predecessors are of the keys that are not empty.
func (c *crcKeyed) Predecessors(old, n, p int) []int { return c.of.Predecessors(old, n, p) }

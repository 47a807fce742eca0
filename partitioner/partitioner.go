// Package partitioner decides which partition of a topic a record goes to.
//
// [Key] is the default and right for most: records of one key share a
// partition and so stay in order, records without a key spread. Choose
// [Kafka] instead if a Kafka cluster may follow or feeds the topic: keys then
// sit in the same partition on both sides. [RoundRobin] spreads records one by
// one and [Sticky] a stretch at a time; both pay no heed to keys and so keep
// no order among the records of one. [Func] makes a partitioner of a function.
//
// By key as in other systems: [Iggy], [Sarama], [Librdkafka], [Kinesis]. By key,
// moving few keys when the number of partitions changes: [Jump], [Linear],
// [Rendezvous]. By a part of the key or by content: [Prefix], [Lookup],
// [Priority], [Split], [Salted], [TimeWindow]. By load: [Weighted], [Adaptive],
// [LeastLoaded]. Those that take another one may be put inside each other; what
// the inner one can do the outer one can too, as far as that makes sense.
//
// One's own partitioner is a type with the one method of [Partitioner]. The
// other interfaces here are optional, and found by a type assertion. Package
// partitionertest checks it.
package partitioner

import (
	"fmt"

	"github.com/braidlog/braidlog/record"
)

// A Partitioner chooses the partition of each record appended to a topic.
//
// Partition returns the number of a partition, in [0, n), for a topic of n ≥ 1
// partitions. It is asked exactly once per record, so it may count, and by
// many goroutines at once. It runs on the append path: it should neither block
// nor allocate. Whatever it locks it must release before it returns.
//
// The record is passed by value, but its slices are those of the caller of the
// append: they must not be modified, nor kept after the return. Only the
// caller's fields are set; Topic, Partition, Offset and Timestamp mean
// nothing yet. A nil Key is a record without a key, an empty one is a key.
//
// An error, a panic or a number outside [0, n) fails that append, with an
// error that names the partitioner; the record is in no partition. With an
// error the number is ignored.
//
// For the records of one key to stay in order the answer must depend on
// nothing but the key and n, today and in every later version of the program.
// A partitioner that remembers something serves one topic: sharing one among
// topics is safe, but they disturb each other.
type Partitioner interface {
	Partition(rec record.Record, n int) (int, error)
}

// A KeyPartitioner is a [Partitioner] that decides by the key alone. It lets a
// topic find the partition of a key without a record at hand.
//
// PartitionKey returns what Partition returns for every record with that key:
// a number in [0, n), always the same for the same key and n. It is called
// with n ≥ 1, with a key that is not nil (but may be empty), and by many
// goroutines at once; it may be called in place of Partition, or in addition
// to it. It must neither modify nor keep the key. Partition alone is
// asked about records without a key. A panic or a number outside [0, n) fails
// the call that needed the answer.
type KeyPartitioner interface {
	PartitionKey(key []byte, n int) int
}

// A Placer is a [Partitioner] with a placement: the name and the parameters
// that decide where a key goes, as one string.
//
// The placement is stored with the topic and compared at every open, so that
// records of one key never end up in two partitions because a program
// changed. It is the same for the whole life of a partitioner, differs
// between any two that send some key to different partitions, is not empty, and
// is valid UTF-8: else no topic can be made with it. What merely tunes, such as
// the sizes of [StickyConfig], is not part of it and may change at any time. See [Placement] for a
// partitioner that is not a Placer.
type Placer interface {
	Placement() string
}

// A LoadAware partitioner looks at the partitions before it decides.
//
// PartitionLoad is called instead of Partition and under the same contract:
// once per record, by many goroutines at once, with an answer in
// [0, len(load)). load[i] describes partition i a moment ago; the slice must
// be neither modified nor kept. One that keeps some keys in their place says
// where with [KeyPartitions]. A partitioner that sends a key where there is
// least load gives up the order of that key's records.
type LoadAware interface {
	PartitionLoad(rec record.Record, load []Load) (int, error)
}

// Load is what a [LoadAware] partitioner learns about a partition.
type Load struct {
	Records  int64 // records that can be read: end minus start
	Bytes    int64 // size of those records on disk
	Lag      int64 // records between committed and end, of the slowest group; 0 without groups
	Writable bool  // false: an append to it would fail
}

// A Batcher is a [Partitioner] that wants to know when a batch is complete,
// as those do that keep to a partition for a while.
//
// BatchEnd is called after each batch that was appended to a partition, with
// the number of its records and their size in bytes, whichever way its records
// were routed. It is not called for a batch that failed. It is called by many
// goroutines at once, also while others are in Partition, holding no lock, and
// should be as quick as Partition.
type Batcher interface {
	BatchEnd(partition, records, bytes int)
}

// Predecessors is a [Partitioner] that can tell where the keys of a partition
// were before the number of partitions changed.
//
// Predecessors returns, in ascending order, those of the old partitions
// [0, old) that may hold records of keys that belong to partition p of n now.
// It may return too many, never too few. The result is the caller's. Without
// this method, all old partitions count.
type Predecessors interface {
	Predecessors(old, n, p int) []int
}

// checkCount returns an error that names n if a topic cannot have n partitions.
func checkCount(placement string, n int) error {
	if n < 1 {
		return fmt.Errorf("partition with %q: n is %d, want at least 1", placement, n)
	}
	return nil
}

package consumergroup

import (
	"context"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A Source is where a group finds topics. A Store is one. Its methods may be
// called from many goroutines, and are called under no lock.
type Source interface {
	// Topics returns the names of all topics.
	Topics() []string
	// Topic returns one of them. Its error is why there is none.
	Topic(name string) (Topic, error)
	// Append appends a record to a topic and waits until it is acknowledged: a
	// dead letter.
	Append(ctx context.Context, topic string, rec record.Record) error
	// Report tells of something that nobody waits for: a *TrimmedError, or a
	// panic in OnLost.
	Report(tp TopicPartition, what string, err error)
}

// A Topic is what a group knows of one. A topic that was deleted and made again
// has another ID.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions []*partition.Partition
}

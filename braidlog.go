// Package braidlog is an embeddable log: topics made of ordered, append-only
// partitions on disk, in the process, with no server.
//
// An application opens a directory and gets a [Store]. A [Topic] is a fixed
// number of partitions; a partitioner routes every record by its key, so all
// records of one key stay in order. What was acknowledged is there after a
// crash, as the topic's level of durability says:
//
//	store, err := braidlog.Open(dir, braidlog.Options{})
//	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
//	pos, err := topic.Append(ctx, braidlog.Record{Key: key, Value: value})
//	for rec, err := range topic.Key(ctx, key) { … }
//
// # Contexts
//
// Everything that can wait takes a context. One that has ended means that
// nothing happened. One that ends while an append waits for the disk gives
// [ErrOutcomeUnknown]: the record may be in the log.
//
// # Memory
//
// After a call returns, braidlog never touches what was passed to it. Records
// from Records, Tail and Key are the caller's to keep; several share a piece
// of memory, so Clone one that is kept for long. Records from a reader's or a
// cursor's Next live until the next call.
//
// # Errors
//
// Causes are sentinels for errors.Is; those with numbers to tell are structs
// for errors.As: [OffsetError], [CorruptError], [BatchError] and others.
package braidlog

import (
	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// Types of the packages below that an application meets.
type (
	// A Record is what is appended and read.
	Record = record.Record
	// A Header is a named value beside a record's own.
	Header = record.Header
	// Durability is a level of durability.
	Durability = partition.Durability
	// SyncEvery are the thresholds of level Interval.
	SyncEvery = partition.SyncEvery
	// CacheMode says which indexes stay in memory.
	CacheMode = index.CacheMode
	// Validate says how much Open reads of what is on disk.
	Validate = partition.Validate
	// An Event is something that happened to a partition beside appends and
	// reads.
	Event = partition.Event
	// EventKind says what an Event tells of.
	EventKind = partition.EventKind
	// Outcome says what became of one record of a batch.
	Outcome = partition.Outcome
)

// The levels of durability; see package partition. The zero Durability stands
// for Sync in a new topic and for the stored level in one that exists.
const (
	Sync     = partition.Sync
	Interval = partition.Interval
	OS       = partition.OS
)

// The cache modes of indexes; see package index.
const (
	CacheActiveSegment = index.ActiveSegment
	CacheAll           = index.All
	CacheNone          = index.None
)

// How much Open validates; see package partition.
const (
	ValidateTail = partition.ValidateTail
	ValidateNone = partition.ValidateNone
	ValidateFull = partition.ValidateFull
)

// The kinds of events; see package partition.
const (
	Rolled    = partition.Rolled
	Trimmed   = partition.Trimmed
	Recovered = partition.Recovered
	Repaired  = partition.Repaired
	Archived  = partition.Archived
	Trouble   = partition.Trouble
)

// A Position is where a record is.
type Position struct {
	Partition int
	Offset    int64
	// Duplicate says that the record was a repeat and was not appended: this is
	// where the first record of its ID is. False unless the topic has Dedup.
	Duplicate bool
}

// noPosition comes with an error.
var noPosition = Position{Partition: -1, Offset: -1}

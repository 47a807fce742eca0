// Package record holds what everything else in braidlog passes around: the
// [Record], its [Header], and the binary form of records in a log, the batch
// frame described in docs/FORMAT.md.
package record

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// A Record is one entry of a partition.
//
// The fields of the first group belong to the caller, who sets them before an
// append. Those of the second are braidlog's: an append ignores and a read
// sets them.
//
// A nil Key or Value and an empty one are different records, and stay so on
// disk and when read.
type Record struct {
	Key     []byte   // decides the partition and the order; nil: no key
	Value   []byte   // nil: no value
	Headers []Header // in this order; names may repeat
	// ID tells records apart for deduplication. All zeros: no id.
	ID [16]byte
	// OriginTime is when the thing happened, as the caller sees it. It is
	// stored to the nanosecond, read back in UTC, and decides nothing. The
	// zero time is not stored. Years 1678 to 2261.
	OriginTime time.Time

	Topic     string    // "" in a partition without a topic
	Partition int       // number of the partition, from 0
	Offset    int64     // number of the record in its partition, from 0
	Timestamp time.Time // when it was appended, UTC; never falls within a partition
	// Duplicate is set by Topic.AppendBatch if a record with this ID was
	// appended before: the other fields tell where that one is, and this one
	// was not appended. Reading never sets it.
	Duplicate bool
}

// A Header is a named value beside the record's own. Names need not be unique.
type Header struct {
	Key   string
	Value []byte // nil and empty are different
}

// Clone returns a copy of r that shares no memory with it.
func (r *Record) Clone() Record {
	c := *r
	c.Key = bytes.Clone(r.Key)
	c.Value = bytes.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	for i, h := range c.Headers {
		c.Headers[i] = Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	return c
}

// StringKey returns s as a key. An empty s is an empty key, not a missing one.
func StringKey(s string) []byte {
	return append(make([]byte, 0, len(s)), s...)
}

// Uint32Key returns v as a key of 4 bytes, little endian.
func Uint32Key(v uint32) []byte {
	return binary.LittleEndian.AppendUint32(nil, v)
}

// Uint64Key returns v as a key of 8 bytes, little endian.
func Uint64Key(v uint64) []byte {
	return binary.LittleEndian.AppendUint64(nil, v)
}

// Uint128Key returns a 128-bit number as a key of 16 bytes, little endian: lo
// first.
func Uint128Key(hi, lo uint64) []byte {
	return binary.LittleEndian.AppendUint64(Uint64Key(lo), hi)
}

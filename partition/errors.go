package partition

import (
	"cmp"
	"errors"
	"fmt"
)

// Sentinels for errors.Is. Errors that have numbers to tell are structs that
// wrap these, for errors.As.
var (
	ErrClosed           = errors.New("closed")
	ErrOffsetOutOfRange = errors.New("offset out of range")
	ErrTooLarge         = errors.New("too large")
	ErrCorrupt          = errors.New("corrupt")
	ErrDiskFull         = errors.New("disk full")
	ErrInvalid          = errors.New("invalid") // an argument or a setting
	ErrReadOnly         = errors.New("read-only")
	// ErrFull: the topic holds as many bytes as it may, and nothing may go.
	ErrFull = errors.New("full")
	// ErrNotDamaged: there is nothing to repair.
	ErrNotDamaged = errors.New("not damaged")
	// ErrFailed: an earlier write or sync failed in a way that leaves it open
	// what is on disk. Nothing is appended until the partition is opened anew.
	ErrFailed = errors.New("failed earlier")
	// ErrOutcomeUnknown: the record may be in the log, now or after a crash,
	// or may not. It is never returned where one of the two is certain.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrEnd: TryNext has nothing to return yet.
	ErrEnd = errors.New("at the end")
)

// An OffsetError says that an offset is not one that can be read.
// errors.Is(err, ErrOffsetOutOfRange) is true.
type OffsetError struct {
	Topic      string
	Partition  int
	Offset     int64
	Start, End int64  // what can be read: [Start, End)
	Op         string // what was tried, "" for read
}

func (e *OffsetError) Error() string {
	return fmt.Sprintf("%s %s: offset %d is out of range [%d, %d)", cmp.Or(e.Op, "read"), subject(e.Topic, e.Partition), e.Offset, e.Start, e.End)
}

// Unwrap makes errors.Is(err, ErrOffsetOutOfRange) true.
func (e *OffsetError) Unwrap() error { return ErrOffsetOutOfRange }

// A CorruptError names records that were durable and cannot be read: damage
// that no crash causes. errors.Is(err, ErrCorrupt) is true.
type CorruptError struct {
	Topic                string
	Partition            int
	File                 string // the segment; "" if no file has the offsets
	FromByte, ToByte     int64  // what is damaged: positions [FromByte, ToByte) of the file
	FromOffset, ToOffset int64  // the records lost: offsets [FromOffset, ToOffset)
	Cause                error
}

func (e *CorruptError) Error() string {
	where := "no segment has them"
	if e.File != "" {
		where = fmt.Sprintf("bytes [%d, %d) of %s", e.FromByte, e.ToByte, e.File)
	}
	return fmt.Sprintf("read %s: offsets [%d, %d) are corrupt: %s: %v",
		subject(e.Topic, e.Partition), e.FromOffset, e.ToOffset, where, e.Cause)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// same reports whether two errors name the same offsets of the same file.
func (e *CorruptError) same(other *CorruptError) bool {
	return e.File == other.File && e.FromOffset == other.FromOffset && e.ToOffset == other.ToOffset
}

// Unwrap returns what gave the damage away.
func (e *CorruptError) Unwrap() error { return e.Cause }

// A GapError names offsets that hold no records and never will: a power cut
// or a failed sync may have taken them, or a repair gave them up. In an archive
// they may have been trimmed without being archived.
type GapError struct {
	Topic     string
	Partition int
	From, To  int64 // offsets [From, To)
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s: offsets [%d, %d) hold no records", subject(e.Topic, e.Partition), e.From, e.To)
}

// A SizeError says that a record or key is larger than the setting allows.
// errors.Is(err, ErrTooLarge) is true.
type SizeError struct {
	What        string // "record" or "key"
	Bytes, Most int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s of %d bytes is larger than %d", e.What, e.Bytes, e.Most)
}

// Unwrap makes errors.Is(err, ErrTooLarge) true.
func (e *SizeError) Unwrap() error { return ErrTooLarge }

// An Outcome says what became of one record of a batch.
type Outcome uint8

// The outcomes.
const (
	NotAppended Outcome = iota // it is not in the log and will not be
	Appended                   // it is, as durably as the level promises
	Unknown                    // it may be, now or after a crash
)

func (o Outcome) String() string {
	switch o {
	case NotAppended:
		return "not appended"
	case Appended:
		return "appended"
	}
	return "unknown"
}

// A BatchError tells for each record of a failed AppendBatch what became of
// it, in the order they were given.
type BatchError struct {
	Outcomes []Outcome
	Cause    error // the first error
}

func (e *BatchError) Error() string {
	var n [3]int
	for _, o := range e.Outcomes {
		n[o]++
	}
	return fmt.Sprintf("append batch: of %d records %d were appended, %d were not, of %d it is unknown: %v",
		len(e.Outcomes), n[Appended], n[NotAppended], n[Unknown], e.Cause)
}

// Unwrap returns the first error.
func (e *BatchError) Unwrap() error { return e.Cause }

// subject names a partition in messages.
func subject(topic string, partition int) string {
	if topic == "" {
		return fmt.Sprintf("partition %d", partition)
	}
	return fmt.Sprintf("%s/%d", topic, partition)
}

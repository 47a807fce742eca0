package braidlog

import (
	"errors"
	"fmt"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/segment"
)

// Sentinels for errors.Is.
var (
	ErrTopicNotFound      = errors.New("topic not found")
	ErrTopicExists        = errors.New("topic exists")
	ErrConfigMismatch     = errors.New("the topic has another configuration")
	ErrPartitionerUnknown = errors.New("the topic's partitioner is not known here")
	ErrPartitioner        = errors.New("the partitioner failed")
	ErrNewerFormat        = errors.New("written by a newer braidlog")
	ErrPartialBackup      = errors.New("an unfinished backup")
	ErrLocked             = fs.ErrLocked

	ErrGroupNotFound = consumergroup.ErrGroupNotFound
	ErrFenced        = consumergroup.ErrFenced

	ErrClosed           = partition.ErrClosed
	ErrOffsetOutOfRange = partition.ErrOffsetOutOfRange
	ErrTooLarge         = partition.ErrTooLarge
	ErrCorrupt          = partition.ErrCorrupt
	ErrDiskFull         = partition.ErrDiskFull
	ErrInvalid          = partition.ErrInvalid
	ErrReadOnly         = partition.ErrReadOnly
	ErrFull             = partition.ErrFull
	ErrNotDamaged       = partition.ErrNotDamaged
	ErrFailed           = partition.ErrFailed
	ErrOutcomeUnknown   = partition.ErrOutcomeUnknown
	ErrEnd              = partition.ErrEnd
)

// Errors with numbers, for errors.As.
type (
	// A LockedError names who has the store open.
	LockedError = fs.LockedError
	// An OffsetError has the range that can be read.
	OffsetError = partition.OffsetError
	// A CorruptError has the records that are lost to damage.
	CorruptError = partition.CorruptError
	// A GapError has offsets that hold no records.
	GapError = partition.GapError
	// A SizeError has the size and the limit.
	SizeError = partition.SizeError
	// A BatchError has the outcome of each record.
	BatchError = partition.BatchError
)

// The outcomes of a BatchError.
const (
	NotAppended = partition.NotAppended
	Appended    = partition.Appended
	Unknown     = partition.Unknown
)

// A MismatchError says that a topic is opened with something else than it was
// made with, which is fixed for life. errors.Is(err, ErrConfigMismatch) is
// true.
type MismatchError struct {
	Topic         string
	What          string // "partitions" or "placement"
	Stored, Given string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("open topic %s: %s is %s, not %s", e.Topic, e.What, e.Stored, e.Given)
}

// Unwrap makes errors.Is(err, ErrConfigMismatch) true.
func (e *MismatchError) Unwrap() error { return ErrConfigMismatch }

// known adds the sentinels of this package to errors of those below.
func known(err error) error {
	var m *meta.VersionError
	var s *segment.VersionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &m), errors.As(err, &s), errors.Is(err, consumergroup.ErrNewerLedger):
		return &markedError{err, ErrNewerFormat}
	case errors.Is(err, meta.ErrCorrupt):
		return &markedError{err, ErrCorrupt}
	case fs.IsNoSpace(err):
		return &markedError{err, ErrDiskFull}
	}
	return err
}

// A markedError is an error that says it all, for which errors.Is(err, mark)
// is to be true.
type markedError struct {
	error
	mark error
}

func (e *markedError) Unwrap() []error { return []error{e.error, e.mark} }

package consumergroup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/braidlog/braidlog/partition"
)

// Sentinels for errors.Is.
var (
	// ErrFenced: the member, or one of its partitions, was given to somebody
	// else. A member that was fenced is closed for good; Join again.
	ErrFenced = errors.New("fenced")
	// ErrNoPosition: there is no place to begin, and the policy is Fail.
	ErrNoPosition = errors.New("no position to begin at")
	// ErrPolling: another Poll of the same member is under way.
	ErrPolling = errors.New("the member is polling already")
	// ErrMismatch: the group has another configuration.
	ErrMismatch = errors.New("the group has another configuration")
	// ErrAssignor: the assignor failed. Members keep what they have.
	ErrAssignor = errors.New("the assignor failed")
	// ErrCallback: a callback or a handler panicked.
	ErrCallback = errors.New("it panicked")

	ErrClosed  = partition.ErrClosed
	ErrInvalid = partition.ErrInvalid
)

// A FencedError names partitions that a commit did not write, since the member
// no longer has them, or has them anew and did not poll so far since. Everything
// else was written. errors.Is(err, ErrFenced) is true.
type FencedError struct {
	Group      string
	Member     string
	Partitions []TopicPartition
}

func (e *FencedError) Error() string {
	names := make([]string, len(e.Partitions))
	for i, tp := range e.Partitions {
		names[i] = tp.String()
	}
	return fmt.Sprintf("commit of %s in group %s: %v: since then it lost %s", e.Member, e.Group, ErrFenced, strings.Join(names, ", "))
}

// Unwrap makes errors.Is(err, ErrFenced) true.
func (e *FencedError) Unwrap() error { return ErrFenced }

// A MismatchError says that a group is opened with something else than it has.
// errors.Is(err, ErrMismatch) is true.
type MismatchError struct {
	Group       string
	What        string // "topics", or a field of Config
	Have, Given string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("open group %s: %s: it has %s, not %s", e.Group, e.What, e.Have, e.Given)
}

// Unwrap makes errors.Is(err, ErrMismatch) true.
func (e *MismatchError) Unwrap() error { return ErrMismatch }

// A TrimmedError says that records were trimmed away before a group read them,
// and where it goes on.
type TrimmedError struct {
	Group string
	TopicPartition
	From, To int64 // it was to read From, and goes on at To
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("group %s: %v: record %d is gone before it was read; going on at %d", e.Group, e.TopicPartition, e.From, e.To)
}

// A HandlerError is why Run ended: a record could not be processed, and no
// dead-letter topic takes it.
type HandlerError struct {
	TopicPartition
	Offset   int64
	Attempts int
	Cause    error // of the last attempt
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("process record %d of %v: %d attempts failed: %v", e.Offset, e.TopicPartition, e.Attempts, e.Cause)
}

// Unwrap returns the error of the last attempt.
func (e *HandlerError) Unwrap() error { return e.Cause }

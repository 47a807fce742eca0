package partitioner

import (
	"fmt"

	"github.com/braidlog/braidlog/record"
)

// A Checker is a [Partitioner] that can tell beforehand whether it works.
//
// Check returns nil if records can be routed among n ≥ 1 partitions, and else
// why not, in one line that names the value at fault; then Partition fails
// likewise, for all records that the fault concerns. A store asks before it
// makes a topic, and whenever a topic is given a partitioner; Check must not
// call the store.
//
// The constructors of this package have no error to return: what they are
// given wrong, Check and every call of Partition tell.
type Checker interface {
	Check(n int) error
}

// check asks p if it is a Checker.
func check(p Partitioner, n int) error {
	if c, ok := p.(Checker); ok {
		return c.Check(n)
	}
	return nil
}

// invalid stands for a partitioner that was given parameters it cannot have.
type invalid struct {
	placement string
	err       error
}

// newInvalid makes an error of what is wrong.
func newInvalid(placement, format string, args ...any) *invalid {
	return &invalid{placement, wrong(placement, format, args...)}
}

// wrong returns an error that says what is wrong with a partitioner.
func wrong(placement, format string, args ...any) error {
	return fmt.Errorf("partition with %q: %w", placement, fmt.Errorf(format, args...))
}

func (i *invalid) Placement() string                         { return i.placement }
func (i *invalid) Partition(record.Record, int) (int, error) { return 0, i.err }
func (i *invalid) Check(int) error                           { return i.err }

package partitioner

import (
	"fmt"

	"github.com/braidlog/braidlog/record"
)

const funcPlacement = "func:"

// Func returns a partitioner that asks f, which must keep to the contract of
// [Partitioner.Partition] but for one thing: it is never called with n < 1.
//
// The placement is "func:" and the name. The name stands for what f does:
// give it another one whenever f would send some key elsewhere than before,
// or a topic opened with the new f will have the key in two partitions. A
// version in the name does it: "by-country-2". Since a function cannot be made
// from its name, the program has to bring f along at every open to append.
//
// With an empty name or a nil f every call of Partition fails, and so does
// Check; Func itself has no error to return.
func Func(name string, f func(rec record.Record, n int) (int, error)) Partitioner {
	p := &function{placement: funcPlacement + name, f: f}
	switch {
	case name == "":
		p.err = fmt.Errorf("partition with %q: the name is empty", p.placement)
	case f == nil:
		p.err = fmt.Errorf("partition with %q: the function is nil", p.placement)
	}
	return p
}

// function is immutable.
type function struct {
	placement string
	err       error // it cannot be asked
	f         func(rec record.Record, n int) (int, error)
}

func (f *function) Placement() string { return f.placement }

func (f *function) Check(n int) error {
	if f.err != nil {
		return f.err
	}
	return checkCount(f.placement, n)
}

func (f *function) Partition(rec record.Record, n int) (int, error) {
	if err := f.Check(n); err != nil {
		return 0, err
	}
	return f.f(rec, n)
}

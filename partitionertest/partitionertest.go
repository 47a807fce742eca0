// Package partitionertest checks that a partitioner keeps to the contract of
// package partitioner: in one line, in a test of one's own.
//
//	func TestByCountry(t *testing.T) {
//		partitionertest.Run(t, shop.ByCountry{}, partitionertest.NoAllocations())
//	}
package partitionertest

import (
	"fmt"
	"testing"

	"github.com/braidlog/braidlog/partitioner"
)

// Run checks p, each rule in a subtest of its own:
//
//   - Range: for many n and records of all kinds, those with a nil and an empty
//     key too, the answer is in [0, n), and nothing panics or changes the record.
//     Where a Checker refuses n, Partition fails. It fails for nothing else:
//     keys that p does not take are left out with [Keys].
//   - Keys: a key goes to the same partition each time, whatever came in
//     between; for a KeyPartitioner, whatever else is in the record, and
//     PartitionKey and Route say the same. For a partitioner with KeyPartitions
//     it goes to one of those. See [IgnoresKeys].
//   - Placement: it is UTF-8, not empty, and never changes, and another partitioner with
//     the same one routes keys alike: that of partitioner.ByPlacement, and those
//     that [Again] makes.
//   - Predecessors: for all old and new numbers up to 16 and many keys, the old
//     partition is among them; they are ascending and in range.
//   - Concurrency: many goroutines get the same answers as one. Run the test
//     with -race, so that it finds what is shared and not guarded.
//   - Load: a LoadAware one answers in range, whatever the load, and does not
//     change it.
//   - Allocations: none, if [NoAllocations] claims so.
//
// p is asked many thousand times and is of no use afterwards if it counts.
// What it does with records whose keys nobody has thought of, or in later
// versions of the program, no test can tell.
func Run(t *testing.T, p partitioner.Partitioner, options ...Option) {
	t.Helper()
	s := newSuite(p, options)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			s.run(t, c)
		})
	}
}

// An Option tells Run what p claims.
type Option func(*suite)

// NoAllocations has Run check that no method allocates which is called on the
// path of an append.
func NoAllocations() Option { return func(s *suite) { s.noAllocations = true } }

// IgnoresKeys says that records of one key may go anywhere, as with
// partitioner.RoundRobin: Run then does not ask for the same partition twice.
func IgnoresKeys() Option { return func(s *suite) { s.ignoresKeys = true } }

// Again gives Run a function that makes p again with the same parameters, as
// the next run of the program will: it must have the same placement, and route
// keys alike.
func Again(again func() partitioner.Partitioner) Option {
	return func(s *suite) { s.again = again }
}

// Keys gives Run the keys to ask with, for partitioners that do not take any:
// at least two, and nil and empty only if they are among them.
func Keys(keys ...[]byte) Option {
	return func(s *suite) { s.keys, s.ownKeys = keys, true }
}

// reporter is what is used of a testing.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// A suite is a partitioner and what is known of it.
type suite struct {
	p             partitioner.Partitioner
	noAllocations bool
	ignoresKeys   bool
	again         func() partitioner.Partitioner
	keys          [][]byte
	ownKeys       bool  // the keys were given
	counts        []int // numbers of partitions to try, all of which p takes
}

func newSuite(p partitioner.Partitioner, options []Option) *suite {
	s := &suite{p: p, keys: defaultKeys()}
	for _, o := range options {
		o(s)
	}
	return s
}

// checks in order: each may rely on those before.
var checks = []check{
	{"Range", (*suite).checkRange},
	{"Keys", (*suite).checkKeys},
	{"Placement", (*suite).checkPlacement},
	{"Predecessors", (*suite).checkPredecessors},
	{"Concurrency", (*suite).checkConcurrency},
	{"Load", (*suite).checkLoad},
	{"Allocations", (*suite).checkAllocations},
}

type check struct {
	name string
	f    func(*suite) error
}

// run reports what a check finds, a panic too.
func (s *suite) run(t reporter, c check) {
	t.Helper()
	if err := s.try(c); err != nil {
		t.Errorf("%s: %v", c.name, err)
	}
}

func (s *suite) try(c check) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panicked: %v", r)
		}
	}()
	return c.f(s)
}

// accepts asks a Checker; any other partitioner takes any number.
func (s *suite) accepts(n int) error {
	if c, ok := s.p.(partitioner.Checker); ok {
		return c.Check(n)
	}
	return nil
}

// mostPartitions is how many are tried at most.
const mostPartitions = 300

// accepted returns numbers of partitions that p takes: all up to 16, and some
// up to mostPartitions. One that takes few numbers is tried with those.
func (s *suite) accepted() []int {
	if s.counts != nil {
		return s.counts
	}
	var all []int
	for n := 1; n <= mostPartitions; n++ {
		if s.accepts(n) == nil {
			all = append(all, n)
		}
	}
	for i, n := range all {
		if i < 16 || n%71 == 0 || n&(n-1) == 0 || n == mostPartitions {
			s.counts = append(s.counts, n)
		}
	}
	return s.counts
}

// Package consumergrouptest checks that an assignor keeps to the contract of
// package consumergroup: in one line, in a test of one's own.
//
//	func TestByRegion(t *testing.T) {
//		consumergrouptest.Run(t, shop.ByRegion{})
//	}
package consumergrouptest

import (
	"fmt"
	"testing"

	"github.com/braidlog/braidlog/consumergroup"
)

// Run checks a, each rule in a subtest of its own, with many groups: none and
// many members, static and dynamic ones, that want the same or not, that have
// nothing yet or anything, and topics with no, few and many partitions.
//
//   - Name: it is not empty and never changes.
//   - Complete: every partition of every topic that a member wants goes to
//     somebody; Disjoint: to one member and once; Subscribed: to one that wants
//     the topic, and nothing goes to anybody else. Nothing fails or panics.
//   - Order: the answer is the same whatever the order of the members, of what
//     they want and of what they own. Only the order of a member's partitions
//     may differ.
//   - Input: it is neither modified nor kept, nor is the answer.
//   - Even: if all members want the same, their numbers of partitions differ by
//     one at most, for each topic or for all topics together. See [Uneven].
//   - Concurrency: many goroutines get the same answers as one. Run the test
//     with -race, so that it finds what is shared and not guarded.
//
// What a does with groups that nobody has thought of, no test can tell.
func Run(t *testing.T, a consumergroup.Assignor, options ...Option) {
	t.Helper()
	run(t, newSuite(a, options), checks)
}

// RunSticky checks what Run does, and that a leaves members what they have where
// all members want the same:
//
//   - Unchanged: nothing moves if nothing has changed, also where members want
//     different topics.
//   - Leave: when a member leaves, the others keep all that they have.
//   - Join: when a member joins, nothing moves but to it.
//   - Claims: of two members that claim a partition, the one with the smaller
//     generation does not get it while the other one has room for it.
func RunSticky(t *testing.T, a consumergroup.Assignor, options ...Option) {
	t.Helper()
	s := newSuite(a, options)
	run(t, s, checks)
	run(t, s, stickyChecks)
}

func run(t *testing.T, s *suite, checks []check) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			s.run(t, c)
		})
	}
}

// An Option tells Run what a claims.
type Option func(*suite)

// Uneven says that a does not mean to give all members as much, as one that goes
// by weights or keeps members in reserve: Run then does not check that it does.
func Uneven() Option { return func(s *suite) { s.uneven = true } }

// reporter is what is used of a testing.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// A suite is an assignor, what is known of it, and the groups to try it with.
type suite struct {
	a      consumergroup.Assignor
	uneven bool
	groups []group
}

func newSuite(a consumergroup.Assignor, options []Option) *suite {
	s := &suite{a: a, groups: groups()}
	for _, o := range options {
		o(s)
	}
	return s
}

type check struct {
	name string
	f    func(*suite) error
}

// checks in order: each may rely on those before.
var checks = []check{
	{"Name", (*suite).checkName},
	{"Complete", (*suite).checkComplete},
	{"Disjoint", (*suite).checkDisjoint},
	{"Subscribed", (*suite).checkSubscribed},
	{"Order", (*suite).checkOrder},
	{"Input", (*suite).checkInput},
	{"Even", (*suite).checkEven},
	{"Concurrency", (*suite).checkConcurrency},
}

var stickyChecks = []check{
	{"Unchanged", (*suite).checkUnchanged},
	{"Leave", (*suite).checkLeave},
	{"Join", (*suite).checkJoin},
	{"Claims", (*suite).checkClaims},
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

package consumergroup

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A TopicPartition names one partition of one topic.
type TopicPartition struct {
	Topic     string
	Partition int
}

// String returns topic and number with a slash between them, which is in no
// topic's name: "orders/2".
func (tp TopicPartition) String() string { return tp.Topic + "/" + strconv.Itoa(tp.Partition) }

// An Assignor decides which member of a group reads which partition.
//
// Assign is given the members, in any order, and the number of partitions of
// each topic. It returns the partitions of each member by its id; a member that
// gets none may be left out. Every partition of a topic that at least one
// member wants has to be there exactly once, with a member that wants its
// topic; the others must not be there. Topics that members want and that are
// not in topics do not exist, for now. A topic may have 0 partitions, and there
// may be no members.
//
// The answer depends on nothing but the input, and not on its order: the same
// group gets the same answer each time. The input must be neither modified nor
// kept; the answer is the caller's. Assign is called under no lock, by several
// groups at once if they share the Assignor, and every rebalance waits for it.
//
// An error, a panic or an answer that is not as above fails the rebalance.
//
// Name is for people and errors; it is not empty and never changes.
//
// The built-in ones are [Range], [RoundRobin] and [Sticky]. They fail only if
// two members have one id or a topic has fewer than 0 partitions. The partitions
// of each member are in order of topic and number. Package consumergrouptest
// checks one's own.
type Assignor interface {
	Name() string
	Assign(members []Subscription, topics map[string]int) (map[string][]TopicPartition, error)
}

// A Subscription is what an [Assignor] knows of a member.
//
// Members whose Owned name the same partition are rare: one of them was out of
// touch while the partition went to the other. The greater Generation tells who
// has it now.
type Subscription struct {
	Member     string           // its id, unique in the group
	InstanceID string           // of a static member; "" of a dynamic one
	Topics     []string         // what it wants to read, in any order; some may not exist
	Owned      []TopicPartition // what it has now, in any order; some may not exist or be unwanted by now
	Generation int              // of the assignment from which it has Owned; 0: it never had any
}

// compareSubscriptions puts static members first, by InstanceID, and then the
// dynamic ones by id: a static member keeps its rank when it comes back under
// another id, and whoever comes or goes.
func compareSubscriptions(a, b Subscription) int {
	if (a.InstanceID == "") != (b.InstanceID == "") {
		return strings.Compare(b.InstanceID, a.InstanceID)
	}
	return cmp.Or(strings.Compare(a.InstanceID, b.InstanceID), strings.Compare(a.Member, b.Member))
}

// builtIn is an assignor that says by numbers who gets what. share returns the
// numbers of the partitions of each member, in any order.
type builtIn struct {
	name  string
	share func(*roster) [][]int
}

func (b builtIn) Name() string { return b.name }

func (b builtIn) Assign(members []Subscription, topics map[string]int) (map[string][]TopicPartition, error) {
	r, err := newRoster(members, topics)
	if err != nil {
		return nil, fmt.Errorf("assign with %q: %w", b.name, err)
	}
	return r.assignment(b.share(r)), nil
}

package consumergroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// validate returns an error unless got, which the assignor of that name
// answered, gives every partition of every topic that a member wants to exactly
// one member that wants it, and nothing else. The error names the assignor, a
// partition and the members concerned; of several faults it is always the same
// one.
func validate(name string, members []Subscription, topics map[string]int, got map[string][]TopicPartition) error {
	r, err := newRoster(members, topics)
	if err == nil {
		err = r.validate(topics, got)
	}
	if err != nil {
		return fmt.Errorf("assign with %q: %w", name, err)
	}
	return nil
}

func (r *roster) validate(topics map[string]int, got map[string][]TopicPartition) error {
	owners := filled(r.partitions, nobody)
	for i, m := range r.members {
		for _, tp := range got[m.Member] {
			p, t, ok := r.find(tp)
			switch {
			case !ok || !t.wanted(i):
				return fmt.Errorf("%v goes to member %q, %w", tp, m.Member, whyNot(tp, topics))
			case owners[p] == i:
				return fmt.Errorf("%v goes to member %q twice", tp, m.Member)
			case owners[p] != nobody:
				return fmt.Errorf("%v goes to two members, %q and %q", tp, r.members[owners[p]].Member, m.Member)
			}
			owners[p] = i
		}
	}
	if err := r.strangers(got); err != nil {
		return err
	}
	return r.leftOver(owners)
}

var (
	errNoSuchTopic     = errors.New("but there is no such topic")
	errNoSuchPartition = errors.New("but there is no such partition")
	errNotSubscribed   = errors.New("which does not subscribe to the topic")
)

// whyNot says why a member cannot have a partition.
func whyNot(tp TopicPartition, topics map[string]int) error {
	n, ok := topics[tp.Topic]
	switch {
	case !ok:
		return errNoSuchTopic
	case tp.Partition < 0 || tp.Partition >= n:
		return fmt.Errorf("%w: the topic has %d", errNoSuchPartition, n)
	}
	return errNotSubscribed
}

// strangers returns an error if somebody gets partitions who is no member.
func (r *roster) strangers(got map[string][]TopicPartition) error {
	known := make(map[string]bool, len(r.members))
	for _, m := range r.members {
		known[m.Member] = true
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if tps := got[id]; len(tps) > 0 && !known[id] {
			return fmt.Errorf("%v goes to %q, which is not a member", tps[0], id)
		}
	}
	return nil
}

// leftOver returns an error if a partition has no owner.
func (r *roster) leftOver(owners []int) error {
	p := slices.Index(owners, nobody)
	if p < 0 {
		return nil
	}
	tp := r.names([]int{p})[0]
	return fmt.Errorf("%v goes to nobody, but the topic is subscribed to by %s", tp, r.some(r.byName[tp.Topic].readers))
}

// mostNamed is how many members an error names.
const mostNamed = 5

// some names members, and not all if they are many.
func (r *roster) some(members []int) string {
	var names []string
	for _, i := range members[:min(len(members), mostNamed)] {
		names = append(names, fmt.Sprintf("%q", r.members[i].Member))
	}
	if more := len(members) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

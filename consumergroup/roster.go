package consumergroup

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A roster is a group and its topics with numbers instead of names: members by
// their rank, partitions by their place in the order of topics and numbers.
type roster struct {
	members    []Subscription          // in order: see compareSubscriptions
	wants      [][]*wantedTopic        // by member; may name a topic twice
	topics     []*wantedTopic          // in order of their names
	byName     map[string]*wantedTopic // the same
	partitions int                     // of all topics together
}

// A wantedTopic has at least one partition and one reader.
type wantedTopic struct {
	name       string
	partitions int
	first      int   // the number of its partition 0
	readers    []int // the members that want it, ascending
}

// nobody stands for the member that has a partition if there is none.
const nobody = -1

func newRoster(members []Subscription, topics map[string]int) (*roster, error) {
	r := &roster{
		members: slices.SortedFunc(slices.Values(members), compareSubscriptions),
		byName:  map[string]*wantedTopic{},
	}
	if err := r.check(topics); err != nil {
		return nil, err
	}
	r.enlist(topics)
	r.number()
	return r, nil
}

// check returns an error that names what no group can have.
func (r *roster) check(topics map[string]int) error {
	seen := make(map[string]bool, len(r.members))
	for _, m := range r.members {
		if seen[m.Member] {
			return fmt.Errorf("there are two members %q", m.Member)
		}
		seen[m.Member] = true
	}
	least, name := 0, ""
	for topic, n := range topics {
		if n < least || n == least && n < 0 && topic < name {
			least, name = n, topic
		}
	}
	if least < 0 {
		return fmt.Errorf("topic %q has %d partitions, want at least 0", name, least)
	}
	return nil
}

// enlist finds the topics that each member wants. Nearly always all want the
// same: looking up each name for each member would be most of the work.
func (r *roster) enlist(topics map[string]int) {
	r.wants = make([][]*wantedTopic, len(r.members))
	ranks := upTo(len(r.members))
	for from, to := 0, 0; from < len(r.members); from = to {
		to = r.alike(from)
		wants := r.lookUp(r.members[from].Topics, topics)
		for _, t := range wants {
			t.enlist(ranks[from:to:to])
		}
		for i := from; i < to; i++ {
			r.wants[i] = wants
		}
	}
}

// alike returns the first member behind from that names other topics.
func (r *roster) alike(from int) int {
	to := from + 1
	for to < len(r.members) && slices.Equal(r.members[from].Topics, r.members[to].Topics) {
		to++
	}
	return to
}

// enlist adds members to the readers, unless the topic was named twice and they
// are there. Topics may share the slice.
func (t *wantedTopic) enlist(members []int) {
	switch n := len(t.readers); {
	case n == 0:
		t.readers = members
	case t.readers[n-1] < members[0]:
		t.readers = append(t.readers, members...)
	}
}

func (r *roster) lookUp(names []string, topics map[string]int) []*wantedTopic {
	found := make([]*wantedTopic, 0, len(names))
	for _, name := range names {
		t := r.byName[name]
		if t == nil && topics[name] > 0 {
			t = &wantedTopic{name: name, partitions: topics[name]}
			r.byName[name], r.topics = t, append(r.topics, t)
		}
		if t != nil {
			found = append(found, t)
		}
	}
	return found
}

// number puts the topics in order and counts through their partitions.
func (r *roster) number() {
	slices.SortFunc(r.topics, func(a, b *wantedTopic) int { return strings.Compare(a.name, b.name) })
	for _, t := range r.topics {
		t.first = r.partitions
		r.partitions += t.partitions
	}
}

// wanted reports whether a member wants a topic.
func (t *wantedTopic) wanted(member int) bool {
	_, ok := slices.BinarySearch(t.readers, member)
	return ok
}

// uniform reports whether all members want the same.
func (r *roster) uniform() bool {
	return !slices.ContainsFunc(r.topics, func(t *wantedTopic) bool { return len(t.readers) < len(r.members) })
}

// find returns a partition's number and topic; false: nobody wants it, or it
// does not exist.
func (r *roster) find(tp TopicPartition) (int, *wantedTopic, bool) {
	t := r.byName[tp.Topic]
	if t == nil || tp.Partition < 0 || tp.Partition >= t.partitions {
		return 0, nil, false
	}
	return t.first + tp.Partition, t, true
}

// owners returns who has each partition, and nobody if that is no member, one
// that no longer wants it, or two that claim it with the same generation.
func (r *roster) owners() []int {
	owners := filled(r.partitions, nobody)
	generations := filled(r.partitions, math.MinInt)
	for i, m := range r.members {
		for _, tp := range m.Owned {
			p, t, ok := r.find(tp)
			switch {
			case !ok || !t.wanted(i) || m.Generation < generations[p]:
			case m.Generation > generations[p]:
				owners[p], generations[p] = i, m.Generation
			case owners[p] != i:
				owners[p] = nobody // and not one of the two: either may be wrong
			}
		}
	}
	return owners
}

// filled returns n times the same number.
func filled(n, value int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = value
	}
	return all
}

// upTo returns the numbers from 0 to n-1.
func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// assignment turns numbers into names.
func (r *roster) assignment(shares [][]int) map[string][]TopicPartition {
	all := make(map[string][]TopicPartition, len(r.members))
	for i, share := range shares {
		slices.Sort(share)
		all[r.members[i].Member] = r.names(share)
	}
	return all
}

// names returns the names of partitions whose numbers are ascending.
func (r *roster) names(share []int) []TopicPartition {
	tps := make([]TopicPartition, len(share))
	next := 0
	for i, p := range share {
		for p >= r.topics[next].first+r.topics[next].partitions {
			next++
		}
		tps[i] = TopicPartition{r.topics[next].name, p - r.topics[next].first}
	}
	return tps
}

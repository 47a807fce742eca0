package consumergroup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Any group gets complete, disjoint and even assignments, whatever it has
// already; and a sticky one moves nothing that need not move.
func FuzzAssign(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 2, 5, 4, 1, 7, 0, 3, 9, 2, 2, 1, 0, 6})
	chance := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{20, 60, 200, 600} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(chance.Uint32())
		}
		f.Add(b)
		f.Add(append([]byte{b[0] | 1}, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := assignScript{b}
		members, topics := s.group()
		for _, a := range builtInAssignors {
			got := mustAssign(t, a, members, topics)
			requireEven(t, a, members, topics, got)
		}
		requireCopartitioned(t, members, topics)
		requireSticky(t, s.byte(), members, topics)
	})
}

// assignScript makes a group of bytes; those behind the end are 0.
type assignScript struct{ rest []byte }

func (s *assignScript) byte() int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b)
}

// group returns members that all want the same if the first byte is odd. What
// they own may be anything, also claimed by others.
func (s *assignScript) group() ([]Subscription, map[string]int) {
	uniform := s.byte()%2 == 1
	topics := map[string]int{}
	for i := range s.byte() % 9 {
		topics[fmt.Sprintf("t%d", i)] = s.byte() % 14
	}
	mask := s.byte()
	var members []Subscription
	for i := range s.byte() % 12 {
		if !uniform {
			mask = s.byte()
		}
		members = append(members, s.member(i, mask))
	}
	return members, topics
}

// member may want a topic that does not exist.
func (s *assignScript) member(i, mask int) Subscription {
	m := Subscription{Member: fmt.Sprintf("m%02d", i)}
	for bit := range 8 {
		if mask&(1<<bit) != 0 {
			m.Topics = append(m.Topics, fmt.Sprintf("t%d", bit))
		}
	}
	about := s.byte()
	if about%4 == 0 {
		m.InstanceID = fmt.Sprintf("i%d-%d", about/32, i)
	}
	m.Generation = about / 4 % 4
	for range about / 16 {
		m.Owned = append(m.Owned, TopicPartition{fmt.Sprintf("t%d", s.byte()%9), s.byte()%16 - 1})
	}
	return m
}

// requireEven checks the numbers of partitions: range is even in each topic, the
// others as a whole.
func requireEven(t *testing.T, a Assignor, members []Subscription, topics map[string]int, got map[string][]TopicPartition) {
	t.Helper()
	r, err := newRoster(members, topics)
	require.NoError(t, err)
	switch {
	case a.Name() == "range":
		for _, topic := range r.topics {
			requireWithinOne(t, topic.readers, func(i int) int {
				return len(slices.DeleteFunc(slices.Clone(got[r.members[i].Member]), func(tp TopicPartition) bool { return tp.Topic != topic.name }))
			})
		}
	case r.uniform():
		requireWithinOne(t, upTo(len(members)), func(i int) int { return len(got[r.members[i].Member]) })
	case a.Name() == "sticky":
		requireNothingToGain(t, r, got)
	}
}

func requireWithinOne(t *testing.T, members []int, load func(i int) int) {
	t.Helper()
	var loads []int
	for _, i := range members {
		loads = append(loads, load(i))
	}
	if len(loads) > 0 {
		require.LessOrEqual(t, slices.Max(loads)-slices.Min(loads), 1, "loads %v", loads)
	}
}

// requireNothingToGain checks that nobody can give a partition to one that has
// at least two fewer.
func requireNothingToGain(t *testing.T, r *roster, got map[string][]TopicPartition) {
	t.Helper()
	for id, tps := range got {
		for _, tp := range tps {
			for _, i := range r.byName[tp.Topic].readers {
				other := r.members[i].Member
				require.Less(t, len(tps), len(got[other])+2, "%v of %s could go to %s: %s", tp, id, other, assignText(got))
			}
		}
	}
}

// requireCopartitioned checks that topics with the same members and number of
// partitions are divided alike by range.
func requireCopartitioned(t *testing.T, members []Subscription, topics map[string]int) {
	t.Helper()
	r, err := newRoster(members, topics)
	require.NoError(t, err)
	owners := map[TopicPartition]string{}
	for id, tps := range mustAssign(t, Range(), members, topics) {
		for _, tp := range tps {
			owners[tp] = id
		}
	}
	for _, a := range r.topics {
		for _, b := range r.topics {
			if a.partitions != b.partitions || !slices.Equal(a.readers, b.readers) {
				continue
			}
			for p := range a.partitions {
				require.Equal(t, owners[TopicPartition{a.name, p}], owners[TopicPartition{b.name, p}], "%d of %s and %s", p, a.name, b.name)
			}
		}
	}
}

func requireSticky(t *testing.T, chance int, members []Subscription, topics map[string]int) {
	t.Helper()
	r, err := newRoster(members, topics)
	require.NoError(t, err)
	got := mustAssign(t, Sticky(), members, topics)
	if r.uniform() && len(members) > 0 {
		require.Equal(t, most(r), kept(r, got), "kept of %v: %s", members, assignText(got))
		requireNoSwaps(t, r, got)
	}

	members = owning(members, got)
	require.Equal(t, got, mustAssign(t, Sticky(), members, topics), "unchanged")
	if len(members) == 0 {
		return
	}
	gone := chance % len(members)
	left := mustAssign(t, Sticky(), slices.Delete(slices.Clone(members), gone, gone+1), topics)
	back := mustAssign(t, Sticky(), owning(members, left), topics)
	if !r.uniform() {
		return
	}
	for id, tps := range left {
		require.Subset(t, tps, got[id], "%s leaves: %s, then %s", members[gone].Member, assignText(got), assignText(left))
	}
	for id, tps := range back {
		if id != members[gone].Member {
			require.Subset(t, left[id], tps, "%s comes back: %s, then %s", members[gone].Member, assignText(left), assignText(back))
		}
	}
}

// owning has members own what they got, in order.
func owning(members []Subscription, got map[string][]TopicPartition) []Subscription {
	members = slices.Clone(members)
	for i := range members {
		members[i].Owned, members[i].Generation = got[members[i].Member], 7
	}
	return members
}

// most is how many partitions can stay with members that all want the same, if
// they are to be even: no member keeps more than its share, and only as many as
// there is a remainder keep one more.
func most(r *roster) int {
	had := map[int]int{}
	for _, m := range r.owners() {
		if m != nobody {
			had[m]++
		}
	}
	least, remainder, sum := r.partitions/len(r.members), r.partitions%len(r.members), 0
	for n := range maps.Values(had) {
		sum += min(n, least)
		if n > least && remainder > 0 {
			sum, remainder = sum+1, remainder-1
		}
	}
	return sum
}

// kept counts the partitions that stay.
func kept(r *roster, got map[string][]TopicPartition) int {
	n := 0
	for p, m := range r.owners() {
		if m != nobody && slices.Contains(got[r.members[m].Member], r.names([]int{p})[0]) {
			n++
		}
	}
	return n
}

// Where members want different topics nobody has proved that no two of them swap
// partitions; in these groups they do not.
func TestStickySwapsNothing(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(chance.Uint32())
		}
		s := assignScript{b}
		members, topics := s.group()
		r, err := newRoster(members, topics)
		require.NoError(t, err)
		got, err := Sticky().Assign(members, topics)
		require.NoError(t, err)
		requireNoSwaps(t, r, got)
	}
}

// requireNoSwaps checks that no two members gave each other partitions.
func requireNoSwaps(t *testing.T, r *roster, got map[string][]TopicPartition) {
	t.Helper()
	now := map[TopicPartition]string{}
	for id, tps := range got {
		for _, tp := range tps {
			now[tp] = id
		}
	}
	moved := map[[2]string]TopicPartition{}
	for p, m := range r.owners() {
		tp := r.names([]int{p})[0]
		if m == nobody || now[tp] == r.members[m].Member {
			continue
		}
		from, to := r.members[m].Member, now[tp]
		moved[[2]string{from, to}] = tp
		require.NotContains(t, moved, [2]string{to, from}, "%v from %s to %s", tp, from, to)
	}
}

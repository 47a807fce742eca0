package consumergrouptest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/braidlog/braidlog/consumergroup"
)

// A group is what an assignor is asked about.
type group struct {
	members []consumergroup.Subscription
	topics  map[string]int
}

// clone copies all that the assignor could lay hands on.
func (g group) clone() group {
	members := slices.Clone(g.members)
	for i := range members {
		members[i].Topics, members[i].Owned = slices.Clone(members[i].Topics), slices.Clone(members[i].Owned)
	}
	return group{members, maps.Clone(g.topics)}
}

// shuffled returns the same group in another order.
func (g group) shuffled(chance *rand.Rand) group {
	g = g.clone()
	shuffle(chance, g.members)
	for _, m := range g.members {
		shuffle(chance, m.Topics)
		shuffle(chance, m.Owned)
	}
	return g
}

func shuffle[E any](chance *rand.Rand, s []E) {
	chance.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// uniform reports whether all members want the same.
func (g group) uniform() bool {
	return !slices.ContainsFunc(g.members, func(m consumergroup.Subscription) bool { return !slices.Equal(m.Topics, g.members[0].Topics) })
}

// owning returns the group after its members got what was assigned.
func (g group) owning(assigned assignment, generation int) group {
	g = g.clone()
	for i := range g.members {
		m := &g.members[i]
		m.Owned, m.Generation = slices.Clone(assigned[m.Member]), generation
	}
	return g
}

// without returns the group after a member left.
func (g group) without(i int) group {
	g = g.clone()
	g.members = slices.Delete(g.members, i, i+1)
	return g
}

// String tells an error's reader which group it was.
func (g group) String() string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(g.topics)) {
		text = append(text, fmt.Sprintf("%s:%d", name, g.topics[name]))
	}
	for _, m := range g.members {
		text = append(text, fmt.Sprintf("%s%s wants %v has %v at %d", m.Member, instance(m), m.Topics, m.Owned, m.Generation))
	}
	return strings.Join(text, "; ")
}

func instance(m consumergroup.Subscription) string {
	if m.InstanceID == "" {
		return ""
	}
	return "=" + m.InstanceID
}

const (
	someGroups = 100 // by chance, of each kind
	mostTopics = 6
)

// groups are some that are at the edge, and some by chance, which is the same
// every time.
func groups() []group {
	all := []group{
		{},
		{topics: map[string]int{"t0": 3}},
		{members: members(2, nil)},
		{members(2, []string{"t0"}), map[string]int{}},
		{members(2, []string{"t0"}), map[string]int{"t0": 0}},
		{members(2, []string{"t0", "t0"}), map[string]int{"t0": 5}},
		{members(7, []string{"t0"}), map[string]int{"t0": 3}},
		{members(100, []string{"t0", "t1"}), map[string]int{"t0": 997, "t1": 3}},
	}
	for n := 1; n <= 8; n++ {
		all = append(all, group{members(n, []string{"t0"}), map[string]int{"t0": 6, "unwanted": 2}})
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for range someGroups {
		all = append(all, randomGroup(chance, true), randomGroup(chance, false))
	}
	return all
}

// members returns n that want the same and have nothing yet.
func members(n int, topics []string) []consumergroup.Subscription {
	all := make([]consumergroup.Subscription, n)
	for i := range all {
		all[i] = consumergroup.Subscription{Member: fmt.Sprintf("m%02d", i), Topics: slices.Clone(topics)}
	}
	return all
}

func randomGroup(chance *rand.Rand, uniform bool) group {
	g := group{topics: map[string]int{}}
	for i := range 1 + chance.IntN(mostTopics) {
		g.topics[fmt.Sprintf("t%d", i)] = chance.IntN(12)
	}
	g.members = members(1+chance.IntN(9), randomTopics(chance))
	for i := range g.members {
		m := &g.members[i]
		if !uniform {
			m.Topics = randomTopics(chance)
		}
		if chance.IntN(3) == 0 {
			m.InstanceID = fmt.Sprintf("i%d%d", chance.IntN(9), i)
		}
		m.Generation = chance.IntN(3)
		for range chance.IntN(8) * m.Generation {
			m.Owned = append(m.Owned, consumergroup.TopicPartition{Topic: fmt.Sprintf("t%d", chance.IntN(mostTopics+1)), Partition: chance.IntN(13)})
		}
	}
	return g
}

// randomTopics are in order; some may not exist.
func randomTopics(chance *rand.Rand) []string {
	var all []string
	for i := range mostTopics {
		if chance.IntN(3) > 0 {
			all = append(all, fmt.Sprintf("t%d", i))
		}
	}
	return all
}

package consumergroup

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// assignMembers returns n members that want the same.
func assignMembers(n int, topics ...string) []Subscription {
	members := make([]Subscription, n)
	for i := range members {
		members[i] = Subscription{Member: fmt.Sprintf("m%03d", i), Topics: topics}
	}
	return members
}

// assignTopics returns n topics that have 1,000 partitions together.
func assignTopics(n int) (names []string, topics map[string]int) {
	topics = map[string]int{}
	for i := range n {
		name := fmt.Sprintf("topic%04d", i)
		names, topics[name] = append(names, name), 1000/n
	}
	return names, topics
}

// The 100th member joins 99 that share 1,000 partitions.
func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{1, 50, 1000} {
		names, topics := assignTopics(n)
		members := assignMembers(100, names...)
		own(b, Sticky(), members[:99], topics)
		for _, a := range builtInAssignors {
			b.Run(fmt.Sprintf("%s/topics=%d", a.Name(), n), func(b *testing.B) { benchmarkAssign(b, a, members, topics) })
		}
	}
}

// 100 members want each topic or do not, by chance.
func BenchmarkAssignMixed(b *testing.B) {
	for _, n := range []int{2, 50, 1000} {
		for _, chance := range []float64{0.1, 0.5, 0.9} {
			names, topics := assignTopics(n)
			random := rand.New(rand.NewPCG(1, 2))
			members := assignMembers(100)
			for i := range members {
				for _, name := range names {
					if random.Float64() < chance {
						members[i].Topics = append(members[i].Topics, name)
					}
				}
			}
			for name, before := range map[string]int{"fresh": 0, "one has all": 1, "half join": 50, "one joins": 99} {
				had := append([]Subscription(nil), members...)
				own(b, Sticky(), had[:before], topics)
				b.Run(fmt.Sprintf("topics=%d/wants=%g/%s", n, chance, name), func(b *testing.B) { benchmarkAssign(b, Sticky(), had, topics) })
			}
		}
	}
}

// own has members own what a gives them.
func own(b *testing.B, a Assignor, members []Subscription, topics map[string]int) {
	got, err := a.Assign(members, topics)
	if err != nil {
		b.Fatal(err)
	}
	for i := range members {
		members[i].Owned, members[i].Generation = got[members[i].Member], 1
	}
}

func benchmarkAssign(b *testing.B, a Assignor, members []Subscription, topics map[string]int) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Assign(members, topics); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	names, topics := assignTopics(50)
	members := assignMembers(100, names...)
	got, err := Sticky().Assign(members, topics)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := validate("sticky", members, topics, got); err != nil {
			b.Fatal(err)
		}
	}
}

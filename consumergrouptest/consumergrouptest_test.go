package consumergrouptest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
)

// All built-in ones keep to the contract.
func TestBuiltIn(t *testing.T) {
	t.Run("range", func(t *testing.T) { Run(t, consumergroup.Range()) })
	t.Run("round robin", func(t *testing.T) { Run(t, consumergroup.RoundRobin()) })
	t.Run("sticky", func(t *testing.T) { RunSticky(t, consumergroup.Sticky()) })
	t.Run("uneven", func(t *testing.T) { Run(t, leader{}, Uneven()) })
}

// leader gives all to the first member that wants it.
type leader struct{}

func (leader) Name() string { return "leader" }

func (leader) Assign(members []subscription, topics map[string]int) (map[string][]topicPartition, error) {
	members = slices.SortedFunc(slices.Values(members), func(a, b subscription) int { return compareIDs(a.Member, b.Member) })
	got := map[string][]topicPartition{}
	for topic, n := range topics {
		i := slices.IndexFunc(members, func(m subscription) bool { return slices.Contains(m.Topics, topic) })
		for p := range n {
			if i >= 0 {
				got[members[i].Member] = append(got[members[i].Member], topicPartition{Topic: topic, Partition: p})
			}
		}
	}
	return got, nil
}

func compareIDs(a, b string) int { return compare(topicPartition{Topic: a}, topicPartition{Topic: b}) }

type (
	subscription   = consumergroup.Subscription
	topicPartition = consumergroup.TopicPartition
)

// findings collects what a suite reports.
type findings []string

func (f *findings) Helper()                           {}
func (f *findings) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// find returns what is found in a, sticky checks too.
func find(a consumergroup.Assignor, options ...Option) []string {
	var f findings
	s := newSuite(a, options)
	for _, c := range slices.Concat(checks, stickyChecks) {
		s.run(&f, c)
	}
	return f
}

func TestNothingIsFoundInSticky(t *testing.T) {
	require.Empty(t, find(consumergroup.Sticky()))
}

// broken is sticky, but for one thing.
type broken struct {
	name func() string
	in   func(members []subscription, topics map[string]int) error // before it is asked
	out  func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition
}

func (b *broken) Name() string {
	if b.name != nil {
		return b.name()
	}
	return "broken"
}

func (b *broken) Assign(members []subscription, topics map[string]int) (map[string][]topicPartition, error) {
	if b.in != nil {
		if err := b.in(members, topics); err != nil {
			return nil, err
		}
	}
	got, err := consumergroup.Sticky().Assign(members, topics)
	if err == nil && b.out != nil {
		got = b.out(members, got)
	}
	return got, err
}

// first returns a member that has something.
func first(members []subscription, got map[string][]topicPartition) (string, bool) {
	for _, m := range members {
		if len(got[m.Member]) > 0 {
			return m.Member, true
		}
	}
	return "", false
}

func TestMistakesAreFound(t *testing.T) {
	var count atomic.Int64
	for name, c := range map[string]struct {
		a    consumergroup.Assignor
		want string
	}{
		"no name":          {&broken{name: func() string { return "" }}, "Name: the name is empty"},
		"the name changes": {&broken{name: func() string { return fmt.Sprint(count.Add(1)) }}, "when asked again"},
		"fails without members": {&broken{in: func(members []subscription, _ map[string]int) error {
			if len(members) == 0 {
				return errors.New("nobody is there")
			}
			return nil
		}}, "Complete: Assign(): nobody is there"},
		"panics without topics": {&broken{in: func(_ []subscription, topics map[string]int) error { _ = 1 / len(topics); return nil }},
			"Complete: it panicked: runtime error: integer divide by zero"},
		"loses one": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			if id, ok := first(members, got); ok {
				got[id] = got[id][1:]
			}
			return got
		}}, "Complete: Assign(t0:5; m00 wants [t0 t0] has [] at 0; m01 wants [t0 t0] has [] at 0): t0/0 goes to nobody, but m00 wants it"},
		"gives one to two": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			if id, ok := first(members, got); ok && len(members) > 1 {
				other := members[slices.IndexFunc(members, func(m subscription) bool { return m.Member != id })].Member
				got[other] = append(got[other], got[id][0])
			}
			return got
		}}, "Disjoint: Assign(t0:5; m00 wants [t0 t0] has [] at 0; m01 wants [t0 t0] has [] at 0): t0/0 goes to m00 and m01"},
		"gives one twice": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			if id, ok := first(members, got); ok {
				got[id] = append(got[id], got[id][0])
			}
			return got
		}}, "t0/0 goes to m00 and m00"},
		"gives what is not wanted": {&broken{out: func(_ []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			got["m00"] = append(got["m00"], topicPartition{Topic: "unwanted"})
			return got
		}}, `Subscribed: Assign(): unwanted/0 goes to "m00", which does not want it`},
		"gives what does not exist": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			if id, ok := first(members, got); ok {
				got[id] = append(got[id], topicPartition{Topic: got[id][0].Topic, Partition: 12})
			}
			return got
		}}, `t0/12 goes to "m00", but does not exist`},
		"goes by the order of members": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			if last := len(members) - 1; last > 0 && slices.Equal(members[0].Topics, members[last].Topics) && members[0].Member > members[last].Member {
				a, b := members[0].Member, members[last].Member
				got[a], got[b] = got[b], got[a]
			}
			return got
		}}, "when asked in another order"},
		"changes the members": {&broken{in: func(members []subscription, _ map[string]int) error { slices.Reverse(members); return nil }},
			"Input: Assign(m00 wants [] has [] at 0; m01 wants [] has [] at 0): it changed its input to m01"},
		"changes the topics": {&broken{in: func(_ []subscription, topics map[string]int) error { delete(topics, "t0"); return nil }}, "it changed its input"},
		"keeps its input in the answer": {&broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
			for _, m := range members {
				if slices.Equal(m.Owned, got[m.Member]) {
					got[m.Member] = m.Owned
				}
			}
			return got
		}}, "once the input was changed"},
		"keeps its answer":  {&remembering{known: map[string]map[string][]topicPartition{}}, "once the answer was changed"},
		"favours the first": {leader{}, "Even: Assign("},
	} {
		t.Run(name, func(t *testing.T) {
			got := find(c.a)
			require.NotEmpty(t, got)
			require.Contains(t, fmt.Sprint(got), c.want)
		})
	}
}

// remembering gives the same answer, and not a copy, to the same question.
type remembering struct {
	mu    sync.Mutex
	known map[string]map[string][]topicPartition // guarded by mu
}

func (r *remembering) Name() string { return "remembering" }

func (r *remembering) Assign(members []subscription, topics map[string]int) (map[string][]topicPartition, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	question := fmt.Sprint(members, topics)
	if r.known[question] == nil {
		got, err := consumergroup.Sticky().Assign(members, topics)
		if err != nil {
			return nil, err
		}
		r.known[question] = got
	}
	return r.known[question], nil
}

// One whose answers depend on whether others ask at the same time.
func TestMistakesUnderConcurrencyAreFound(t *testing.T) {
	a := &meeting{}
	s := newSuite(a, nil)
	a.alone = int64(len(s.groups))
	for _, c := range checks {
		var got findings
		a.wait.Store(c.name == "Concurrency")
		s.run(&got, c)
		require.Equal(t, c.name == "Concurrency", len(got) > 0, "%s: %v", c.name, got)
	}
}

// meeting gives wrong answers once it is to wait and one goroutine alone has
// asked as often as it will.
type meeting struct {
	alone int64
	wait  atomic.Bool
	calls atomic.Int64
}

func (m *meeting) Name() string { return "meeting" }

func (m *meeting) Assign(members []subscription, topics map[string]int) (map[string][]topicPartition, error) {
	if m.wait.Load() && m.calls.Add(1) > m.alone && len(members) > 1 {
		return consumergroup.Range().Assign(nil, topics)
	}
	return consumergroup.Range().Assign(members, topics)
}

// What others do well enough is not sticky.
func TestWhatIsNotStickyIsFound(t *testing.T) {
	got := find(consumergroup.RoundRobin())
	require.Len(t, got, 3, "%v", got)
	for i, want := range []string{"Leave: ", "Join: ", "Claims: "} {
		require.Contains(t, got[i], want)
	}
	forgetful := &broken{out: func(members []subscription, got map[string][]topicPartition) map[string][]topicPartition {
		if i := slices.IndexFunc(members, func(m subscription) bool { return m.Generation == 3 }); i >= 0 {
			for j := range members {
				members[j].Owned = nil
			}
			got, _ = consumergroup.RoundRobin().Assign(members, nil)
		}
		return got
	}}
	require.Contains(t, fmt.Sprint(find(forgetful)), "although nothing changed")
}

package consumergroup

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Those that name a topic topic1 or t1 are from Kafka's
// AbstractStickyAssignorTest.
func TestSticky(t *testing.T) {
	for name, c := range map[string]assignCase{
		"fresh":                              {"t:3 u:3", []string{"c1", "c2"}, "c1 t/0 t/2 u/1, c2 t/1 u/0 u/2"},
		"a topic is new":                     {"t:2 u:3", []string{"c1 has t/0", "c2 has t/1", "c3"}, "c1 t/0 u/1, c2 t/1 u/2, c3 u/0"},
		"c2 joins":                           {"t:3", []string{"c1 has t/0 t/1 t/2", "c2"}, "c1 t/0 t/1, c2 t/2"},
		"the order of Owned does not matter": {"t:3", []string{"c1 has t/2 t/1 t/0", "c2"}, "c1 t/0 t/1, c2 t/2"},
		"one owns what is unknown, unwanted and twice the same": {"t:4 u:1", []string{"c1 wants t has t/4 t/3 t/-1 u/0 v/0 t/3", "c2 wants t"},
			"c1 t/0 t/3, c2 t/1 t/2"},
		"only the first keeps one more": {"t:4", []string{"c1 has t/0 t/1", "c2 has t/2 t/3", "c3"}, "c1 t/0 t/1, c2 t/2, c3 t/3"},

		"owning the least and expecting more": {"topic1:2 topic2:3", []string{"consumer1 has topic1/0 topic2/1", "consumer2 has topic1/1 topic2/2"},
			"consumer1 topic1/0 topic2/0 topic2/1, consumer2 topic1/1 topic2/2"},
		"all are under the least": {"topic1:2 topic2:3", []string{"consumer1 has topic1/0", "consumer2 has topic1/1", "consumer3"},
			"consumer1 topic1/0 topic2/1, consumer2 topic1/1 topic2/2, consumer3 topic2/0"},
		"two consumers, two topics": {"topic1:3 topic2:4", []string{"consumer1", "consumer2"},
			"consumer1 topic1/0 topic1/2 topic2/1 topic2/3, consumer2 topic1/1 topic2/0 topic2/2"},
		"two are added": {"topic1:3 topic2:4", []string{"consumer1 has topic1/0 topic1/2 topic2/1 topic2/3", "consumer2 has topic1/1 topic2/0 topic2/2", "consumer3", "consumer4"},
			"consumer1 topic1/0 topic1/2, consumer2 topic1/1 topic2/0, consumer3 topic2/1 topic2/3, consumer4 topic2/2"},
		"two are removed": {"topic1:3 topic2:4", []string{"consumer3 has topic2/1 topic2/3", "consumer4 has topic2/2"},
			"consumer3 topic1/0 topic2/0 topic2/1 topic2/3, consumer4 topic1/1 topic1/2 topic2/2"},
		"one takes over": {"topic:3", []string{"consumer2 has topic/2"}, "consumer2 topic/0 topic/1 topic/2"},
		"all reach the quota": {"topic:4", []string{"consumer1 has topic/0 topic/1", "consumer2 has topic/2", "consumer3"},
			"consumer1 topic/0 topic/1, consumer2 topic/2, consumer3 topic/3"},
		"uniform subscription": {"t1:6 t2:7 t3:2", []string{"c0", "c1", "c2"},
			"c0 t1/0 t1/3 t2/0 t2/3 t2/6, c1 t1/1 t1/4 t2/1 t2/4 t3/0, c2 t1/2 t1/5 t2/2 t2/5 t3/1"},

		"a stale generation": {"topic:3 topic2:3", []string{"consumer1 has topic/0 topic/2 topic2/1 at 10", "consumer2 has topic/0 topic/2 topic2/1 at 9"},
			"consumer1 topic/0 topic/2 topic2/1, consumer2 topic/1 topic2/0 topic2/2"},
		"no generation": {"topic:3 topic2:3", []string{"consumer1 has topic/0 topic/2 topic2/1 at 10", "consumer2 has topic/0 topic/2 topic2/1 at 0"},
			"consumer1 topic/0 topic/2 topic2/1, consumer2 topic/1 topic2/0 topic2/2"},
		"a claim that is older in part": {"topic:3 topic2:3", []string{"consumer1 has topic/0 topic2/1 topic/1 at 10", "consumer2 has topic/0 topic2/1 topic2/2 at 8"},
			"consumer1 topic/0 topic/1 topic2/1, consumer2 topic/2 topic2/0 topic2/2"},
		"two claim it with the same generation": {"topic:3", []string{"consumer1 has topic/0 topic/1", "consumer2 has topic/0 topic/2", "consumer3"},
			"consumer1 topic/1, consumer2 topic/2, consumer3 topic/0"},
		"three claim it, one with a greater generation": {"t:3", []string{"c1 has t/0", "c2 has t/0", "c3 has t/0 at 2"}, "c1 t/1, c2 t/2, c3 t/0"},
		"the highest generation": {"topic:3 topic2:3 topic3:3", []string{"consumer1 has topic/0 topic2/0 topic3/0 at 10",
			"consumer2 has topic/1 topic2/1 topic3/1 at 9", "consumer3 has topic2/1 topic3/0 topic3/2 at 8"},
			"consumer1 topic/0 topic2/0 topic3/0, consumer2 topic/1 topic2/1 topic3/1, consumer3 topic/2 topic2/2 topic3/2"},
		"older generations keep what nobody else claims": {"topic:3 topic1:3 topic2:3 topic3:3", []string{"consumer1",
			"consumer2 has topic/0 topic2/0 topic1/0 at 9", "consumer3 has topic3/2 topic2/2 topic1/1 at 8", "consumer4 has topic3/1 topic/1 topic/2 at 7"},
			"consumer1 topic1/2 topic2/1 topic3/0, consumer2 topic/0 topic1/0 topic2/0, consumer3 topic1/1 topic2/2 topic3/2, consumer4 topic/1 topic/2 topic3/1"},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, Sticky()) })
	}
}

// Not all want the same. Those that name a topic topic1 or t1 are from Kafka's
// AbstractStickyAssignorTest.
func TestStickyMixed(t *testing.T) {
	for name, c := range map[string]assignCase{
		"mixed topics": {"topic1:3 topic2:2", []string{"consumer1 wants topic1", "consumer2 wants topic1 topic2", "consumer3 wants topic1"},
			"consumer1 topic1/0 topic1/2, consumer2 topic2/0 topic2/1, consumer3 topic1/1"},
		"what round robin does worse": {"topic1:2 topic2:1 topic3:2 topic4:1 topic5:2",
			[]string{"consumer1", "consumer2 wants topic1 topic3 topic5", "consumer3 wants topic1 topic3 topic5", "consumer4"},
			"consumer1 topic2/0 topic3/0, consumer2 topic1/0 topic3/1, consumer3 topic1/1 topic5/0, consumer4 topic4/0 topic5/1"},
		"non equal subscription": {"t1:6 t2:7 t3:2", []string{"c0", "c1", "c2 wants t1 t3"},
			"c0 t1/5 t2/0 t2/2 t2/4 t2/6, c1 t1/3 t2/1 t2/3 t2/5 t3/0, c2 t1/0 t1/1 t1/2 t1/4 t3/1"},
		"moving what exists": {"topic1:1 topic2:1 topic3:1 topic4:1 topic5:1 topic6:1", []string{"consumer1 wants topic1 topic2 has topic1/0",
			"consumer2 wants topic1 topic2 topic3 topic4 has topic2/0 topic3/0",
			"consumer3 wants topic2 topic3 topic4 topic5 topic6 has topic4/0 topic5/0 topic6/0"},
			"consumer1 topic1/0, consumer2 topic2/0 topic3/0, consumer3 topic4/0 topic5/0 topic6/0"},
		"nothing better is possible": {"t:1 u:5", []string{"c1 wants t u has u/0 u/1 u/2 u/3 u/4", "c2 wants t has t/0"},
			"c1 u/0 u/1 u/2 u/3 u/4, c2 t/0"},
		"one joins that wants less": {"t:3 u:1", []string{"c1 has t/0 t/1 t/2 u/0", "c2 wants t"}, "c1 t/0 u/0, c2 t/1 t/2"},
		"rather from who has most":  {"t:5 u:1", []string{"c1 wants t has t/0 t/1", "c2 wants t has t/2 t/3 t/4", "c3"}, "c1 t/0 t/1, c2 t/2 t/3, c3 t/4 u/0"},
		"three share what one had": {"t:6 u:1", []string{"c1 wants t has t/0 t/1 t/2 t/3 t/4 t/5", "c2 wants t", "c3 wants t", "c4 wants u"},
			"c1 t/0 t/1, c2 t/3 t/5, c3 t/2 t/4, c4 u/0"},
		"what is owned and no longer wanted goes": {"t:2 u:2", []string{"c1 wants t has t/0 u/0", "c2 wants t u has u/1"}, "c1 t/0 t/1, c2 u/0 u/1"},
		// What these keep shows that each of the rules by which partitions move has a use.
		"who has least takes first": {"t:3 u:1", []string{"c1 wants t u has t/0 t/2 u/0", "c2 wants t has t/1", "c3 wants u"},
			"c1 t/0 t/2, c2 t/1, c3 u/0"},
		"who has more waits until those can take no more": {"t:3 u:3", []string{"c1 wants t u has t/0 t/1 t/2 u/0 u/1", "c2 wants t u", "c3 wants u has u/2"},
			"c1 t/0 t/1 t/2, c2 u/0 u/1, c3 u/2"},
		"who has most gives": {"t:1 u:4", []string{"c1 wants u has u/2 u/3", "c2 wants t u has t/0 u/0 u/1", "c3 wants u"},
			"c1 u/2 u/3, c2 t/0 u/0, c3 u/1"},
		"what has moved moves again": {"t:4 u:3", []string{"c1 wants", "c2 wants t u has t/0 t/1 t/2 t/3 u/0", "c3 wants t u has u/1", "c4 wants u has u/2"},
			"c1, c2 t/0 t/1 t/2, c3 t/3 u/1, c4 u/0 u/2"},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, Sticky()) })
	}
}

// The member with the greatest generation has the partition that all three
// claim, whichever it is.
func TestStickyMixedGenerations(t *testing.T) {
	for _, g := range [][3]int{{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}} {
		c := assignCase{topics: "topic:6 topic1:1", members: []string{
			fmt.Sprintf("consumer1 wants topic has topic/0 topic/2 at %d", g[0]),
			fmt.Sprintf("consumer2 wants topic has topic/1 topic/2 topic/3 at %d", g[1]),
			fmt.Sprintf("consumer3 wants topic has topic/2 topic/4 topic/5 at %d", g[2]),
			"consumer4 wants topic1 has topic1/0 at 2",
		}}
		topics, members := c.input(t)
		got := mustAssign(t, Sticky(), members, topics)
		for id, tps := range got {
			require.True(t, len(tps) == 1 || len(tps) == 2, "%s of %s", id, assignText(got))
		}
		require.Contains(t, got["consumer1"], TopicPartition{"topic", 0})
		require.Contains(t, got["consumer4"], TopicPartition{"topic1", 0})
	}
}

// Each step begins with what the one before left.
func TestStickySteps(t *testing.T) {
	topics := map[string]int{"t": 3, "u": 3}
	var members []Subscription
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() { members = append(members, Subscription{Member: "c1", Topics: []string{"t"}}) }, "c1 t/0 t/1 t/2"},
		{func() { members = append(members, Subscription{Member: "c2", Topics: []string{"t"}}) }, "c1 t/0 t/1, c2 t/2"},
		{func() {}, "c1 t/0 t/1, c2 t/2"},
		{func() { members[0].Topics = []string{"t", "u"} }, "c1 u/0 u/1 u/2, c2 t/0 t/1 t/2"},
		{func() { members[1].Topics = []string{"t", "u"} }, "c1 u/0 u/1 u/2, c2 t/0 t/1 t/2"},
		{func() { delete(topics, "t") }, "c1 u/0 u/1, c2 u/2"},
		{func() { topics["t"] = 1 }, "c1 u/0 u/1, c2 t/0 u/2"},
		{func() { members = members[1:] }, "c2 t/0 u/0 u/1 u/2"},
	} {
		step.do()
		got := mustAssign(t, Sticky(), members, topics)
		require.Equal(t, step.want, assignText(got), "step %d", i)
		for j := range members {
			members[j].Owned, members[j].Generation = got[members[j].Member], i+1
		}
	}
}

package consumergroup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An assignCase is a group, its topics, and who is to get what.
type assignCase struct {
	topics  string   // "t:3 u:1"
	members []string // "c1", wants all; "c1=i1 wants t u has t/0 t/2 at 10", with its InstanceID and the generation of what it has: else 1
	want    string   // "c1 t/0 t/2, c2 t/1"
}

func (c assignCase) run(t *testing.T, a Assignor) {
	t.Helper()
	topics, members := c.input(t)
	got := mustAssign(t, a, members, topics)
	require.Equal(t, c.want, assignText(got))
}

func (c assignCase) input(t *testing.T) (map[string]int, []Subscription) {
	t.Helper()
	topics := map[string]int{}
	for _, text := range strings.Fields(c.topics) {
		name, n, _ := strings.Cut(text, ":")
		topics[name] = mustNumber(t, n)
	}
	var members []Subscription
	for _, text := range c.members {
		members = append(members, parseSubscription(t, text, slices.Sorted(maps.Keys(topics))))
	}
	return topics, members
}

func parseSubscription(t *testing.T, text string, all []string) Subscription {
	t.Helper()
	words := strings.Fields(text)
	var m Subscription
	m.Member, m.InstanceID, _ = strings.Cut(words[0], "=")
	m.Topics = all
	about := ""
	for _, w := range words[1:] {
		switch {
		case w == "wants":
			about, m.Topics = w, nil
		case w == "has":
			about, m.Generation = w, 1
		case w == "at":
			about = w
		case about == "wants":
			m.Topics = append(m.Topics, w)
		case about == "has":
			topic, n, _ := strings.Cut(w, "/")
			m.Owned = append(m.Owned, TopicPartition{topic, mustNumber(t, n)})
		case about == "at":
			m.Generation = mustNumber(t, w)
		}
	}
	return m
}

func mustNumber(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// mustAssign returns what a answers, whatever the order of members, topics and
// partitions, and checks it.
func mustAssign(t *testing.T, a Assignor, members []Subscription, topics map[string]int) map[string][]TopicPartition {
	t.Helper()
	got, err := a.Assign(members, topics)
	require.NoError(t, err)
	require.NoError(t, validate(a.Name(), members, topics, got))
	require.Len(t, got, len(members))
	chance := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		again, err := a.Assign(shuffledMembers(chance, members), topics)
		require.NoError(t, err)
		require.Equal(t, got, again, "in another order")
	}
	return got
}

// shuffledMembers returns copies in another order, with Topics and Owned in
// another order too.
func shuffledMembers(chance *rand.Rand, members []Subscription) []Subscription {
	members = slices.Clone(members)
	for i := range members {
		members[i].Topics, members[i].Owned = slices.Clone(members[i].Topics), slices.Clone(members[i].Owned)
		shuffleSlice(chance, members[i].Topics)
		shuffleSlice(chance, members[i].Owned)
	}
	shuffleSlice(chance, members)
	return members
}

func shuffleSlice[E any](chance *rand.Rand, s []E) {
	chance.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// assignText writes an assignment as in assignCase.want.
func assignText(got map[string][]TopicPartition) string {
	var members []string
	for _, id := range slices.Sorted(maps.Keys(got)) {
		words := []string{id}
		for _, tp := range got[id] {
			words = append(words, tp.String())
		}
		members = append(members, strings.Join(words, " "))
	}
	return strings.Join(members, ", ")
}

var builtInAssignors = []Assignor{Range(), RoundRobin(), Sticky()}

func TestAssignorNames(t *testing.T) {
	var names []string
	for _, a := range builtInAssignors {
		names = append(names, a.Name())
	}
	require.Equal(t, []string{"range", "roundrobin", "sticky"}, names)
	require.Equal(t, "orders/2", TopicPartition{"orders", 2}.String())
}

// What is the same for all three.
func TestAssignorsAgree(t *testing.T) {
	for name, c := range map[string]assignCase{
		"nobody":                      {"t:3", nil, ""},
		"no topic exists":             {"", []string{"c1 wants t", "c2 wants t u"}, "c1, c2"},
		"a topic without partitions":  {"t:0", []string{"c1"}, "c1"},
		"nobody wants anything":       {"t:3", []string{"c1 wants", "c2 wants"}, "c1, c2"},
		"one member":                  {"t:3", []string{"c1"}, "c1 t/0 t/1 t/2"},
		"one member, two topics":      {"t:1 u:2", []string{"c1"}, "c1 t/0 u/0 u/1"},
		"only topics that are wanted": {"t:3 u:3", []string{"c1 wants t"}, "c1 t/0 t/1 t/2"},
		"a topic wanted twice":        {"t:2", []string{"c1 wants t t", "c2 wants t"}, "c1 t/0, c2 t/1"},
		"fewer than members":          {"t:1", []string{"c1", "c2"}, "c1 t/0, c2"},
		"as many as members":          {"t:2", []string{"c1", "c2"}, "c1 t/0, c2 t/1"},
		"one wants nothing":           {"t:2", []string{"c1", "c2 wants"}, "c1 t/0 t/1, c2"},
		"static ones go first":        {"t:1", []string{"a", "b=i1"}, "a, b t/0"},
		"by their instances":          {"t:1", []string{"a=i2", "b=i1"}, "a, b t/0"},
		"different interests":         {"t:1 u:1", []string{"c1 wants u", "c2 wants t"}, "c1 u/0, c2 t/0"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range builtInAssignors {
				c.run(t, a)
			}
		})
	}
}

func TestAssignorsRefuse(t *testing.T) {
	for _, a := range builtInAssignors {
		_, err := a.Assign([]Subscription{{Member: "m"}, {Member: "x"}, {Member: "m", InstanceID: "i"}}, nil)
		require.EqualError(t, err, fmt.Sprintf(`assign with %q: there are two members "m"`, a.Name()))
		_, err = a.Assign(nil, map[string]int{"t": -2, "s": -2, "u": -1, "v": 3})
		require.EqualError(t, err, fmt.Sprintf(`assign with %q: topic "s" has -2 partitions, want at least 0`, a.Name()))
	}
}

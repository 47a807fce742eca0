package consumergroup

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	members := []Subscription{
		{Member: "c2", Topics: []string{"t"}}, {Member: "c1", Topics: []string{"t", "u", "gone"}}, {Member: "c3"},
	}
	topics := map[string]int{"t": 2, "u": 1, "unwanted": 3, "empty": 0}
	tp := func(topic string, n int) TopicPartition { return TopicPartition{topic, n} }
	u := []TopicPartition{tp("u", 0)}
	for name, c := range map[string]struct {
		got  map[string][]TopicPartition
		want string
	}{
		"right":                      {map[string][]TopicPartition{"c1": u, "c2": {tp("t", 1), tp("t", 0)}}, ""},
		"right, with nothing for c3": {map[string][]TopicPartition{"c1": {tp("t", 1), tp("u", 0)}, "c2": {tp("t", 0)}, "c3": nil, "c4": {}}, ""},
		"nil":                        {nil, `assign with "mine": t/0 goes to nobody, but the topic is subscribed to by "c1", "c2"`},
		"one is missing":             {map[string][]TopicPartition{"c1": u, "c2": {tp("t", 0)}}, `assign with "mine": t/1 goes to nobody, but the topic is subscribed to by "c1", "c2"`},
		"one twice":                  {map[string][]TopicPartition{"c1": {tp("u", 0), tp("t", 0)}, "c2": {tp("t", 1), tp("t", 0)}}, `assign with "mine": t/0 goes to two members, "c1" and "c2"`},
		"one twice to the same":      {map[string][]TopicPartition{"c1": u, "c2": {tp("t", 1), tp("t", 1)}}, `assign with "mine": t/1 goes to member "c2" twice`},
		"not subscribed":             {map[string][]TopicPartition{"c2": u}, `assign with "mine": u/0 goes to member "c2", which does not subscribe to the topic`},
		"wanted by nobody":           {map[string][]TopicPartition{"c2": {tp("unwanted", 0)}}, `assign with "mine": unwanted/0 goes to member "c2", which does not subscribe to the topic`},
		"no such topic":              {map[string][]TopicPartition{"c1": {tp("gone", 0)}}, `assign with "mine": gone/0 goes to member "c1", but there is no such topic`},
		"no such partition":          {map[string][]TopicPartition{"c1": {tp("t", 2)}}, `assign with "mine": t/2 goes to member "c1", but there is no such partition: the topic has 2`},
		"a negative one":             {map[string][]TopicPartition{"c1": {tp("t", -1)}}, `assign with "mine": t/-1 goes to member "c1", but there is no such partition: the topic has 2`},
		"of an empty topic":          {map[string][]TopicPartition{"c1": {tp("empty", 0)}}, `assign with "mine": empty/0 goes to member "c1", but there is no such partition: the topic has 0`},
		"a stranger":                 {map[string][]TopicPartition{"c1": u, "c2": {tp("t", 1)}, "x": {tp("t", 0)}}, `assign with "mine": t/0 goes to "x", which is not a member`},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate("mine", members, topics, c.got)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
		})
	}
}

func TestValidateNamesFew(t *testing.T) {
	members := assignMembers(7, "t")
	err := validate("mine", members, map[string]int{"t": 1}, nil)
	require.EqualError(t, err, `assign with "mine": t/0 goes to nobody, but the topic is subscribed to by "m000", "m001", "m002", "m003", "m004", 2 more`)
	members[3].Member = "m000"
	err = validate("mine", members, map[string]int{"t": 1}, nil)
	require.EqualError(t, err, `assign with "mine": there are two members "m000"`)
}

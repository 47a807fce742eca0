// Ordering appends what three users do to three partitions, and has three members
// of a group consume it in turn. Keyed by the user, each user's events come in
// order; keyed at random the same events, consumed in the same way, do not.
//
//	go run ./examples/ordering
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
)

const (
	users      = 3
	partitions = 3 // a user for each, and a member for each
)

// steps are what a user does, in this order.
var steps = []string{"joins", "looks", "asks", "picks", "orders", "pays", "rates", "leaves"}

var program = show.Program{Name: "ordering", Play: play}

func main() { program.Main() }

// figures are of events that were consumed. One is in disorder if a later one of
// its user came before it.
type figures struct {
	Records        int `json:"records"` // in each topic
	Users          int `json:"users"`
	Partitions     int `json:"partitions"` // that have records, in each topic
	Disorder       int `json:"disorder"`   // keyed by the user
	RandomDisorder int `json:"random_disorder"`
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	names, err := pickUsers(ctx, store)
	if err != nil {
		return nil, err
	}
	var events []braidlog.Record
	for _, step := range steps {
		for _, name := range names {
			events = append(events, braidlog.Record{Key: []byte(name), Value: []byte(name + " " + step)})
		}
	}
	f := figures{Records: len(events), Users: users, Partitions: partitions}
	if f.Disorder, err = tell(ctx, s, store, "by-user", events); err != nil {
		return nil, err
	}
	chance := rand.New(rand.NewPCG(2026, 11))
	for i := range events {
		events[i].Key = fmt.Appendf(nil, "%016x", chance.Uint64())
	}
	if f.RandomDisorder, err = tell(ctx, s, store, "at-random", events); err != nil {
		return nil, err
	}
	if f.Disorder > 0 || f.RandomDisorder == 0 {
		return nil, fmt.Errorf("only random keys should bring disorder: %+v", f)
	}
	return f, nil
}

// pickUsers returns a user for each partition: the first whose key goes there.
func pickUsers(ctx context.Context, store *braidlog.Store) ([]string, error) {
	topic, err := create(ctx, store, "by-user")
	if err != nil {
		return nil, err
	}
	names := make([]string, partitions)
	for missing, i := partitions, 1; missing > 0; i++ {
		name := fmt.Sprintf("user-%d", i)
		p, err := topic.Route(braidlog.Record{Key: []byte(name)})
		if err != nil {
			return nil, err
		}
		if names[p] == "" {
			names[p] = name
			missing--
		}
	}
	return names, nil
}

func create(ctx context.Context, store *braidlog.Store, name string) (*braidlog.Topic, error) {
	return store.EnsureTopic(ctx, name, braidlog.TopicConfig{
		Partitions: partitions,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
}

// tell appends events, has them consumed, and shows each user's as they came. It
// returns how many were in disorder.
func tell(ctx context.Context, s *show.Stage, store *braidlog.Store, name string, events []braidlog.Record) (disorder int, err error) {
	topic, err := create(ctx, store, name)
	if err != nil {
		return 0, err
	}
	ledger := show.NewLedger(events)
	if err = topic.AppendBatch(ctx, s.Plant(events)); err != nil {
		return 0, err
	}
	seen, err := consume(ctx, topic, ledger)
	if err != nil {
		return 0, err
	}
	s.Say("topic %s:", name)
	counts := show.Count(seen, partitions)
	show.Partitions(s, counts)
	came, last := map[string][]string{}, map[string]int{}
	var names []string
	for i := range seen {
		user, step, _ := strings.Cut(string(seen[i].Value), " ")
		if came[user] == nil {
			names = append(names, user)
		}
		if n := show.Number(&seen[i]); n < last[user] {
			disorder++
			step = "(" + step + ")"
		} else {
			last[user] = n
		}
		came[user] = append(came[user], step)
	}
	for _, user := range names {
		s.Say("%s %s", user, strings.Join(came[user], " "))
	}
	s.Say("%d of %d events came after a later one of their user\n", disorder, len(seen))
	for p, n := range counts {
		if n == 0 {
			return 0, fmt.Errorf("partition %d of topic %s has no records", p, name)
		}
	}
	return disorder, nil
}

// consume has a member for each partition process one record each, in turn, as
// workers of the same speed would side by side. It returns the records in the
// order in which they were processed.
func consume(ctx context.Context, topic *braidlog.Topic, ledger *show.Ledger) (seen []braidlog.Record, err error) {
	group, err := topic.Group("consumers-"+topic.Name(), consumergroup.Config{})
	if err != nil {
		return nil, err
	}
	members := make([]*consumergroup.Member, partitions)
	for i := range members {
		if members[i], err = group.Join(ctx, consumergroup.MemberConfig{}); err != nil {
			return nil, err
		}
	}
	left, err := show.Behind(ctx, group)
	if err != nil {
		return nil, err
	}
	for done := make([]int64, partitions); len(seen) < left; {
		for p, m := range members { // the first member has the first partition, and so on
			if done[p] == topic.Partition(p).End() {
				continue
			}
			recs, err := m.Poll(ctx, 1)
			if err != nil {
				return nil, err
			}
			if recs[0].Partition != p {
				return nil, fmt.Errorf("%s was given partition %d, and should have %d", m.ID(), recs[0].Partition, p)
			}
			if err = ledger.Read(&recs[0]); err != nil {
				return nil, err
			}
			seen = append(seen, recs[0])
			done[p]++
		}
	}
	for _, m := range members {
		if err = errors.Join(m.Commit(ctx), m.Close(ctx)); err != nil {
			return nil, err
		}
	}
	return seen, ledger.End()
}

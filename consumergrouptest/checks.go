package consumergrouptest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/braidlog/braidlog/consumergroup"
)

// assignment is what an assignor answers.
type assignment map[string][]consumergroup.TopicPartition

// ask returns the answer for a group, and gives the assignor nothing but a copy.
func (s *suite) ask(g group) (assignment, error) {
	g = g.clone()
	got, err := s.a.Assign(g.members, g.topics)
	if err != nil {
		return nil, fmt.Errorf("Assign(%v): %w", g, err)
	}
	return got, nil
}

// each asks about all groups, and lets f judge.
func (s *suite) each(f func(g group, got assignment) error) error {
	for _, g := range s.groups {
		got, err := s.ask(g)
		if err == nil {
			err = f(g, got)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wrong says what is wrong with an answer.
func wrong(g group, format string, args ...any) error {
	return fmt.Errorf("Assign(%v): %s", g, fmt.Sprintf(format, args...))
}

// sorted puts each member's partitions in order, and leaves out members that
// have none: neither means anything.
func (a assignment) sorted() assignment {
	all := assignment{}
	for id, tps := range a {
		if len(tps) > 0 {
			all[id] = slices.SortedFunc(slices.Values(tps), compare)
		}
	}
	return all
}

func compare(a, b consumergroup.TopicPartition) int {
	if a.Topic != b.Topic {
		return strings.Compare(a.Topic, b.Topic)
	}
	return a.Partition - b.Partition
}

// readers returns who has each partition, in order of their ids.
func (a assignment) readers() map[consumergroup.TopicPartition][]string {
	all := map[consumergroup.TopicPartition][]string{}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		for _, tp := range a[id] {
			all[tp] = append(all[tp], id)
		}
	}
	return all
}

func (s *suite) checkName() error {
	name := s.a.Name()
	if name == "" {
		return errors.New("the name is empty")
	}
	for range 3 {
		if again := s.a.Name(); again != name {
			return fmt.Errorf("the name is %q, and %q when asked again", name, again)
		}
	}
	return nil
}

func (s *suite) checkComplete() error {
	return s.each(func(g group, got assignment) error {
		readers := got.readers()
		for _, m := range g.members {
			for _, topic := range m.Topics {
				for p := range g.topics[topic] {
					tp := consumergroup.TopicPartition{Topic: topic, Partition: p}
					if len(readers[tp]) == 0 {
						return wrong(g, "%v goes to nobody, but %s wants it", tp, m.Member)
					}
				}
			}
		}
		return nil
	})
}

func (s *suite) checkDisjoint() error {
	return s.each(func(g group, got assignment) error {
		readers := got.readers()
		for _, tp := range slices.SortedFunc(maps.Keys(readers), compare) {
			if ids := readers[tp]; len(ids) > 1 {
				return wrong(g, "%v goes to %s", tp, strings.Join(ids, " and "))
			}
		}
		return nil
	})
}

func (s *suite) checkSubscribed() error {
	return s.each(func(g group, got assignment) error {
		wants := map[string][]string{}
		for _, m := range g.members {
			wants[m.Member] = m.Topics
		}
		for _, id := range slices.Sorted(maps.Keys(got)) {
			for _, tp := range got[id] {
				switch {
				case !slices.Contains(wants[id], tp.Topic):
					return wrong(g, "%v goes to %q, which does not want it", tp, id)
				case tp.Partition < 0 || tp.Partition >= g.topics[tp.Topic]:
					return wrong(g, "%v goes to %q, but does not exist", tp, id)
				}
			}
		}
		return nil
	})
}

const shuffles = 5

func (s *suite) checkOrder() error {
	chance := rand.New(rand.NewPCG(3, 4))
	return s.each(func(g group, got assignment) error {
		want := got.sorted()
		for range shuffles {
			again, err := s.ask(g.shuffled(chance))
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(want, again.sorted()) {
				return wrong(g, "%v, but %v when asked in another order", want, again.sorted())
			}
		}
		return nil
	})
}

// checkInput takes each group as it is, and once it owns what it gets: then it
// is easiest to hand out the input as the answer.
func (s *suite) checkInput() error {
	return s.each(func(g group, got assignment) error {
		return errors.Join(s.checkUntouched(g), s.checkUntouched(g.owning(got, 3)))
	})
}

// checkUntouched looks whether the input is the same afterwards, and then
// scribbles over the input and the answer: no other answer may change by that.
func (s *suite) checkUntouched(g group) error {
	mine := g.clone()
	answer, err := s.a.Assign(mine.members, mine.topics)
	switch {
	case err != nil:
		return fmt.Errorf("Assign(%v): %w", g, err)
	case !reflect.DeepEqual(mine, g.clone()):
		return wrong(g, "it changed its input to %v", mine)
	}
	got := assignment(answer)
	want := got.sorted()
	mine.scribble()
	if now := got.sorted(); !reflect.DeepEqual(want, now) {
		return wrong(g, "%v, but %v once the input was changed", want, now)
	}
	for _, tps := range got {
		clear(tps)
	}
	clear(got)
	again, err := s.ask(g)
	if err == nil && !reflect.DeepEqual(want, again.sorted()) {
		return wrong(g, "%v, but %v once the answer was changed", want, again.sorted())
	}
	return err
}

// scribble changes everything in a group.
func (g group) scribble() {
	for i := range g.members {
		clear(g.members[i].Topics)
		clear(g.members[i].Owned)
	}
	clear(g.members)
	clear(g.topics)
}

func (s *suite) checkEven() error {
	if s.uneven {
		return nil
	}
	return s.each(func(g group, got assignment) error {
		if len(g.members) == 0 || !g.uniform() || even(g, got, "") {
			return nil
		}
		for _, topic := range slices.Sorted(maps.Keys(g.topics)) {
			if !even(g, got, topic) {
				return wrong(g, "%v: neither all partitions are shared evenly nor those of %s", got.sorted(), topic)
			}
		}
		return nil
	})
}

// even reports whether members have as many partitions as each other of a topic,
// or of all if it is empty, within one.
func even(g group, got assignment, topic string) bool {
	counts := make([]int, len(g.members))
	for i, m := range g.members {
		for _, tp := range got[m.Member] {
			if topic == "" || tp.Topic == topic {
				counts[i]++
			}
		}
	}
	return slices.Max(counts)-slices.Min(counts) <= 1
}

const goroutines = 8

func (s *suite) checkConcurrency() error {
	var want []assignment
	if err := s.each(func(_ group, got assignment) error {
		want = append(want, got.sorted())
		return nil
	}); err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make([]error, goroutines)
	for i := range goroutines {
		all.Go(func() {
			errs[i] = s.try(check{"", func(s *suite) error { return s.compare(want) }})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// compare asks about all groups again.
func (s *suite) compare(want []assignment) error {
	i := 0
	return s.each(func(g group, got assignment) error {
		if !reflect.DeepEqual(want[i], got.sorted()) {
			return wrong(g, "%v, but %v while others ask", want[i], got.sorted())
		}
		i++
		return nil
	})
}

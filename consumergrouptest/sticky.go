package consumergrouptest

import (
	"reflect"
	"slices"

	"github.com/braidlog/braidlog/consumergroup"
)

func (s *suite) checkUnchanged() error {
	return s.each(func(g group, got assignment) error {
		now, err := s.ask(g.owning(got, 3))
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(got.sorted(), now.sorted()) {
			return wrong(g, "%v, and then %v although nothing changed", got.sorted(), now.sorted())
		}
		return nil
	})
}

func (s *suite) checkLeave() error {
	return s.each(func(g group, got assignment) error {
		if !g.uniform() {
			return nil
		}
		for i, gone := range g.members[:min(len(g.members), mostLeaving)] {
			left, err := s.ask(g.owning(got, 3).without(i))
			if err != nil {
				return err
			}
			if id, tp, ok := lost(got, left, gone.Member); ok {
				return wrong(g, "%s leaves, and %s loses %v", gone.Member, id, tp)
			}
		}
		return nil
	})
}

// mostLeaving is how many members of a group are tried.
const mostLeaving = 9

// lost returns a partition that a member, but for one, no longer has.
func lost(before, now assignment, but string) (string, consumergroup.TopicPartition, bool) {
	for id, tps := range before {
		for _, tp := range tps {
			if id != but && !slices.Contains(now[id], tp) {
				return id, tp, true
			}
		}
	}
	return "", consumergroup.TopicPartition{}, false
}

// checkJoin has each member join the others.
func (s *suite) checkJoin() error {
	for _, g := range s.groups {
		if !g.uniform() || len(g.members) == 0 {
			continue
		}
		last := len(g.members) - 1
		joined := g.members[last].Member
		before, err := s.ask(g.without(last))
		if err != nil {
			return err
		}
		now, err := s.ask(g.owning(before, 3))
		if err != nil {
			return err
		}
		for id, tps := range now {
			for _, tp := range tps {
				if id != joined && len(g.members) > 1 && !slices.Contains(before[id], tp) {
					return wrong(g, "%s joins, and %v moves to %s", joined, tp, id)
				}
			}
		}
	}
	return nil
}

// checkClaims has two members claim the same, of which one has it.
func (s *suite) checkClaims() error {
	tps := []consumergroup.TopicPartition{{Topic: "t0", Partition: 1}, {Topic: "t0", Partition: 2}}
	for newer := range 2 {
		g := group{members(2, []string{"t0"}), map[string]int{"t0": 4}}
		for i := range g.members {
			g.members[i].Owned, g.members[i].Generation = slices.Clone(tps), 4
		}
		g.members[newer].Generation = 5
		got, err := s.ask(g)
		if err != nil {
			return err
		}
		if id := g.members[newer].Member; !reflect.DeepEqual(got.sorted()[id], tps) {
			return wrong(g, "%v, want %v for %s", got.sorted(), tps, id)
		}
	}
	return nil
}

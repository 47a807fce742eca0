package consumergroup

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A plan is what an assignor is asked, and its answer.
type plan struct {
	wanted  int // of Group, when it was asked
	members []Subscription
	topics  map[string]int
	got     map[string][]TopicPartition
	err     error
}

// rebalance asks the assignor, unless nothing changed since it was asked, and
// sets the group moving towards its answer. It waits for no member. If somebody
// else asks already, that one asks again.
func (g *Group) rebalance() {
	for {
		p := g.beginPlan()
		if p == nil {
			return
		}
		p.ask(g.config.Assignor)
		g.install(p)
	}
}

// beginPlan returns what the assignor is to be asked, nil for nothing.
func (g *Group) beginPlan() *plan {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.planning || g.planned == g.wanted || g.closed {
		return nil
	}
	g.planning = true
	p := &plan{wanted: g.wanted, topics: g.topics}
	names := slices.Sorted(maps.Keys(g.topics))
	owned := map[*Member][]TopicPartition{}
	for _, s := range g.slots { // what it is to have: else what moves now would move back
		if s.target != nil {
			owned[s.target] = append(owned[s.target], s.tp)
		}
	}
	for _, m := range g.members {
		s := Subscription{Member: m.id, InstanceID: m.config.InstanceID, Topics: names, Owned: owned[m]}
		if len(s.Owned) > 0 {
			s.Generation = g.generation
		}
		p.members = append(p.members, s)
	}
	return p
}

// ask calls the assignor and checks its answer.
func (p *plan) ask(a Assignor) {
	if len(p.members) == 0 {
		return
	}
	func() {
		defer caught("Assign", &p.err)
		p.got, p.err = a.Assign(p.members, p.topics)
	}()
	if p.err == nil {
		p.err = validate(a.Name(), p.members, p.topics, p.got)
	}
	if p.err != nil {
		p.err = fmt.Errorf("%w: %q: %w", ErrAssignor, a.Name(), p.err)
	}
}

// install makes the answer the target, unless it is out of date.
func (g *Group) install(p *plan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.planning = false
	if p.wanted != g.wanted || g.closed {
		return // ask again
	}
	g.planned = p.wanted
	if g.planError = p.err; p.err != nil {
		for _, m := range g.members {
			m.planError = p.err
			m.poke()
		}
		return
	}
	g.aimLocked(p.got)
}

// aimLocked sets the target of every slot, and moves what can move.
func (g *Group) aimLocked(got map[string][]TopicPartition) {
	targets := make(map[TopicPartition]*Member, len(g.slots))
	for id, tps := range got {
		for _, tp := range tps {
			targets[tp] = g.members[id]
		}
	}
	changed := false
	for tp, s := range g.slots {
		if s.target != targets[tp] {
			s.target, changed = targets[tp], true
		}
	}
	if changed {
		g.generation++
	}
	for _, s := range g.slots {
		g.moveLocked(s)
	}
}

// moveLocked takes the next step of a slot towards its target: its owner is to
// let go, or it is given.
func (g *Group) moveLocked(s *slot) {
	c := s.claim
	switch {
	case c == nil:
		g.giveLocked(s)
	case c.revoking != (s.held || c.member != s.target):
		c.revoking = !c.revoking
		c.since = time.Now()
		if !c.revoking && c.told { // it may stay after all
			c.ready, c.told = false, false
		}
		c.member.changedLocked()
	}
}

// giveLocked gives a free slot to its target. A commit of the owner before that
// is under way comes first: it decides where to go on.
func (g *Group) giveLocked(s *slot) {
	if s.writing > 0 {
		return // who commits comes here again
	}
	g.freedLocked()
	m := s.target
	if s.held || g.closed || m == nil || m.ended != nil {
		return
	}
	s.epoch++
	s.claim = &claim{slot: s, member: m, epoch: s.epoch}
	m.claims = append(m.claims, s.claim)
	m.changedLocked()
}

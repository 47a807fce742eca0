package consumergroup

import (
	"cmp"
	"slices"
)

// mixed is sticky assignment among members that do not all want the same.
type mixed struct {
	*roster
	homes  []int // who had each partition before
	owners []int // who has it now; nobody: not given out yet
	loads  []int // how many partitions each member has now
}

// shareMixed takes time in proportion to members times partitions, for every
// time that each member has to take one: a few times for a member that left, and
// about the final share of a member if somebody had everything.
func shareMixed(r *roster) [][]int {
	homes := r.owners()
	s := &mixed{r, homes, slices.Clone(homes), make([]int, len(r.members))}
	for _, m := range homes {
		if m != nobody {
			s.loads[m]++
		}
	}
	s.giveOut()
	for s.even() {
	}
	s.swapBack()
	return s.shares()
}

func (s *mixed) shares() [][]int {
	shares := make([][]int, len(s.members))
	for p, m := range s.owners {
		shares[m] = append(shares[m], p)
	}
	return shares
}

// giveOut gives each partition that nobody has to the member with least of those
// that want it: first the partitions with the smallest choice.
func (s *mixed) giveOut() {
	topics := slices.Clone(s.topics)
	slices.SortStableFunc(topics, func(a, b *wantedTopic) int { return cmp.Compare(len(a.readers), len(b.readers)) })
	for _, t := range topics {
		for p := t.first; p < t.first+t.partitions; p++ {
			if s.owners[p] == nobody {
				s.owners[p] = s.leastLoaded(t.readers)
				s.loads[s.owners[p]]++
			}
		}
	}
}

// leastLoaded returns the first of those that have least.
func (s *mixed) leastLoaded(members []int) int {
	return slices.MinFunc(members, func(a, b int) int { return cmp.Compare(s.loads[a], s.loads[b]) })
}

// even has members take one partition each: of those that can take one, the ones
// that have least. It reports whether any could. Each that is taken makes the
// sum of the squares of the loads smaller, so there is an end to it.
func (s *mixed) even() (taken bool) {
	order := upTo(len(s.members))
	before := slices.Clone(s.loads)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(before[a], before[b]) })
	least := 0
	for _, m := range order {
		if taken && before[m] > least {
			break // those with less go first, for what they take has then moved once
		}
		if s.take(m) {
			taken, least = true, before[m]
		}
	}
	return taken
}

// take moves to a member the partition that it best takes from one with at least
// two more, if there is any.
func (s *mixed) take(m int) bool {
	best := nobody
	for _, t := range s.wants[m] {
		for p := t.first; p < t.first+t.partitions; p++ {
			if s.loads[s.owners[p]] >= s.loads[m]+2 && (best == nobody || s.better(p, best, m)) {
				best = p
			}
		}
	}
	if best == nobody {
		return false
	}
	s.loads[s.owners[best]]--
	s.owners[best] = m
	s.loads[m]++
	return true
}

// better reports whether it is better for a member to take p than q: from
// whoever has most; and of one owner's rather what comes home, or else what has
// moved already.
func (s *mixed) better(p, q, to int) bool {
	return cmp.Or(
		cmp.Compare(s.loads[s.owners[p]], s.loads[s.owners[q]]),
		cmp.Compare(s.unrest(p, to), s.unrest(q, to)),
		cmp.Compare(p, q),
	) > 0
}

// unrest is the greater, the less is lost if p moves.
func (s *mixed) unrest(p, to int) int {
	switch s.homes[p] {
	case to:
		return 2
	case s.owners[p]:
		return 0
	}
	return 1
}

// swapBack sends home pairs of partitions of which each is at the other's home.
// It changes no load.
func (s *mixed) swapBack() {
	type way struct{ from, to int }
	away := map[way][]int{}
	for p, home := range s.homes {
		if home == nobody || home == s.owners[p] {
			continue
		}
		back := way{s.owners[p], home}
		if others := away[back]; len(others) > 0 {
			last := len(others) - 1
			s.owners[p], s.owners[others[last]] = home, back.from
			away[back] = others[:last]
		} else {
			there := way{home, s.owners[p]}
			away[there] = append(away[there], p)
		}
	}
}

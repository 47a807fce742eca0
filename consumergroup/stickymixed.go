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
// that have least, so that what they take need not move twice. It reports whether
// any could. Each that is taken makes the sum of the squares of the loads
// smaller, so there is an end to it.
func (s *mixed) even() (taken bool) {
	order := upTo(len(s.members))
	before := slices.Clone(s.loads)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(before[a], before[b]) })
	least := 0
	for _, m := range order {
		if taken && before[m] > least {
			break
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
			if s.loads[s.owners[p]] >= s.loads[m]+2 && (best == nobody || s.better(p, best)) {
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

// better reports whether it is better to take p than q: from whoever has most;
// of one owner's rather what has moved already; and then the last one.
func (s *mixed) better(p, q int) bool {
	return cmp.Or(
		cmp.Compare(s.loads[s.owners[p]], s.loads[s.owners[q]]),
		cmp.Compare(s.away(p), s.away(q)),
		cmp.Compare(p, q),
	) > 0
}

// away is 1 for a partition that is not where it was, else 0.
func (s *mixed) away(p int) int {
	if s.owners[p] != s.homes[p] {
		return 1
	}
	return 0
}

package consumergroup

import "slices"

// Sticky returns the assignor "sticky". It shares evenly, and as far as that
// allows leaves members what they have:
//
//   - If all members want the same topics, they get equally many partitions, or
//     one more or less, and as many as possible stay where they are. When a
//     member leaves only its partitions move; when one joins only its share does.
//   - If they want different topics, no member could give a partition to one
//     that has at least two fewer. What is new goes where there is least, and
//     then partitions move one by one, to those that have least from those that
//     have most, until that is so. If it is so already, nothing moves. The fewest
//     moves that there could be are not looked for.
//
// A member has what it owns and still wants. Of two that claim a partition, the
// one with the greater generation has it, and with equal ones neither has. Where
// it matters who comes first, static members do, by InstanceID, then the others
// by id; of a member's partitions the last ones go first.
//
// Among equal members it decides as
// org.apache.kafka.clients.consumer.internals.AbstractStickyAssignor does
// (KIP-54; KIP-341 for claims with generations; KIP-429 for the cooperative
// use), but for two things: what a member owns is taken in order of topic and
// number, so that the answer does not depend on how Owned is ordered; and a
// static member's rank is that of its InstanceID. Among others it makes the same
// promise by other steps.
func Sticky() Assignor { return builtIn{"sticky", shareSticky} }

func shareSticky(r *roster) [][]int {
	switch {
	case r.partitions == 0:
		return make([][]int, len(r.members))
	case r.uniform():
		return shareUniform(r)
	}
	return shareMixed(r)
}

// shareUniform is for members that all want the same. They are to have least
// partitions each, and the remainder one more: many of them.
func shareUniform(r *roster) [][]int {
	least, remainder := r.partitions/len(r.members), r.partitions%len(r.members)
	shares, free := keep(r, least, remainder)
	return deal(shares, free, least)
}

// keep leaves every member as much of what it has as there is room for, and
// returns the rest as well. Up to remainder members may keep one more than
// least: the first of those that have more.
func keep(r *roster, least, remainder int) (shares [][]int, free []int) {
	shares = make([][]int, len(r.members))
	for p, m := range r.owners() {
		if m == nobody {
			free = append(free, p)
		} else {
			shares[m] = append(shares[m], p)
		}
	}
	for i, share := range shares {
		room := least
		if len(share) > least && remainder > 0 {
			room, remainder = least+1, remainder-1
		}
		if len(share) > room {
			shares[i] = share[:room]
			free = append(free, share[room:]...)
		}
	}
	slices.Sort(free)
	return shares, free
}

// deal gives what is free to those that have fewer than least, one each in a
// circle; and once all have that many, one more each to those that have no more:
// first those that had as many all along.
func deal(shares [][]int, free []int, least int) [][]int {
	var short, level []int
	for i, share := range shares {
		switch {
		case len(share) < least:
			short = append(short, i)
		case len(share) == least:
			level = append(level, i)
		}
	}
	turn := 0
	for _, p := range free {
		if len(short) == 0 {
			shares[level[0]] = append(shares[level[0]], p)
			level = level[1:]
			continue
		}
		m := short[turn]
		shares[m] = append(shares[m], p)
		turn++
		if len(shares[m]) == least {
			turn--
			short, level = slices.Delete(short, turn, turn+1), append(level, m)
		}
		if turn == len(short) {
			turn = 0
		}
	}
	return shares
}

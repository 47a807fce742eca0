package consumergroup

import "slices"

// RoundRobin returns the assignor "roundrobin". It goes through all partitions
// of all topics, in order of topic and number, and gives each to the next
// member in a circle, static members first, by InstanceID, then the others by
// id; those that do not want the topic are passed over.
//
// If all members want the same topics, they get equally many partitions, or one
// more or less. If they do not, it can be far from even, as the next member that
// wants a topic gets the partition however many it has: [Sticky] is better then.
// When a member comes or goes, most partitions move.
//
// It deals as org.apache.kafka.clients.consumer.RoundRobinAssignor does, with
// the order of static members of KIP-345.
func RoundRobin() Assignor { return builtIn{"roundrobin", shareInTurn} }

func shareInTurn(r *roster) [][]int {
	shares := make([][]int, len(r.members))
	next := 0
	for _, t := range r.topics {
		for p := range t.partitions {
			m := t.readers[0]
			if i, _ := slices.BinarySearch(t.readers, next); i < len(t.readers) {
				m = t.readers[i]
			}
			shares[m] = append(shares[m], t.first+p)
			next = m + 1
		}
	}
	return shares
}

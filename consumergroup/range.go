package consumergroup

// Range returns the default assignor, "range". It divides each topic by itself:
// the partitions, in order, into as many stretches as the topic has members
// that want it, one for each of them, static members first, by InstanceID, then
// the others by id. Stretches differ by one at most, and the first members have
// the longer ones.
//
// So topics with as many partitions and the same members are divided alike, and
// whoever has partition 3 of one has partition 3 of the other: two topics with
// the same keys and the same partitioner can be joined. The price is that
// over many topics the first members have more than the last: one partition for
// every topic, at worst. And when a member comes or goes, most partitions move.
//
// It divides as org.apache.kafka.clients.consumer.RangeAssignor does, with the
// order of static members of KIP-345, but knows no racks.
func Range() Assignor { return builtIn{"range", shareRanges} }

func shareRanges(r *roster) [][]int {
	shares := make([][]int, len(r.members))
	for _, t := range r.topics {
		each, longer := t.partitions/len(t.readers), t.partitions%len(t.readers)
		p := t.first
		for rank, m := range t.readers {
			end := p + each
			if rank < longer {
				end++
			}
			for ; p < end; p++ {
				shares[m] = append(shares[m], p)
			}
		}
	}
	return shares
}

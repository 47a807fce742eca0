package partitioner

// KeyPartitions is a [Partitioner] that can tell where the records of a key
// are, also if they are in several partitions or not every key decides alone.
//
// KeyPartitions returns, in ascending order, the partitions among n in which
// records of that key may be, whatever else they hold and whenever they came.
// It may return too many, never too few; nil means any. The result is the
// caller's. It is called under the contract of [KeyPartitioner], which says the
// same of a single partition; a topic asks KeyPartitions first.
type KeyPartitions interface {
	KeyPartitions(key []byte, n int) []int
}

// keyPartitions asks p where a key's records are, nil if that may be anywhere.
func keyPartitions(p Partitioner, key []byte, n int) []int {
	if k, ok := p.(KeyPartitions); ok {
		return k.KeyPartitions(key, n)
	}
	if _, ok := p.(LoadAware); ok {
		return nil
	}
	if k, ok := p.(KeyPartitioner); ok {
		return []int{k.PartitionKey(key, n)}
	}
	return nil
}

// upTo returns the numbers [from, to).
func upTo(from, to int) []int {
	var ps []int
	for p := from; p < to; p++ {
		ps = append(ps, p)
	}
	return ps
}

package partitioner

import "github.com/braidlog/braidlog/record"

// A rule says where a key goes. It is immutable.
type rule interface {
	locate(key []byte, n int) int // n ≥ 1 was checked
	predecessors(old, n, p int) []int
	check(n int) error
}

// ruled sends a key where a rule says, and leaves records without a key to a
// sticky partitioner.
type ruled struct {
	placement string
	rule      rule
	keyless   *sticky
}

func newRuled(placement string, r rule) *ruled {
	return &ruled{placement, r, newSticky(StickyConfig{})}
}

func (r *ruled) Placement() string { return r.placement }

func (r *ruled) Check(n int) error {
	if err := checkCount(r.placement, n); err != nil {
		return err
	}
	if err := r.rule.check(n); err != nil {
		return wrong(r.placement, "%w", err)
	}
	return nil
}

func (r *ruled) Partition(rec record.Record, n int) (int, error) {
	if err := r.Check(n); err != nil {
		return 0, err
	}
	if rec.Key == nil {
		return r.keyless.take(recordBytes(&rec), n), nil
	}
	return r.rule.locate(rec.Key, n), nil
}

// Route is Partition that does not count a record without a key.
func (r *ruled) Route(rec record.Record, n int) (int, error) {
	if err := r.Check(n); err != nil {
		return 0, err
	}
	if rec.Key == nil {
		return r.keyless.peek(recordBytes(&rec), n), nil
	}
	return r.rule.locate(rec.Key, n), nil
}

// PartitionKey returns -1, which is no partition, if there cannot be n.
func (r *ruled) PartitionKey(key []byte, n int) int {
	if n < 1 || r.rule.check(n) != nil {
		return -1
	}
	return r.rule.locate(key, n)
}

func (r *ruled) BatchEnd(partition, records, bytes int) {
	r.keyless.BatchEnd(partition, records, bytes)
}

// Predecessors returns nil if there are no old or new partitions or p is none
// of the new ones.
func (r *ruled) Predecessors(old, n, p int) []int {
	if old < 1 || p < 0 || p >= n {
		return nil
	}
	return r.rule.predecessors(old, n, p)
}

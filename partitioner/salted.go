package partitioner

import (
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/braidlog/braidlog/record"
)

const saltedPlacement = "salted"

// Salted returns a partitioner that spreads the records of hot keys over
// several partitions, so many buckets: the one where inner sends the key, and
// those after it, around. For each record one of them is as likely as another.
// All other records go where inner sends them. inner nil is [Key].
//
// The price: records of a hot key are in order within a bucket only, so whoever
// needs all of them in order has to read the buckets and merge. Topic.Key does,
// by Timestamp, and that for every key: isHot is tuning, may change its mind at
// any time, and a key that has cooled down has left records in its buckets. So
// reading any key takes as many partitions as there are buckets. What one
// AppendBatch puts into several buckets has no order among them. A group's
// workers see the buckets of a key side by side.
//
// isHot is called for each record with a key, by many goroutines at once, and
// must neither modify nor keep the key. The key is the one that was appended, or
// within [Prefix] its first fields. Salted does not know which partitions inner
// keeps apart: put it inside [Priority] and [Lookup], not around them.
//
// More buckets than partitions are all partitions. Buckets less than 1, or an
// isHot that is nil, make Check and Partition fail. The placement is
// `salted(4,"key")`; because of the function, it cannot be rebuilt. The
// idea is that of salted row keys in Apache HBase; the guide of Amazon DynamoDB
// calls it write sharding.
//
// Predecessors: those of the partitions of which a bucket can be this one.
func Salted(inner Partitioner, buckets int, isHot func(key []byte) bool) Partitioner {
	s := &salted{part: partOf(inner), buckets: buckets, isHot: isHot}
	s.placement = form(saltedPlacement, strconv.Itoa(buckets), s.quoted())
	switch {
	case buckets < 1:
		return newInvalid(s.placement, "the number of buckets is %d, want at least 1", buckets)
	case isHot == nil:
		return newInvalid(s.placement, "isHot is nil")
	}
	if s.byLoad != nil {
		return &wholeByLoad{s}
	}
	return &wholeRouter{s} // no KeyPartitioner: a key does not decide alone
}

type salted struct {
	part
	placement string                // immutable
	buckets   int                   // immutable
	isHot     func(key []byte) bool // immutable
	count     atomic.Uint64         // records of hot keys so far
}

func (s *salted) Placement() string { return s.placement }

func (s *salted) hot(rec *record.Record) bool { return rec.Key != nil && s.isHot(rec.Key) }

// bucket returns the bucket of the k-th record of hot keys. Numbers in a row
// would not do: two hot keys that take turns would get half the buckets each. No
// two buckets are one partition, which would get twice as much.
func (s *salted) bucket(k uint64, n int) int { return int(mix64(k) % uint64(min(s.buckets, n))) }

// around returns the partition of a bucket of what belongs to p.
func around(p, bucket, n int) int { return int((uint64(p) + uint64(bucket)) % uint64(n)) }

// salt returns the partition for an answer of inner, which may be wrong.
func (s *salted) salt(p int, err error, k uint64, n int) (int, error) {
	if err != nil || p < 0 || p >= n {
		return p, err
	}
	return around(p, s.bucket(k, n), n), nil
}

func (s *salted) Partition(rec record.Record, n int) (int, error) {
	p, err := s.part.Partition(rec, n)
	if !s.hot(&rec) {
		return p, err
	}
	return s.salt(p, err, s.count.Add(1), n)
}

func (s *salted) route(rec record.Record, n int) (int, error) {
	p, err := s.part.route(rec, n)
	if !s.hot(&rec) {
		return p, err
	}
	return s.salt(p, err, s.count.Load()+1, n)
}

func (s *salted) partitionLoad(rec record.Record, load []Load) (int, error) {
	p, err := s.part.partitionLoad(rec, load)
	if !s.hot(&rec) {
		return p, err
	}
	return s.salt(p, err, s.count.Add(1), len(load))
}

func (s *salted) KeyPartitions(key []byte, n int) []int {
	var all []int
	for _, p := range s.part.KeyPartitions(key, n) {
		for b := range min(s.buckets, n) {
			all = append(all, around(p, b, n))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Predecessors: a key with records in p has its first bucket in p or one of
// those before, which had that in one of its predecessors, and its other
// buckets behind.
func (s *salted) Predecessors(old, n, p int) []int {
	if old < 1 || p < 0 || p >= n {
		return nil
	}
	was := make([]bool, old)
	for b := range min(s.buckets, n) {
		for _, q := range s.part.Predecessors(old, n, (p-b+n)%n) {
			was[q] = true
		}
	}
	var ps []int
	for q := range old {
		for b := range min(s.buckets, old) {
			if was[(q-b+old)%old] {
				ps = append(ps, q)
				break
			}
		}
	}
	return ps
}

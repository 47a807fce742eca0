package partitionertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/record"
)

// ask asks p as a topic would that has no shorter way, and checks what goes for
// every answer.
func (s *suite) ask(p partitioner.Partitioner, rec record.Record, n int) (int, error) {
	before := rec.Clone()
	got, err := p.Partition(rec, n)
	switch {
	case err != nil:
		return 0, fmt.Errorf("Partition(key %q, n = %d): %w", rec.Key, n, err)
	case got < 0 || got >= n:
		return 0, fmt.Errorf("Partition(key %q, n = %d) = %d, want 0 to %d", rec.Key, n, got, n-1)
	case !same(&before, &rec):
		return 0, fmt.Errorf("Partition(key %q, n = %d) changed the record", before.Key, n)
	}
	return got, nil
}

func (s *suite) checkRange() error {
	if len(s.accepted()) == 0 {
		return fmt.Errorf("no number of partitions up to %d is accepted by Check: %w", mostPartitions, s.accepts(1))
	}
	for n := 1; n <= mostPartitions; n++ {
		if s.accepts(n) == nil {
			continue
		}
		if s.takesAll(n) {
			return fmt.Errorf("Check(%d) refuses what Partition takes: %w", n, s.accepts(n))
		}
	}
	for _, n := range s.accepted() {
		for _, key := range s.keys {
			for _, rec := range variants(key) {
				if _, err := s.ask(s.p, rec, n); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// takesAll reports whether no key makes Partition fail. It asks with many, since
// the fault may concern few.
func (s *suite) takesAll(n int) bool {
	return !slices.ContainsFunc(slices.Concat(s.keys, s.manyKeys()), func(key []byte) bool {
		_, err := s.p.Partition(record.Record{Key: key}, n)
		return err != nil
	})
}

func (s *suite) checkKeys() error {
	for _, n := range s.accepted() {
		for _, key := range s.keys {
			if key == nil {
				continue
			}
			if err := s.checkKey(key, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKey asks about a key, and then again, with others in between.
func (s *suite) checkKey(key []byte, n int) error {
	recs := variants(key)
	first := make([]int, len(recs))
	for i, rec := range recs {
		var err error
		if first[i], err = s.ask(s.p, rec, n); err != nil {
			return err
		}
		if err = s.checkWhere(rec, n, first[i]); err != nil {
			return err
		}
	}
	for i, rec := range recs {
		if s.anywhere(key, n) {
			break
		}
		again, err := s.ask(s.p, rec, n)
		if err != nil {
			return err
		}
		if again != first[i] && s.alone(key, n) {
			return fmt.Errorf("Partition(key %q, n = %d) = %d, and %d when asked again", key, n, first[i], again)
		}
	}
	return s.checkByKey(key, n)
}

// anywhere reports whether a key may be in any partition.
func (s *suite) anywhere(key []byte, n int) bool {
	if k, ok := s.p.(partitioner.KeyPartitions); ok {
		return s.ignoresKeys || k.KeyPartitions(key, n) == nil
	}
	return s.ignoresKeys
}

// alone reports whether equal records of a key have to go to one partition.
func (s *suite) alone(key []byte, n int) bool {
	if k, ok := s.p.(partitioner.KeyPartitions); ok {
		return len(k.KeyPartitions(key, n)) == 1
	}
	return true
}

// checkWhere checks that a record is where KeyPartitions says.
func (s *suite) checkWhere(rec record.Record, n, got int) error {
	k, ok := s.p.(partitioner.KeyPartitions)
	if !ok {
		return nil
	}
	ps := k.KeyPartitions(rec.Key, n)
	if err := ascending(ps, n); err != nil {
		return fmt.Errorf("KeyPartitions(%q, n = %d) = %v: %w", rec.Key, n, ps, err)
	}
	if ps != nil && !slices.Contains(ps, got) {
		return fmt.Errorf("Partition(key %q, n = %d) = %d, but KeyPartitions says %v", rec.Key, n, got, ps)
	}
	return nil
}

var errNotAscending = errors.New("want different numbers in range, ascending")

// ascending returns an error unless ps are in [0, n), each more than the one
// before.
func ascending(ps []int, n int) error {
	for i, p := range ps {
		if p < 0 || p >= n || i > 0 && p <= ps[i-1] {
			return errNotAscending
		}
	}
	return nil
}

// checkByKey checks that the key alone decides, if p says so.
func (s *suite) checkByKey(key []byte, n int) error {
	k, ok := s.p.(partitioner.KeyPartitioner)
	if !ok {
		return s.checkRoute(key, n)
	}
	copied := slices.Clone(key)
	want := k.PartitionKey(copied, n)
	if !sameBytes(copied, key) {
		return fmt.Errorf("PartitionKey(%q, n = %d) changed the key", key, n)
	}
	for _, rec := range variants(key) {
		got, err := s.ask(s.p, rec, n)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("Partition(key %q, n = %d) = %d, but PartitionKey = %d", key, n, got, want)
		}
	}
	return s.checkRoute(key, n)
}

// checkRoute checks that Route tells what Partition does, where time and chance
// have no say.
func (s *suite) checkRoute(key []byte, n int) error {
	r, ok := s.p.(partitioner.Router)
	if !ok || s.anywhere(key, n) {
		return nil
	}
	for _, rec := range variants(key) {
		want, err := r.Route(rec, n)
		if err != nil {
			return fmt.Errorf("Route(key %q, n = %d): %w", key, n, err)
		}
		again, _ := r.Route(rec, n)
		got, err := s.ask(s.p, rec, n)
		if err != nil {
			return err
		}
		if want != got || want != again {
			return fmt.Errorf("Partition(key %q, n = %d) = %d, but Route said %d and then %d", key, n, got, want, again)
		}
	}
	return nil
}

func (s *suite) checkPlacement() error {
	placement := partitioner.Placement(s.p)
	if placement == "" {
		return errors.New("the placement is empty")
	}
	if !utf8.ValidString(placement) {
		return fmt.Errorf("the placement %q is not UTF-8", placement)
	}
	for range 3 {
		if again := partitioner.Placement(s.p); again != placement {
			return fmt.Errorf("the placement is %q, and %q when asked again", placement, again)
		}
	}
	if other, ok := partitioner.ByPlacement(placement); ok {
		if err := s.checkTwin(other, placement, "ByPlacement makes"); err != nil {
			return err
		}
	}
	if s.again == nil {
		return nil
	}
	return s.checkTwin(s.again(), placement, "Again makes")
}

// checkTwin compares p with another one that is to be the same.
func (s *suite) checkTwin(twin partitioner.Partitioner, placement, who string) error {
	if got := partitioner.Placement(twin); got != placement {
		return fmt.Errorf("the placement is %q, that of the one that %s %q", placement, who, got)
	}
	for _, n := range s.accepted() {
		for _, key := range s.keys {
			if key == nil || s.anywhere(key, n) || !s.alone(key, n) {
				continue
			}
			if err := s.compare(twin, key, n, who); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) compare(twin partitioner.Partitioner, key []byte, n int, who string) error {
	for _, rec := range variants(key) {
		got, err := s.ask(s.p, rec, n)
		if err != nil {
			return err
		}
		other, err := s.ask(twin, rec, n)
		if err != nil {
			return fmt.Errorf("the one that %s: %w", who, err)
		}
		if got != other {
			return fmt.Errorf("Partition(key %q, n = %d) = %d, but the one that %s says %d, with the same placement", key, n, got, who, other)
		}
	}
	return nil
}

// mostPredecessors is up to which numbers of partitions all pairs are tried.
const mostPredecessors = 16

func (s *suite) checkPredecessors() error {
	ps, ok := s.p.(partitioner.Predecessors)
	if !ok {
		return nil
	}
	places := make([]map[string][]int, mostPredecessors+1)
	for n := 1; n <= mostPredecessors; n++ {
		var err error
		if places[n], err = s.places(n); err != nil {
			return err
		}
	}
	for old := 1; old <= mostPredecessors; old++ {
		for n := 1; n <= mostPredecessors; n++ {
			if s.accepts(old) != nil || s.accepts(n) != nil {
				continue
			}
			if err := checkPair(ps, old, n, places[old], places[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPair compares where keys were with where they are.
func checkPair(ps partitioner.Predecessors, old, n int, before, now map[string][]int) error {
	told := make([][]int, n)
	for p := range n {
		told[p] = ps.Predecessors(old, n, p)
		if err := ascending(told[p], old); err != nil {
			return fmt.Errorf("Predecessors(%d, %d, %d) = %v: %w", old, n, p, told[p], err)
		}
	}
	for key, at := range now {
		for _, p := range at {
			for _, q := range before[key] {
				if !slices.Contains(told[p], q) {
					return fmt.Errorf("Predecessors(%d, %d, %d) = %v, without %d, where key %q was", old, n, p, told[p], q, key)
				}
			}
		}
	}
	return nil
}

// places returns where the records of each key may be, nothing for a key that
// has no place.
func (s *suite) places(n int) (map[string][]int, error) {
	all := map[string][]int{}
	if s.ignoresKeys || s.accepts(n) != nil {
		return all, nil
	}
	for _, key := range s.manyKeys() {
		if k, ok := s.p.(partitioner.KeyPartitions); ok {
			all[string(key)] = k.KeyPartitions(key, n)
			continue
		}
		p, err := s.ask(s.p, record.Record{Key: key}, n)
		if err != nil {
			return nil, err
		}
		all[string(key)] = []int{p}
	}
	return all, nil
}

const (
	goroutines = 8
	rounds     = 3
)

// checkConcurrency has many goroutines ask with two numbers of partitions.
func (s *suite) checkConcurrency() error {
	counts := s.accepted()
	var all sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		n := counts[len(counts)-1-g%2%len(counts)]
		all.Go(func() {
			errs[g] = s.try(check{"", func(*suite) error { return s.hammer(n) }})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *suite) hammer(n int) error {
	batcher, _ := s.p.(partitioner.Batcher)
	for range rounds {
		for _, key := range s.keys {
			got, err := s.ask(s.p, record.Record{Key: key}, n)
			if err != nil {
				return err
			}
			if batcher != nil {
				batcher.BatchEnd(got, 1, len(key))
			}
			if key == nil || s.anywhere(key, n) {
				continue
			}
			if err = s.checkWhere(record.Record{Key: key}, n, got); err != nil {
				return err
			}
			if again, err := s.ask(s.p, record.Record{Key: key}, n); err != nil || again != got && s.alone(key, n) {
				return errors.Join(err, fmt.Errorf("Partition(key %q, n = %d) = %d, and %d when asked again while others ask", key, n, got, again))
			}
			if !s.alone(key, n) {
				continue // others may come between two answers
			}
			if err = s.checkRoute(key, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) checkLoad() error {
	p, ok := s.p.(partitioner.LoadAware)
	if !ok {
		return nil
	}
	for _, n := range s.accepted() {
		for _, load := range loads(n) {
			for _, key := range s.keys {
				if err := s.checkLoaded(p, record.Record{Key: key}, load); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *suite) checkLoaded(p partitioner.LoadAware, rec record.Record, load []partitioner.Load) error {
	before := slices.Clone(load)
	got, err := p.PartitionLoad(rec, load)
	switch {
	case err != nil:
		return fmt.Errorf("PartitionLoad(key %q, n = %d): %w", rec.Key, len(load), err)
	case got < 0 || got >= len(load):
		return fmt.Errorf("PartitionLoad(key %q, n = %d) = %d, want 0 to %d", rec.Key, len(load), got, len(load)-1)
	case !slices.Equal(before, load):
		return fmt.Errorf("PartitionLoad(key %q, n = %d) changed the load", rec.Key, len(load))
	case rec.Key == nil:
		return nil
	}
	return s.checkWhere(rec, len(load), got)
}

// loads returns what n partitions may be like: idle, in ascending order of load,
// as full as can be, and none of them writable.
func loads(n int) [][]partitioner.Load {
	all := make([][]partitioner.Load, 4)
	for i := range all {
		all[i] = make([]partitioner.Load, n)
	}
	const most = 1<<63 - 1
	for p := range n {
		all[0][p] = partitioner.Load{Writable: true}
		all[1][p] = partitioner.Load{Records: int64(p), Bytes: int64(p) * 100, Lag: int64(p) * 100_000, Writable: p%3 != 1}
		all[2][p] = partitioner.Load{Records: most, Bytes: most, Lag: most, Writable: true}
	}
	return all
}

func (s *suite) checkAllocations() error {
	if !s.noAllocations {
		return nil
	}
	counts := s.accepted()
	n := counts[len(counts)-1]
	for _, key := range s.keys {
		if allocs := testing.AllocsPerRun(10, func() { s.appendPath(key, n) }); allocs > 0 {
			return fmt.Errorf("a record with key %q takes %v allocations, n = %d", key, allocs, n)
		}
	}
	return nil
}

// appendPath calls what is called for an append. Errors are for other checks.
func (s *suite) appendPath(key []byte, n int) {
	p, _ := s.p.Partition(record.Record{Key: key}, n)
	if k, ok := s.p.(partitioner.KeyPartitioner); ok && key != nil {
		k.PartitionKey(key, n)
	}
	if b, ok := s.p.(partitioner.Batcher); ok {
		b.BatchEnd(p, 1, len(key))
	}
}

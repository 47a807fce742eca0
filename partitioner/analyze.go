package partitioner

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/braidlog/braidlog/record"
)

const (
	maxAnalyzed = 1 << 20 // partitions; Analyze counts in twice as many
	analyzedTop = 10
	noKey       = -1
)

// An Analysis tells how a partitioner spreads keys, and why if it does so
// badly: Keys uneven, the keys are too few or the partitioner does not suit
// them; Keys even and Records not, a few keys have most of the records.
type Analysis struct {
	Placement  string `json:"placement"`
	Partitions int    `json:"partitions"`

	Records Spread `json:"records"` // every key that was given, repeated ones too
	Keys    Spread `json:"keys"`    // each key once, where its first record went
	Keyless int64  `json:"keyless"` // records whose key was nil

	// Scattered is how many keys have records in more than one partition, and
	// so in no order: of a partitioner that goes by the key alone, none.
	Scattered int `json:"scattered"`

	// Top are the 10 keys with the most records, and TopShare what they have
	// together of the records with a key.
	Top      []HotKey `json:"top"`
	TopShare float64  `json:"top_share"`

	Doubled Doubling `json:"doubled"`
}

// A Spread tells how evenly partitions are filled.
type Spread struct {
	Total  int64   `json:"total"`
	Counts []int64 `json:"counts"` // by partition

	// Skew is the largest count over the mean: 1 if all are the same, the
	// number of partitions if one has all.
	Skew float64 `json:"skew"`
	// ChiSquared is Pearson's statistic against all counts being the same, and
	// PValue how likely chance alone would make it as large. Below 0.001 it was
	// not chance. It speaks of independent choices: a hash should pass it with
	// Keys; Records that share keys fail it under the best hash.
	ChiSquared float64 `json:"chi_squared"`
	PValue     float64 `json:"p_value"`
	// Gini is Gini's coefficient: 0 if all counts are the same, near 1 if few
	// partitions have nearly all.
	Gini float64 `json:"gini"`
}

// A Doubling tells what twice as many partitions would change. Its figures are
// 0 if the partitioner refuses so many.
type Doubling struct {
	// Refused is why the partitioner cannot have twice as many, as those cannot
	// that name each partition; "" if it can.
	Refused string `json:"refused,omitempty"`

	KeysMoved    float64 `json:"keys_moved"`    // share of the keys whose partition has another number then
	RecordsMoved float64 `json:"records_moved"` // share of the records with a key
	Skew         float64 `json:"skew"`          // of the records, afterwards
}

// Analyze asks p about each key, as if a record with it and nothing else were
// appended to a topic of n partitions, and tells how the records would spread.
// A key that comes more than once counts as that many records; nil is a record
// without a key. Give it keys in the shares in which they come: a sample of
// what a topic holds, or of what it will.
//
// Every record is asked about twice, all of them with n and then all of them
// with 2n: a partitioner that counts or chooses by chance should be a new one.
// Analyze keeps a copy of every different key and 8 bytes a record.
//
// It is an error if n is not in [1, 1048576], if p is nil or there are no keys,
// and if p fails, panics or returns a number outside [0, n), or refuses n as a
// [Checker]. That it refuses 2n is none: Doubled says so.
func Analyze(p Partitioner, n int, keys iter.Seq[[]byte]) (Analysis, error) {
	placement := Placement(p)
	s, err := sampleOf(p, n, keys)
	if err == nil {
		err = s.check(n)
	}
	if err == nil {
		err = s.place(n)
	}
	if err != nil {
		return Analysis{}, fmt.Errorf("analyze %q: %w", placement, err)
	}
	a := Analysis{Placement: placement, Partitions: n}
	s.describe(&a)
	if a.Doubled.Refused = s.refuses(2 * n); a.Doubled.Refused != "" {
		return a, nil
	}
	if a.Doubled, err = s.double(n); err != nil {
		return Analysis{}, fmt.Errorf("analyze %q doubled: %w", placement, err)
	}
	return a, nil
}

// A sample is what Analyze was given, and where it goes.
type sample struct {
	p      Partitioner
	byKey  KeyPartitioner // nil if p is none
	keys   []sampledKey
	order  []int32 // by record: its key's number, or noKey
	places []int32 // by record: its partition
}

type sampledKey struct {
	key       []byte
	records   int64
	home      int32 // partition of its first record
	scattered bool
	moved     bool
}

func sampleOf(p Partitioner, n int, keys iter.Seq[[]byte]) (*sample, error) {
	if n < 1 || n > maxAnalyzed {
		return nil, fmt.Errorf("n is %d, want 1 to %d", n, maxAnalyzed)
	}
	if p == nil {
		return nil, errors.New("the partitioner is nil")
	}
	s := &sample{p: p}
	s.byKey, _ = p.(KeyPartitioner)
	if keys != nil {
		s.take(keys)
	}
	if len(s.order) == 0 {
		return nil, errors.New("there are no keys")
	}
	return s, nil
}

func (s *sample) take(keys iter.Seq[[]byte]) {
	numbers := map[string]int32{}
	for key := range keys {
		if key == nil {
			s.order = append(s.order, noKey)
			continue
		}
		i, known := numbers[string(key)]
		if !known {
			i = int32(len(s.keys))
			numbers[string(key)] = i
			s.keys = append(s.keys, sampledKey{key: slices.Concat([]byte{}, key)}) // an empty key stays one
		}
		s.keys[i].records++
		s.order = append(s.order, i)
	}
}

// caught is deferred around calls of the partitioner.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("it panicked: %v", r)
	}
}

// check asks the partitioner whether it takes n partitions.
func (s *sample) check(n int) (err error) {
	defer caught(&err)
	return check(s.p, n)
}

// refuses returns why it does not, "" if it does.
func (s *sample) refuses(n int) string {
	if err := s.check(n); err != nil {
		return err.Error()
	}
	return ""
}

// ask returns the partition of the next record of key i.
func (s *sample) ask(i int32, n int) (place int, err error) {
	defer caught(&err)
	switch {
	case i == noKey:
		place, err = s.p.Partition(record.Record{}, n)
	case s.byKey != nil:
		place = s.byKey.PartitionKey(s.keys[i].key, n)
	default:
		place, err = s.p.Partition(record.Record{Key: s.keys[i].key}, n)
	}
	if err == nil && (place < 0 || place >= n) {
		err = fmt.Errorf("it returned partition %d of %d", place, n)
	}
	return place, err
}

// place finds every record's partition.
func (s *sample) place(n int) error {
	for i := range s.keys {
		s.keys[i].home = -1
	}
	s.places = make([]int32, len(s.order))
	for r, i := range s.order {
		place, err := s.ask(i, n)
		if err != nil {
			return err
		}
		s.places[r] = int32(place)
		if i == noKey {
			continue
		}
		k := &s.keys[i]
		if k.home < 0 {
			k.home = int32(place)
		}
		k.scattered = k.scattered || k.home != int32(place)
	}
	return nil
}

// describe fills in all but what doubling would do.
func (s *sample) describe(a *Analysis) {
	records, keys := make([]int64, a.Partitions), make([]int64, a.Partitions)
	for _, place := range s.places {
		records[place]++
	}
	top := make([]HotKey, len(s.keys))
	for i, k := range s.keys {
		keys[k.home]++
		if k.scattered {
			a.Scattered++
		}
		top[i] = HotKey{Key: string(k.key), Count: k.records}
	}
	a.Records, a.Keys = spreadOf(records), spreadOf(keys)
	a.Keyless = a.Records.Total - s.keyed()
	a.Top = slices.Clone(hottest(top, analyzedTop, s.keyed())) // not to hold all of them
	for _, k := range a.Top {
		a.TopShare += k.Share
	}
}

// keyed returns how many records have a key.
func (s *sample) keyed() (n int64) {
	for _, k := range s.keys {
		n += k.records
	}
	return n
}

// double asks about every record again, with 2n, and compares.
func (s *sample) double(n int) (Doubling, error) {
	counts := make([]int64, 2*n)
	var records, keys int64
	for r, i := range s.order {
		place, err := s.ask(i, 2*n)
		if err != nil {
			return Doubling{}, err
		}
		counts[place]++
		if i == noKey || int32(place) == s.places[r] {
			continue
		}
		records++
		if k := &s.keys[i]; !k.moved {
			k.moved = true
			keys++
		}
	}
	return Doubling{
		KeysMoved:    share(keys, int64(len(s.keys))),
		RecordsMoved: share(records, s.keyed()),
		Skew:         skew(counts),
	}, nil
}

func spreadOf(counts []int64) Spread {
	x := pearson(counts)
	s := Spread{Counts: counts, Skew: skew(counts), ChiSquared: x, PValue: chiSquaredTail(x, len(counts)-1), Gini: gini(counts)}
	for _, c := range counts {
		s.Total += c
	}
	return s
}

// skew returns the largest count over the mean, 0 if nothing was counted.
func skew(counts []int64) float64 {
	var largest, sum int64
	for _, c := range counts {
		largest = max(largest, c)
		sum += c
	}
	return share(largest, sum) * float64(len(counts))
}

// gini returns Gini's coefficient of counts, 0 if nothing was counted. Of sorted
// counts x₁ … xₙ it is 2(1x₁ + 2x₂ + … + nxₙ) / n(x₁ + … + xₙ) - (n+1)/n.
func gini(counts []int64) float64 {
	n, sum, weighted := float64(len(counts)), 0.0, 0.0
	for i, c := range slices.Sorted(slices.Values(counts)) {
		sum += float64(c)
		weighted += float64(i+1) * float64(c)
	}
	if sum == 0 {
		return 0
	}
	return max(0, 2*weighted/(n*sum)-(n+1)/n)
}

package partitioner

import (
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/twmb/murmur3"

	"github.com/braidlog/braidlog/record"
)

const (
	splitPlacement = "split"

	// splitSeed keeps the hash that chooses a side apart from those that choose
	// a partition: else all keys of one side could share a few partitions.
	// splitStep, for each Split inside, keeps it apart from theirs: else all keys
	// of one side could be on one side there too. Both will never change.
	splitSeed = 0x5b11d
	splitStep = goldenGamma >> 32
)

// Split returns a partitioner that leaves so many percent of all keys to a and
// the others to b, for trying a partitioner on a part of what is appended. A
// key is always on the same side, chosen by MurmurHash3_x86_32 by Austin
// Appleby with a seed of its own, so that the side says nothing about the
// partition, nor about the side of another Split inside, if the placement shows
// that one: Split(34, a, Split(50, b, c)) makes three thirds. Records without a
// key, those whose Key is nil, take turns: of any 100 in a row percent go to a. a
// or b nil is [Key].
//
// Records of one key stay in order if the side's partitioner keeps them so. A
// percent below 0 or above 100 makes Check and Partition fail. The placement is
// `split(10,"key","jump")`.
//
// Predecessors: those of a and those of b.
func Split(percent int, a, b Partitioner) Partitioner {
	s := &split{percent: percent, a: partOf(a), b: partOf(b)}
	s.placement = form(splitPlacement, strconv.Itoa(percent), s.a.quoted(), s.b.quoted())
	s.seed = splitSeed + splitStep*uint32(strings.Count(s.placement, splitPlacement+"(")-1)
	if percent < 0 || percent > 100 {
		return newInvalid(s.placement, "the percentage is %d, want 0 to 100", percent)
	}
	return compose(s, &s.a, &s.b)
}

type split struct {
	placement string        // immutable
	percent   int           // immutable
	seed      uint32        // immutable
	a, b      part          // immutable
	keyless   atomic.Uint64 // records without a key so far
}

func (s *split) Placement() string { return s.placement }

func (s *split) Check(n int) error {
	if err := s.a.Check(n); err != nil {
		return err
	}
	return s.b.Check(n)
}

// ofKey returns a key's side.
func (s *split) ofKey(key []byte) *part {
	return s.side(uint64(murmur3.SeedSum32(s.seed, key)) * 100 >> 32)
}

// ofTurn returns the side of a record without a key. Steps of 37 reach all
// hundredths, and change sides often.
func (s *split) ofTurn(turn uint64) *part { return s.side(turn % 100 * 37 % 100) }

func (s *split) side(hundredth uint64) *part {
	if hundredth < uint64(s.percent) {
		return &s.a
	}
	return &s.b
}

// of returns the side of a record that is to be appended.
func (s *split) of(rec *record.Record) *part {
	if rec.Key == nil {
		return s.ofTurn(s.keyless.Add(1) - 1)
	}
	return s.ofKey(rec.Key)
}

func (s *split) Partition(rec record.Record, n int) (int, error) {
	return s.of(&rec).Partition(rec, n)
}

func (s *split) route(rec record.Record, n int) (int, error) {
	if rec.Key == nil {
		return s.ofTurn(s.keyless.Load()).route(rec, n)
	}
	return s.ofKey(rec.Key).route(rec, n)
}

func (s *split) partitionKey(key []byte, n int) int { return s.ofKey(key).partitionKey(key, n) }

func (s *split) partitionLoad(rec record.Record, load []Load) (int, error) {
	return s.of(&rec).partitionLoad(rec, load)
}

func (s *split) BatchEnd(partition, records, bytes int) {
	s.a.BatchEnd(partition, records, bytes)
	s.b.BatchEnd(partition, records, bytes)
}

func (s *split) KeyPartitions(key []byte, n int) []int { return s.ofKey(key).KeyPartitions(key, n) }

func (s *split) Predecessors(old, n, p int) []int {
	return union(s.a.Predecessors(old, n, p), s.b.Predecessors(old, n, p))
}

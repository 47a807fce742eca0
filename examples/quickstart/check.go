package main

import (
	"bytes"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
)

// A tally is what a checker found.
type tally struct {
	records    int   // read
	keys       int   // different ones
	partitions []int // records of each

	lost     int // sent and never read
	repeated int // read again, each time
	// swapped is the least number of exchanges of two records that would put
	// each key's records in order.
	swapped int
	// foreign were never sent, came back altered, or are in a partition that
	// is not their key's.
	foreign int
}

func (t tally) violations() int { return t.lost + t.repeated + t.swapped + t.foreign }

// A checker compares records that are read with those that were sent. Each
// fault counts once: a record that comes back altered is foreign and not lost
// too.
type checker struct {
	sent  []braidlog.Record             // number i has i in its ID
	home  func(key []byte) (int, error) // the partition of a key
	keys  map[string]*keyState
	seen  []bool // by number
	found tally
}

// A keyState is what was read of one key.
type keyState struct {
	home    int   // the partition it belongs to
	numbers []int // of its records, in the order they were read
}

func newChecker(sent []braidlog.Record, partitions int, home func(key []byte) (int, error)) *checker {
	return &checker{
		sent:  sent,
		home:  home,
		keys:  map[string]*keyState{},
		seen:  make([]bool, len(sent)),
		found: tally{partitions: make([]int, partitions)},
	}
}

// read takes the next record of its partition.
func (c *checker) read(rec *braidlog.Record) error {
	key, err := c.key(rec.Key)
	if err != nil {
		return err
	}
	c.found.records++
	c.found.partitions[rec.Partition]++
	n := jsonl.Number(rec, c.sent)
	switch {
	case n < 0:
		c.found.foreign++
	case rec.Partition != key.home || !same(rec, &c.sent[n]):
		c.found.foreign++
		c.seen[n] = true
	case c.seen[n]:
		c.found.repeated++
	default:
		c.seen[n] = true
		key.numbers = append(key.numbers, n)
	}
	return nil
}

// key returns the state of a key, which may be a new one.
func (c *checker) key(key []byte) (*keyState, error) {
	if k := c.keys[string(key)]; k != nil {
		return k, nil
	}
	home, err := c.home(key)
	if err != nil {
		return nil, err
	}
	k := &keyState{home: home}
	c.keys[string(key)] = k
	return k, nil
}

func same(a, b *braidlog.Record) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// result returns what was found, once everything was read.
func (c *checker) result() tally {
	t := c.found
	t.keys = len(c.keys)
	for _, seen := range c.seen {
		if !seen {
			t.lost++
		}
	}
	for _, k := range c.keys {
		t.swapped += swaps(k.numbers)
	}
	return t
}

// swaps sorts different numbers by exchanging two at a time, and returns how
// many exchanges that took. Each puts one number in its place for good, and
// the last of a cycle two: fewer do not suffice.
func swaps(numbers []int) (n int) {
	sorted := slices.Sorted(slices.Values(numbers))
	for i := range numbers {
		for numbers[i] != sorted[i] {
			place, _ := slices.BinarySearch(sorted, numbers[i])
			numbers[i], numbers[place] = numbers[place], numbers[i]
			n++
		}
	}
	return n
}

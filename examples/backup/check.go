package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// ends are offsets, by topic and partition.
type ends [len(topics)][]int

// A ledger is what was acknowledged.
type ledger struct {
	run [16]byte // what the IDs of this run begin with

	mu     sync.Mutex
	sent   [len(topics)][][]braidlog.Record // guarded by mu; by topic, partition and offset
	places map[[16]byte]place               // guarded by mu; of each ID
}

// A place is where a record belongs.
type place struct{ topic, partition, offset, order int }

func newLedger() *ledger {
	l := &ledger{places: map[[16]byte]place{}}
	rand.Read(l.run[:8]) // never fails
	for i := range l.sent {
		l.sent[i] = make([][]braidlog.Record, config.Partitions)
	}
	return l
}

// record makes the record of an order for a topic. Its ID is this run's, the
// topic's number and the order's, so that it is known again.
func (l *ledger) record(topic, order int) braidlog.Record {
	id := l.run
	binary.BigEndian.PutUint32(id[8:], uint32(topic))
	binary.BigEndian.PutUint32(id[12:], uint32(order))
	return braidlog.Record{
		ID:    id,
		Key:   fmt.Appendf(nil, "customer-%d", order%customers),
		Value: fmt.Appendf(nil, `{"order":%d,"customer":%d,"cents":%d}`, order, order%customers, 100+order%9900),
	}
}

// note enters a record that was acknowledged. One with a lower offset may come
// later.
func (l *ledger) note(topic, order int, pos braidlog.Position, rec braidlog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.sent[topic][pos.Partition]
	for int64(len(*p)) <= pos.Offset {
		*p = append(*p, braidlog.Record{})
	}
	(*p)[pos.Offset] = rec
	l.places[rec.ID] = place{topic, pos.Partition, int(pos.Offset), order}
}

// ends returns the offsets behind the last records that were acknowledged.
func (l *ledger) ends() (all ends) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, parts := range l.sent {
		for _, p := range parts {
			all[i] = append(all[i], len(p))
		}
	}
	return all
}

// A tally is what was found in a store.
type tally struct {
	counts [len(topics)]int // records read

	lost     int // acknowledged in time, or followed by others, and not there
	repeated int // read again, each time
	swapped  int // the least number of exchanges that would put them in order
	foreign  int // never sent, altered, or not where they belong
	unpaired int // payments whose order is not there
}

func (t tally) violations() int { return t.lost + t.repeated + t.swapped + t.foreign + t.unpaired }

// readBack opens a store, reads everything and compares it with what was sent,
// of which at least so much must be there. Nobody appends any more.
func readBack(ctx context.Context, dir string, sent *ledger, least ends) (t tally, err error) {
	store, err := braidlog.Open(dir, braidlog.Options{})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var orders [len(topics)]map[int]bool
	for i, name := range topics {
		topic, err := store.Topic(name)
		if err != nil {
			return t, err
		}
		orders[i] = map[int]bool{}
		for n := range topic.NumPartitions() {
			c := checker{ledger: sent, topic: i, partition: n, orders: orders[i], seen: map[int]bool{}, found: &t}
			for rec, err := range topic.Partition(n).Records(ctx, partition.First()) {
				if err != nil {
					return t, err
				}
				c.read(&rec)
			}
			c.end(least[i][n])
		}
	}
	for order := range orders[1] {
		if !orders[0][order] {
			t.unpaired++
		}
	}
	return t, nil
}

// A checker compares one partition with what was sent to it.
type checker struct {
	ledger           *ledger
	topic, partition int
	orders           map[int]bool // those found in the topic
	seen             map[int]bool // offsets at which what was read belongs
	inOrder          []int        // the same, in the order they were read
	found            *tally
}

// read takes the next record.
func (c *checker) read(rec *braidlog.Record) {
	c.found.counts[c.topic]++
	p, ok := c.ledger.places[rec.ID]
	switch {
	case !ok || p.topic != c.topic || p.partition != c.partition:
		c.found.foreign++
		return
	case c.seen[p.offset]:
		c.found.repeated++
		return
	case !same(rec, &c.ledger.sent[p.topic][p.partition][p.offset]):
		c.found.foreign++ // and so not lost too
	default:
		c.inOrder = append(c.inOrder, p.offset)
	}
	c.seen[p.offset], c.orders[p.order] = true, true
}

func same(a, b *braidlog.Record) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// end is called when everything was read, which must be the first least
// records or more.
func (c *checker) end(least int) {
	for offset := range c.seen {
		least = max(least, offset+1)
	}
	c.found.lost += least - len(c.seen)
	c.found.swapped += swaps(c.inOrder)
}

// swaps sorts different numbers by exchanging two at a time, and returns how
// many exchanges that took: the least there can be.
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

package show

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// A Ledger knows what is appended to a topic, one after the other, and compares
// it with what is read: every record must be there once, unchanged, and in its
// partition behind those that were appended before it.
type Ledger struct {
	sent  []braidlog.Record
	read  []bool // by number
	byKey bool
	last  map[string]int // the number that was read last, by partition or key
}

// NewLedger returns a ledger of records that are about to be appended, and
// gives each its number, from 0, as its ID.
func NewLedger(sent []braidlog.Record) *Ledger {
	for i := range sent {
		binary.BigEndian.PutUint64(sent[i].ID[8:], uint64(i)+1) // no ID is 0
	}
	return &Ledger{sent: sent, read: make([]bool, len(sent)), last: map[string]int{}}
}

// NewKeyLedger is NewLedger for who keeps the records of a key in order, and
// takes different keys of a partition side by side.
func NewKeyLedger(sent []braidlog.Record) *Ledger {
	l := NewLedger(sent)
	l.byKey = true
	return l
}

// Number returns the number of a record, -1 if it was given none.
func Number(rec *braidlog.Record) int { return int(binary.BigEndian.Uint64(rec.ID[8:])) - 1 }

// Read takes the next record of a partition, or of a key. It returns an error if that is not
// one that should come here.
func (l *Ledger) Read(rec *braidlog.Record) error {
	n := Number(rec)
	lane := fmt.Sprint(rec.Partition)
	if l.byKey {
		lane = string(rec.Key)
	}
	last, any := l.last[lane]
	switch where := fmt.Sprintf("%s, partition %d, offset %d", rec.Topic, rec.Partition, rec.Offset); {
	case n < 0 || n >= len(l.sent):
		return fmt.Errorf("%s: a record that was never appended: %.100q", where, rec.Value)
	case l.read[n]:
		return fmt.Errorf("%s: record %d again", where, n)
	case !same(rec, &l.sent[n]):
		return fmt.Errorf("%s: record %d was changed: %.100q", where, n, rec.Value)
	case any && n < last:
		return fmt.Errorf("%s: record %d comes after record %d", where, n, last)
	}
	l.read[n], l.last[lane] = true, n
	return nil
}

func same(a, b *braidlog.Record) bool {
	return (a.Key == nil) == (b.Key == nil) && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.OriginTime.Equal(b.OriginTime)
}

// End returns an error if a record was not read.
func (l *Ledger) End() error {
	lost, first := 0, 0
	for n := len(l.read) - 1; n >= 0; n-- {
		if !l.read[n] {
			lost, first = lost+1, n
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d records are not there that were appended, the first of them number %d", lost, first)
	}
	return nil
}

// ReadBack reads all of a topic, which must be what was appended. It returns the
// records by their numbers, each with the partition and the offset it has.
func (l *Ledger) ReadBack(ctx context.Context, topic *braidlog.Topic) ([]braidlog.Record, error) {
	got := make([]braidlog.Record, len(l.sent))
	for rec, err := range topic.Records(ctx, partition.First()) {
		if err == nil {
			err = l.Read(&rec)
		}
		if err != nil {
			return nil, err
		}
		got[Number(&rec)] = rec
	}
	if err := l.End(); err != nil {
		return nil, fmt.Errorf("%s: %w", topic.Name(), err)
	}
	return got, nil
}

// Count returns how many of the records each of n partitions has.
func Count(recs []braidlog.Record, n int) []int {
	counts := make([]int, n)
	for i := range recs {
		counts[recs[i].Partition]++
	}
	return counts
}

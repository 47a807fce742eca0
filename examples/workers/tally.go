package main

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// A tally compares the records that members process with those that were sent.
type tally struct {
	sent []braidlog.Record // number i has i in its ID

	// Guarded by mu:
	mu    sync.Mutex
	bar   *show.Progress
	times []int          // by number: how often it was processed
	held  []int          // by number: how often by who then crashed and did not commit it
	last  map[string]int // by key: the greatest number that was processed
	first int            // records that were processed at least once
	found figures        // but for Lost
	// foreign were never sent, or came altered.
	foreign int
}

func newTally(sent []braidlog.Record, bar *show.Progress) *tally {
	return &tally{
		sent: sent, bar: bar, times: make([]int, len(sent)), held: make([]int, len(sent)),
		last: map[string]int{}, found: figures{Records: len(sent)},
	}
}

// process takes records as one member was given them.
//
// What counts as a violation of order: a record that is processed for the first
// time when a later one of its key was already. One that comes again after a
// crash comes behind later ones by its nature: it is a duplicate, and no violation.
func (t *tally) process(recs []braidlog.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		t.found.Delivered++
		n := t.number(&recs[i])
		if n < 0 {
			t.foreign++
			continue
		}
		if t.times[n]++; t.times[n] > 1 {
			t.found.Duplicates++
			continue
		}
		t.first++
		key := string(recs[i].Key)
		if last, any := t.last[key]; any && n < last {
			t.found.OrderViolations++
		}
		t.last[key] = max(t.last[key], n)
	}
	t.bar.Show("process", t.first, len(t.sent))
}

// hold says that who processed records crashed, or lost them, before it could
// commit them: they are to come again.
func (t *tally) hold(recs []braidlog.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		if n := t.number(&recs[i]); n >= 0 {
			t.held[n]++
		}
	}
}

// number returns the number of a record, -1 if it is not as it was sent.
func (t *tally) number(rec *braidlog.Record) int {
	n := jsonl.Number(rec, t.sent)
	if n < 0 || !bytes.Equal(rec.Key, t.sent[n].Key) || !bytes.Equal(rec.Value, t.sent[n].Value) {
		return -1
	}
	return n
}

// share returns how much was processed at least once, from 0 to 1.
func (t *tally) share() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.first) / float64(len(t.sent))
}

// result returns what was found, once all is over.
func (t *tally) result() figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.found
	for n := range t.sent {
		if t.times[n] == t.held[n] {
			f.Lost++
		}
	}
	return f
}

// repeated returns how many records came again that nobody held who crashed.
func (t *tally) repeated() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.sent {
		n += max(0, t.times[i]-t.held[i]-1)
	}
	return n
}

// verdict returns an error if something was found that must not be.
func (t *tally) verdict() error {
	f, repeated := t.result(), t.repeated()
	if f.Lost == 0 && f.OrderViolations == 0 && repeated == 0 && t.foreign == 0 {
		return nil
	}
	return fmt.Errorf("what was processed is not what was appended: %d records lost, %d out of order, %d repeated where nobody crashed, %d foreign",
		f.Lost, f.OrderViolations, repeated, t.foreign)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
)

const (
	positionsTopic = "positions"
	ridesTopic     = "rides"
)

// A board is what the members know together.
type board struct {
	metres int            // that drivers should have driven
	ready  chan struct{}  // closed when every member has its share
	stop   func()         // ends the members; set before they begin
	sent   map[string]int // records of each topic

	// Guarded by mu:
	mu      sync.Mutex
	ledgers map[string]*show.Ledger // by topic
	roads   roads
	steps   map[string]int // of each ride
	owners  map[consumergroup.TopicPartition]string
	shares  map[consumergroup.TopicPartition]string // owners when all were ready
	handled map[string]int                          // records, by the member that had their partition
	left    int                                     // records to come
	done    bool
	err     error // the first thing that was not as it should be
}

func newBoard(positions, events []braidlog.Record) *board {
	b := &board{
		ready:   make(chan struct{}),
		sent:    map[string]int{positionsTopic: len(positions), ridesTopic: len(events)},
		ledgers: map[string]*show.Ledger{positionsTopic: show.NewKeyLedger(positions), ridesTopic: show.NewKeyLedger(events)},
		roads:   newRoads(), steps: map[string]int{},
		owners: map[consumergroup.TopicPartition]string{}, handled: map[string]int{},
	}
	should := newRoads()
	for i := range positions {
		if err := should.drive(&positions[i]); err != nil {
			panic(err) // they were made by this program
		}
	}
	b.metres = should.total()
	return b
}

// assigned is told of partitions that a member got.
func (b *board) assigned(_ context.Context, m *consumergroup.Member, tps []consumergroup.TopicPartition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, tp := range tps {
		b.owners[tp] = m.ID()
	}
	each := map[string]int{}
	for _, member := range b.owners {
		each[member]++
	}
	if b.shares == nil && len(each) == members && slices.Max(slices.Collect(maps.Values(each))) == 2*partitions/members && len(b.owners) == 2*partitions {
		b.shares = maps.Clone(b.owners)
		close(b.ready)
	}
}

// revoked is told of partitions that a member is about to let go.
func (b *board) revoked(_ context.Context, _ *consumergroup.Member, tps []consumergroup.TopicPartition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, tp := range tps {
		delete(b.owners, tp)
	}
}

// expect says how many records there will be.
func (b *board) expect(records int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = records
}

func (b *board) isDone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// handle processes one record. No other of its key is being processed.
func (b *board) handle(_ context.Context, rec braidlog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.ledgers[rec.Topic].Read(&rec)
	if err == nil && rec.Topic == positionsTopic {
		err = b.roads.drive(&rec)
	} else if err == nil {
		err = b.step(&rec)
	}
	if b.err == nil {
		b.err = err // to try it again does not help
	}
	b.handled[b.shares[consumergroup.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}]]++
	if b.left--; b.left == 0 {
		b.done = true
		b.stop()
	}
	return nil
}

// step takes a ride to its next step.
func (b *board) step(rec *braidlog.Record) error {
	ride := string(rec.Key)
	n := b.steps[ride]
	if n == len(steps) || string(rec.Value) != steps[n] {
		return fmt.Errorf("%s was %.100s after %d steps", ride, rec.Value, n)
	}
	b.steps[ride]++
	return nil
}

// figures returns what was found, or what should not have been.
func (b *board) figures() (figures, error) {
	err := b.err
	for _, topic := range []string{positionsTopic, ridesTopic} {
		if err == nil {
			err = b.ledgers[topic].End()
		}
	}
	f := figures{
		Positions: b.sent[positionsTopic], Events: b.sent[ridesTopic], Members: len(b.handled),
		Drivers: len(b.roads.driven), Metres: b.roads.total(),
	}
	for _, n := range b.steps {
		if n == len(steps) {
			f.Rides++
		}
	}
	for p := range partitions {
		if b.shares[consumergroup.TopicPartition{Topic: positionsTopic, Partition: p}] == b.shares[consumergroup.TopicPartition{Topic: ridesTopic, Partition: p}] {
			f.Joint++
		}
	}
	if err == nil && (f.Metres != b.metres || f.Rides != rides || f.Joint != partitions) {
		err = errors.New("drivers or rides are not where they should be")
	}
	return f, err
}

// draw shows who had what.
func (b *board) draw(s *show.Stage) {
	table := show.Table{{"member", "positions", "rides", "records"}}
	for _, member := range slices.Sorted(maps.Keys(b.handled)) {
		table.Add(member, b.of(member, positionsTopic), b.of(member, ridesTopic), b.handled[member])
	}
	table.Print(s)
	s.Say("")
	table = show.Table{{"driver", "at", "driven"}}
	for d := range 3 {
		driver := fmt.Sprintf("driver-%d", d)
		table.Add(driver, b.roads.at[driver], b.roads.driven[driver])
	}
	table.Print(s)
	s.Say("… and %d drivers more, %d metres in all; %d rides ended\n", len(b.roads.driven)-3, b.roads.total(), len(b.steps))
}

// of returns the partitions that a member had of a topic.
func (b *board) of(member, topic string) string {
	var numbers []int
	for p := range partitions {
		if b.shares[consumergroup.TopicPartition{Topic: topic, Partition: p}] == member {
			numbers = append(numbers, p)
		}
	}
	return fmt.Sprint(numbers)
}

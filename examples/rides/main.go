// Rides has one consumer group read two topics: where drivers are, keyed by the
// driver, and what becomes of rides, keyed by the ride. Three members process
// both while records come. Each driver's way and each ride's life are in order;
// between a driver and a ride nothing is promised.
//
//	go run ./examples/rides
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
)

const (
	drivers    = 12
	rides      = 60
	stops      = 50 // positions of each driver
	partitions = 6  // of each topic
	members    = 3
	handlers   = 4 // of each member
	batch      = 40
)

// steps are a ride's life.
var steps = []string{"requested", "accepted", "picked up", "dropped off"}

var program = show.Program{Name: "rides", Play: play}

func main() { program.Main() }

// figures are of records that were processed.
type figures struct {
	Positions int `json:"positions"`
	Events    int `json:"events"`
	Members   int `json:"members"`
	Drivers   int `json:"drivers"`
	Metres    int `json:"metres"`    // that all drivers drove
	Rides     int `json:"rides"`     // that ended
	Joint     int `json:"joint"`     // partitions whose number one member has of both topics
	Committed int `json:"committed"` // records, in the end
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	positions, events := newPositions(), newEvents()
	b := newBoard(positions, events)
	var topics []*braidlog.Topic
	for _, name := range []string{positionsTopic, ridesTopic} {
		topic, err := store.CreateTopic(ctx, name, braidlog.TopicConfig{
			Partitions: partitions,
			Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
		})
		if err != nil {
			return nil, err
		}
		topics = append(topics, topic)
	}
	group, err := store.Group("dispatch", consumergroup.Config{Topics: []string{positionsTopic, ridesTopic}})
	if err != nil {
		return nil, err
	}
	if err = b.dispatch(ctx, group, func(ctx context.Context) error {
		return drive(ctx, b, topics, s.Plant(positions), s.Plant(events))
	}); err != nil {
		return nil, err
	}
	f, err := b.figures()
	if err != nil {
		return nil, err
	}
	left, err := show.Behind(ctx, group)
	if err != nil {
		return nil, err
	}
	if f.Committed = f.Positions + f.Events - left; left > 0 {
		return nil, fmt.Errorf("%d records were processed and not committed", left)
	}
	b.draw(s)
	return f, nil
}

// dispatch has members process both topics while act acts, from when each has
// its share until everything is processed.
func (b *board) dispatch(ctx context.Context, group *consumergroup.Group, act func(ctx context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	b.stop = stop
	g, running := errgroup.WithContext(running)
	for range members {
		g.Go(func() error {
			err := group.Run(running, consumergroup.RunConfig{
				Workers: handlers,
				Member:  consumergroup.MemberConfig{OnAssigned: b.assigned, OnRevoked: b.revoked},
			}, b.handle)
			if b.isDone() && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	g.Go(func() error {
		select {
		case <-b.ready:
			return act(running)
		case <-running.Done():
			return running.Err()
		}
	})
	return g.Wait()
}

// drive appends what happens, to one topic and the other in turn.
func drive(ctx context.Context, b *board, topics []*braidlog.Topic, positions, events []braidlog.Record) error {
	b.expect(len(positions) + len(events))
	for len(positions)+len(events) > 0 {
		for i, rest := range []*[]braidlog.Record{&positions, &events} {
			n := min(batch, len(*rest))
			if err := topics[i].AppendBatch(ctx, (*rest)[:n]); err != nil {
				return err
			}
			*rest = (*rest)[n:]
		}
	}
	return nil
}

// newPositions returns where drivers are: metres along their road, to and fro, so
// that the way they drove is known only to who has them in order.
func newPositions() (recs []braidlog.Record) {
	for i := range stops {
		for d := range drivers {
			at := (i*i*37 + d*1000 + i*d*11) % 5000
			recs = append(recs, braidlog.Record{Key: fmt.Appendf(nil, "driver-%d", d), Value: fmt.Append(nil, at)})
		}
	}
	return recs
}

// newEvents returns what becomes of rides, many of them at a time.
func newEvents() (recs []braidlog.Record) {
	type event struct{ ride, step int }
	var all []event
	for ride := range rides {
		for step := range steps {
			all = append(all, event{ride, step})
		}
	}
	at := func(e event) int { return e.ride*2 + e.step*(7+e.ride%5) }
	slices.SortStableFunc(all, func(a, b event) int { return at(a) - at(b) })
	for _, e := range all {
		recs = append(recs, braidlog.Record{Key: fmt.Appendf(nil, "ride-%d", e.ride), Value: []byte(steps[e.step])})
	}
	return recs
}

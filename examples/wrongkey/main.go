// Wrongkey appends the life of 600 orders to three topics: keyed at random, by
// status, and by order. Then a reader takes a record of each partition in turn,
// as workers with a partition each would. By a random key the partitions are
// even, and orders are shipped before they are paid; by status they are not even
// that; by the order's number they are even, and every order is in order.
//
//	go run ./examples/wrongkey
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partition"
)

const (
	orders     = 600
	partitions = 6
)

// statuses are an order's life.
var statuses = []string{"placed", "paid", "packed", "shipped", "on its way", "on its way", "on its way", "delivered"}

// An event is one step in an order's life.
type event struct{ order, step int }

// keys are what the events may be keyed by.
var keys = []struct {
	name string
	key  func(e event, chance *rand.Rand) string
}{
	{"random", func(_ event, chance *rand.Rand) string { return fmt.Sprintf("%016x", chance.Uint64()) }},
	{"status", func(e event, _ *rand.Rand) string { return statuses[e.step] }},
	{"order", func(e event, _ *rand.Rand) string { return fmt.Sprintf("order-%d", e.order) }},
}

var program = show.Program{Name: "wrongkey", Play: play}

func main() { program.Main() }

// figures are of events that were read back.
type figures struct {
	Records        int     `json:"records"` // in each topic
	Orders         int     `json:"orders"`
	RandomSkew     float64 `json:"random_skew"` // largest partition over the mean
	RandomDisorder int     `json:"random_disorder"`
	StatusSkew     float64 `json:"status_skew"`
	StatusDisorder int     `json:"status_disorder"`
	OrderSkew      float64 `json:"order_skew"`
	OrderDisorder  int     `json:"order_disorder"` // orders with a step before an earlier one
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	events := newEvents()
	var skew [3]float64
	var disorder [3]int
	for i, k := range keys {
		topic, err := store.CreateTopic(ctx, "by-"+k.name, braidlog.TopicConfig{
			Partitions: partitions,
			Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
		})
		if err != nil {
			return nil, err
		}
		chance := rand.New(rand.NewPCG(2026, 3))
		var recs []braidlog.Record
		for _, e := range events {
			recs = append(recs, braidlog.Record{Key: []byte(k.key(e, chance)), Value: fmt.Appendf(nil, "%d %d", e.order, e.step)})
		}
		ledger := show.NewLedger(recs)
		if err = topic.AppendBatch(ctx, s.Plant(recs)); err != nil {
			return nil, err
		}
		counts, mixed, err := read(ctx, topic, ledger)
		if err != nil {
			return nil, err
		}
		skew[i], disorder[i] = show.Skew(counts), mixed
		s.Say("keyed by %s: largest/mean %.2f, %d of %d orders in disorder", k.name, skew[i], mixed, orders)
		show.Partitions(s, counts)
		s.Say("")
	}
	f := figures{len(events), orders, skew[0], disorder[0], skew[1], disorder[1], skew[2], disorder[2]}
	if f.RandomDisorder == 0 || f.StatusDisorder == 0 || f.OrderDisorder > 0 || f.StatusSkew < 1.5 || f.OrderSkew > 1.5 {
		return nil, fmt.Errorf("only the order should keep orders in order and partitions even: %+v", f)
	}
	return f, nil
}

// newEvents returns the events of all orders as they happen: a new order while
// others are on their way.
func newEvents() (all []event) {
	for order := range orders {
		for step := range statuses {
			all = append(all, event{order, step})
		}
	}
	at := func(e event) int { return e.order*3 + e.step*(20+e.order%11) }
	slices.SortStableFunc(all, func(a, b event) int { return at(a) - at(b) })
	return all
}

// read reads a record of each partition in turn until there are no more. It
// returns how many each had, and how many orders had a step before an earlier
// one.
func read(ctx context.Context, topic *braidlog.Topic, ledger *show.Ledger) (counts []int, disorder int, err error) {
	var readers []*partition.Reader
	for i := range topic.NumPartitions() {
		r := topic.Partition(i).NewReader(partition.First())
		defer r.Close()
		readers = append(readers, r)
	}
	counts = make([]int, len(readers))
	steps, mixed := map[int]int{}, map[int]bool{} // by order
	for ended := 0; ended < len(readers) && ctx.Err() == nil; {
		ended = 0
		for i, r := range readers {
			rec, err := r.TryNext()
			if errors.Is(err, braidlog.ErrEnd) {
				ended++
				continue
			}
			if err == nil {
				err = ledger.Read(rec)
			}
			if err != nil {
				return nil, 0, err
			}
			counts[i]++
			var e event
			if _, err = fmt.Sscan(string(rec.Value), &e.order, &e.step); err != nil {
				return nil, 0, fmt.Errorf("%.100q is no event: %w", rec.Value, err)
			}
			if e.step < steps[e.order] {
				mixed[e.order] = true
			}
			steps[e.order] = max(steps[e.order], e.step)
		}
	}
	return counts, len(mixed), errors.Join(ctx.Err(), ledger.End())
}

// Weighted shares jobs among machines of different speed: two of them do 35 jobs
// a second and three do 10. Each has a partition, and partitioner.Weighted gives
// partitions jobs in these proportions: of any 100 jobs in a row, each machine
// has exactly its share. So all are done at the same time, which they are not if
// every machine gets as much as the others.
//
//	go run ./examples/weighted
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partitioner"
)

const jobs = 1000

// speeds are what each machine does in a second, and the weights.
var speeds = []int{35, 35, 10, 10, 10}

var program = show.Program{Name: "weighted", Play: play}

func main() { program.Main() }

// figures are of jobs that were read back.
type figures struct {
	Records       int     `json:"records"`
	Partitions    []int   `json:"partitions"`      // jobs of each
	Windows       int     `json:"windows"`         // of 100 jobs in a row
	Exact         int     `json:"exact"`           // of these, those with exact shares
	Seconds       float64 `json:"seconds"`         // until all machines are done
	SecondsInTurn float64 `json:"seconds_in_turn"` // the same, if they take turns
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	byWeight, err := share(ctx, s, store, "by-weight", partitioner.Weighted(speeds...))
	if err != nil {
		return nil, err
	}
	inTurn, err := share(ctx, s, store, "in-turn", partitioner.RoundRobin())
	if err != nil {
		return nil, err
	}
	f := figures{Records: len(byWeight), Partitions: show.Count(byWeight, len(speeds))}
	f.Windows, f.Exact = windows(byWeight)
	s.Say("%d jobs. %d of the %d stretches of 100 in a row have exactly the shares %d.\n", f.Records, f.Exact, f.Windows, speeds)
	f.Seconds = draw(s, "by weight", f.Partitions)
	f.SecondsInTurn = draw(s, "in turn", show.Count(inTurn, len(speeds)))
	if f.Exact != f.Windows || f.Seconds >= f.SecondsInTurn {
		return nil, fmt.Errorf("the shares are not those of the weights: %+v", f)
	}
	return f, nil
}

// share appends the jobs to a topic with a partition for each machine, and
// returns where each job is.
func share(ctx context.Context, s *show.Stage, store *braidlog.Store, name string, p partitioner.Partitioner) ([]braidlog.Record, error) {
	topic, err := store.CreateTopic(ctx, name, braidlog.TopicConfig{
		Partitions: len(speeds), Partitioner: p,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
	if err != nil {
		return nil, err
	}
	var recs []braidlog.Record
	for i := range jobs {
		recs = append(recs, braidlog.Record{Value: fmt.Appendf(nil, "resize image %d", i)})
	}
	ledger := show.NewLedger(recs)
	if err = topic.AppendBatch(ctx, s.Plant(recs)); err != nil {
		return nil, err
	}
	return ledger.ReadBack(ctx, topic)
}

// windows looks at all stretches of as many jobs in a row as the weights sum to,
// and at how many of them have exactly the weights.
func windows(recs []braidlog.Record) (all, exact int) {
	size := 0
	for _, n := range speeds {
		size += n
	}
	counts := make([]int, len(speeds))
	for i := range recs {
		counts[recs[i].Partition]++
		if i >= size {
			counts[recs[i-size].Partition]--
		}
		if i < size-1 {
			continue
		}
		all++
		if fmt.Sprint(counts) == fmt.Sprint(speeds) {
			exact++
		}
	}
	return all, exact
}

// draw shows how long each machine works. It returns when the last is done.
func draw(s *show.Stage, how string, counts []int) (last float64) {
	table := show.Table{{how, "jobs", "a second", "seconds", ""}}
	for i, n := range counts {
		seconds := show.Round(float64(n) / float64(speeds[i]))
		last = max(last, seconds)
		table.Add(fmt.Sprintf("machine %d", i), n, speeds[i], seconds, show.Bar(int(seconds), 20))
	}
	table.Print(s)
	s.Say("done after %.0f s\n", last)
	return last
}

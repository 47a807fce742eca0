// Workers has the members of a consumer group process JSON lines, by default the
// flights of the quickstart, and checks what they were given: every record, those
// of a key in order, and none twice but where a member crashed.
//
//	go run ./examples/workers
//	go run ./examples/workers -members 5 -churn
//	go run ./examples/workers -data orders.jsonl -key customer -partitions 12
//
// With -churn members join, leave and crash all the while. One that crashes stops
// between processing records and committing them, without a word; the group takes
// its partitions away when it made no progress for a while.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
	"github.com/braidlog/braidlog/examples/internal/show"
)

const (
	defaultPartitions = 6
	defaultMembers    = 3
	maxMembers        = 1000
)

func main() { show.Main(run) }

// run is main that returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return new(options).program().Run(ctx, args, stdout, stderr)
}

// options are what the command line says.
type options struct {
	data       string // a file; "": the flights
	key        string // the field
	partitions int
	members    int
	churn      bool
}

func (o *options) program() show.Program {
	return show.Program{Name: "workers", Play: o.play, Flags: o.flags}
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.data, "data", "", "process the lines of this `file` of JSON objects (default the 5,000 flights of the quickstart)")
	f.StringVar(&o.key, "key", jsonl.DefaultKey, "the `field` that is a record's key")
	f.IntVar(&o.partitions, "partitions", defaultPartitions, "`number` of partitions")
	f.IntVar(&o.members, "members", defaultMembers, "`number` of members to begin with")
	f.BoolVar(&o.churn, "churn", false, "have members join, leave and crash")
}

// check returns what is wrong with the flags.
func (o *options) check() error {
	switch {
	case o.partitions < 1 || o.partitions > braidlog.MaxPartitions:
		return fmt.Errorf("-partitions is %d, want 1 to %d", o.partitions, braidlog.MaxPartitions)
	case o.members < 1 || o.members > maxMembers:
		return fmt.Errorf("-members is %d, want 1 to %d", o.members, maxMembers)
	}
	return nil
}

// figures are of what the members processed.
type figures struct {
	Records         int `json:"records"`    // appended
	Delivered       int `json:"delivered"`  // and processed, each time
	Duplicates      int `json:"duplicates"` // of these, those that were not the first time
	Lost            int `json:"lost"`       // records that nobody processed, or only who crashed
	OrderViolations int `json:"order_violations"`
	Rebalances      int `json:"rebalances"` // how often the partitions were divided anew
}

func (o *options) play(ctx context.Context, s *show.Stage) (_ any, err error) {
	if err = o.check(); err != nil {
		return nil, err
	}
	recs, err := jsonl.Load(o.data, o.key)
	if err != nil {
		return nil, err
	}
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := store.CreateTopic(ctx, "lines", braidlog.TopicConfig{Partitions: o.partitions})
	if err != nil {
		return nil, err
	}
	bar := s.Progress()
	if err = show.AppendAll(ctx, topic, s.Plant(recs), bar); err != nil {
		return nil, err
	}
	c := newCrew(topic, newTally(recs, bar), o.churn)
	if err = c.run(ctx, o.members); err != nil {
		return nil, err
	}
	c.draw(s)
	found := c.tally.result()
	found.Rebalances = c.rebalances
	return found, c.tally.verdict()
}

// Quickstart appends JSON lines to a topic, by default 5,000 real flights, each
// keyed by its airport of origin; then it opens the store again, reads
// everything back and checks that every key's records are all there, once and
// in order.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -data orders.jsonl -key customer -partitions 12
//
// With -dir it keeps the store and, run again, appends to it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
	"github.com/braidlog/braidlog/examples/internal/show"
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
	partitions int    // 0: not given
	given      bool   // -partitions was
}

func (o *options) program() show.Program {
	return show.Program{
		Name:     "quickstart",
		Play:     o.demonstrate,
		Flags:    o.flags,
		DirUsage: "keep the store in this `directory` (default a temporary one, removed in the end)",
		Makes:    []string{}, // a store that is there is appended to
	}
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.data, "data", "", "append the lines of this `file` of JSON objects (default 5,000 flights that are part of the program)")
	f.StringVar(&o.key, "key", jsonl.DefaultKey, "the `field` that is a record's key")
	f.Func("partitions", "`number` of partitions, 1 to 100,000 (default 6, or as many as the topic in -dir has)", func(s string) (err error) {
		o.given = true
		o.partitions, err = strconv.Atoi(s)
		if errors.Is(err, strconv.ErrRange) {
			return nil // a number, and the nearest int is out of range too
		}
		return err
	})
}

// demonstrate does what the program is for.
func (o *options) demonstrate(ctx context.Context, s *show.Stage) (any, error) {
	if n := o.partitions; o.given && (n < 1 || n > braidlog.MaxPartitions) {
		return nil, fmt.Errorf("-partitions is %d, want 1 to %d", n, braidlog.MaxPartitions)
	}
	recs, err := jsonl.Load(o.data, o.key)
	if err != nil {
		return nil, err
	}
	bar := s.Progress()
	began := time.Now()
	starts, err := fill(ctx, s.Dir, o.partitions, recs, s, bar)
	if err != nil {
		return nil, err
	}
	found, err := readBack(ctx, s.Dir, starts, recs, bar)
	if err != nil {
		return nil, err
	}
	return nil, report(s.Stdout, s.JSON, found, time.Since(began))
}

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
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/braidlog/braidlog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main that returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // parse has said what is wrong
		return 2
	}
	return exitStatus(stderr, o.demonstrate(ctx, stdout, stderr))
}

// exitStatus reports err in one line.
func exitStatus(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "quickstart: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// options are what the command line says.
type options struct {
	data       string // a file; "": the flights
	key        string // the field
	partitions int    // 0: not given
	given      bool   // -partitions was
	dir        string // "": a temporary one
	json       bool
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.data, "data", "", "append the lines of this `file` of JSON objects (default 5,000 flights that are part of the program)")
	f.StringVar(&o.key, "key", "origin", "the `field` that is a record's key")
	f.Func("partitions", "`number` of partitions, 1 to 100,000 (default 6, or as many as the topic in -dir has)", func(s string) error {
		o.given = true
		o.partitions, err = strconv.Atoi(s)
		if errors.Is(err, strconv.ErrRange) {
			return nil // a number, and the nearest int is out of range too
		}
		return err
	})
	f.StringVar(&o.dir, "dir", "", "keep the store in this `directory` (default a temporary one, removed in the end)")
	f.BoolVar(&o.json, "json", false, "print nothing but the figures, as JSON")
	if err = f.Parse(args); err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, err)
		f.Usage()
	}
	return o, err
}

// demonstrate does what the program is for.
func (o options) demonstrate(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if n := o.partitions; o.given && (n < 1 || n > braidlog.MaxPartitions) {
		return fmt.Errorf("-partitions is %d, want 1 to %d", n, braidlog.MaxPartitions)
	}
	recs, err := o.load()
	if err != nil {
		return err
	}
	dir, remove, err := o.place()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()

	text, bar := stdout, newProgress(stderr)
	if o.json {
		text, bar = io.Discard, &progress{}
	}
	began := time.Now()
	starts, err := fill(ctx, dir, o.partitions, recs, text, bar)
	if err != nil {
		return err
	}
	found, err := readBack(ctx, dir, starts, recs, bar)
	if err != nil {
		return err
	}
	return report(stdout, o.json, found, time.Since(began))
}

// place returns the store's directory and what to do with it in the end.
func (o options) place() (dir string, remove func() error, err error) {
	if o.dir != "" {
		return o.dir, func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "braidlog-quickstart-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// Recovery damages a store before the reader's eyes, in three ways, and shows
// each time what opens, what is reported and what can still be read; then it
// verifies, repairs and appends again. The damages are half a batch behind the
// last one, as a crash leaves it; one flipped bit in a segment that was full,
// as a bad disk leaves it; and an index that somebody removed.
//
//	go run ./examples/recovery
//	go run ./examples/recovery -dir /var/tmp/damaged
//
// With -dir it keeps the store and its damaged copies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

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
	return exitStatus(stderr, o.demonstrate(ctx, stdout))
}

// exitStatus reports err in one line.
func exitStatus(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "recovery: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// options are what the command line says.
type options struct {
	dir  string // "": a temporary one
	json bool

	plant func([]braidlog.Record) []braidlog.Record // tests: changes what is appended; nil: nobody does
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("recovery", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.dir, "dir", "", "keep the stores in this `directory`, which must not have them yet (default a temporary one, removed in the end)")
	f.BoolVar(&o.json, "json", false, "print nothing but the figures, as JSON")
	if err = f.Parse(args); err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, err)
		f.Usage()
	}
	return o, err
}

// demonstrate does what the program is for.
func (o options) demonstrate(ctx context.Context, stdout io.Writer) (err error) {
	dir, remove, err := o.place()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	s := &stage{dir: dir, text: stdout, sent: newRecords(0, records)}
	if o.json {
		s.text = io.Discard
	}
	appended := newRecords(0, records)
	if o.plant != nil {
		appended = o.plant(appended)
	}
	if err = s.fill(ctx, appended); err != nil {
		return err
	}
	found, err := s.play(ctx)
	if err != nil {
		return err
	}
	return report(stdout, o.json, found)
}

// place returns where the stores go, and what to do with them in the end.
func (o options) place() (dir string, remove func() error, err error) {
	if o.dir == "" {
		dir, err = os.MkdirTemp("", "braidlog-recovery-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	for _, name := range []string{whole, torn, flipped, unindexed} {
		if _, err = os.Lstat(filepath.Join(o.dir, name)); err == nil {
			return "", nil, fmt.Errorf("-dir is %s, which has a %s already", o.dir, name)
		}
	}
	return o.dir, func() error { return nil }, nil
}

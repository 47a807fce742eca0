// Retention has a topic's oldest records go by age, by what a partition may hold,
// by what a topic may hold, and not before a slow reader is done with them. What
// goes is archived in a directory. Then all records are read back, from the topics
// and from the archive: each must be there once, in order, and the topics within
// their limits.
//
//	go run ./examples/retention
//	go run ./examples/retention -dir /var/tmp/kept
//
// With -dir it keeps the store and the archive, in directories called store and
// archive.
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
	fmt.Fprintf(stderr, "retention: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// options are what the command line says.
type options struct {
	dir  string // "": a temporary one
	json bool

	plant func([]braidlog.Record) []braidlog.Record // tests: changes what is appended; nil: nobody does
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("retention", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.dir, "dir", "", "keep store and archive in this `directory`, which must not have them yet (default a temporary one, removed in the end)")
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
	text := stdout
	if o.json {
		text = io.Discard
	}
	s, err := o.open(dir)
	if err != nil {
		return err
	}
	err = s.play(ctx, text)
	if err = errors.Join(err, s.store.Close()); err != nil {
		return err
	}
	return report(stdout, o.json, s.found)
}

// place returns where store and archive go, and what to do with them in the end.
func (o options) place() (dir string, remove func() error, err error) {
	if o.dir == "" {
		dir, err = os.MkdirTemp("", "braidlog-retention-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	for _, name := range []string{storeDir, archiveDir} {
		if _, err = os.Lstat(filepath.Join(o.dir, name)); err == nil {
			return "", nil, fmt.Errorf("-dir is %s, which has a %s already", o.dir, name)
		}
	}
	return o.dir, func() error { return nil }, nil
}

// Package show is what the examples share, so that each of them is about
// braidlog and little else: a program with the flags -dir and -json, a story for
// people whose last line is for programs, bars and tables, and a ledger that
// compares what is read with what was appended.
//
// Package showtest checks such a program.
package show

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

// storeFile is in the directory of every store.
const storeFile = "store.json"

// A Program is an example that is run from the command line.
type Program struct {
	// Name is the example's directory.
	Name string
	// Play does what the program is for. It returns the figures that were found,
	// a struct with JSON tags, to be printed when it is over; nil if it has
	// reported by itself. An error is what went wrong or was found wrong: one
	// line on stderr, and exit status 1. Figures are printed all the same, and
	// the last line of the story begins with FAILED.
	Play func(ctx context.Context, s *Stage) (figures any, err error)

	// Flags, if not nil, adds flags of the program's own.
	Flags func(f *flag.FlagSet)
	// DirUsage tells what -dir is for. "": the store is kept there.
	DirUsage string
	// Makes are names that Play makes in its directory, and that -dir must not
	// have yet. nil: those of a store. Empty: there are none.
	Makes []string

	// Plant, if not nil, changes what is appended, so that a test can see the
	// program fail.
	Plant func(recs []braidlog.Record) []braidlog.Record
}

// Main is what main calls. It does not return.
func (p Program) Main() { Main(p.Run) }

// Main runs a program until it is done or interrupted, and exits with its
// status.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// Run runs the program and returns its exit status: 0 if all is as it should
// be, 1 if not, 2 if the arguments are wrong.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := p.parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // parse has said what is wrong
		return 2
	}
	return ExitStatus(p.Name, stderr, p.play(ctx, s))
}

// ExitStatus reports the error of a program in one line, unless it is nil, and
// returns the status to exit with.
func ExitStatus(name string, stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// parse reads the arguments.
func (p Program) parse(args []string, stdout, stderr io.Writer) (*Stage, error) {
	s := &Stage{Stdout: stdout, Stderr: stderr, plant: p.Plant}
	usage := p.DirUsage
	if usage == "" {
		usage = "keep the store in this `directory`, which must not have one yet (default a temporary one, removed in the end)"
	}
	f := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.Dir, "dir", "", usage)
	f.BoolVar(&s.JSON, "json", false, "print nothing but the figures, as JSON")
	if p.Flags != nil {
		p.Flags(f)
	}
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, err)
		f.Usage()
	}
	return s, err
}

// play gives Play a directory, and prints what it found.
func (p Program) play(ctx context.Context, s *Stage) (err error) {
	remove, err := p.place(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	figures, err := p.Play(ctx, s)
	switch {
	case err == nil:
		return s.report("ok "+p.Name, figures)
	case figures != nil:
		return errors.Join(err, s.report("FAILED "+p.Name, figures))
	}
	return err
}

// place finds a directory, and returns what to do with it in the end.
func (p Program) place(s *Stage) (remove func() error, err error) {
	if s.Dir == "" {
		s.Dir, err = os.MkdirTemp("", "braidlog-"+p.Name+"-")
		return func() error { return os.RemoveAll(s.Dir) }, err
	}
	makes := p.Makes
	if makes == nil {
		makes = []string{storeFile}
	}
	for _, name := range makes {
		if _, err = os.Lstat(filepath.Join(s.Dir, name)); err == nil {
			return nil, fmt.Errorf("-dir is %s, which has a %s already", s.Dir, name)
		}
	}
	return func() error { return nil }, nil
}

// Backup makes a backup of a store while it is written to: several goroutines
// append orders and, once an order is acknowledged, its payment; halfway
// through, the store is backed up, and appends go on. Then both are read back.
// The backup must have all that was acknowledged before it began, of every
// partition the first records and no others, and no payment without its order.
//
//	go run ./examples/backup
//	go run ./examples/backup -orders 100000 -dir /var/tmp/shop
//
// With -dir it keeps the store and the backup, in directories called store and
// backup.
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
	"time"
)

// maxOrders bounds what the check keeps in memory.
const maxOrders = 1_000_000

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
	fmt.Fprintf(stderr, "backup: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return 1
}

// options are what the command line says.
type options struct {
	orders int
	dir    string // "": a temporary one
	json   bool

	tamper func(backup string) error // tests: changes the backup before it is read; nil: nobody does
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("backup", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.orders, "orders", 5000, "append at least this `number` of orders, 2 to 1,000,000")
	f.StringVar(&o.dir, "dir", "", "keep store and backup in this `directory`, which must not have them yet (default a temporary one, removed in the end)")
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
	if o.orders < 2 || o.orders > maxOrders {
		return fmt.Errorf("-orders is %d, want 2 to %d", o.orders, maxOrders)
	}
	dir, remove, err := o.place()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	text := stdout
	if o.json {
		text = io.Discard
	}
	began := time.Now()
	source, backup := filepath.Join(dir, "store"), filepath.Join(dir, "backup")
	sent, least, err := fill(ctx, source, backup, o.orders, text)
	if err != nil {
		return err
	}
	if o.tamper != nil {
		if err = o.tamper(backup); err != nil {
			return err
		}
	}
	kept, err := readBack(ctx, source, sent, sent.ends())
	if err != nil {
		return err
	}
	found, err := readBack(ctx, backup, sent, least)
	if err != nil {
		return err
	}
	return report(stdout, o.json, found, kept, time.Since(began))
}

// place returns where store and backup go, and what to do with it in the end.
func (o options) place() (dir string, remove func() error, err error) {
	if o.dir == "" {
		dir, err = os.MkdirTemp("", "braidlog-backup-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	for _, name := range []string{"store", "backup"} {
		if _, err = os.Lstat(filepath.Join(o.dir, name)); err == nil {
			return "", nil, fmt.Errorf("-dir is %s, which has a %s already", o.dir, name)
		}
	}
	return o.dir, func() error { return nil }, nil
}

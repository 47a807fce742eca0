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
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/braidlog/braidlog/examples/internal/show"
)

// maxOrders bounds what the check keeps in memory.
const maxOrders = 1_000_000

func main() { show.Main(run) }

// run is main that returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return new(options).program().Run(ctx, args, stdout, stderr)
}

// options are what the command line says.
type options struct {
	orders int

	tamper func(backup string) error // tests: changes the backup before it is read; nil: nobody does
}

func (o *options) program() show.Program {
	return show.Program{
		Name:     "backup",
		Play:     o.demonstrate,
		Flags:    o.flags,
		DirUsage: "keep store and backup in this `directory`, which must not have them yet (default a temporary one, removed in the end)",
		Makes:    []string{"store", "backup"},
	}
}

func (o *options) flags(f *flag.FlagSet) {
	f.IntVar(&o.orders, "orders", 5000, "append at least this `number` of orders, 2 to 1,000,000")
}

// demonstrate does what the program is for.
func (o *options) demonstrate(ctx context.Context, s *show.Stage) (any, error) {
	if o.orders < 2 || o.orders > maxOrders {
		return nil, fmt.Errorf("-orders is %d, want 2 to %d", o.orders, maxOrders)
	}
	began := time.Now()
	source, backup := filepath.Join(s.Dir, "store"), filepath.Join(s.Dir, "backup")
	sent, least, err := fill(ctx, source, backup, o.orders, s)
	if err != nil {
		return nil, err
	}
	if o.tamper != nil {
		if err = o.tamper(backup); err != nil {
			return nil, err
		}
	}
	kept, err := readBack(ctx, source, sent, sent.ends())
	if err != nil {
		return nil, err
	}
	found, err := readBack(ctx, backup, sent, least)
	if err != nil {
		return nil, err
	}
	return nil, report(s.Stdout, s.JSON, found, kept, time.Since(began))
}

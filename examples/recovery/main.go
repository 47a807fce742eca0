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

	"github.com/braidlog/braidlog/examples/internal/show"
)

var program = show.Program{
	Name:     "recovery",
	Play:     demonstrate,
	DirUsage: "keep the stores in this `directory`, which must not have them yet (default a temporary one, removed in the end)",
	Makes:    []string{whole, torn, flipped, unindexed},
}

func main() { program.Main() }

// demonstrate does what the program is for.
func demonstrate(ctx context.Context, on *show.Stage) (any, error) {
	s := &stage{dir: on.Dir, text: on, sent: newRecords(0, records)}
	if err := s.fill(ctx, on.Plant(newRecords(0, records))); err != nil {
		return nil, err
	}
	found, err := s.play(ctx)
	if err != nil {
		return nil, err
	}
	return nil, report(on.Stdout, on.JSON, found)
}

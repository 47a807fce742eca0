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

	"github.com/braidlog/braidlog/examples/internal/show"
)

var program = show.Program{
	Name:     "retention",
	Play:     demonstrate,
	DirUsage: "keep store and archive in this `directory`, which must not have them yet (default a temporary one, removed in the end)",
	Makes:    []string{storeDir, archiveDir},
}

func main() { program.Main() }

// demonstrate does what the program is for.
func demonstrate(ctx context.Context, on *show.Stage) (any, error) {
	s, err := open(on.Dir)
	if err != nil {
		return nil, err
	}
	s.plant = on.Plant
	err = s.play(ctx, on)
	if err = errors.Join(err, s.store.Close()); err != nil {
		return nil, err
	}
	on.Say("")
	return s.found, nil
}

// Package inside is what programs of this module, and only they, can ask of a
// store: another file system, clock and source of ids, so that what they do can
// be done again to the byte.
package inside

import (
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
)

// Options are for braidlog.OpenInside. Zero values are what Open does.
type Options struct {
	FS        fs.FS
	Clock     *clock.Clock
	NewID     func() meta.ID
	ForceHeap bool // no mapped windows
	Idle      bool // no background worker: retention is enforced by hand
	// OnShared is told what the store's partitions share, before the first of
	// them is opened.
	OnShared func(*partition.Shared)
}

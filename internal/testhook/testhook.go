// Package testhook lets packages of this module open a store on a file system
// and a clock of their own, to test with, without Options having a field that
// shows it to everybody.
package testhook

import (
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
)

// A World is what a store under test runs on.
type World struct {
	FS    fs.FS        // nil: the operating system's
	Clock *clock.Clock // nil: a new one
	Heap  bool         // no mapped windows
	Idle  bool         // no background worker: retention is enforced by hand

	GroupsSegmentBytes int64 // SegmentBytes of the groups log; 0: the default

	NewID func() meta.ID // nil: meta.NewID
	// OnShared is told what the store's partitions share, before the first of
	// them is opened. Nil: nobody wants to know.
	OnShared func(*partition.Shared)
}

// Enter puts w into options, which is a *braidlog.Options: a store that is
// opened with them runs on w. Package braidlog sets it when the program starts,
// and nobody ever again; it is a variable because imports point down only.
var Enter func(options any, w World)

// Used returns how many bytes a *braidlog.Topic counts for what its partitions
// hold. It is set as Enter is.
var Used func(topic any) int64

// GroupsLog returns the partition that a *braidlog.Store has its groups log in,
// until it is repaired. It is set as Enter is.
var GroupsLog func(store any) *partition.Partition

package braidlog

import "github.com/braidlog/braidlog/internal/inside"

// OpenInside is Open for programs of this module: nobody else can name the type
// of in.
func OpenInside(dir string, o Options, in inside.Options) (*Store, error) {
	o.fs, o.clock, o.newID, o.forceHeap, o.idle, o.onShared = in.FS, in.Clock, in.NewID, in.ForceHeap, in.Idle, in.OnShared
	return Open(dir, o)
}

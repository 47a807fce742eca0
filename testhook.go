package braidlog

import (
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
)

func init() {
	testhook.Enter = func(options any, w testhook.World) {
		o := options.(*Options)
		o.fs, o.clock, o.forceHeap, o.idle = w.FS, w.Clock, w.Heap, w.Idle
		o.newID, o.onShared = w.NewID, w.OnShared
		o.groupsSegment = w.GroupsSegmentBytes
	}
	testhook.Used = func(topic any) int64 { return topic.(*Topic).quota.Used() }
	testhook.GroupsLog = func(store any) *partition.Partition { return store.(*Store).ledger.Partition() }
}

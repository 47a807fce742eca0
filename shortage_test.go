package braidlog

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// This file has the disk be full, or the descriptors run out, from some
// operation on for a while, and then not any more. Unlike a disk that fails,
// that leaves nothing in doubt: the store must go on as if nothing had been.

// A shortage is what there is none of.
type shortage struct {
	name  string
	err   error
	kinds []fs.OpKind // that fail
	ops   int64       // how many operations it lasts; 0: to the end of the history
}

// cause returns what errors have in their chain.
func (s *shortage) cause() error {
	var short *fs.ShortWriteError
	if errors.As(s.err, &short) {
		return short.Err
	}
	return s.err
}

var (
	// takeSpace are the operations that a full disk fails. A sync is none of
	// them: what is written was reserved before.
	takeSpace = []fs.OpKind{fs.OpOpenDir, fs.OpMkdir, fs.OpCreate, fs.OpRename, fs.OpLink, fs.OpWriteAt, fs.OpAllocate, fs.OpLock}
	// takeFiles are those that need a descriptor.
	takeFiles = []fs.OpKind{fs.OpOpenDir, fs.OpMkdir, fs.OpCreate, fs.OpOpen, fs.OpRename, fs.OpLink, fs.OpRemove, fs.OpList, fs.OpSyncDir, fs.OpLock}
)

var shortages = []shortage{
	{"no space, once", fs.ENOSPC, takeSpace, 1},
	{"no space for a while", &fs.ShortWriteError{N: 33, Err: fs.ENOSPC}, takeSpace, 12},
	{"no quota for long", fs.EDQUOT, takeSpace, 60},
	{"no space any more", fs.ENOSPC, takeSpace, 0},
	{"no files, once", fs.EMFILE, takeFiles, 1},
	{"no files for a while", fs.EMFILE, takeFiles, 12},
	{"no files any more", fs.EMFILE, takeFiles, 0},
}

// shortHistories are played beside histories.
var shortHistories = []struct {
	name  string
	steps []step
}{
	{"archived", []step{
		makes("orders", TopicConfig{Durability: OS, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{Dir: "/archive"}}),
		appends("orders", 30, 800), enforces("orders"), verifies(), appends("orders", 20, 800), enforces("orders")}},
	{"after an unclean end", []step{
		makes("orders", TopicConfig{}), makes("refunds", TopicConfig{Durability: OS}), appends("orders", 5, 500), appends("refunds", 9, 700),
		dies(), appends("orders", 2, 300), appends("refunds", 2, 300), verifies(), purges("refunds"), deletes("orders")}},
}

// verifies has everything read, and nothing may be damaged.
func verifies() step {
	return func(w *world) {
		if !w.open() {
			return
		}
		r, err := w.s.Verify(bg)
		w.ok(err, "store")
		require.Empty(w.t, r.Damaged)
	}
}

func TestStoreGoesOnAfterAShortage(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for _, sh := range shortages {
			for _, h := range append(slices.Clone(histories), shortHistories...) {
				t.Run(fmt.Sprint(sh.name, ", ", h.name), func(t *testing.T) {
					step := int64(2 + len(h.steps))
					if racing {
						step *= 15
					}
					for n := 1 + rand.Int64N(step); fallShort(t, heap, n, sh, h.steps); n += step {
					}
				})
			}
		}
	})
}

// fallShort plays a history with the shortage beginning at the nth operation,
// and reports whether it came that far.
func fallShort(t *testing.T, heap bool, n int64, sh shortage, steps []step) bool {
	w := newWorld(t, heap, false, uint64(n))
	w.mild, w.cause = true, sh.cause()
	var mu sync.Mutex
	var ops int64
	failed := "nothing"
	w.play(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		ops++
		if ops < n || sh.ops > 0 && ops >= n+sh.ops || !slices.Contains(sh.kinds, op.Kind) {
			return nil
		}
		if failed == "nothing" {
			failed = op.String()
		}
		return sh.err
	}, steps)
	mu.Lock()
	at := fmt.Sprintf("from operation %d on, first %s", n, failed)
	came := ops >= n
	mu.Unlock()
	w.hook = nil
	w.m.OnOp(nil)
	w.goesOn(at)
	all := w.capture(at)
	w.close()
	for _, i := range append(all, image{at + ", closed", true, w.m, all[0].topics}) {
		s, _ := i.recover(t, i.m, heap, i.killed)
		require.NoError(t, s.Close(), i.at)
		require.Zero(t, s.shared.OpenFiles(), i.at)
	}
	return came
}

// goesOn requires that everything can be done again. What failed to open, or
// was half made or deleted, may need the store to be opened again; nothing else
// may.
func (w *world) goesOn(at string) {
	w.strict = true
	defer func() { w.strict = false }()
	w.open()
	for _, t := range w.s.topics {
		for _, p := range t.parts {
			require.True(w.t, w.hurt || p.Writable(), "%s: %s/%d failed", at, t.name, p.Number())
		}
	}
	if w.s.unsettled() || w.s.ledger.Err() != nil {
		reopens()(w)
	}
	for _, name := range slices.Sorted(maps.Keys(w.topics)) {
		if w.find(name) == nil {
			continue
		}
		for _, s := range []step{appends(name, 4, 700), syncs(name), trims(name, 3), appends(name, 2, 300), verifies()} {
			s(w)
		}
	}
}

// A store on a disk that is full is opened, read and emptied.
func TestAFullDiskIsEmptied(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for _, clean := range []bool{true, false} {
			for _, level := range []Durability{Sync, OS} {
				d := newFullDisk(t, heap, clean, level)
				require.Len(t, values(t, d.topic.Records(bg, partition.First())), d.count)
				_, err := d.topic.Append(bg, Record{Value: make([]byte, 900)})
				require.ErrorIs(t, err, ErrDiskFull)
				require.ErrorContains(t, err, "append orders/")
				_, err = d.s.CreateTopic(bg, "refunds", TopicConfig{})
				require.ErrorIs(t, err, ErrDiskFull)
				require.ErrorContains(t, err, "create topic refunds: ")
				d.emptying()
				if level == Sync {
					require.NoError(t, d.topic.Purge(bg))
					require.Zero(t, d.topic.Stats().Records)
					_, err = d.topic.Append(bg, Record{Value: make([]byte, 900)})
					require.NoError(t, err)
				} else {
					require.NoError(t, d.s.DeleteTopic(bg, "orders"))
					_, err = d.s.CreateTopic(bg, "orders", TopicConfig{})
					require.NoError(t, err)
				}
				require.NoError(t, d.s.Close())
			}
		}
	})
}

// A fullDisk has a store on a disk without a byte left.
type fullDisk struct {
	m      *fs.Mem
	s      *Store
	topic  *Topic
	count  int // of records
	mu     sync.Mutex
	full   bool // guarded by mu
	freeze bool // guarded by mu; what is removed makes no room
}

func newFullDisk(t *testing.T, heap, clean bool, level Durability) *fullDisk {
	d := &fullDisk{m: fs.NewMem(), count: 40, full: true, freeze: true}
	open := func() {
		d.s = openMem(t, d.m, func(o *Options) { o.forceHeap, o.idle = heap, true })
		d.topic = ensure(t, d.s, TopicConfig{Partitions: 2, SegmentBytes: 4 << 10, Durability: level})
	}
	open()
	for i := range d.count {
		_, err := d.topic.AppendTo(bg, i%2, Record{Value: make([]byte, 900)})
		require.NoError(t, err)
	}
	killed := d.m.Kill()
	require.NoError(t, d.s.Close())
	if !clean {
		d.m = killed
	}
	d.m.OnOp(d.refuse)
	open()
	return d
}

func (d *fullDisk) refuse(op fs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op.Kind {
	case fs.OpRemove, fs.OpTruncate:
		d.full = d.full && (d.freeze || strings.HasSuffix(op.Name, ".tmp")) // there was none
	case fs.OpMkdir, fs.OpCreate, fs.OpAllocate, fs.OpWriteAt:
		inPlace := op.Kind == fs.OpWriteAt && strings.HasSuffix(op.Name, ".log") // what is written there has its space
		if d.full && !inPlace {
			return fs.ENOSPC
		}
	}
	return nil
}

// emptying lets what is removed from now on make room.
func (d *fullDisk) emptying() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeze = false
}

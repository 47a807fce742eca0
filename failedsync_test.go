package braidlog

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
)

// A revert has the kernel throw away what it cannot sync of the files whose
// names contain part, and has store.json fail to be replaced if stuck is set.
type revert struct {
	part  string
	stuck bool
}

func (r revert) hook(op fs.Op) error {
	switch {
	case op.Kind == fs.OpSync && strings.HasSuffix(op.Name, ".log") && strings.Contains(op.Name, r.part):
		return &fs.FailedSyncError{Then: fs.Reverted, Err: fs.EIO}
	case r.stuck && op.Kind == fs.OpSync && strings.Contains(op.Name, storeFile):
		return fs.EIO
	}
	return nil
}

// A failedSync is a store with three records in each of two partitions that a
// reader saw, and a sync of partition 0 is going to fail.
type failedSync struct {
	t     *testing.T
	m     *fs.Mem
	s     *Store
	topic *Topic
	ear   ear
	heap  bool
}

const seenRecords = 3

func newFailedSync(t *testing.T, c TopicConfig, heap bool) *failedSync {
	w := &failedSync{t: t, m: fs.NewMem(), heap: heap}
	w.open()
	c.Partitions = 2
	w.topic = ensure(t, w.s, c)
	for i := range 2 * seenRecords {
		_, err := w.topic.AppendTo(bg, i%2, rec("k", i))
		require.NoError(t, err)
	}
	require.Len(t, values(t, w.topic.Partition(0).Records(bg, partition.First())), seenRecords)
	return w
}

func (w *failedSync) open() {
	w.s = openMem(w.t, w.m, w.ear.hears, func(o *Options) { o.forceHeap, o.idle = w.heap, true })
}

// dies ends the process.
func (w *failedSync) dies() {
	old, s := w.m, w.s
	w.m = old.Kill()
	old.OnOp(nil)
	_ = s.Close() // of the process that is gone
}

// closes closes the store, in which a partition failed.
func (w *failedSync) closes() { require.ErrorIs(w.t, w.s.Close(), fs.EIO) }

// opens opens the store again and returns the offsets that come next.
func (w *failedSync) opens() (next [2]int64) {
	w.m.OnOp(nil)
	w.open()
	topic, err := w.s.Topic("orders")
	require.NoError(w.t, err)
	for i := range next {
		pos, err := topic.AppendTo(bg, i, rec("k", i))
		require.NoError(w.t, err)
		next[i] = pos.Offset
	}
	return next
}

// boot is the boot id in store.json.
func (w *failedSync) boot() string {
	d, err := w.m.OpenDir("/store", false)
	require.NoError(w.t, err)
	var data storeMeta
	require.NoError(w.t, meta.Read(d, storeFile, &data))
	require.NoError(w.t, d.Close())
	return data.Boot
}

func eachLevelBelowSync(t *testing.T, test func(t *testing.T, c TopicConfig, heap bool)) {
	for _, level := range []Durability{Interval, OS} {
		for _, heap := range []bool{true, false} {
			name := level.String() + "/mapped"
			if heap {
				name = level.String() + "/heap"
			}
			t.Run(name, func(t *testing.T) { test(t, TopicConfig{Durability: level}, heap) })
		}
	}
}

// failings are the syncs that can fail.
var failings = []struct {
	name  string
	fails func(w *failedSync)
}{
	{"Sync", func(w *failedSync) { require.ErrorIs(w.t, w.topic.Sync(bg), ErrOutcomeUnknown) }},
	{"a roll", func(w *failedSync) {
		p := w.topic.Partition(0)
		_ = p.RollOld(bg, p.Now().Add(time.Hour)) // which level waits for the sync is not the point
		require.ErrorIs(w.t, p.Sync(bg), ErrFailed)
	}},
	{"Close", func(*failedSync) {}},
}

// The kernel may throw away what it could not sync, and readers saw it: the
// machine goes on, and the offsets must not be given out again all the same.
// internal/rig found that they were, and had forgiven it until then.
func TestAFailedSyncIsAsBadAsAPowerCut(t *testing.T) {
	eachLevelBelowSync(t, func(t *testing.T, c TopicConfig, heap bool) {
		for _, f := range failings {
			name := f.name
			for _, killed := range []bool{false, true} {
				if killed && name == "Close" {
					continue
				}
				w := newFailedSync(t, c, heap)
				w.m.OnOp(revert{part: "/partitions/0/"}.hook)
				f.fails(w)
				if killed {
					w.dies()
				} else {
					w.closes()
				}
				boot := w.boot()
				next := w.opens()
				require.GreaterOrEqual(t, next[0], int64(seenRecords), "%s, killed: %v", name, killed)
				require.Empty(t, boot, name)
				require.Equal(t, !killed, next[1] == seenRecords, "%s: only a partition that was closed well skips nothing", name)
				require.Equal(t, w.m.BootID(), w.boot(), "all is recovered")
				require.NoError(t, w.s.Close())
				again := w.opens()
				require.Equal(t, [2]int64{next[0] + 1, next[1] + 1}, again, name)
				require.NoError(t, w.s.Close())
			}
		}
	})
}

// What was synced is all that anybody saw.
func TestAFailedSyncAtLevelSyncForgetsNothing(t *testing.T) {
	w := newFailedSync(t, TopicConfig{Durability: Sync}, true)
	w.m.OnOp(revert{part: "/partitions/0/"}.hook)
	_, err := w.topic.AppendTo(bg, 0, rec("k", 7))
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	w.dies()
	require.Equal(t, w.m.BootID(), w.boot())
	require.Equal(t, [2]int64{seenRecords, seenRecords}, w.opens())
	require.NoError(t, w.s.Close())
}

// No later write of this open brings the boot back: here the names could not be
// synced before anything was changed, and the epoch is raised behind that.
func TestAForgottenBootStaysForgotten(t *testing.T) {
	w := newFailedSync(t, TopicConfig{Durability: OS}, false)
	require.NoError(t, w.s.Close())
	w.open()
	topic, err := w.s.Topic("orders")
	require.NoError(t, err)
	w.m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSyncDir && strings.HasSuffix(op.Name, "/partitions/0") {
			return fs.EIO
		}
		return nil
	})
	require.ErrorIs(t, topic.Sync(bg), ErrOutcomeUnknown)
	require.Empty(t, w.boot(), "who hears of the failure may die")
	w.m.OnOp(nil)
	require.False(t, w.s.file.begun)
	_, err = topic.AppendTo(bg, 1, rec("k", 7))
	require.NoError(t, err)
	require.True(t, w.s.file.begun)
	require.Empty(t, w.boot())
	w.closes()
	require.Empty(t, w.boot())
	require.Len(t, w.ear.heard(Trouble), 1, "that the partition failed is told, and nothing else")
}

// store.json that cannot be written is told of, and written by Close.
func TestABootThatCannotBeForgotten(t *testing.T) {
	w := newFailedSync(t, TopicConfig{Durability: OS}, false)
	w.m.OnOp(revert{part: "/partitions/0/", stuck: true}.hook)
	require.ErrorIs(t, w.topic.Sync(bg), ErrOutcomeUnknown)
	require.NotEmpty(t, w.boot())
	w.m.OnOp(nil)
	w.closes()
	require.Empty(t, w.boot())
	told := w.ear.heard(Trouble)
	require.Len(t, told, 2)
	require.Equal(t, "the boot could not be forgotten after a failed sync", told[0].What)
	require.ErrorIs(t, told[0].Err, fs.EIO)

	w = newFailedSync(t, TopicConfig{Durability: OS}, false)
	w.m.OnOp(revert{part: "/partitions/0/", stuck: true}.hook)
	w.closes() // it says what the partition says, and nothing of store.json
	require.NotEmpty(t, w.boot())
	require.Len(t, w.ear.heard(Trouble), 3, "once when it happened, once by Close")
}

// A bootless file system has no boot id.
type bootless struct{ *fs.Mem }

func (bootless) BootID() string { return "" }

// Where there is no boot id there is nothing to forget.
func TestAFailedSyncWithoutABoot(t *testing.T) {
	m := fs.NewMem()
	s, err := Open("/store", Options{fs: bootless{m}, idle: true})
	require.NoError(t, err)
	topic := ensure(t, s, TopicConfig{Partitions: 1, Durability: OS})
	_, err = topic.Append(bg, rec("k", 0))
	require.NoError(t, err)
	m.OnOp(func(op fs.Op) error {
		require.NotContains(t, op.Name, storeFile)
		return revert{}.hook(op)
	})
	require.ErrorIs(t, topic.Sync(bg), ErrOutcomeUnknown)
	require.ErrorIs(t, s.Close(), ErrFailed)
}

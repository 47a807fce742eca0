package schedules

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/rig/witness"
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
)

// A setting is what a store is like when the operations begin.
type setting struct {
	name  string
	level braidlog.Durability
	heap  bool // no mapped windows
	cold  bool // nothing was appended since it was opened
	files int  // that may be open; 0: as many as there are
}

var settings = []setting{
	{name: "sync", level: braidlog.Sync},
	{name: "interval", level: braidlog.Interval},
	{name: "os", level: braidlog.OS},
	{name: "sync-cold", level: braidlog.Sync, cold: true},
	{name: "os-cold", level: braidlog.OS, cold: true},
	{name: "interval-heap", level: braidlog.Interval, heap: true, files: 2},
	{name: "os-files", level: braidlog.OS, files: 2},
}

const (
	storeDir  = "/store"
	backupDir = "/backup"
	topicName = "orders"
	// A segment has room for three of the large records.
	segmentBytes = 4 << 10
	largeBytes   = 900
	// before is how many records there are when a schedule begins.
	before = 8
)

// A world is a store in memory, what operations do to it, and what they saw.
type world struct {
	setting
	mu      sync.Mutex // see turn
	turns   int        // guarded by mu
	mem     *fs.Mem
	clock   *clock.Clock
	store   *braidlog.Store
	topic   *braidlog.Topic
	p       *partition.Partition
	h       *witness.History
	chance  func(n int) int // in [0, n); nil when no crash is wanted any more
	ctx     context.Context // of those who wait for a record; ended when nothing else goes on
	stop    context.CancelFunc
	waiting map[*partition.Reader]bool // those that wait so

	values     int  // how many were given out
	failing    bool // a sync failed, or will
	ending     bool // the store or topic is closed by some operation
	levels     int  // changes of the level that began, and have ended
	relaxed    bool // the level was lowered at some time
	damaged    bool // a record in the first segment is
	backedUp   bool
	closed     bool // by an operation, and Close has returned
	deleted    bool // the topic was, by an operation
	deleting   bool // the topic is deleted by some operation
	wrong      []string
	crash      *crash
	moments    int
	durableNow braidlog.Durability // level in force, 0 while it changes
}

// A crash is the disk at some moment, and what had been seen by then.
type crash struct {
	mem   *fs.Mem
	h     *witness.History
	power bool
	level bool // the level never was less than Sync
}

func config(s setting) braidlog.TopicConfig {
	return braidlog.TopicConfig{
		Partitions: 1, Durability: s.level, SegmentBytes: segmentBytes, MaxRecordBytes: 1 << 10,
		SyncEvery: braidlog.SyncEvery{Records: 2, Time: time.Minute},
		Dedup:     braidlog.Dedup{Mode: braidlog.DedupOn},
	}
}

// image returns the disk of a store with a few records in two segments, closed
// well. It is made anew each time: which fields it has may change with options.
func image(s setting) (*fs.Mem, error) {
	w := &world{setting: s, mem: fs.NewMem(), clock: clock.Still(epoch), h: &witness.History{}}
	if err := w.open(); err != nil {
		return nil, err
	}
	for i := range before {
		rec := braidlog.Record{Value: padded(fmt.Sprint("b", i), largeBytes)}
		if _, err := w.topic.Append(bg, rec); err != nil {
			return nil, err
		}
	}
	return w.mem, w.store.Close()
}

var epoch = time.Unix(1_750_000_000, 0)

// padded returns a value of n bytes that begins with name.
func padded(name string, n int) []byte {
	return []byte(name + strings.Repeat(".", max(0, n-len(name))))
}

// nameOf undoes padded.
func nameOf(value []byte) string { return strings.TrimRight(string(value), ".") }

func newWorld(s setting, mem *fs.Mem, chance func(n int) int) (*world, error) {
	w := &world{
		setting: s, mem: mem.Kill(), clock: clock.Still(epoch.Add(time.Minute)),
		h: &witness.History{}, chance: chance, durableNow: s.level, waiting: map[*partition.Reader]bool{},
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	for i := range before {
		w.h.Append(fmt.Sprint("b", i)).Done(int64(i))
	}
	w.h.Durable(before)
	if err := w.open(); err != nil {
		return nil, err
	}
	if w.cold {
		return w, nil
	}
	w.append(bg, 0)
	return w, w.topic.Sync(bg)
}

func (w *world) open() error {
	o := braidlog.Options{MaxOpenFiles: w.files}
	testhook.Enter(&o, testhook.World{FS: w.mem, Clock: w.clock, Heap: w.heap, Idle: true})
	var err error
	if w.store, err = braidlog.Open(storeDir, o); err != nil {
		return err
	}
	if w.topic, err = w.store.Topic(topicName); errors.Is(err, braidlog.ErrTopicNotFound) {
		w.topic, err = w.store.CreateTopic(context.Background(), topicName, config(w.setting))
	}
	if err != nil {
		return err
	}
	w.p = w.topic.Partition(0)
	return nil
}

// turn is called before and after operations touch the world. One runs at a time;
// this shows the race detector that they do, also if one then waits for something
// that is no mark.
func (w *world) turn() {
	w.mu.Lock()
	w.turns++
	w.mu.Unlock()
}

// value returns a new one, of n bytes or as short as it can be.
func (w *world) value(n int) (name string, value []byte) {
	w.turn()
	defer w.turn()
	w.values++
	name = fmt.Sprint("v", w.values)
	return name, padded(name, n)
}

func (w *world) complain(format string, args ...any) {
	w.turn()
	defer w.turn()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// check complains of an error that nothing explains.
func (w *world) check(op string, err error, allowed ...error) {
	w.turn()
	defer w.turn()
	if err == nil {
		return
	}
	if w.ending {
		allowed = append(allowed, braidlog.ErrClosed)
	}
	if w.failing {
		allowed = append(allowed, braidlog.ErrFailed, braidlog.ErrOutcomeUnknown, fs.EIO)
	}
	for _, a := range allowed {
		if errors.Is(err, a) {
			return
		}
	}
	w.complain("%s: %v", op, err)
}

// append appends a record of n bytes.
func (w *world) append(ctx context.Context, n int, allowed ...error) {
	name, value := w.value(n)
	a := w.h.Append(name)
	pos, err := w.topic.Append(ctx, braidlog.Record{Value: value})
	w.appended(a, pos.Offset, err)
	w.check("append", err, allowed...)
}

// appended takes down how an append ended.
func (w *world) appended(a *witness.Appending, offset int64, err error) {
	switch {
	case err == nil:
		a.Done(offset)
		w.promised(offset + 1)
	case !errors.Is(err, braidlog.ErrOutcomeUnknown):
		a.Refused()
	}
	w.moment()
}

// promised takes down that everything below end is durable, if the level says
// that.
func (w *world) promised(end int64) {
	w.turn()
	defer w.turn()
	if w.durableNow == braidlog.Sync {
		w.h.Durable(end)
	}
}

// read reads from an offset to the end.
func (w *world) read(from int64) {
	seen := w.h.Read(from)
	r := w.p.NewReader(partition.Offset(from))
	defer r.Close()
	for {
		rec, err := r.TryNext()
		if !w.saw(seen, rec, err) {
			return
		}
	}
}

// saw takes down what a reader returned, and reports whether it goes on.
func (w *world) saw(seen *witness.Reading, rec *braidlog.Record, err error) bool {
	var damage *partition.CorruptError
	var g *partition.GapError
	var trimmed *partition.OffsetError
	switch {
	case err == nil:
		seen.Saw(rec.Offset, nameOf(rec.Value))
		w.promised(rec.Offset + 1)
		return true
	case errors.Is(err, partition.ErrEnd):
		seen.Ended(0)
	case errors.As(err, &g):
		seen.Gap(g.From, g.To)
		return true
	case errors.As(err, &damage) && w.damaged && damage.FromOffset == 1 && damage.ToOffset == 2:
		seen.Gap(1, 2)
		return true
	case errors.As(err, &trimmed):
		seen.Stopped()
		if trimmed.Offset >= trimmed.Start {
			w.complain("read: %v", err)
		}
	default:
		seen.Stopped()
		w.check("read", err, context.Canceled)
	}
	w.moment()
	return false
}

// moment keeps one of the moments at which somebody was told something, each
// with the same chance: what the disk holds then has to tell the same.
func (w *world) moment() {
	w.turn()
	defer w.turn()
	w.moments++
	if w.chance == nil || w.chance(w.moments) > 0 {
		return
	}
	c := &crash{h: w.h.Branch(w.h.Len()), power: w.chance(4) > 0, level: w.level == braidlog.Sync && !w.relaxed}
	if c.mem = w.mem.Kill(); c.power {
		c.mem = c.mem.Crash(func() bool { return false })
	}
	w.crash = c
}

// end is what follows when every operation has ended: the log says the same as
// long as the store is open, after it was closed, and after the crash.
func (w *world) end() {
	closed := w.ending
	if !closed {
		w.read(0)
		w.balance()
		w.check("close", w.store.Close())
	} else if err := w.store.Close(); err != nil && !errors.Is(err, braidlog.ErrClosed) {
		w.check("close", err)
	}
	if left := w.mem.Open(); len(left) > 0 {
		w.complain("left open: %v", left)
	}
	ended, failing := w.p.Stats(), w.failing || w.p.Littered()
	w.again(w.h, w.mem, func() {
		now := w.p.Stats()
		if !failing && (ended.Start != now.Start || ended.End != now.End || ended.Bytes != now.Bytes || ended.Segments != now.Segments) {
			w.complain("books: closed as %+v, opened as %+v", ended, now)
		}
	})
	if w.backedUp {
		w.openBackup()
	}
	if c := w.crash; c != nil {
		if !c.power {
			c.h.Killed()
		} else if c.level {
			c.h.LostPower(witness.WhatWasSeen)
		} else {
			c.h.LostPower(witness.WhatWasSynced)
		}
		w.again(c.h, c.mem, func() {})
	}
}

// again opens a disk, reads everything, appends, closes, and reads again.
func (w *world) again(h *witness.History, mem *fs.Mem, look func()) {
	w.h, w.mem, w.chance, w.failing, w.ending, w.durableNow = h, mem, nil, false, false, 0
	mem.OnOp(nil)
	if err := w.open(); err != nil {
		w.complain("open again: %v", err)
		return
	}
	if w.deleting && w.p.End() == 0 { // it is gone, and was made anew
		if err := w.store.Close(); err != nil {
			w.complain("close again: %v", err)
		}
		return
	}
	if gap := w.p.Recovery().Gap; gap != nil {
		h.PassedOver(gap.From, gap.To)
	}
	w.read(0)
	look()
	w.append(bg, 0)
	w.read(0)
	w.balance()
	if err := w.store.Close(); err != nil {
		w.complain("close again: %v", err)
		return
	}
	for _, v := range h.Check() {
		w.complain("%v", v)
	}
}

// balance complains if what the store counts is not what it has.
func (w *world) balance() {
	if err := w.topic.Sync(context.Background()); err != nil {
		return // it failed: what it has is not known
	}
	if used, has := testhook.Used(w.topic), w.p.Bytes(); used != has {
		w.complain("books: %d bytes are counted, there are %d", used, has)
	}
}

// openBackup reads what was backed up, which must be what some read saw.
func (w *world) openBackup() {
	o := braidlog.Options{}
	testhook.Enter(&o, testhook.World{FS: w.mem, Clock: w.clock, Idle: true})
	s, err := braidlog.Open(backupDir, o)
	if err != nil {
		w.complain("open backup: %v", err)
		return
	}
	defer s.Close()
	t, err := s.Topic(topicName)
	if errors.Is(err, braidlog.ErrTopicNotFound) && w.deleting {
		return
	}
	if err != nil {
		w.complain("open backup: %v", err)
		return
	}
	w.p = t.Partition(0)
	seen := w.h.Read(0)
	r := w.p.NewReader(partition.First())
	defer r.Close()
	for next := int64(-1); ; {
		rec, err := r.TryNext()
		if errors.Is(err, partition.ErrEnd) || rec == nil && w.damaged && partition.Skippable(err) {
			if err == partition.ErrEnd {
				break
			}
			next = -1
			continue
		}
		if err != nil {
			w.complain("read backup: %v", err)
			break
		}
		if next >= 0 && rec.Offset != next {
			w.complain("backup: offset %d behind %d", rec.Offset, next-1)
		}
		next = rec.Offset + 1
		seen.Saw(rec.Offset, nameOf(rec.Value))
	}
	seen.Stopped()
	for _, v := range w.h.Check() {
		if v.Wrong == witness.Invented || v.Wrong == witness.Duplicated {
			w.complain("backup: %v", v)
		}
	}
}

package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
)

var bg = context.Background()

// StorePath is where the store of a history is.
const StorePath = "/store"

// topicName is the topic that histories are about.
const topicName = "a"

// epoch is when time stands still.
var epoch = time.Unix(1_700_000_000, 0)

// A World is a store under test, with all that its user knows of it. One
// goroutine plays a history in it.
type World struct {
	History
	// Reverted, if not nil, is asked whether a sync failed that may have taken back
	// what was written: what is not there when the store is opened again is gone.
	Reverted func() bool
	// Stuck, if not nil, is asked whether the store could not write down that one
	// did: then offsets that readers have seen are given out again.
	Stuck func() bool

	clock  *clock.Clock
	ids    *rand.Rand
	number int // of the last record offered
	frame  int // of the last frame offered

	store  *braidlog.Store // nil while none is open
	shared *partition.Shared
	hook   func(fs.Op) error
	errs   []error // that callers were given

	mu     sync.Mutex
	mem    *fs.Mem         // guarded by mu
	known  Known           // guarded by mu
	topic  *braidlog.Topic // guarded by mu; nil if there is none
	events []error         // guarded by mu; of events, and of what Open found
}

// NewWorld returns a world with nothing in it. hook is called before each
// operation on a file, nil never.
func NewWorld(h History, hook func(fs.Op) error) *World {
	w := &World{History: h, clock: clock.Still(epoch), ids: rand.New(rand.NewPCG(1, 0)), mem: fs.NewMem(), hook: hook}
	w.mem.Remember()
	w.mem.OnOp(hook)
	return w
}

// openOn opens a store that runs on w, and has nobody work in the background.
func openOn(path string, o braidlog.Options, w testhook.World) (*braidlog.Store, error) {
	w.Idle = true
	testhook.Enter(&o, w)
	return braidlog.Open(path, o)
}

// IDs returns a source of ids that begins with seed.
func IDs(rng *rand.Rand) func() meta.ID {
	var mu sync.Mutex
	return func() (id meta.ID) {
		mu.Lock()
		defer mu.Unlock()
		binary.LittleEndian.PutUint64(id[:8], rng.Uint64()|1)
		binary.LittleEndian.PutUint64(id[8:], rng.Uint64())
		return id
	}
}

// Play makes the topic and does the operations. before, if not nil, is called
// before operation i, from -1 for what comes before the first.
func (w *World) Play(before func(i int)) {
	if before == nil {
		before = func(int) {}
	}
	before(-1)
	w.open()
	w.create()
	w.appends(1, 60)
	w.settle()
	for i, c := range w.Ops {
		before(i)
		Operations[c](w)
		w.settle()
	}
}

// Close closes the store, if one is open, which is then told of like anything
// else.
func (w *World) Close() {
	if w.store == nil {
		return
	}
	w.saw("close", w.store.Close())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookLocked()
	w.store = nil
}

// End closes what is still open. What is on disk by then counts no more.
func (w *World) End() {
	w.currentMem().OnOp(nil)
	if w.store != nil {
		_ = w.store.Close() // whatever it says is after the end
		w.store = nil
	}
}

func (w *World) currentMem() *fs.Mem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mem
}

// A Moment is the state of a world: what the disk has, as kill -9 would leave
// it, and what the user knows.
type Moment struct {
	Mem   *fs.Mem
	Known *Known
}

// Capture returns the state of the world now. It may be called from the hook.
func (w *World) Capture() Moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookLocked()
	return Moment{w.mem.Kill(), w.known.clone()}
}

// Errors returns what callers and listeners were told of by now.
func (w *World) Errors() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Concat(w.errs, w.events)
}

// Broken returns the errors that callers were given where nothing was made to
// fail, so that there should be none.
func (w *World) Broken() (all []*Violation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.errs {
		v := Failed(err)
		if v == nil {
			v = violation(FalseCorruption, "%v", err)
		}
		all = append(all, v)
	}
	return all
}

// saw takes down an error that a caller was given, and reports whether there
// was none.
func (w *World) saw(what string, err error) bool {
	if err == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, fmt.Errorf("%s: %w", what, err))
	return false
}

// open opens the store if it is not.
func (w *World) open() bool {
	if w.store != nil {
		return true
	}
	s, err := openOn(StorePath, braidlog.Options{OnEvent: w.note}, testhook.World{
		FS: w.currentMem(), Clock: w.clock, NewID: IDs(w.ids), Heap: w.Heap,
		OnShared: func(s *partition.Shared) { w.shared = s },
	})
	if !w.saw("open", err) {
		return false
	}
	w.store = s
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.Opened = true
	if w.Stuck != nil && w.Stuck() {
		w.known = *w.known.Forgiving()
	}
	if w.Reverted != nil && w.Reverted() {
		w.forgetLocked()
	}
	for _, r := range s.Recovery().Topics {
		for _, p := range r {
			if p.Err != nil {
				w.events = append(w.events, p.Err)
			}
		}
	}
	for _, err := range s.Recovery().Broken {
		w.events = append(w.events, err)
	}
	w.findLocked()
	return true
}

// forgetLocked learns what is gone.
func (w *World) forgetLocked() {
	f, v := Read(w.store)
	if l := w.known.last(); v == nil && l != nil && len(f.Parts) == len(l.Parts) {
		w.known.settle(f)
	}
}

// findLocked gets hold of the topic again, and learns whether one that was half
// made or half deleted is there.
func (w *World) findLocked() {
	w.topic = nil
	l := w.known.last()
	if l == nil || l.State == Gone {
		return
	}
	t, err := w.store.Topic(topicName)
	switch {
	case err == nil:
		w.topic, l.State = t, There
	case errors.Is(err, braidlog.ErrTopicNotFound) && l.State != There:
		l.State = Gone
	default:
		w.errs = append(w.errs, err)
	}
	w.lookLocked()
}

// note is told of events.
func (w *World) note(e braidlog.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Err != nil {
		w.events = append(w.events, e.Err)
	}
}

// lookLocked takes down how far the partitions are, as a reader would see it.
func (w *World) lookLocked() {
	l := w.known.last()
	if l == nil || w.topic == nil {
		return
	}
	for i := range l.Parts {
		p, k := w.topic.Partition(i), &l.Parts[i]
		k.Visible = max(k.Visible, p.End())
		k.Start = max(k.Start, p.Start())
		if w.known.Dark {
			continue // offsets that recovery skipped count as durable, and what is gone is not entered yet
		}
		k.Durable = max(k.Durable, p.Durable())
		if p.Config().Durability == braidlog.Sync {
			k.Seen = max(k.Seen, p.End())
		}
	}
}

// settle waits until nobody works in the background.
func (w *World) settle() {
	if w.store == nil {
		return
	}
	w.saw("settle groups", testhook.GroupsLog(w.store).Settle(bg))
	if w.topic == nil {
		return
	}
	for i := range w.topic.NumPartitions() {
		w.saw("settle", w.topic.Partition(i).Settle(bg))
	}
}

// passes lets time pass.
func (w *World) passes(d time.Duration) {
	move := func() { w.clock.Skip(d) }
	if w.store == nil {
		move()
		return
	}
	w.shared.Skip(move)
	w.settle()
}

func (w *World) config() braidlog.TopicConfig {
	return braidlog.TopicConfig{
		Partitions: w.Partitions, Durability: w.Level, SegmentBytes: 4 << 10, SegmentAge: time.Second,
		SyncEvery: braidlog.SyncEvery{Records: 2},
	}
}

// life enters a life of the topic that is about to be made, unless there is
// one, or one that may be there.
func (w *World) life() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.known.last(); l == nil || l.State == Gone {
		w.known.Lives = append(w.known.Lives, Life{Parts: make([]Part, w.Partitions)})
	}
}

func (w *World) create() {
	if !w.open() {
		return
	}
	w.life()
	t, err := w.store.EnsureTopic(bg, topicName, w.config())
	if w.saw("ensure", err) {
		w.mu.Lock()
		w.topic, w.known.last().State = t, There
		w.lookLocked()
		w.mu.Unlock()
	}
}

// ready reports whether there is a topic to work with.
func (w *World) ready() bool {
	if !w.open() {
		return false
	}
	if w.topic == nil {
		w.create()
	}
	return w.topic != nil
}

// offer enters n records of a frame before they are appended to a partition.
func (w *World) offer(part, n, size int) (recs []braidlog.Record, first int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.known.last().Parts[part]
	first = len(p.Offered)
	w.frame++
	for range n {
		w.number++
		p.Offered = append(p.Offered, Offered{Number: w.number, Frame: w.frame})
		recs = append(recs, NewRecord(w.number, size))
	}
	return recs, first
}

// told enters what became of a record.
func (w *World) told(part, i int, offset int64, f Fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.known.last().Parts[part]
	o := &p.Offered[i]
	o.Fate, o.Offset = f, offset
	if f == Acknowledged {
		o.Firm = w.topic.Partition(part).Config().Durability == braidlog.Sync
		p.Visible = max(p.Visible, offset+1)
	}
	w.lookLocked()
}

func fateOf(err error) Fate {
	switch {
	case err == nil:
		return Acknowledged
	case errors.Is(err, braidlog.ErrOutcomeUnknown):
		return Doubtful
	}
	return Refused
}

// appends appends n records one by one, to each partition.
func (w *World) appends(n, size int) {
	for range n {
		for part := range w.Partitions {
			if !w.ready() {
				return
			}
			recs, i := w.offer(part, 1, size)
			pos, err := w.topic.AppendTo(bg, part, recs[0])
			w.saw("append", err)
			w.told(part, i, pos.Offset, fateOf(err))
		}
	}
}

// batch appends one frame to each partition.
func (w *World) batch(n, size int) {
	for part := range w.Partitions {
		if !w.ready() {
			return
		}
		recs, first := w.offer(part, n, size)
		err := w.topic.Partition(part).AppendBatch(bg, recs)
		w.saw("append batch", err)
		var partial *partition.BatchError
		for j := range recs {
			f := fateOf(err)
			if errors.As(err, &partial) {
				f = [...]Fate{partition.NotAppended: Refused, partition.Appended: Acknowledged, partition.Unknown: Doubtful}[partial.Outcomes[j]]
			}
			w.told(part, first+j, recs[j].Offset, f)
		}
	}
}

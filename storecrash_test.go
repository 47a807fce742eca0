package braidlog

import (
	"cmp"
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

// This file plays short histories of a store and, before every operation on a
// file, has the process end or the power go, or the operation fail. What is
// found afterwards is compared with what the user had been told by then.

// histories are the lives of a store.
var histories = []struct {
	name  string
	steps []step
}{
	{"first open", nil},
	{"a topic is made", []step{makes("orders", TopicConfig{})}},
	{"level sync", []step{makes("orders", TopicConfig{Durability: Sync}), appends("orders", 9, 300), batches("orders", 8, 200), asyncs("orders", 4, 700)}},
	{"level interval", []step{makes("orders", TopicConfig{Durability: Interval}), appends("orders", 9, 300), syncs("orders"), batches("orders", 8, 200), asyncs("orders", 4, 700)}},
	{"level os", []step{makes("orders", TopicConfig{Durability: OS}), appends("orders", 9, 300), syncs("orders"), batches("orders", 8, 200), asyncs("orders", 4, 700)}},
	{"deleted", []step{makes("orders", TopicConfig{Durability: OS}), appends("orders", 5, 300), deletes("orders")}},
	{"deleted and made again", []step{
		makes("orders", TopicConfig{Durability: OS}), appends("orders", 6, 300), deletes("orders"),
		makes("orders", TopicConfig{}), appends("orders", 3, 300), reopens(), deletes("orders"), makes("orders", TopicConfig{Durability: Interval}), appends("orders", 2, 300)}},
	{"level raised", []step{makes("orders", TopicConfig{Durability: OS}), appends("orders", 9, 300), sets("orders", Interval), appends("orders", 5, 500), sets("orders", Sync), appends("orders", 5, 300)}},
	{"level lowered", []step{makes("orders", TopicConfig{}), appends("orders", 5, 300), sets("orders", OS), appends("orders", 9, 500), dies(), appends("orders", 2, 300)}},
	{"closed and opened", []step{makes("orders", TopicConfig{Durability: OS}), appends("orders", 4, 300), reopens(), appends("orders", 4, 500), reopens(), reopens(), appends("orders", 2, 300)}},
	{"two topics", []step{
		makes("orders", TopicConfig{}), makes("refunds", TopicConfig{Durability: OS}), appends("orders", 3, 300), appends("refunds", 4, 400),
		reopens(), appends("refunds", 3, 400), deletes("orders"), appends("refunds", 2, 200)}},
	{"purged", []step{makes("orders", TopicConfig{}), appends("orders", 9, 600), purges("orders"), appends("orders", 3, 300), purges("orders"), purges("orders"), reopens(), appends("orders", 2, 300)}},
	{"purged at level os", []step{makes("orders", TopicConfig{Durability: OS}), appends("orders", 9, 600), purges("orders"), appends("orders", 3, 300), dies(), purges("orders"), appends("orders", 2, 300)}},
	{"kept small", []step{
		makes("orders", TopicConfig{Retention: Retention{PartitionBytes: 8 << 10}}), appends("orders", 30, 800), enforces("orders"), appends("orders", 20, 800),
		enforces("orders"), reopens(), appends("orders", 3, 300), enforces("orders")}},
	{"trimmed and deleted", []step{makes("orders", TopicConfig{Durability: Interval}), appends("orders", 20, 600), trims("orders", 3), appends("orders", 3, 300), deletes("orders")}},
	{"an unclean end", []step{makes("orders", TopicConfig{Durability: Interval}), appends("orders", 6, 300), dies(), appends("orders", 3, 300), reopens(), dies(), appends("orders", 3, 300)}},
}

// A world is a store under test, with all that its user knows of it. Steps run
// one after the other; their records are numbered.
type world struct {
	t      testing.TB
	heap   bool
	dir    string            // of the operating system, where the store is; "": in a Mem
	strict bool              // steps require success
	mild   bool              // what fails leaves nothing in doubt
	cause  error             // not nil: what errors have in their chain
	hook   func(fs.Op) error // on every Mem of the world
	rng    *rand.Rand

	s    *Store // the steps'; nil if it could not be opened
	hurt bool   // not all of it could be opened

	mu     sync.Mutex
	m      *fs.Mem          // guarded by mu; nil if dir is set
	topics map[string]*life // guarded by mu
	count  int              // guarded by mu; records offered
	lives  int              // guarded by mu; topics made
}

// A life is what the user knows of a topic.
type life struct {
	state   existence
	number  int // tells topics of the same name apart
	topic   *Topic
	records []offered
	visible [worldPartitions]int64 // greatest End seen
	durable [worldPartitions]int64 // greatest Durable seen
	start   [worldPartitions]int64 // greatest Start seen
	asked   [worldPartitions]int64 // greatest Start that may be
}

const worldPartitions = 2

type existence uint8

const (
	making existence = iota // there whole or not at all
	there
	going // likewise
	gone
)

// An offered is a record and what the user was told of it.
type offered struct {
	partition int
	value     string
	fate      fate
	offset    int64
	firm      bool // acknowledged at level Sync
}

type fate uint8

const (
	pending fate = iota
	acknowledged
	refused
	doubtful
)

func fateOf(err error) fate {
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, ErrOutcomeUnknown):
		return doubtful
	}
	return refused
}

// ok takes the error of something the world did, about a subject.
func (w *world) ok(err error, subject string) bool {
	if err == nil {
		return true
	}
	require.False(w.t, w.strict, "%s: %v", subject, err)
	if w.cause != nil && !strings.Contains(err.Error(), "open the store again") {
		require.ErrorIs(w.t, err, w.cause, subject)
	}
	require.False(w.t, w.mild && (errors.Is(err, ErrFailed) || errors.Is(err, ErrOutcomeUnknown)), "%s: %v", subject, err)
	text := err.Error()
	require.True(w.t, strings.Contains(text, subject) || strings.Contains(text, "/store"), "an error without a subject: %s", text)
	op, _, _ := strings.Cut(text, " ")
	require.Contains(w.t, []string{"open", "close", "append", "read", "sync", "configure", "create", "ensure", "delete", "topic", "purge", "enforce", "trim", "roll", "verify"}, op, "an error without an operation: %s", text)
	return false
}

// open opens the store if it is not.
func (w *world) open() bool {
	if w.s != nil {
		return true
	}
	w.mu.Lock()
	dir, o := "/store", Options{fs: w.m, forceHeap: w.heap, idle: true}
	if w.dir != "" {
		dir, o.fs = w.dir, fs.OS{}
	}
	w.mu.Unlock()
	s, err := Open(dir, o)
	if !w.ok(err, "/store") {
		return false
	}
	w.s, w.hurt = s, s.unsettled()
	for name, k := range w.topics {
		t, err := s.Topic(name)
		w.mu.Lock()
		switch {
		case err == nil && (k.state == making || k.state == going):
			k.state = there // it is known now
		case errors.Is(err, ErrTopicNotFound) && k.state != there:
			k.state, t = gone, nil
		case err != nil:
			require.False(w.t, w.strict, "%s: %v", name, err)
		}
		k.topic = t
		w.mu.Unlock()
	}
	return true
}

// find returns what is known of a topic, nil if there is none to work with.
func (w *world) find(name string) *life {
	if !w.open() || w.topics[name] == nil || w.topics[name].state != there || w.topics[name].topic == nil {
		return nil
	}
	return w.topics[name]
}

// look takes down how far the partitions are. The caller holds mu, and
// nothing of the store's.
func (w *world) lookLocked() {
	for _, k := range w.topics {
		for i := 0; k.topic != nil && i < worldPartitions; i++ {
			k.visible[i] = max(k.visible[i], k.topic.Partition(i).End())
			k.durable[i] = max(k.durable[i], k.topic.Partition(i).Durable())
			k.start[i] = max(k.start[i], k.topic.Partition(i).Start())
		}
	}
}

type step func(w *world)

func makes(name string, c TopicConfig) step {
	c.Partitions, c.SegmentBytes = worldPartitions, cmp.Or(c.SegmentBytes, 4<<10)
	return func(w *world) {
		if !w.open() {
			return
		}
		w.mu.Lock()
		w.lives++
		k := &life{state: making, number: w.lives}
		if old := w.topics[name]; old != nil && old.state != gone {
			k = old // a deletion failed: it may be there
		}
		w.topics[name] = k
		w.mu.Unlock()
		t, err := w.s.EnsureTopic(bg, name, c)
		if w.ok(err, name) {
			w.mu.Lock()
			k.state, k.topic = there, t
			w.mu.Unlock()
		}
	}
}

func deletes(name string) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		w.mu.Lock()
		k.state = going
		w.mu.Unlock()
		if w.ok(w.s.DeleteTopic(bg, name), name) {
			w.mu.Lock()
			k.state, k.topic = gone, nil
			w.mu.Unlock()
		}
	}
}

// offer enters a record before it is appended.
func (w *world) offer(k *life, size int) (Record, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	r := Record{Key: fmt.Appendf(nil, "key-%d", w.count%5), Value: fmt.Appendf(nil, "life %d, record %d ", k.number, w.count)}
	for len(r.Value) < size {
		r.Value = append(r.Value, byte('a'+w.count%26))
	}
	n, err := k.topic.Route(r)
	require.NoError(w.t, err)
	k.records = append(k.records, offered{partition: n, value: string(r.Value)})
	return r, len(k.records) - 1
}

// told enters what became of a record.
func (w *world) told(k *life, i int, offset int64, f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	require.False(w.t, w.mild && f == doubtful, "record %d of life %d", i, k.number)
	o := &k.records[i]
	o.offset, o.fate, o.firm = offset, f, k.topic.Config().Durability == Sync
	w.lookLocked()
}

func appends(name string, n, size int) step {
	return func(w *world) {
		for range n {
			k := w.find(name)
			if k == nil {
				return
			}
			r, i := w.offer(k, size)
			pos, err := k.topic.Append(bg, r)
			w.ok(err, name)
			w.told(k, i, pos.Offset, fateOf(err))
		}
	}
}

func batches(name string, n, size int) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		recs, numbers := make([]Record, n), make([]int, n)
		for j := range recs {
			recs[j], numbers[j] = w.offer(k, size)
		}
		err := k.topic.AppendBatch(bg, recs)
		w.ok(err, name)
		var partial *BatchError
		for j := range recs {
			f := fateOf(err)
			if errors.As(err, &partial) {
				f = map[Outcome]fate{Appended: acknowledged, NotAppended: refused, Unknown: doubtful}[partial.Outcomes[j]]
				require.Equal(w.t, f == refused, recs[j].Offset < 0)
			}
			w.told(k, numbers[j], recs[j].Offset, f)
		}
	}
}

func asyncs(name string, n, size int) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		var calls sync.WaitGroup
		for range n {
			r, i := w.offer(k, size)
			calls.Add(1)
			err := k.topic.AppendAsync(bg, r, func(pos Position, err error) {
				defer calls.Done()
				w.told(k, i, pos.Offset, fateOf(err))
			})
			if !w.ok(err, name) {
				calls.Done()
				w.told(k, i, -1, refused)
			}
		}
		calls.Wait()
	}
}

func syncs(name string) step {
	return func(w *world) {
		if k := w.find(name); k != nil {
			w.ok(k.topic.Sync(bg), name)
		}
	}
}

func sets(name string, d Durability) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		if w.ok(k.topic.SetConfig(bg, TopicConfig{Durability: d}), name) {
			require.Equal(w.t, d, k.topic.Config().Durability)
		}
	}
}

// gives has a step that may give up records below an offset of each partition.
func gives(name string, upto func(p *partition.Partition) int64, do func(t *Topic) error) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		w.mu.Lock()
		for n := range k.asked {
			k.asked[n] = max(k.asked[n], upto(k.topic.Partition(n)))
		}
		w.mu.Unlock()
		w.ok(do(k.topic), name)
		w.mu.Lock()
		w.lookLocked()
		w.mu.Unlock()
	}
}

func purges(name string) step {
	return gives(name, (*partition.Partition).End, func(t *Topic) error { return t.Purge(bg) })
}

// enforces has retention remove what it may: whole segments but the last.
func enforces(name string) step {
	return gives(name, func(p *partition.Partition) int64 {
		last := p.Start()
		segs, _ := p.Sealed()
		for _, s := range segs {
			last = s.To
		}
		return last
	}, func(t *Topic) error { return t.Enforce(bg) })
}

// trims gives up all but the last few records of each partition.
func trims(name string, keep int64) step {
	upto := func(p *partition.Partition) int64 { return max(p.Start(), p.End()-keep) }
	return gives(name, upto, func(t *Topic) error {
		return t.each(func(p *partition.Partition) error { return p.Trim(bg, upto(p)) })
	})
}

func reopens() step {
	return func(w *world) {
		w.close()
		w.open()
	}
}

func (w *world) close() {
	if w.s != nil {
		w.ok(w.s.Close(), "/")
		w.mu.Lock()
		w.lookLocked()
		w.mu.Unlock()
		w.s = nil
	}
}

// dies ends the process.
func dies() step {
	return func(w *world) {
		w.mu.Lock()
		w.lookLocked()
		old := w.m
		w.m = old.Kill()
		w.m.OnOp(w.hook)
		for _, k := range w.topics {
			k.topic = nil // what it tells from now on is not true of this disk
		}
		w.mu.Unlock()
		old.OnOp(nil)
		if w.s != nil {
			require.NoError(w.t, errOfAfterlife(w.s))
			w.s = nil
		}
		w.open()
	}
}

// errOfAfterlife closes a store that is of interest to nobody any more.
func errOfAfterlife(s *Store) error {
	if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
		return err
	}
	return nil
}

// An image is what was on disk at some moment, and what the user knew then.
type image struct {
	at     string
	killed bool
	m      *fs.Mem
	topics map[string]*life
}

// capture takes images of a moment: after the end of the process, and after
// the end of power with all, none and some of what was not synced.
func (w *world) capture(at string) []image {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookLocked()
	topics := map[string]*life{}
	for name, k := range w.topics {
		c := *k
		c.topic, c.records = nil, slices.Clone(k.records)
		topics[name] = &c
	}
	return []image{
		{at + ", killed", true, w.m.Kill(), topics},
		{at + ", crashed, all kept", false, w.m.Crash(func() bool { return true }), topics},
		{at + ", crashed, nothing kept", false, w.m.Crash(func() bool { return false }), topics},
		{at + ", crashed, a part kept", false, w.m.Crash(func() bool { return w.rng.IntN(2) == 0 }), topics},
	}
}

// An entry is a record that was read.
type entry struct {
	offset int64
	value  string
}

// found is what is in a store, by topic and partition.
type found map[string][]part

type part struct {
	entries    []entry
	start, end int64
}

// readStore reads everything, which must be intact but for gaps.
func readStore(t testing.TB, at string, s *Store) found {
	all := found{}
	for _, name := range s.Topics() {
		topic, err := s.Topic(name)
		require.NoError(t, err, at)
		parts := make([]part, topic.NumPartitions())
		for i := range parts {
			p := topic.Partition(i)
			require.Empty(t, p.Recovery().Lost, at)
			for r, err := range p.Records(bg, partition.First()) {
				require.NoError(t, err, at)
				parts[i].entries = append(parts[i].entries, entry{r.Offset, string(r.Value)})
			}
			parts[i].start, parts[i].end = p.Start(), p.End()
		}
		all[name] = parts
	}
	return all
}

// entries returns f without ends, which a power cut moves.
func (f found) entries() map[string][][]entry {
	all := map[string][][]entry{}
	for name, parts := range f {
		for _, p := range parts {
			all[name] = append(all[name], p.entries)
		}
	}
	return all
}

// judge compares what is in a store with what its user was told.
func (i *image) judge(t testing.TB, f found, killed bool) {
	for name, parts := range f {
		k := i.topics[name]
		require.NotNil(t, k, "%s: topic %s from nowhere", i.at, name)
		require.NotEqual(t, gone, k.state, "%s: topic %s was deleted", i.at, name)
		require.Len(t, parts, worldPartitions, i.at)
		for n, p := range parts {
			k.judge(t, i.at, n, p, killed)
		}
	}
	for name, k := range i.topics {
		require.False(t, k.state == there && f[name] == nil, "%s: topic %s is not there", i.at, name)
	}
}

// judge compares partition n. Its records are those offered, in order, without
// any that was refused, up to some point; those with a promise are there.
func (k *life) judge(t testing.TB, at string, n int, p part, killed bool) {
	require.GreaterOrEqual(t, p.start, k.start[n], "%s: partition %d: records that were given up came back", at, n)
	require.LessOrEqual(t, p.start, k.asked[n], "%s: partition %d: nobody asked for that", at, n)
	left := p.entries
	missing := false
	for _, o := range k.records {
		if o.partition != n {
			continue
		}
		if len(left) > 0 && left[0].value == o.value {
			require.NotEqual(t, refused, o.fate, "%s: %q was refused and is there", at, o.value)
			require.False(t, missing, "%s: %q is there, and an earlier one is not", at, o.value)
			require.False(t, o.fate == acknowledged && o.offset != left[0].offset, "%s: %q was at %d", at, o.value, o.offset)
			left = left[1:]
			continue
		}
		if o.fate == acknowledged && o.offset >= p.start {
			missing = true
			must := killed || o.firm || o.offset < k.durable[n]
			require.False(t, must, "%s: partition %d: %.30q, offset %d, was acknowledged and is not there", at, n, o.value, o.offset)
		}
	}
	require.Empty(t, left, "%s: partition %d: not what was offered", at, n)
	require.GreaterOrEqual(t, p.end, k.visible[n], "%s: partition %d: an offset will be given out again", at, n)
}

// check opens what is left, sees that no promise is broken, and goes on:
// through a second end in the middle of recovery, and a third after more was
// appended or the store was closed.
func (i *image) check(t testing.TB, heap bool, rng *rand.Rand) {
	copied := i.m.Kill()
	crashAt := 1 + rng.Int64N(60)
	var mu sync.Mutex
	var left *fs.Mem // guarded by mu: a worker may be inside the hook at any time
	killed := rng.IntN(2) == 0
	chance := rand.New(rand.NewPCG(rng.Uint64(), 0))
	i.m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.N == crashAt && killed {
			left = i.m.Kill()
		} else if op.N == crashAt {
			left = i.m.Crash(func() bool { return chance.IntN(2) == 0 })
		}
		return nil
	})
	s, f := i.recover(t, i.m, heap, i.killed)
	i.m.OnOp(nil)
	mu.Lock()
	again := left
	mu.Unlock()
	if rng.IntN(2) == 0 {
		i.appendAndCrash(t, s, f, heap)
	} else {
		require.NoError(t, s.Close(), i.at)
	}
	if again != nil {
		s, second := i.recover(t, again, heap, i.killed && killed)
		if killed || !i.killed {
			require.Equal(t, f.entries(), second.entries(), "%s, and again in operation %d of recovery", i.at, crashAt)
		}
		require.NoError(t, s.Close(), i.at)
	}
	s, second := i.recover(t, copied, heap, i.killed)
	require.Equal(t, f, second, "%s, recovered twice", i.at)
	i.closeAndCrash(t, s, copied, f, heap)
}

func (i *image) recover(t testing.TB, m *fs.Mem, heap, killed bool) (*Store, found) {
	s, err := Open("/store", Options{fs: m, forceHeap: heap, idle: true})
	require.NoError(t, err, i.at)
	f := readStore(t, i.at, s)
	i.judge(t, f, killed)
	return s, f
}

// appendAndCrash appends to every partition, makes it durable, and has the
// power go: nobody may believe an older checkpoint.
func (i *image) appendAndCrash(t testing.TB, s *Store, f found, heap bool) {
	want := f.entries()
	for name, parts := range f {
		topic, err := s.Topic(name)
		require.NoError(t, err, i.at)
		for n := range parts {
			pos, err := topic.AppendTo(bg, n, Record{Value: []byte("one more")})
			require.NoError(t, err, i.at)
			require.Equal(t, parts[n].end, pos.Offset, i.at)
			want[name][n] = append(slices.Clone(want[name][n]), entry{pos.Offset, "one more"})
		}
		require.NoError(t, topic.Sync(bg), i.at)
	}
	last := i.m.Crash(func() bool { return false })
	require.NoError(t, s.Close(), i.at)
	require.Zero(t, s.shared.OpenFiles(), i.at)
	expect(t, last, heap, want, i.at+", then one appended to each, synced and crashed")
}

// closeAndCrash closes the store, opens it again, which must find the same
// without reading it, and has the power go.
func (i *image) closeAndCrash(t testing.TB, s *Store, m *fs.Mem, f found, heap bool) {
	require.NoError(t, s.Close(), i.at)
	last := m.Crash(func() bool { return false })
	s, err := Open("/store", Options{fs: m, forceHeap: heap, idle: true})
	require.NoError(t, err, i.at)
	require.Equal(t, f, readStore(t, i.at, s), "%s, then closed", i.at)
	require.NoError(t, s.Close(), i.at)
	expect(t, last, heap, f.entries(), i.at+", then closed and crashed")
}

func expect(t testing.TB, m *fs.Mem, heap bool, want map[string][][]entry, at string) {
	s, err := Open("/store", Options{fs: m, forceHeap: heap, idle: true})
	require.NoError(t, err, at)
	require.Equal(t, want, readStore(t, at, s).entries(), at)
	require.NoError(t, s.Close(), at)
}

func eachWindow(t *testing.T, f func(t *testing.T, heap bool)) {
	t.Run("mapped", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("heap", func(t *testing.T) { t.Parallel(); f(t, true) })
}

func newWorld(t testing.TB, heap, strict bool, seed uint64) *world {
	return &world{t: t, heap: heap, strict: strict, m: fs.NewMem(), topics: map[string]*life{}, rng: rand.New(rand.NewPCG(seed, 7))}
}

// hooked plays a history with hook on every operation.
func (w *world) play(hook func(fs.Op) error, steps []step) {
	w.hook = hook
	w.m.OnOp(hook)
	w.open()
	for _, s := range steps {
		s(w)
	}
}

func changes(op fs.Op) bool {
	switch op.Kind {
	case fs.OpReadAt, fs.OpOpen, fs.OpList, fs.OpSize, fs.OpClose, fs.OpMap:
		return false
	}
	return true
}

func TestStoreSurvivesACrashAtEveryOperation(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for seed, h := range histories {
			t.Run(h.name, func(t *testing.T) {
				w := newWorld(t, heap, true, uint64(seed))
				var mu sync.Mutex
				var all []image
				over := false // a worker may still be inside the hook then
				w.play(func(op fs.Op) error {
					mu.Lock()
					defer mu.Unlock()
					if changes(op) && !over {
						all = append(all, w.capture(fmt.Sprintf("before operation %d, %v", op.N, op))...)
					}
					return nil
				}, h.steps)
				w.hook = nil
				w.m.OnOp(nil)
				mu.Lock()
				over = true
				all = append(all, w.capture("at the end")...)
				mu.Unlock()
				w.close()
				for n, i := range all {
					if !racing || n%10 == seed%10 {
						i.check(t, heap, w.rng)
					}
				}
			})
		}
	})
}

// Whatever operation fails: what was acknowledged is there, what was refused
// never comes, every error says what could not be done to what, and the next
// attempt finds a store that works.
func TestStoreSurvivesTheFailureOfEveryOperation(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for _, fault := range []error{fs.EIO, fs.ENOSPC} {
			for _, h := range histories {
				t.Run(fmt.Sprint(h.name, ", ", fault), func(t *testing.T) {
					step := int64(1)
					if racing {
						step = 15
					}
					for n := 1 + rand.Int64N(step); failOne(t, heap, n, fault, h.steps); n += step {
					}
				})
			}
		}
	})
}

// failOne plays a history with operation n failing, and reports whether it
// came that far.
func failOne(t *testing.T, heap bool, n int64, fault error, steps []step) bool {
	w := newWorld(t, heap, false, uint64(n))
	var mu sync.Mutex
	var ops int64
	failed := "nothing"
	w.play(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if ops++; ops == n {
			failed = op.String()
			return fault
		}
		return nil
	}, steps)
	mu.Lock()
	at := fmt.Sprintf("operation %d, %s, fails", n, failed)
	came := ops >= n
	mu.Unlock()
	w.m.OnOp(nil)
	all := w.capture(at)
	w.close()
	for _, i := range append(all, image{at + ", closed", true, w.m, all[0].topics}) {
		s, f := i.recover(t, i.m, heap, i.killed)
		for name := range maps.Keys(f) {
			topic, err := s.Topic(name)
			require.NoError(t, err, i.at)
			_, err = topic.Append(bg, Record{Key: []byte("k"), Value: []byte("one more")})
			require.NoError(t, err, i.at)
		}
		require.NoError(t, s.Close(), i.at)
		require.Zero(t, s.shared.OpenFiles(), i.at)
	}
	return came
}

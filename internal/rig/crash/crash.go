// Package crash plays histories of a store, has the power go at every operation
// on a file, and opens every disk that this may leave, by three models of a
// disk; and again in the middle of that.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/rig/history"
	"github.com/braidlog/braidlog/internal/rig/report"
)

// Counters that a run fills in.
const (
	States    = "crash_states"    // distinct disks that were opened and judged
	Points    = "crash_points"    // moments at which the power went
	Histories = "crash_histories" // that were played
)

// Options say how much is done.
type Options struct {
	Seed uint64
	// Time is how long it goes on, at most; zero: to the end of the sequences.
	Time time.Duration
	// Length is that of the longest sequences of which there are all. With Core
	// those are of the core of the alphabet; shorter ones are of all of it.
	Length int
	Core   bool
	// Random goes on with longer histories by seed until the time is over.
	Random bool
	// Enough is how many distinct states are enough, once there were all
	// sequences; zero: no number is. Stop is how many are, in any case.
	Enough, Stop int64
}

// A run is one of the check. It is shared by the workers.
type run struct {
	o        Options
	report   *report.Report
	verdicts [shards]shard
	found    interned
	memo     history.Memo
	states   atomic.Int64
	progress func(format string, args ...any)
}

const (
	// shards keep workers from waiting for each other.
	shards = 64
	// shardStates is how many disks a shard remembers before it begins anew: a
	// run without end would fill the memory. Those it forgot it counts again.
	shardStates = 200_000
)

// interned has what was found in disks, once each: most have the same in them.
type interned struct {
	mu      sync.Mutex
	numbers map[string]verdict    // guarded by mu; of those without a violation, by what was found
	all     []history.Examination // guarded by mu
}

func (n *interned) number(e history.Examination) verdict {
	k := e.Found.Key()
	n.mu.Lock()
	defer n.mu.Unlock()
	if known, ok := n.numbers[k]; ok && e.Violation == nil {
		return known
	}
	n.all = append(n.all, e)
	made := verdict(len(n.all) - 1)
	if e.Violation == nil {
		n.numbers[k] = made
	}
	return made
}

func (n *interned) get(v verdict) history.Examination {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[v]
}

type shard struct {
	mu   sync.Mutex
	seen map[key]verdict // guarded by mu
}

// A key is a disk, and how it came about. Neither it nor a verdict has pointers:
// the garbage collector need not look at a million of them.
type key struct {
	tree uint64
	boot uint64 // tells the boot of the machine, if that goes on; 0 is another one than any before
	heap bool
}

// A verdict is the number of an examination among those that differ.
type verdict uint32

// Run plays all sequences of operations, the shortest first, and then random
// histories. It ends with ctx.
func Run(ctx context.Context, o Options, r *report.Report, progress func(format string, args ...any)) {
	if o.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Time)
		defer cancel()
	}
	c := newRun(o, r)
	c.progress = progress
	began := time.Now()
	jobs := make(chan history.History)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for h := range jobs {
				c.play(ctx, h)
			}
		})
	}
	last := began
	for h := range c.histories() {
		if ctx.Err() != nil || o.Stop > 0 && c.states.Load() >= o.Stop {
			break
		}
		select {
		case jobs <- h:
		case <-ctx.Done():
		}
		if now := time.Now(); now.Sub(last) > time.Second {
			last = now
			progress("%d histories, %d states in %v", r.Count(Histories), c.states.Load(), now.Sub(began).Round(time.Second))
		}
	}
	close(jobs)
	workers.Wait()
}

func newRun(o Options, r *report.Report) *run {
	c := &run{o: o, report: r, progress: func(string, ...any) {}}
	c.found.numbers = map[string]verdict{}
	for i := range c.verdicts {
		c.verdicts[i].seen = map[key]verdict{}
	}
	return c
}

// randomEvery is how many sequences there are for each random history: those
// have many times as many states.
const randomEvery = 192

// histories yields those to be played.
func (c *run) histories() func(yield func(history.History) bool) {
	return func(yield func(history.History) bool) {
		rng := rand.New(rand.NewPCG(c.o.Seed, 1))
		for n := 0; n <= c.o.Length; n++ {
			alphabet := history.Alphabet
			if c.o.Core && n == c.o.Length {
				alphabet = history.Core
			}
			all := history.All(alphabet, n)
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for i, h := range all {
				if c.o.Random && i%randomEvery == randomEvery-1 && !yield(history.Random(rng)) || !yield(h) {
					return
				}
			}
		}
		for c.o.Random && (c.o.Enough == 0 || c.states.Load() < c.o.Enough) && yield(history.Random(rng)) {
		}
	}
}

// A point is a moment of a history.
type point struct {
	at string
	history.Moment
}

// play plays a history, and has the power go at every operation of its last
// step: what comes before is that of shorter histories, but of random ones.
func (c *run) play(ctx context.Context, h history.History) {
	c.report.Add(Histories, 1)
	last, e := len(h.Ops)-1, thorough
	if len(h.Ops) > c.o.Length {
		last = 0
		if c.o.Random {
			e = quick
		}
	}
	points, broken := record(h, last)
	for _, v := range broken {
		c.report.Find(report.Finding{Kind: string(v.Kind), What: fmt.Sprintf("%v: as it was played: %s", h, v.Text), Replay: Replay(h)})
	}
	for _, p := range points {
		if ctx.Err() != nil {
			return
		}
		c.report.Add(Points, 1)
		c.lose(ctx, h, p, e)
	}
}

// record plays a history and returns its moments from operation from on: one
// before each operation on a file that changes something, and the end; and what
// went wrong by itself.
func record(h history.History, from int) (points []point, broken []*history.Violation) {
	var mu sync.Mutex
	on := false
	var w *history.World
	w = history.NewWorld(h, func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if on && changes(op) {
			points = append(points, point{fmt.Sprintf("before operation %d, %v", op.N, op), w.Capture()})
		}
		return nil
	})
	w.Play(func(i int) {
		mu.Lock()
		defer mu.Unlock()
		on = i >= from
	})
	mu.Lock()
	points = append(points, point{"at the end", w.Capture()})
	on = false
	mu.Unlock()
	w.End()
	return points, w.Broken()
}

// changes reports whether an operation can make a difference to what a power
// loss leaves.
func changes(op fs.Op) bool {
	switch op.Kind {
	case fs.OpReadAt, fs.OpOpen, fs.OpList, fs.OpSize, fs.OpClose, fs.OpMap:
		return false
	}
	return true
}

// lose judges every disk that may be left at a point.
func (c *run) lose(ctx context.Context, h history.History, p point, e effort) {
	c.judge(h, p, disk{p.Mem.Hash(), p.Mem.Kill, true}, func() string { return "killed" })
	for _, model := range []fs.DiskModel{fs.OrderedDisk, fs.JournalDisk, fs.WeakDisk} {
		l := p.Mem.PowerLoss(model)
		for picks := range choices(l, e, c.o.Seed) {
			if ctx.Err() != nil {
				return
			}
			c.judge(h, p, disk{l.Hash(picks), func() *fs.Mem { return l.State(picks) }, false}, func() string { return l.Picks(picks) })
		}
	}
}

// A disk is one that a power loss, or the end of the process, may leave.
type disk struct {
	hash   uint64
	make   func() *fs.Mem
	killed bool
}

// judge examines a disk unless the same was examined before, and compares it
// with what was known.
func (c *run) judge(h history.History, p point, d disk, how func() string) {
	k := key{tree: d.hash, heap: h.Heap}
	if d.killed {
		k.boot = history.HashOf(p.Mem.BootID())
	}
	e, seen := c.look(k)
	var within *point
	if !seen {
		x := history.Examiner{Heap: h.Heap, Depth: 1, Unsynced: d.killed, Memo: &c.memo}
		m, backups := d.make(), p.Known.Backups
		var whole *fs.Mem
		if len(backups) > 0 {
			whole = m.Kill()
		}
		within = c.within(&x, k)
		e = x.Examine(m)
		for i := range backups {
			if v := history.ExamineBackup(whole, &backups[i]); v != nil && e.Violation == nil {
				e.Violation = v
			}
		}
		c.enter(k, e)
	}
	v := e.Violation
	if v == nil {
		v = p.Known.Judge(e.Found, d.killed)
	}
	if v != nil {
		c.report.Find(report.Finding{
			Kind: string(v.Kind), What: fmt.Sprintf("%v: %s: %s: %s", h, p.at, how(), v.Text), Replay: Replay(h),
		})
	}
	if within != nil && within.Mem != nil {
		within.Known = p.Known
		c.again(h, *within, func() string { return how() + ", then " + within.at })
	}
}

// within arranges for a moment of the recovery of a disk to be taken down.
func (c *run) within(x *history.Examiner, k key) *point {
	p := &point{}
	at := int64(1 + k.tree>>8%40)
	var mu sync.Mutex
	x.During = func(m *fs.Mem, n int64, op fs.Op) {
		mu.Lock()
		defer mu.Unlock()
		if n >= at && p.Mem == nil && changes(op) {
			p.at = fmt.Sprintf("in operation %d of recovery, %v", n, op)
			p.Mem = m.Kill()
		}
	}
	return p
}

// again has the power go a second time, in recovery.
func (c *run) again(h history.History, p point, how func() string) {
	model := fs.DiskModel(1 + p.Mem.Hash()%3)
	l := p.Mem.PowerLoss(model)
	rng := rand.New(rand.NewPCG(c.o.Seed, p.Mem.Hash()))
	for range 2 {
		picks := some(l, rng)
		k := key{tree: l.Hash(picks), heap: h.Heap}
		e, seen := c.look(k)
		if !seen {
			x := history.Examiner{Heap: h.Heap, Depth: 2, Memo: &c.memo}
			e = x.Examine(l.State(picks))
			c.enter(k, e)
		}
		v := e.Violation
		if v == nil {
			v = p.Known.Judge(e.Found, false)
		}
		if v != nil {
			c.report.Find(report.Finding{
				Kind: string(v.Kind), What: fmt.Sprintf("%v: %s: %s: %s", h, how(), l.Picks(picks), v.Text), Replay: Replay(h),
			})
		}
	}
}

func (c *run) look(k key) (e history.Examination, seen bool) {
	s := &c.verdicts[k.tree%shards]
	s.mu.Lock()
	v, seen := s.seen[k]
	s.mu.Unlock()
	if seen {
		e = c.found.get(v)
	}
	return e, seen
}

func (c *run) enter(k key, e history.Examination) {
	v := c.found.number(e)
	s := &c.verdicts[k.tree%shards]
	s.mu.Lock()
	_, twice := s.seen[k]
	if len(s.seen) >= shardStates {
		clear(s.seen)
	}
	s.seen[k] = v
	s.mu.Unlock()
	if !twice {
		c.states.Add(1)
		c.report.Add(States, 1)
	}
}

// Replay is the argument with which a history is played again, by itself.
func Replay(h history.History) string { return "crash " + h.String() }

// Again plays one history with everything that can be made of it.
func Again(ctx context.Context, argument string, seed uint64, r *report.Report) error {
	h, err := history.Parse(strings.TrimSpace(argument))
	if err != nil {
		return err
	}
	c := newRun(Options{Seed: seed, Length: -1}, r)
	c.play(ctx, h)
	return nil
}

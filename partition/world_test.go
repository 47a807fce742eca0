package partition

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// TestMain fails if any test left a goroutine of this module behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines were left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of goroutines that run code of the module
// beside this one, once those that are about to end had time to.
func goroutinesLeft() (left string) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
		left = ""
		for _, s := range stacks[1:] {
			if strings.Contains(s, "braidlog/") {
				left += s + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
	}
	return left
}

// A world is a partition under test, with all that its users know of it. One
// goroutine appends; its records are numbered, and number i has the value
// numbered(i, …).
type world struct {
	t  testing.TB
	v  variant
	m  *fs.Mem
	mu sync.Mutex

	p          *Partition  // guarded by mu
	checkpoint *Checkpoint // guarded by mu
	level      Durability  // guarded by mu; that a store would find after a crash
	offsets    []int64     // guarded by mu; of the records offered, by number; -1 if not appended
	known      []fate      // guarded by mu; what the appender was told, by number
	visible    int64       // guarded by mu; greatest End seen
	durable    int64       // guarded by mu; greatest Durable seen
	frames     [][2]int    // guarded by mu; numbers [from, to) that share a frame
	trimmed    int64       // guarded by mu; the start, as far as it was acknowledged
	trimAsked  int64       // guarded by mu; the start, as far as it was asked for
	change     []func(*Options)
}

// A fate is what the appender was told of a record.
type fate uint8

const (
	pending fate = iota
	acknowledged
	refused
	doubtful
)

func newWorld(t testing.TB, v variant, change ...func(*Options)) *world {
	w := &world{t: t, v: v, level: v.level, m: fs.NewMem(), change: change}
	w.open(w.m, false)
	return w
}

// openOn opens the world's partition on m, as a store would: in a directory
// of another.
func (w *world) openOn(m *fs.Mem, clean, sameBoot bool, cp *Checkpoint) (*Partition, error) {
	shared, err := NewShared(SharedOptions{FS: m, ForceHeap: w.v.heap})
	require.NoError(w.t, err)
	root, err := m.OpenDir("/s", true)
	if err != nil {
		shared.Close()
		return nil, err
	}
	o := Options{
		Shared: shared, SameBoot: sameBoot, Checkpoint: cp, Clean: clean,
		Config: Config{Durability: w.v.level, SegmentBytes: 4 << 10},
	}
	for _, c := range w.change {
		c(&o)
	}
	p, err := OpenIn(root, "0", o)
	if err != nil {
		require.Zero(w.t, shared.OpenFiles(), "files left open by an Open that failed")
		shared.Close()
		return nil, err
	}
	p.own, p.root = true, root
	return p, nil
}

func (w *world) open(m *fs.Mem, clean bool) {
	p, err := w.openOn(m, clean, true, w.checkpoint)
	require.NoError(w.t, err)
	w.mu.Lock()
	w.p, w.m = p, m
	w.mu.Unlock()
}

func numbered(i, size int) record.Record {
	v := fmt.Appendf(nil, "record %06d ", i)
	for len(v) < size {
		v = append(v, byte('a'+i%26))
	}
	return record.Record{Key: fmt.Appendf(nil, "k%d", i%5), Value: v}
}

// number returns the number of a record.
func number(t testing.TB, rec *record.Record) int {
	i, err := strconv.Atoi(string(rec.Value[len("record "):len("record 000000")]))
	want := numbered(i, len(rec.Value))
	if err != nil || !bytes.Equal(want.Value, rec.Value) || !bytes.Equal(want.Key, rec.Key) {
		require.FailNow(t, "not a record that was appended", "%q", rec.Value)
	}
	return i
}

// offer enters n records before they are appended, and returns the first's
// number.
func (w *world) offer(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := len(w.offsets)
	for range n {
		w.offsets = append(w.offsets, -1)
		w.known = append(w.known, pending)
	}
	w.frames = append(w.frames, [2]int{first, first + n})
	return first
}

// told enters what became of record i.
func (w *world) told(i int, offset int64, f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offsets[i], w.known[i] = offset, f
	w.lookLocked()
}

func (w *world) lookLocked() {
	if w.p != nil {
		w.visible = max(w.visible, w.p.End())
		w.durable = max(w.durable, w.p.Durable())
	}
}

// Steps of a history. They require success.

type step func(w *world)

func appends(n, size int) step {
	return func(w *world) {
		for range n {
			i := w.offer(1)
			offset, err := w.p.Append(bg, numbered(i, size))
			require.NoError(w.t, err)
			w.told(i, offset, acknowledged)
		}
	}
}

func batch(n, size int) step {
	return func(w *world) {
		first := w.offer(n)
		recs := make([]record.Record, n)
		for j := range recs {
			recs[j] = numbered(first+j, size)
		}
		require.NoError(w.t, w.p.AppendBatch(bg, recs))
		for j := range recs {
			w.told(first+j, recs[j].Offset, acknowledged)
		}
	}
}

func async(n, size int) step {
	return func(w *world) {
		for range n {
			i := w.offer(1)
			require.NoError(w.t, w.p.AppendAsync(bg, numbered(i, size), func(offset int64, err error) {
				if err == nil {
					w.told(i, offset, acknowledged)
				}
			}))
		}
	}
}

func syncs() step {
	return func(w *world) {
		require.NoError(w.t, w.p.Sync(bg))
		w.mu.Lock()
		w.lookLocked()
		w.mu.Unlock()
	}
}

// pauses lets the timer come by as if so much time had passed, and waits for
// what it has done.
func pauses(d time.Duration) step {
	return func(w *world) { rests(w.p, d) }
}

func rests(p *Partition, d time.Duration) {
	for range 2 { // what was due is done first, then what comes of it
		p.lookAfter(p.shared.clock.Now() + int64(d))
		quiet(p)
	}
}

// quiet waits until nobody changes the partition's files.
func quiet(p *Partition) {
	p.takeFile(bg) //nolint:errcheck // bg does not end
	p.pass()
}

func reopens(clean bool) step {
	return func(w *world) {
		require.NoError(w.t, w.p.Close())
		require.Zero(w.t, w.p.shared.OpenFiles())
		c, ok := w.p.Checkpoint()
		w.mu.Lock()
		w.lookLocked()
		w.checkpoint = nil
		if ok {
			w.checkpoint = &c
		}
		w.mu.Unlock()
		w.open(w.m, clean && ok)
	}
}

// trims gives up all but the last n records.
func trims(n int64) step {
	return func(w *world) {
		to := w.p.End() - n
		w.mu.Lock()
		w.trimAsked = to
		w.mu.Unlock()
		require.NoError(w.t, w.p.Trim(bg, to))
		w.mu.Lock()
		w.trimmed = to
		w.mu.Unlock()
		require.Equal(w.t, to, w.p.Start())
	}
}

// configures changes the level. What a store would find in topic.json is the
// lower one until the change is done.
func configures(d Durability) step {
	return func(w *world) {
		w.mu.Lock()
		w.level = max(w.level, d)
		w.mu.Unlock()
		c := w.p.Config()
		c.Durability = d
		require.NoError(w.t, w.p.Configure(bg, c))
		w.mu.Lock()
		w.level = d
		w.mu.Unlock()
	}
}

// An image is what was on disk at some moment, and what users knew then.
type image struct {
	at      string
	killed  bool
	m       *fs.Mem
	offsets []int64
	known   []fate
	visible int64
	durable int64
	level   Durability
	cp      *Checkpoint

	trimmed, trimAsked int64
}

// capture takes images of a moment: after the end of the process, and after
// the end of power with all, none and some of what was not synced.
func (w *world) capture(at string, rng *rand.Rand, subsets int) []image {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookLocked()
	base := image{
		offsets: append([]int64(nil), w.offsets...), known: append([]fate(nil), w.known...),
		visible: w.visible, durable: w.durable, level: w.level, cp: w.checkpoint,
		trimmed: w.trimmed, trimAsked: w.trimAsked,
	}
	var all []image
	add := func(how string, killed bool, m *fs.Mem) {
		i := base
		i.at, i.killed, i.m = at+", "+how, killed, m
		all = append(all, i)
	}
	add("killed", true, w.m.Kill())
	if rng.IntN(3) == 0 {
		add("crashed, all kept", false, w.m.Crash(func() bool { return true }))
	}
	add("crashed, nothing kept", false, w.m.Crash(func() bool { return false }))
	for i := range subsets {
		add(fmt.Sprintf("crashed, subset %d", i), false, w.m.Crash(func() bool { return rng.IntN(2) == 0 }))
	}
	return all
}

// An entry is a record that was read.
type entry struct {
	offset int64
	number int
}

// readEntries reads everything, which must be intact but for gaps.
func readEntries(t testing.TB, at string, p *Partition) []entry {
	var all []entry
	for rec, err := range p.Records(bg, First()) {
		require.NoError(t, err, at)
		all = append(all, entry{rec.Offset, number(t, &rec)})
	}
	return all
}

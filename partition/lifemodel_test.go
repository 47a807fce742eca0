package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// A life is a partition that is trimmed, damaged, verified and repaired, and
// what it should hold.
type life struct {
	t    *testing.T
	v    variant
	rng  *rand.Rand
	seed uint64
	log  []string

	m       *fs.Mem
	p       *Partition
	cp      *Checkpoint
	q       *Quota
	has     map[int64]bool // offsets of records that can be read
	start   int64
	end     int64
	seen    int64 // no offset below is given out again
	doubt   int64 // a repair that failed may have given up what is behind; 0: none did
	settled bool  // a store would know that the machine did not restart
	durable int64 // what is below survives everything
	damaged bool  // something is, that was not repaired
}

func (l *life) require(ok bool, format string, args ...any) {
	l.t.Helper()
	if !ok {
		require.FailNow(l.t, fmt.Sprintf(format, args...), "seed %d, %v, after %v", l.seed, l.v, l.log[max(0, len(l.log)-12):])
	}
}

func (l *life) ok(err error, what string) {
	l.t.Helper()
	l.require(err == nil, "%s: %v", what, err)
}

func (l *life) open(clean, sameBoot bool) {
	shared, err := NewShared(SharedOptions{FS: l.m, ForceHeap: l.v.heap})
	l.ok(err, "shared")
	l.q = NewQuota()
	l.p, err = Open("/p", Options{
		Shared: shared, SameBoot: sameBoot, Checkpoint: l.cp, Clean: clean, Quota: l.q,
		Validate: Validate(l.rng.IntN(2) * 2), Config: Config{Durability: l.v.level, SegmentBytes: 4 << 10},
	})
	l.ok(err, "open")
	l.p.own = true
	l.settled = sameBoot || l.p.Writable()
}

// look compares the partition with what it should hold.
func (l *life) look() {
	p := l.p
	l.require(p.Start() == l.start, "start is %d, want %d", p.Start(), l.start)
	l.require(p.End() == l.end, "end is %d, want %d", p.End(), l.end)
	p.mu.Lock()
	want := p.Bytes() + p.pending
	p.mu.Unlock()
	l.require(l.q.Used() == want, "quota has %d, want %d", l.q.Used(), want)
	n, wrong := 0, false
	for rec, err := range p.Records(bg, First()) {
		var c *CorruptError
		var g *GapError
		switch {
		case errors.As(err, &c):
			l.require(l.damaged, "%v", err)
			wrong = wrong || l.hasAny(c.FromOffset, c.ToOffset)
		case errors.As(err, &g):
			wrong = wrong || l.hasAny(g.From, g.To)
		default:
			l.ok(err, "read")
			l.require(l.has[rec.Offset] && int(rec.Offset)%1e6 == number(l.t, &rec), "offset %d is from nowhere", rec.Offset)
			n++
		}
	}
	l.require(!wrong && n == len(l.has), "%d records, want %d", n, len(l.has))
}

func (l *life) hasAny(from, to int64) bool {
	for o := range l.has {
		if from <= o && o < to {
			return true
		}
	}
	return false
}

// forget takes offsets [from, to) out of what can be read.
func (l *life) forget(from, to int64) {
	for o := range l.has {
		if from <= o && o < to {
			delete(l.has, o)
		}
	}
}

func (l *life) append() {
	if !l.p.Writable() {
		return
	}
	recs := make([]record.Record, 1+l.rng.IntN(4))
	for i := range recs {
		recs[i] = numbered(int(l.end+int64(i))%1e6, 20+l.rng.IntN(700))
	}
	l.ok(l.p.AppendBatch(bg, recs), "append")
	for _, r := range recs {
		l.require(r.Offset == l.end, "offset %d is given, want %d", r.Offset, l.end)
		l.require(r.Offset >= l.seen, "offset %d is given again", r.Offset)
		l.has[l.end] = true
		l.end++
	}
	l.seen = l.end
	if l.v.level == Sync {
		l.durable = l.end
	}
}

func (l *life) trim() {
	to := l.start + l.rng.Int64N(l.end-l.start+1)
	switch l.rng.IntN(4) {
	case 0:
		to = l.end
	case 1:
		to = min(l.start+l.rng.Int64N(6), l.end)
	}
	l.log = append(l.log, fmt.Sprint("to ", to))
	l.fails(func() error { return l.p.Trim(bg, to) })
	l.require(l.p.Start() == max(l.start, to) || l.p.Start() == l.start, "start is %d", l.p.Start())
	l.start = l.p.Start()
	l.durable = max(l.durable, l.start)
	l.forget(0, l.start)
}

// fails does something of which an operation may fail, and again.
func (l *life) fails(do func() error) {
	if l.rng.IntN(4) == 0 {
		n := l.m.Ops() + 1 + l.rng.Int64N(30)
		quiet(l.p)
		l.m.FailNth(n, []error{fs.EIO, fs.ENOSPC}[l.rng.IntN(2)])
		err := do()
		quiet(l.p)
		l.m.OnOp(nil)
		l.log = append(l.log, fmt.Sprintf("%d: %v", n, err))
		if err == nil {
			return
		}
		l.start = max(l.start, l.p.Start())
		l.forget(0, l.start)
		l.durable = max(l.durable, l.start)
		if p := l.p.failure(); p != nil && !errors.Is(p, ErrCorrupt) {
			l.kill()
		}
	}
	if err := do(); !errors.Is(err, ErrNotDamaged) {
		l.ok(err, "at last")
	}
}

// damage flips a bit of a batch of which all is durable, and is known to be.
func (l *life) damage() {
	if !l.p.Writable() || l.end == l.start {
		return
	}
	l.ok(l.p.giveBack(bg), "give back")
	l.durable = l.end
	list := l.p.all()
	s := list[l.rng.IntN(len(list))]
	if s.Readable() <= segment.FirstFrame {
		return
	}
	at := segment.FirstFrame + l.rng.Int64N(s.Readable()-segment.FirstFrame)
	flip := func() {
		edit(l.t, l.m, "/p/"+s.Name(), func(b []byte) []byte { b[at] ^= 1 << l.rng.IntN(8); return b })
	}
	before := l.m.Kill()
	flip()
	// What nothing tells of on the disk is torn and not damaged: not that.
	shared, err := NewShared(SharedOptions{FS: l.m.Kill()})
	l.ok(err, "shared")
	o := Options{Shared: shared, SameBoot: true, Checkpoint: l.cp, Config: Config{Durability: l.v.level, SegmentBytes: 4 << 10}}
	p, err := Open("/p", o)
	l.ok(err, "open")
	torn := p.Recovery().Cut != nil
	if err := p.Close(); err != nil {
		l.ok(err, "close")
	}
	shared.Close()
	if torn {
		dir, name := dirOf(l.t, before, "/p/"+s.Name())
		b, err := fs.ReadFile(dir, name, 1<<30)
		l.ok(err, "read")
		edit(l.t, l.m, "/p/"+s.Name(), func([]byte) []byte { return b })
		return
	}
	found, err := l.p.Verify(bg, nil)
	l.ok(err, "verify")
	lost := 0
	for _, e := range found {
		lost += len(l.has)
		l.forget(e.FromOffset, e.ToOffset)
		lost -= len(l.has)
	}
	l.require(lost <= 4, "one bit costs %d records", lost)
	l.damaged = l.damaged || len(found) > 0
}

func (l *life) repair(policy RepairPolicy) {
	from := int64(-1)
	for rec, err := range l.p.Records(bg, First()) {
		var c *CorruptError
		if errors.As(err, &c) {
			from = c.FromOffset
			break
		}
		_ = rec
	}
	if policy == CutAtDamage && from >= 0 {
		l.doubt = max(from, 1)
	}
	l.fails(func() error {
		report, err := l.p.Repair(bg, policy)
		if err == nil {
			l.require(report.End == l.p.End(), "the report says %d", report.End)
		}
		return err
	})
	if policy == CutAtDamage && from >= 0 {
		l.forget(from, l.end)
	}
	l.doubt = 0
	l.require(l.p.End() >= l.seen, "the end is %d, was %d", l.p.End(), l.seen)
	l.end = l.p.End()
	l.durable = max(l.durable, l.p.givenUpTo())
	l.require(l.p.Writable(), "not writable: %v", l.p.failure())
	_, err := l.p.Repair(bg, policy)
	l.require(errors.Is(err, ErrNotDamaged), "again: %v", err)
	l.damaged = false
}

func (l *life) kill() {
	m := l.m.Kill()
	l.p.Close() //nolint:errcheck // the process is gone
	l.m = m
	l.open(false, l.settled)
	l.found(l.end)
}

func (l *life) crash() {
	odds := l.rng.IntN(3)
	m := l.m.Crash(func() bool { return l.rng.IntN(2) < odds })
	l.p.Close() //nolint:errcheck // the process is gone
	l.m = m
	l.open(false, false)
	l.found(l.durable)
}

// found takes over what is left: everything below least.
func (l *life) found(least int64) {
	l.require(!l.p.Writable() || l.p.End() >= l.seen, "the end is %d, was %d", l.p.End(), l.seen)
	left := map[int64]bool{}
	for rec, err := range l.p.Records(bg, First()) {
		if err == nil {
			left[rec.Offset] = true
		}
	}
	for o := range l.has {
		if !left[o] {
			l.require(o >= least || l.doubt > 0 && o >= l.doubt, "offset %d is gone", o)
			delete(l.has, o)
		}
	}
	l.end = l.p.End()
}

func (l *life) reopen() {
	l.ok(l.p.Close(), "close")
	l.require(l.p.shared.OpenFiles() == 0, "files are open")
	l.cp = nil
	if c, ok := l.p.Checkpoint(); ok {
		l.cp = &c
	}
	l.open(l.cp != nil && l.rng.IntN(2) == 0, l.settled && l.rng.IntN(2) == 0)
	l.found(l.end)
	l.durable = l.end
}

var lifeOps = []struct {
	name  string
	often int
	do    func(l *life)
}{
	{"append", 40, (*life).append},
	{"trim", 8, (*life).trim},
	{"sync", 3, func(l *life) { l.ok(l.p.Sync(bg), "sync"); l.durable = l.end }},
	{"roll", 2, func(l *life) { l.ok(l.p.RollOld(bg, l.p.Now()), "roll") }},
	{"rest", 2, func(l *life) { rests(l.p, time.Hour) }},
	{"damage", 6, (*life).damage},
	{"repair", 2, func(l *life) { l.repair(KeepIntact) }},
	{"cut", 1, func(l *life) { l.repair(CutAtDamage) }},
	{"reopen", 2, (*life).reopen},
	{"kill", 3, (*life).kill},
	{"crash", 3, (*life).crash},
}

// What is trimmed never comes back, what was damaged is named or given up, and
// everything else is where it was, whatever happens in which order.
func TestLife(t *testing.T) {
	var names []int
	for i, op := range lifeOps {
		names = append(names, slices.Repeat([]int{i}, op.often)...)
	}
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for seed := range uint64(30) {
			l := &life{t: t, v: v, seed: seed, rng: rand.New(rand.NewPCG(seed, 9)), m: fs.NewMem(), q: NewQuota(), has: map[int64]bool{}}
			l.open(false, true)
			for range 80 {
				op := lifeOps[names[l.rng.IntN(len(names))]]
				l.log = append(l.log, op.name)
				op.do(l)
				l.look()
			}
			l.p.Close() //nolint:errcheck // it may be damaged
		}
	})
}

// Package faults plays standard scripts with one operation on a file failing,
// or all from one on, for every operation and every error that a disk has; and
// looks whether somebody was told, and whether what is left keeps the promises.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/rig/history"
	"github.com/braidlog/braidlog/internal/rig/report"
)

// Points counts the faults: script, operation, error, once or from then on,
// and whether the process goes on or the power goes.
const Points = "fault_points"

// scripts are what is done while operations fail.
var scripts = []string{
	"sync,heap,1:agbgcg", "sync,heap,1:aracr", "sync,heap,1:BBBta", "sync,heap,1:aotap",
	"sync,heap,1:abxas", "sync,heap,1:lalba", "sync,heap,1:arkca", "sync,heap,2:ambia",
	"interval,heap,2:gofag", "interval,mapped,1:BBrtca", "interval,mapped,2:amiopa", "interval,heap,1:abarc",
	"os,mapped,1:abasa", "os,mapped,1:BBBsta", "os,mapped,1:arlbla", "os,mapped,1:akpxa",
	"os,mapped,1:afbca", "os,heap,1:aoimtc", "os,heap,2:abpkx", "os,mapped,1:sracictp",
}

// A Fault is one thing that goes wrong.
type Fault struct {
	Script string
	N      int64 // which operation, from 1
	Error  string
	On     bool // all later operations fail too
}

// String is what parse reads.
func (f Fault) String() string {
	how := "once"
	if f.On {
		how = "on"
	}
	return fmt.Sprintf("%s %d %s %s", f.Script, f.N, strings.ReplaceAll(f.Error, " ", "-"), how)
}

func parse(text string) (f Fault, err error) {
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return f, fmt.Errorf("fault %q: want script, number, error, once or on", text)
	}
	f.Script, f.Error, f.On = fields[0], strings.ReplaceAll(fields[2], "-", " "), fields[3] == "on"
	f.N, err = strconv.ParseInt(fields[1], 10, 64)
	if err == nil && causes[f.Error] == nil {
		err = fmt.Errorf("fault %q: there is no error %s", text, f.Error)
	}
	return f, err
}

// causes make the errors. Those of which nil is made go with another operation.
var causes = map[string]func(op fs.Op, cause *injected) error{
	"EIO":         plain(fs.EIO),
	"ENOSPC":      plain(fs.ENOSPC),
	"EDQUOT":      plain(fs.EDQUOT),
	"EMFILE":      plain(fs.EMFILE),
	"EINTR":       plain(fs.EINTR),
	"short write": short(2),
	"late error":  short(1), // all was written
	// After a failed sync the kernel may have any of these for the new content.
	reverted:   failedSync(fs.Reverted),
	"EIO half": failedSync(fs.HalfPersisted),
}

// reverted is the error after which what was written is gone.
const reverted = "EIO reverted"

// names of causes, in order.
var names = []string{"EIO", "ENOSPC", "EDQUOT", "EMFILE", "EINTR", "short write", "late error", reverted, "EIO half"}

// An injected error can be told from all others.
type injected struct{ cause error }

func (e *injected) Error() string { return "injected: " + e.cause.Error() }

func (e *injected) Unwrap() error { return e.cause }

func plain(cause error) func(fs.Op, *injected) error {
	return func(_ fs.Op, e *injected) error { e.cause = cause; return e }
}

// short has only a part of what is written arrive.
func short(part int64) func(fs.Op, *injected) error {
	return func(op fs.Op, e *injected) error {
		if op.Kind != fs.OpWriteAt {
			return nil
		}
		e.cause = fs.ENOSPC
		return &fs.ShortWriteError{N: int(op.Len / part), Err: e}
	}
}

func failedSync(then fs.Aftermath) func(fs.Op, *injected) error {
	return func(op fs.Op, e *injected) error {
		if op.Kind != fs.OpSync {
			return nil
		}
		e.cause = fs.EIO
		return &fs.FailedSyncError{Then: then, Err: e}
	}
}

// Options say how much is done.
type Options struct {
	Seed uint64
	// Every plays only one in so many of the faults; 0 and 1 play all.
	Every int64
}

// Run plays every script with every fault. It ends with ctx.
func Run(ctx context.Context, o Options, r *report.Report, progress func(format string, args ...any)) {
	jobs := make(chan Fault)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for f := range jobs {
				play(f, o.Seed, r)
			}
		})
	}
	last := time.Now()
	at := int64(0)
	each(func(f Fault) bool {
		if at++; o.Every > 1 && (at+int64(o.Seed))%o.Every != 0 {
			return true
		}
		select {
		case jobs <- f:
		case <-ctx.Done():
			return false
		}
		if now := time.Now(); now.Sub(last) > time.Second {
			last = now
			progress("%s, %d faults", f.Script, r.Count(Points))
		}
		return true
	})
	close(jobs)
	workers.Wait()
}

// each yields all faults that there are.
func each(yield func(Fault) bool) {
	for _, script := range scripts {
		ops := operations(script)
		for n := range ops {
			for _, name := range names {
				if causes[name](ops[n], &injected{}) == nil {
					continue
				}
				for _, on := range []bool{false, true} {
					if !yield(Fault{script, int64(n) + 1, name, on}) {
						return
					}
				}
			}
		}
	}
}

// operations returns those of a script when nothing fails.
func operations(script string) (ops []fs.Op) {
	h, err := history.Parse(script)
	if err != nil {
		panic(err) // scripts are ours
	}
	var mu sync.Mutex
	over := false
	w := history.NewWorld(h, func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			ops = append(ops, op)
		}
		return nil
	})
	w.Play(nil)
	mu.Lock()
	over = true
	mu.Unlock()
	w.End()
	return ops
}

// An injector has operations fail.
type injector struct {
	Fault
	mu     sync.Mutex
	n      int64       // guarded by mu; operations so far
	over   bool        // guarded by mu; nothing fails any more
	failed []fs.Op     // guarded by mu
	errs   []*injected // guarded by mu
}

func (i *injector) hook(op fs.Op) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	if i.over || i.n < i.N || i.n > i.N && !i.On {
		return nil
	}
	e := &injected{}
	err := causes[i.Error](op, e)
	if err == nil {
		return nil
	}
	i.failed, i.errs = append(i.failed, op), append(i.errs, e)
	return err
}

// reverted reports whether a sync failed and may have taken back what was
// written.
func (i *injector) reverted() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.Error == reverted && len(i.failed) > 0
}

// stuck reports whether store.json could not be written after such a sync, since
// all later ones failed too. What readers saw is forgotten then if the process
// ends before a Close that finds the disk in order: nothing but a file tells the
// next process, and the disk takes none.
func (i *injector) stuck() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.Error != reverted || !i.On {
		return false
	}
	segment := slices.IndexFunc(i.failed, func(op fs.Op) bool { return strings.HasSuffix(op.Name, ".log") })
	return segment >= 0 && slices.ContainsFunc(i.failed[segment:], func(op fs.Op) bool { return strings.Contains(op.Name, "store.json") })
}

// play plays a script with a fault, and judges what is left.
func play(f Fault, seed uint64, r *report.Report) {
	h, err := history.Parse(f.Script)
	if err != nil {
		panic(err) // it was parsed before
	}
	i := &injector{Fault: f}
	w := history.NewWorld(h, i.hook)
	w.Reverted, w.Stuck = i.reverted, i.stuck
	w.Play(nil)
	i.mu.Lock()
	i.over = true
	i.mu.Unlock()
	j := judge{f, h, i, r}
	crashed := w.Capture()
	w.Close()
	ended := w.Capture()
	w.End()
	if len(i.failed) == 0 {
		return // it did not come that far
	}
	r.Add(Points, 2)
	j.told(w)
	for _, err := range w.Errors() {
		if v := history.Failed(err); v != nil {
			j.find(v, "while it went on")
		}
	}
	j.disk(ended.Mem, ended.Known, true, "closed, and opened again")
	if i.stuck() {
		crashed.Known = crashed.Known.Forgiving()
	}
	j.disk(crashed.Mem.Kill(), crashed.Known, true, "killed")
	l := crashed.Mem.PowerLoss(fs.WeakDisk)
	rng := rand.New(rand.NewPCG(seed, uint64(f.N)))
	for k := range 3 {
		picks := make([]int, len(l.Doubts))
		for d := range picks {
			switch k {
			case 1:
				picks[d] = l.Doubts[d].New
			case 2:
				picks[d] = rng.IntN(min(2, l.Doubts[d].Options))
			}
		}
		j.disk(l.State(picks), crashed.Known, false, l.Picks(picks))
	}
}

// A judge enters what is wrong.
type judge struct {
	Fault
	h      history.History
	i      *injector
	report *report.Report
}

func (j *judge) find(v *history.Violation, at string) {
	j.report.Find(report.Finding{
		Kind: string(v.Kind), Replay: "faults " + j.String(),
		What: fmt.Sprintf("%v (%v): %s: %s", j.Fault, j.i.failed[0], at, v.Text),
	})
}

// disk opens what is left.
func (j *judge) disk(m *fs.Mem, k *history.Known, killed bool, at string) {
	x := history.Examiner{Heap: j.h.Heap, Depth: 1, Unsynced: killed}
	e := x.Examine(m)
	v := e.Violation
	// What was written and could not be synced may be gone without a power loss.
	killed = killed && j.Error != reverted
	if v == nil {
		v = k.Judge(e.Found, killed)
	}
	if v != nil {
		j.find(v, at)
	}
}

// told sees whether anybody was told of what failed.
func (j *judge) told(w *history.World) {
	for _, err := range w.Errors() {
		var e *injected
		if errors.As(err, &e) {
			return
		}
	}
	if !j.harmless() {
		j.find(&history.Violation{Kind: history.Hidden, Text: "nobody was told"}, "at the end")
	}
}

// harmless reports whether nobody has to be told of what failed.
func (j *judge) harmless() bool {
	for _, op := range j.i.failed {
		if !excused(op, j.Fault) {
			return false
		}
	}
	return true
}

// excuses say why nobody has to be told of an operation that failed, once: it
// was done again and worked, or nothing depends on it.
var excuses = []struct {
	why   string
	holds func(op fs.Op, f Fault) bool
}{
	{"store.json is looked at before the lock is taken, and read again behind it", func(op fs.Op, _ Fault) bool {
		reads := op.Kind == fs.OpOpen || op.Kind == fs.OpSize || op.Kind == fs.OpReadAt || op.Kind == fs.OpClose
		return reads && op.Name == history.StorePath+"/store.json"
	}},
	{"a segment is closed when it is synced, or was only read: nothing is left to lose", func(op fs.Op, _ Fault) bool {
		return op.Kind == fs.OpClose && strings.HasSuffix(op.Name, ".log")
	}},
	{"without descriptors, files that nobody uses are closed, and it is tried again", func(op fs.Op, f Fault) bool {
		return f.Error == "EMFILE" && (op.Kind == fs.OpOpen || op.Kind == fs.OpCreate || op.Kind == fs.OpSyncDir)
	}},
	{"on a full disk a trim makes room, and tries again", func(op fs.Op, f Fault) bool {
		full := f.Error == "ENOSPC" || f.Error == "EDQUOT" || f.Error == "short write" || f.Error == "late error"
		moves := strings.Contains(op.Name, "partition.json") || strings.Contains(op.Name, "store.json") || op.Kind == fs.OpSyncDir
		return full && moves && strings.ContainsAny(f.Script[strings.Index(f.Script, ":"):], "tp")
	}},
	{"what is left of a topic is removed once more when its directory was emptied", func(op fs.Op, _ Fault) bool {
		return op.Kind == fs.OpRemove && (strings.Contains(op.Name, "/.deleted-") || strings.Contains(op.Name, "/.new-"))
	}},
}

// excused reports whether nobody has to be told of an operation that failed.
func excused(op fs.Op, f Fault) bool {
	for _, e := range excuses {
		if !f.On && e.holds(op, f) {
			return true
		}
	}
	return false
}

// Again plays one fault.
func Again(argument string, seed uint64, r *report.Report) error {
	f, err := parse(argument)
	if err != nil {
		return err
	}
	if _, err = history.Parse(f.Script); err != nil {
		return err
	}
	play(f, seed, r)
	return nil
}

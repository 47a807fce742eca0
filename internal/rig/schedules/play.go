package schedules

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
)

// A deviation is a choice that is not the first: at that step, another
// goroutine goes on than the one that ran, or if that cannot, than the first.
type deviation struct{ step, choice int }

// A schedule is the deviations that make it, rising. It always has the same
// outcome.
type schedule []deviation

// String returns what parse reads, "17:1 44:2".
func (s schedule) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = fmt.Sprintf("%d:%d", d.step, d.choice)
	}
	return strings.Join(parts, " ")
}

func parse(text string) (s schedule, err error) {
	for _, part := range strings.Fields(text) {
		step, choice, _ := strings.Cut(part, ":")
		var d deviation
		if d.step, err = strconv.Atoi(step); err == nil {
			d.choice, err = strconv.Atoi(choice)
		}
		if err != nil {
			return nil, fmt.Errorf("parse schedule %q: %w", text, err)
		}
		s = append(s, d)
	}
	return s, nil
}

// A combination is what goes on at the same time, in which setting.
type combination struct {
	setting    setting
	operations []operation
}

func (c combination) String() string {
	names := make([]string, len(c.operations))
	for i, o := range c.operations {
		names[i] = o.name
	}
	return strings.Join(names, "+") + "/" + c.setting.name
}

// A played schedule is one that was run to its end.
type played struct {
	schedule
	widths []uint8 // among how many was chosen, at each step
	wrong  []string
	trace  []string
}

// player plays schedules of one combination, one at a time: the hook is the
// program's.
type player struct {
	combination
	base *fs.Mem // immutable
}

func newPlayer(c combination) (*player, error) {
	base, err := image(c.setting)
	return &player{c, base}, err
}

// play runs a schedule.
func (p *player) play(t *testing.T, s schedule, trace bool) played {
	r := played{schedule: s}
	left := s
	diverged := false
	p.run(t, &r, trace, func(step int, able []*parked) int {
		if len(left) == 0 || left[0].step != step {
			return 0
		}
		n := left[0].choice
		left = left[1:]
		if n >= len(able) {
			diverged = true
			return 0
		}
		return n
	})
	if (diverged || len(left) > 0) && len(r.wrong) == 0 {
		r.wrong = append(r.wrong, "the schedule went another way than before")
	}
	return r
}

// playAtRandom runs a schedule in which every choice is made by chance, the
// first one most often, and returns it as it went.
func (p *player) playAtRandom(t *testing.T, rng *rand.Rand) played {
	r := played{}
	stay := 1 + rng.IntN(30)
	p.run(t, &r, false, func(step int, able []*parked) int {
		if rng.IntN(stay) > 0 {
			return 0
		}
		n := rng.IntN(len(able))
		if n > 0 {
			r.schedule = append(r.schedule, deviation{step, n})
		}
		return n
	})
	return r
}

// run is one run of the operations in a bubble of its own.
func (p *player) run(t *testing.T, r *played, trace bool, choose chooser) {
	defer yield.Hook(nil)
	defer func() {
		if e := recover(); e != nil && len(r.wrong) == 0 {
			r.wrong = append(r.wrong, fmt.Sprintf("%v\n%s", e, stacks()))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		// The choices before it decide whether there is a crash at a moment, so
		// that a schedule made by chance is the same when it is run by its name.
		made, draws := uint64(0), uint64(0)
		w, err := newWorld(p.setting, p.base, func(n int) int {
			draws++
			return rand.New(rand.NewPCG(made, draws)).IntN(n)
		})
		if err != nil {
			r.wrong = append(r.wrong, err.Error())
			return
		}
		for _, o := range p.operations {
			if o.prepare != nil {
				o.prepare(w)
			}
		}
		c := newController(func(step int, able []*parked) int {
			r.widths = append(r.widths, uint8(len(able)))
			n := choose(step, able)
			w.turn()
			defer w.turn()
			if n > 0 {
				made = made*1_000_003 + uint64(step)*31 + uint64(n)
			}
			return n
		})
		if trace {
			c.trace = &r.trace
		}
		w.mem.OnOp(w.onOp())
		yield.Hook(c.met)
		for i, o := range p.operations {
			c.start(i, func() { o.do(w) })
		}
		err = c.run(w.goOn())
		yield.Hook(nil)
		w.stop()
		w.turn()
		if err == nil && len(w.wrong) == 0 {
			w.end()
		} else if err != nil {
			w.complain("%v", err)
		}
		r.wrong = w.wrong
	})
}

// onOp returns a hook that makes every operation on a file a mark. Once a store
// is closed its directory may be another one's, and so may a topic's name.
func (w *world) onOp() func(fs.Op) error {
	return func(op fs.Op) error {
		yield.Point()
		switch {
		case !changes(op.Kind):
		case w.closed && strings.HasPrefix(op.Name, storeDir):
			w.complain("after the store was closed: %v", op)
		case w.deleted && strings.HasPrefix(op.Name, storeDir+"/topics/"+topicName):
			w.complain("after the topic was deleted: %v", op)
		}
		return nil
	}
}

// changes reports whether an operation changes something on disk.
func changes(k fs.OpKind) bool {
	switch k {
	case fs.OpOpen, fs.OpList, fs.OpSize, fs.OpReadAt, fs.OpClose:
		return false
	}
	return true
}

// goOn returns what helps when nobody can go on: who waits for records that
// nobody appends any more gives up, and some time passes.
func (w *world) goOn() func() bool {
	skips := 0
	return func() bool {
		w.turn()
		if len(w.waiting) > 0 && w.ctx.Err() == nil {
			for r := range w.waiting {
				if end := w.p.End(); r.Offset() < end {
					w.complain("a reader waits for offset %d, and the log goes up to %d", r.Offset(), end)
				}
			}
			w.stop()
			return true
		}
		skips++
		w.clock.Skip(10 * time.Second)
		return skips < 5
	}
}

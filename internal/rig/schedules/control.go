package schedules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
)

// mostSteps is after how many steps a schedule counts as one that never ends.
const mostSteps = 20_000

// A chooser says who goes on: which of able, whose first is the one that ran
// last if it can go on.
type chooser func(step int, able []*parked) int

// A controller lets one goroutine of a bubble run at a time, from one mark to
// the next.
type controller struct {
	choose chooser

	mu     sync.Mutex     // a leaf; it guards what follows
	names  map[uint64]int // goroutines by the runtime's number, in the order in which they came
	parked []*parked
	panics []string

	running int    // operations that have not ended; changed under mu
	steps   int    // how many choices there were; the controller's, like what follows
	last    int    // who ran last
	ran     uint64 // the runtime's number for it; changed while everybody stands still
	trace   *[]string
}

// A parked goroutine waits at a mark.
type parked struct {
	number uint64
	name   int         // -1: new
	lock   *sync.Mutex // that it is about to take, or nil
	resume chan struct{}
	where  string // with a trace
}

func newController(choose chooser) *controller {
	return &controller{choose: choose, names: map[uint64]int{}, last: -1}
}

// goroutine returns the runtime's number of the one that calls.
func goroutine() uint64 {
	var b [40]byte
	text := b[:runtime.Stack(b[:], false)]
	text = text[len("goroutine "):]
	n, err := strconv.ParseUint(string(text[:bytes.IndexByte(text, ' ')]), 10, 64)
	if err != nil {
		panic(err) // it always begins so
	}
	return n
}

// met is the hook: whoever meets a mark stays there until it is chosen.
// Only who was woken, or is new, can be another one than the one that was
// chosen last: finding out who it is takes the longest of all.
func (c *controller) met(lock *sync.Mutex, woken bool) {
	p := &parked{number: c.ran, name: -1, lock: lock, resume: make(chan struct{})}
	if woken {
		p.number = goroutine()
	}
	if c.trace != nil {
		p.where = caller()
	}
	c.mu.Lock()
	if name, ok := c.names[p.number]; ok {
		p.name = name
	}
	c.parked = append(c.parked, p)
	c.mu.Unlock()
	<-p.resume
}

// caller returns the functions that lead to a mark, the innermost first.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var names []string
	for f, more := frames.Next(); more && len(names) < 4; f, more = frames.Next() {
		name := f.Function[strings.LastIndexByte(f.Function, '/')+1:]
		if !strings.Contains(name, "yield.") && !strings.HasPrefix(name, "fs.(*mem") && !strings.HasPrefix(name, "fs.(*Mem") {
			names = append(names, fmt.Sprintf("%s:%d", name, f.Line))
		}
	}
	return strings.Join(names, " < ")
}

// start begins an operation, which stands at a mark before it does anything.
func (c *controller) start(name int, operation func()) {
	c.running++
	go func() {
		number := goroutine()
		c.mu.Lock()
		c.names[number] = name
		c.mu.Unlock()
		defer func() {
			if r := recover(); r != nil {
				b := make([]byte, 1<<14)
				c.panicked(fmt.Sprintf("panic: %v\n%s", r, b[:runtime.Stack(b, false)]))
			}
			c.mu.Lock()
			c.running--
			c.mu.Unlock()
		}()
		c.met(nil, true)
		operation()
	}()
}

// panic returns what an operation panicked with, "" if none did.
func (c *controller) panic() string {
	c.mu.Lock() // what those did who ended comes before what others do now
	defer c.mu.Unlock()
	if len(c.panics) == 0 {
		return ""
	}
	return c.panics[0]
}

func (c *controller) panicked(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.panics = append(c.panics, what)
}

// run lets goroutines go on until every one has ended or waits for something.
// When nobody can go on it calls idle, which reports whether it changed that.
func (c *controller) run(idle func() bool) error {
	for {
		synctest.Wait()
		if what := c.panic(); what != "" {
			return errors.New(what)
		}
		able := c.able()
		if len(able) > 0 {
			if c.steps > mostSteps {
				return fmt.Errorf("livelock: no end after %d steps\n%s", mostSteps, stacks())
			}
			c.release(able[c.pick(able)])
			continue
		}
		if c.running == 0 && len(c.parked) == 0 {
			return nil
		}
		if !idle() {
			return fmt.Errorf("deadlock: %d operations have not ended, nobody can go on\n%s", c.running, stacks())
		}
	}
}

// pick asks who goes on, if there is a choice.
func (c *controller) pick(able []*parked) int {
	if len(able) == 1 {
		return 0
	}
	n := c.choose(c.steps, able)
	c.steps++
	return n
}

// able returns who could go on: the one that ran last first, the others by
// name. Everybody stands still.
func (c *controller) able() []*parked {
	slices.SortFunc(c.parked, func(a, b *parked) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(c.parked); i++ {
		if c.parked[i].number == c.parked[i-1].number {
			panic("a goroutine that waited met another mark than yield.Woken first") // it was taken for the one that ran
		}
	}
	var able []*parked
	for _, p := range c.parked {
		if p.name < 0 {
			p.name = len(c.names)
			c.names[p.number] = p.name
		}
		if p.lock == nil || isFree(p.lock) {
			able = append(able, p)
		}
	}
	slices.SortFunc(able, func(a, b *parked) int {
		return cmp.Or(cmp.Compare(c.rank(a), c.rank(b)), cmp.Compare(a.name, b.name))
	})
	return able
}

func (c *controller) rank(p *parked) int {
	if p.name == c.last {
		return 0
	}
	return 1
}

func isFree(m *sync.Mutex) bool {
	if !m.TryLock() {
		return false
	}
	m.Unlock()
	return true
}

func (c *controller) release(p *parked) {
	i := slices.Index(c.parked, p)
	c.parked = slices.Delete(c.parked, i, i+1)
	c.last, c.ran = p.name, p.number
	if c.trace != nil {
		*c.trace = append(*c.trace, fmt.Sprintf("%d: %d %s", c.steps, p.name, p.where))
	}
	p.resume <- struct{}{}
}

// stacks returns where all goroutines stand.
func stacks() string {
	b := make([]byte, 1<<18)
	return string(b[:runtime.Stack(b, true)])
}

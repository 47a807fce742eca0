package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A mixture is everything that can happen to a group at once: topics that come and
// go, resets, lag, members and runs.
type mixture struct {
	t *testing.T
	w *world
	g *Group

	resets bool // which would hide a loss

	mu    sync.Mutex
	rng   *rand.Rand
	seen  map[string]bool // values that were processed
	wrong []string
	stop  bool
}

func (x *mixture) intN(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.IntN(n)
}

func (x *mixture) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stop
}

func (x *mixture) process(recs ...record.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range recs {
		x.seen[string(r.Value)] = true
	}
}

// expect takes note of an error that is none of those.
func (x *mixture) expect(what string, err error, these ...error) {
	for _, this := range append(these, nil, context.DeadlineExceeded) {
		if errors.Is(err, this) {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, fmt.Sprintf("%s: %v", what, err))
}

// soon is a context that ends soon, with what is under way at any step.
func (x *mixture) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(bg, time.Duration(x.intN(2000))*time.Millisecond)
}

func (x *mixture) member(instance string) {
	m, err := x.g.Join(bg, MemberConfig{InstanceID: instance})
	x.expect("join", err)
	for err == nil && x.intN(30) > 0 && !x.done() {
		ctx, cancel := x.soon()
		var recs []record.Record
		recs, err = m.Poll(ctx, x.intN(20))
		x.process(recs...)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		x.expect("poll", err, ErrFenced)
		if x.intN(3) > 0 {
			ctx, cancel = x.soon()
			x.expect("commit", m.Commit(ctx), ErrFenced, partition.ErrOutcomeUnknown)
			cancel()
		}
		time.Sleep(time.Duration(x.intN(300)) * time.Millisecond)
	}
	if x.intN(3) > 0 && m != nil { // else it crashed
		ctx, cancel := x.soon()
		defer cancel()
		x.expect("close", m.Close(ctx), ErrFenced, partition.ErrOutcomeUnknown)
	}
}

func (x *mixture) run() {
	ctx, cancel := context.WithTimeout(bg, time.Duration(x.intN(20_000))*time.Millisecond)
	defer cancel()
	err := x.g.Run(ctx, RunConfig{Workers: 3, Pending: 50, Attempts: 1000}, func(_ context.Context, r record.Record) error {
		time.Sleep(time.Duration(x.intN(100)) * time.Millisecond)
		switch x.intN(20) {
		case 0:
			panic("now and then")
		case 1:
			return errors.New("now and then")
		}
		x.process(r)
		return nil
	})
	x.expect("run", err, ErrFenced)
}

// topics makes and deletes topics, and appends to them.
func (x *mixture) topics() {
	for n := range 400 {
		name := fmt.Sprintf("t%d", x.intN(4))
		t, err := x.w.Topic(name)
		switch {
		case err != nil:
			x.w.topic(name, 1+x.intN(3))
		case x.intN(40) == 0:
			x.w.deleteTopic(name)
		default:
			for i, p := range t.Partitions {
				_, err = p.Append(bg, record.Record{Key: fmt.Append(nil, n%3), Value: fmt.Appendf(nil, "%x/%d/%d", t.ID, i, n)})
				require.NoError(x.t, err)
			}
		}
		time.Sleep(time.Duration(x.intN(200)) * time.Millisecond)
	}
}

func (x *mixture) looks() {
	for !x.done() {
		x.g.Describe()
		ctx, cancel := x.soon()
		_, err := x.g.Lag(ctx)
		x.expect("lag", err)
		if x.resets && x.intN(10) == 0 {
			x.expect("reset", x.g.Reset(ctx, partition.First()), partition.ErrOutcomeUnknown)
		}
		cancel()
		time.Sleep(time.Duration(x.intN(1000)) * time.Millisecond)
	}
}

func (x *mixture) forEver(f func()) func() {
	return func() {
		for !x.done() {
			f()
			time.Sleep(time.Duration(x.intN(1000)) * time.Millisecond)
		}
	}
}

// Whatever happens at once, no call fails that should not, nobody waits for ever,
// and no record is lost.
func TestMixture(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				x := &mixture{t: t, w: w, rng: rand.New(rand.NewPCG(seed, 9)), seen: map[string]bool{}, resets: seed%2 == 1}
				x.g = w.group("g", Config{Pattern: "t.", Assignor: []Assignor{Range(), RoundRobin(), Sticky()}[seed%3], PollInterval: 5 * time.Second, SessionTimeout: 2 * time.Second})
				var all sync.WaitGroup
				for _, f := range []func(){
					x.forEver(func() { x.member("") }), x.forEver(func() { x.member("a") }), x.forEver(func() { x.member("a") }),
					x.forEver(x.run), x.forEver(x.run), x.looks,
				} {
					all.Go(f)
				}
				x.topics()
				x.mu.Lock()
				x.stop = true
				x.mu.Unlock()
				all.Wait()
				time.Sleep(time.Minute) // who crashed is given up
				m := join(t, x.g)
				for recs := pollNow(t, m, 0); len(recs) > 0; recs = pollNow(t, m, 0) {
					x.process(recs...)
				}
				require.Empty(t, x.wrong, "seed %d", seed)
				for _, topic := range w.topics {
					for i, p := range topic.Partitions {
						for r, err := range p.Records(bg, partition.First()) {
							require.NoError(t, err)
							require.True(t, x.seen[string(r.Value)], "seed %d: record %d of %s/%d is lost", seed, r.Offset, topic.Name, i)
						}
					}
				}
			})
		})
	}
}

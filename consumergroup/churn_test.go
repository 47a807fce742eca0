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

	"github.com/braidlog/braidlog/record"
)

// A churn is members that come, go, stall and crash while records are
// appended, and a model of what each may see.
type churn struct {
	t     *testing.T
	w     *world
	g     *Group
	topic Topic

	mu        sync.Mutex
	rng       *rand.Rand
	holder    map[TopicPartition]*actor // who was assigned it last, nil if it was let go
	last      map[TopicPartition]*actor // who held it last
	next      map[TopicPartition]int64  // that the holder is to see
	processed map[TopicPartition]int64  // without a gap
	highest   map[TopicPartition]int64  // seen committed
	unclean   int                       // members that crashed or stalled
	repeats   int
	wrong     []string
	stop      bool
}

// An actor is a member and what it does.
type actor struct {
	*churn
	m    *Member
	gone bool // it crashed or stalls: what it has may be taken from it
}

func (c *churn) fail(format string, args ...any) {
	if len(c.wrong) < 5 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

func (c *churn) intN(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func (c *churn) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop
}

// assigned checks that nobody else has what a member gets, and that it goes on
// where the last commit is.
func (a *actor) assigned(_ context.Context, m *Member, tps []TopicPartition) {
	for _, tp := range tps {
		n, err := m.Position(tp)
		at := a.w.committed(a.g, tp)
		a.mu.Lock()
		if h := a.holder[tp]; h != nil && !h.gone {
			a.fail("%v goes to %s while %s has it", tp, m.id, h.m.id)
		}
		stays := a.last[tp] == a && a.next[tp] == n // it was to let go, and did not have to
		if err != nil || n != max(at, 0) && !stays {
			a.fail("%s begins %v at %d, committed is %d: %v", m.id, tp, n, at, err)
		}
		if n > a.processed[tp] {
			a.fail("%s begins %v at %d, and %d is not processed", m.id, tp, n, a.processed[tp])
		}
		a.repeats += int(a.processed[tp] - n)
		a.holder[tp], a.last[tp], a.next[tp] = a, a, n
		a.mu.Unlock()
	}
}

func (a *actor) released(_ context.Context, _ *Member, tps []TopicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, tp := range tps {
		if a.holder[tp] == a {
			a.holder[tp] = nil
		}
	}
}

// process checks what a poll returned.
func (a *actor) process(recs []record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range recs {
		tp := TopicPartition{r.Topic, r.Partition}
		if a.holder[tp] != a {
			a.fail("%s polled %v@%d and does not have it", a.m.id, tp, r.Offset)
		} else if r.Offset != a.next[tp] {
			a.fail("%s polled %v@%d, want %d", a.m.id, tp, r.Offset, a.next[tp])
		}
		a.next[tp] = r.Offset + 1
		a.processed[tp] = max(a.processed[tp], r.Offset+1)
	}
}

// committed checks that positions do not fall, and that only what was processed
// is committed.
func (c *churn) check() {
	for i := range c.topic.Partitions {
		tp := TopicPartition{c.topic.Name, i}
		c.mu.Lock()
		before, processed := c.highest[tp], c.processed[tp]
		c.mu.Unlock()
		now := max(0, c.w.committed(c.g, tp))
		c.mu.Lock()
		if now < before {
			c.fail("%v was committed to %d and is at %d", tp, before, now)
		}
		if now > max(processed, c.processed[tp]) {
			c.fail("%v is committed to %d, processed to %d", tp, now, c.processed[tp])
		}
		c.highest[tp] = max(c.highest[tp], now)
		c.mu.Unlock()
	}
}

// live is one member from Join to its end. It reports whether that was clean.
func (a *actor) live(instance string) {
	m, err := a.g.Join(bg, MemberConfig{InstanceID: instance, OnAssigned: a.assigned, OnRevoked: a.released, OnLost: a.released})
	if err != nil {
		a.mu.Lock()
		a.fail("join: %v", err)
		a.mu.Unlock()
		return
	}
	a.m = m
	var late []record.Record
	for !a.done() {
		ctx, cancel := context.WithTimeout(bg, time.Duration(1+a.intN(500))*time.Millisecond)
		recs, err := m.Poll(ctx, 1+a.intN(50))
		cancel()
		if errors.Is(err, ErrFenced) {
			return
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			a.mu.Lock()
			a.fail("poll: %v", err)
			a.mu.Unlock()
			return
		}
		a.process(recs)
		switch n := a.intN(60); {
		case n == 0: // crash: nobody will hear of it again
			a.dirty()
			return
		case n == 1: // stall, and try to commit all the same
			a.dirty()
			time.Sleep(time.Duration(1+a.intN(30)) * time.Second)
			a.late(late)
			if m.Heartbeat() != nil {
				return
			}
		case n == 2:
			a.close()
			return
		case n < 40:
			if err = m.CommitRecords(bg, recs...); err != nil && !errors.Is(err, ErrFenced) {
				a.mu.Lock()
				a.fail("commit: %v", err)
				a.mu.Unlock()
			}
		case n < 45 && len(recs) > 1: // a part of it
			m.CommitRecords(bg, recs[:1+a.intN(len(recs)-1)]...) //nolint:errcheck // checked by what is committed
		default:
			m.Commit(bg) //nolint:errcheck // checked by what is committed
		}
		late = recs
		a.check()
		time.Sleep(time.Duration(a.intN(300)) * time.Millisecond)
	}
	m.Commit(bg) //nolint:errcheck // checked by what is committed
	a.close()
}

func (a *actor) dirty() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	a.unclean++
}

// late commits what may be somebody else's by now.
func (a *actor) late(recs []record.Record) {
	if len(recs) > 0 {
		a.m.CommitRecords(bg, recs...) //nolint:errcheck // checked by what is committed
	}
	a.check()
}

func (a *actor) close() {
	if err := a.m.Close(bg); err != nil && !errors.Is(err, ErrFenced) {
		a.mu.Lock()
		a.fail("close: %v", err)
		a.mu.Unlock()
	}
}

func TestChurn(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		for _, a := range []Assignor{Range(), RoundRobin(), Sticky()} {
			t.Run(fmt.Sprintf("%s/%d", a.Name(), seed), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) { runChurn(t, w, a, uint64(seed)) })
			})
		}
	}
}

func runChurn(t *testing.T, w *world, assignor Assignor, seed uint64) {
	c := &churn{
		t: t, w: w, topic: w.topic("orders", 7), rng: rand.New(rand.NewPCG(seed, 1)),
		holder: map[TopicPartition]*actor{}, last: map[TopicPartition]*actor{}, next: map[TopicPartition]int64{},
		processed: map[TopicPartition]int64{}, highest: map[TopicPartition]int64{},
	}
	c.g = w.group("g", Config{Topics: []string{"orders"}, Assignor: assignor, PollInterval: 10 * time.Second, SessionTimeout: 5 * time.Second})
	var actors sync.WaitGroup
	for i := range 6 {
		actors.Go(func() {
			for !c.done() {
				instance := ""
				if i < 2 {
					instance = fmt.Sprintf("static-%d", i)
				}
				(&actor{churn: c}).live(instance)
				time.Sleep(time.Duration(c.intN(3000)) * time.Millisecond)
			}
		})
	}
	for range 300 {
		add(t, c.topic.Partitions[c.intN(7)], c.intN(40))
		time.Sleep(200 * time.Millisecond)
	}
	c.mu.Lock()
	c.stop = true
	c.mu.Unlock()
	actors.Wait()
	c.finish()
	require.Empty(t, c.wrong, "seed %d", seed)
	require.NotZero(t, c.unclean)
	for i, p := range c.topic.Partitions {
		require.Equal(t, p.End(), c.processed[TopicPartition{"orders", i}], "seed %d: partition %d", seed, i)
	}
}

// finish has one member read the rest: it gets everything as soon as those that
// crashed were given up.
func (c *churn) finish() {
	began := time.Now()
	a := &actor{churn: c}
	m, err := c.g.Join(bg, MemberConfig{OnAssigned: a.assigned, OnRevoked: a.released, OnLost: a.released})
	require.NoError(c.t, err)
	a.m = m
	for len(m.Assignment()) < 7 {
		a.process(pollNow(c.t, m, 0))
		time.Sleep(100 * time.Millisecond)
		require.Less(c.t, time.Since(began), 11*time.Second, "convergence")
	}
	for recs := pollNow(c.t, m, 0); len(recs) > 0; recs = pollNow(c.t, m, 0) {
		a.process(recs)
	}
	require.NoError(c.t, m.Commit(bg))
	c.check()
}

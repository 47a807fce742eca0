package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// What -churn does, spread evenly over the records.
const (
	crashes      = 4                      // members that crash; another one joins for each
	moves        = 16                     // in turn a member joins and one leaves
	polls        = 200                    // about so many, so that there is time for it
	patience     = 300 * time.Millisecond // after which a member that stands still is taken for crashed
	mostToPoll   = consumergroup.DefaultPollRecords
	workersShown = 50
)

// A crew is the members of a group, who come and go until everything is
// processed.
type crew struct {
	topic *braidlog.Topic
	tally *tally
	churn bool
	most  int // records of one poll

	patience time.Duration // Config.PollInterval; 0: nobody will crash

	group *consumergroup.Group
	going *errgroup.Group
	stop  context.CancelFunc // ends every poll

	// Guarded by mu:
	mu         sync.Mutex
	workers    []*worker // all there ever were
	places     []int64   // committed, by partition
	behind     int       // partitions that are not committed up to their end
	crashed    int
	moved      int
	done       bool
	rebalances int // when everything was done
}

// A worker is what becomes of one member.
type worker struct {
	member    *consumergroup.Member
	held      []braidlog.Record // processed and not committed
	processed int
	fate      string // guarded by crew.mu
}

func newCrew(topic *braidlog.Topic, t *tally, churn bool) *crew {
	c := &crew{topic: topic, tally: t, churn: churn, most: mostToPoll, places: make([]int64, topic.NumPartitions())}
	if churn {
		c.most = min(mostToPoll, max(1, len(t.sent)/polls))
		c.patience = patience
	}
	for i := range c.places {
		if topic.Partition(i).End() > 0 {
			c.behind++
		}
	}
	return c
}

// run has everything processed, by so many members to begin with.
func (c *crew) run(ctx context.Context, members int) (err error) {
	if c.group, err = c.topic.Group("workers", consumergroup.Config{PollInterval: c.patience}); err != nil {
		return err
	}
	defer c.tally.bar.Clear()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	c.stop = stop
	c.going, polling = errgroup.WithContext(polling)
	for range members {
		if _, err = c.hire(ctx); err != nil {
			return err
		}
	}
	for _, w := range c.workers[:members] {
		c.start(polling, w)
	}
	if err = c.going.Wait(); err != nil {
		return err
	}
	return c.wakeCrashed(ctx)
}

// hire has a member join.
func (c *crew) hire(ctx context.Context) (*worker, error) {
	m, err := c.group.Join(ctx, consumergroup.MemberConfig{})
	if err != nil {
		return nil, err
	}
	w := &worker{member: m, fate: "stayed"}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = append(c.workers, w)
	return w, nil
}

func (c *crew) start(ctx context.Context, w *worker) {
	c.going.Go(func() error {
		err := c.work(ctx, w)
		if err == nil || !c.isDone() {
			return err
		}
		return c.dismiss(context.WithoutCancel(ctx), w, err)
	})
}

// dismiss closes a member that was interrupted since everything is done.
func (c *crew) dismiss(ctx context.Context, w *worker, err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, braidlog.ErrOutcomeUnknown) {
		return err
	}
	if err = w.member.Close(ctx); errors.Is(err, consumergroup.ErrFenced) {
		c.tally.hold(w.held) // somebody else committed them
		return nil
	}
	return err
}

// another has a member join and work.
func (c *crew) another(ctx context.Context) error {
	w, err := c.hire(ctx)
	if err == nil {
		c.start(ctx, w)
	}
	return err
}

// work polls, processes and commits, until the worker leaves or crashes.
func (c *crew) work(ctx context.Context, w *worker) error {
	for {
		recs, err := w.member.Poll(ctx, c.most)
		if errors.Is(err, consumergroup.ErrFenced) {
			return c.replace(ctx, w, "stood still for too long")
		}
		if err != nil {
			return err
		}
		c.tally.process(recs)
		w.processed, w.held = w.processed+len(recs), recs
		if c.crashIsDue() {
			c.tally.hold(recs)
			return c.replace(ctx, w, "crashed")
		}
		if err = c.commit(ctx, w, recs); errors.Is(err, consumergroup.ErrFenced) {
			return c.replace(ctx, w, "stood still for too long")
		}
		if err != nil {
			return err
		}
		w.held = nil
		if left, err := c.move(ctx, w); left || err != nil {
			return err
		}
	}
}

// replace says what became of a worker, and has another one join for it.
func (c *crew) replace(ctx context.Context, w *worker, fate string) error {
	c.end(w, fate)
	return c.another(ctx)
}

func (c *crew) end(w *worker, fate string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.fate = fate
}

// commit commits what was processed. Who stood still for so long that the group
// took it for crashed did not commit: its records come again.
func (c *crew) commit(ctx context.Context, w *worker, recs []braidlog.Record) error {
	err := w.member.Commit(ctx)
	var some *consumergroup.FencedError
	switch {
	case errors.As(err, &some):
		lost, kept := split(recs, some.Partitions)
		c.tally.hold(lost)
		c.committed(kept)
		return nil
	case errors.Is(err, consumergroup.ErrFenced):
		c.tally.hold(recs)
		return err
	case err != nil:
		return err
	}
	c.committed(recs)
	return nil
}

// split returns the records of partitions that were lost, and the others.
func split(recs []braidlog.Record, partitions []consumergroup.TopicPartition) (lost, kept []braidlog.Record) {
	gone := map[int]bool{}
	for _, tp := range partitions {
		gone[tp.Partition] = true
	}
	for _, rec := range recs {
		if gone[rec.Partition] {
			lost = append(lost, rec)
		} else {
			kept = append(kept, rec)
		}
	}
	return lost, kept
}

// committed takes note of records that are committed. With the last one
// everything is done.
func (c *crew) committed(recs []braidlog.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range recs {
		p := recs[i].Partition
		end, place := c.topic.Partition(p).End(), recs[i].Offset+1
		if place > c.places[p] {
			if c.places[p] = place; place == end {
				c.behind--
			}
		}
	}
	if c.behind == 0 && !c.done {
		c.done, c.rebalances = true, c.group.Describe().Generation
		c.stop()
	}
}

func (c *crew) isDone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// crashIsDue reports whether who asks, with records that are not committed, is to
// crash. All crashes come, however few the records are.
func (c *crew) crashIsDue() bool {
	share := c.tally.share()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.churn || c.crashed == crashes || share < float64(c.crashed+1)/(crashes+1) {
		return false
	}
	c.crashed++
	return true
}

// move has a member join if that is due, or the worker leave.
func (c *crew) move(ctx context.Context, w *worker) (left bool, err error) {
	share := c.tally.share()
	c.mu.Lock()
	due := c.churn && !c.done && c.moved < moves && share >= float64(c.moved+1)/(moves+1)
	leave := c.moved%2 == 1
	if due {
		c.moved++
	}
	c.mu.Unlock()
	switch {
	case !due:
		return false, nil
	case !leave:
		return false, c.another(ctx)
	}
	c.end(w, "left")
	if err = w.member.Close(ctx); errors.Is(err, consumergroup.ErrFenced) {
		err = nil // everything was committed
	}
	return true, err
}

// wakeCrashed has those that crashed go on as if nothing had happened: they must
// not be able to commit what others processed again.
func (c *crew) wakeCrashed(ctx context.Context) error {
	for _, w := range c.workers {
		if w.fate != "crashed" {
			continue
		}
		if err := w.member.Commit(ctx); !errors.Is(err, consumergroup.ErrFenced) {
			return fmt.Errorf("%s crashed, and when it was back its commit was not refused: %v", w.member.ID(), err)
		}
	}
	return nil
}

// draw shows what became of everybody.
func (c *crew) draw(s *show.Stage) {
	table := show.Table{{"member", "what became of it", "records"}}
	for _, w := range c.workers[:min(len(c.workers), workersShown)] {
		table.Add(w.member.ID(), w.fate, w.processed)
	}
	table.Print(s)
	if more := len(c.workers) - workersShown; more > 0 {
		s.Say("and %d members more", more)
	}
	s.Say("")
}

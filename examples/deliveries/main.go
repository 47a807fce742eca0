// Deliveries has two consumer groups process the same payments, and both crash in
// the same place. One commits before it processes, at most once: what it had in
// its hands is missing. One commits afterwards, at least once: what it had
// processed and not committed is repeated.
//
//	go run ./examples/deliveries
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
)

const (
	payments = 20
	atATime  = 5  // payments of one poll
	survived = 13 // payments that are processed before the crash
)

var program = show.Program{Name: "deliveries", Play: play}

func main() { program.Main() }

// figures are of payments that were processed.
type figures struct {
	Records     int `json:"records"`
	MostMissing int `json:"at_most_once_missing"`
	MostAgain   int `json:"at_most_once_repeated"`
	LeastLost   int `json:"at_least_once_missing"`
	LeastAgain  int `json:"at_least_once_repeated"`
}

func play(ctx context.Context, s *show.Stage) (any, error) {
	sent, err := pay(ctx, s)
	if err != nil {
		return nil, err
	}
	most := newDesk(s, sent, "at most once", consumergroup.CommitPolicy{BeforeHandOut: true})
	least := newDesk(s, sent, "at least once", consumergroup.CommitPolicy{})
	for _, d := range []*desk{most, least} {
		for range 2 { // until it crashes, and again
			if err = d.live(ctx); err != nil {
				return nil, err
			}
		}
		if err = d.tell(); err != nil {
			return nil, err
		}
	}
	f := figures{len(sent), len(most.missing()), len(most.repeated()), len(least.missing()), len(least.repeated())}
	if !slices.Equal(most.missing(), most.held[most.begun:]) || f.MostAgain > 0 {
		return nil, fmt.Errorf("at most once should miss %v, and repeat nothing: it misses %v and repeats %v", most.held[most.begun:], most.missing(), most.repeated())
	}
	if !slices.Equal(least.repeated(), least.held[:least.begun]) || f.LeastLost > 0 {
		return nil, fmt.Errorf("at least once should repeat %v, and miss nothing: it repeats %v and misses %v", least.held[:least.begun], least.repeated(), least.missing())
	}
	return f, nil
}

// pay appends the payments.
func pay(ctx context.Context, s *show.Stage) (sent []braidlog.Record, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := store.CreateTopic(ctx, "payments", braidlog.TopicConfig{Partitions: 1, SegmentBytes: show.SegmentBytes})
	if err != nil {
		return nil, err
	}
	for i := range payments {
		sent = append(sent, braidlog.Record{Key: fmt.Appendf(nil, "account-%d", i%4), Value: fmt.Appendf(nil, "payment %d", i)})
	}
	show.NewLedger(sent)
	return sent, topic.AppendBatch(ctx, s.Plant(sent))
}

// A desk processes payments, in one program after the other.
type desk struct {
	*show.Stage
	name   string
	commit consumergroup.CommitPolicy
	lives  [][]int // the numbers of the payments that each program processed
	times  []int   // by number: how often it was processed

	held  []int // what it had in its hands when it crashed,
	begun int   // and how much of that was processed
}

func newDesk(s *show.Stage, sent []braidlog.Record, name string, commit consumergroup.CommitPolicy) *desk {
	return &desk{Stage: s, name: name, commit: commit, times: make([]int, len(sent))}
}

// live is one program, until it crashes or has nothing left to do. When it
// crashes the store is closed behind the member's back: nothing is committed.
func (d *desk) live(ctx context.Context) (err error) {
	store, err := braidlog.Open(d.Dir, braidlog.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	group, err := store.Group(strings.ReplaceAll(d.name, " ", "-"), consumergroup.Config{Topics: []string{"payments"}, Commit: d.commit})
	if err != nil {
		return err
	}
	m, err := group.Join(ctx, consumergroup.MemberConfig{})
	if err != nil {
		return err
	}
	left, err := show.Behind(ctx, group)
	if err != nil {
		return err
	}
	d.lives = append(d.lives, nil)
	for left > 0 {
		recs, err := m.Poll(ctx, atATime) // at most once: it is committed here
		if err != nil {
			return err
		}
		if crashed, err := d.process(recs); crashed || err != nil {
			return err
		}
		if !d.commit.BeforeHandOut {
			if err = m.Commit(ctx); err != nil { // at least once: here
				return err
			}
		}
		left -= len(recs)
	}
	return m.Close(ctx)
}

// process processes payments, and crashes in the middle of them if it is time.
func (d *desk) process(recs []braidlog.Record) (crashed bool, err error) {
	life := len(d.lives) - 1
	for i := range recs {
		if life == 0 && len(d.lives[life]) == survived {
			for k := range recs {
				d.held = append(d.held, show.Number(&recs[k]))
			}
			d.begun = i
			return true, nil
		}
		n := show.Number(&recs[i])
		if n < 0 || n >= len(d.times) {
			return false, fmt.Errorf("%s was never paid", recs[i].Value)
		}
		if did := d.lives[life]; len(did) > 0 && n < did[len(did)-1] {
			return false, fmt.Errorf("payment %d comes after payment %d", n, did[len(did)-1])
		}
		d.lives[life] = append(d.lives[life], n)
		d.times[n]++
	}
	return false, nil
}

// missing returns the payments that were never processed.
func (d *desk) missing() []int { return d.with(func(times int) bool { return times == 0 }) }

// repeated returns the payments that were processed again.
func (d *desk) repeated() []int { return d.with(func(times int) bool { return times > 1 }) }

func (d *desk) with(is func(times int) bool) []int {
	numbers := []int{}
	for n, times := range d.times {
		if is(times) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// tell shows what was processed.
func (d *desk) tell() error {
	if d.held == nil {
		return fmt.Errorf("%s: it should have crashed after %d payments", d.name, survived)
	}
	d.Say("%s:", d.name)
	d.Say("  processed %s", list(d.lives[0]))
	d.Say("  CRASH     with %s in its hands", list(d.held))
	d.Say("  processed %s", list(d.lives[1]))
	d.Say("  missing   %s", list(d.missing()))
	d.Say("  repeated  %s\n", list(d.repeated()))
	return nil
}

func list(numbers []int) string {
	if len(numbers) == 0 {
		return "nothing"
	}
	return strings.Trim(fmt.Sprint(numbers), "[]")
}

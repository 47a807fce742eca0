// Package schedules runs operations of a store side by side under every order in
// which their goroutines can take turns, up to two deviations from the simplest
// one, and under others by chance; and checks after each what was seen against
// what a log promises.
//
// A goroutine can be made to wait wherever package yield has a mark: at locks,
// after waits, between steps that others see, and at every operation on a file.
// Between two marks one goroutine runs alone, so a schedule is the list of who
// went on at each mark, and can be run again.
package schedules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A Finding is a schedule after which something is wrong.
type Finding struct {
	Combination string `json:"combination"` // "append+close/sync": operations, setting
	Schedule    string `json:"schedule"`    // "17:1 44:2": at step 17 the second one goes on
	What        string `json:"what"`
}

func (f Finding) String() string {
	return fmt.Sprintf("%s at %q: %s", f.Combination, f.Schedule, f.What)
}

// Counts say what was run.
type Counts struct {
	Schedules    int       `json:"schedules"`    // distinct ones that were run to their end
	Steps        int       `json:"steps"`        // at which somebody was chosen
	Combinations int       `json:"combinations"` // of operations and setting
	Exhausted    int       `json:"exhausted"`    // of them, those all of whose schedules of up to two deviations were run
	Findings     []Finding `json:"findings"`     // the first of each combination
}

func (c *Counts) add(o Counts) {
	c.Schedules += o.Schedules
	c.Steps += o.Steps
	c.Combinations += o.Combinations
	c.Exhausted += o.Exhausted
	c.Findings = append(c.Findings, o.Findings...)
}

// combinations returns every pair of operations in every setting, and random
// ones of more.
func combinations() (all []combination) {
	for i, a := range operations {
		for _, b := range operations[i:] {
			for _, s := range settings {
				all = append(all, combination{s, []operation{a, b}})
			}
		}
	}
	return append(all, crowds()...)
}

// crowds returns combinations of four operations each, in which every operation
// meets every other one in some.
func crowds() (all []combination) {
	n := len(operations)
	for i := range n {
		for _, step := range []int{1, 4, 7} {
			for _, s := range settings[:3] {
				four := []operation{operations[i], operations[(i+step)%n], operations[(i+2*step+1)%n], operations[(i+5)%n]}
				all = append(all, combination{s, four})
			}
		}
	}
	return all
}

// find returns the combination of this name.
func find(name string) (combination, error) {
	names, in, _ := strings.Cut(name, "/")
	var c combination
	for _, s := range settings {
		if s.name == in {
			c.setting = s
		}
	}
	for each := range strings.SplitSeq(names, "+") {
		for _, o := range operations {
			if o.name == each {
				c.operations = append(c.operations, o)
			}
		}
	}
	if c.String() != name {
		return c, fmt.Errorf("find combination: there is no %q", name)
	}
	return c, nil
}

// A search goes through the schedules of one combination: of two operations,
// first those of no deviation, then of one, then of two, those of the same
// number in an order of its own; of more, by chance.
type search struct {
	player *player
	rng    *rand.Rand
	until  time.Time
	seen   map[string]bool // those made by chance
	counts Counts
}

const (
	// maxDeviations is how many deviations a schedule has that is not made by
	// chance.
	maxDeviations = 2
	// crowdSchedules is how many are made by chance.
	crowdSchedules = 2000
)

// run runs schedules until all were or time is up.
func (s *search) run(t *testing.T) {
	s.counts.Combinations = 1
	if len(s.player.operations) > 2 {
		s.byChance(t)
		return
	}
	level := []played{s.player.play(t, nil, false)}
	s.enter(level[0])
	for range maxDeviations {
		next := deviate(level)
		s.rng.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		level = level[:0]
		for _, one := range next {
			if s.over() {
				return
			}
			r := s.player.play(t, one, false)
			s.enter(r)
			level = append(level, r)
		}
	}
	if !s.over() {
		s.counts.Exhausted = 1
	}
}

func (s *search) byChance(t *testing.T) {
	for range crowdSchedules {
		if s.over() {
			return
		}
		r := s.player.playAtRandom(t, s.rng)
		if name := r.String(); !s.seen[name] {
			s.seen[name] = true
			s.enter(r)
		}
	}
}

func (s *search) over() bool { return len(s.counts.Findings) > 0 || !time.Now().Before(s.until) }

// enter counts a schedule that was run.
func (s *search) enter(r played) {
	s.counts.Schedules++
	s.counts.Steps += len(r.widths)
	if len(r.wrong) > 0 && len(s.counts.Findings) == 0 {
		s.counts.Findings = append(s.counts.Findings, Finding{s.player.String(), r.String(), r.wrong[0]})
	}
}

// deviate returns every schedule that is one of those that were run and one more
// deviation behind its last.
func deviate(from []played) (all []schedule) {
	for _, r := range from {
		first := 0
		if n := len(r.schedule); n > 0 {
			first = r.schedule[n-1].step + 1
		}
		for step := first; step < len(r.widths); step++ {
			for choice := 1; choice < int(r.widths[step]); choice++ {
				all = append(all, append(r.schedule[:len(r.schedule):len(r.schedule)], deviation{step, choice}))
			}
		}
	}
	return all
}

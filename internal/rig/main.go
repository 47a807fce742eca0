// Command rig looks for broken promises: it crashes, starves and damages stores
// in memory, and compares what is found afterwards with what their users were
// told. docs/TRUST.md says what it shows.
//
//	go run ./internal/rig -quick         the share of a test run, at most a quarter of an hour
//	go run ./internal/rig -long          without end
//	go run ./internal/rig -replay '...'  what a finding says
//
// It ends with status 1 if it found something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/braidlog/braidlog/internal/rig/crash"
	"github.com/braidlog/braidlog/internal/rig/damage"
	"github.com/braidlog/braidlog/internal/rig/faults"
	"github.com/braidlog/braidlog/internal/rig/metamorphic"
	"github.com/braidlog/braidlog/internal/rig/planted"
	"github.com/braidlog/braidlog/internal/rig/report"
	"github.com/braidlog/braidlog/internal/rig/schedules"
)

// A check is one way to look for broken promises.
type check struct {
	name string // and first word of the argument of -replay
	run  func(ctx context.Context, o options, r *report.Report, say func(format string, args ...any))
	// replay does one finding again; nil: run does the same each time.
	replay func(ctx context.Context, argument string, o options, r *report.Report) error
}

var checks = []check{
	{"crash", runCrash, func(ctx context.Context, argument string, o options, r *report.Report) error {
		return crash.Again(ctx, argument, o.seed, r)
	}},
	{"faults", runFaults, func(_ context.Context, argument string, o options, r *report.Report) error {
		return faults.Again(argument, o.seed, r)
	}},
	{"damage", runDamage, nil},
	{"schedules", runSchedules, func(ctx context.Context, argument string, _ options, r *report.Report) error {
		combination, schedule, _ := strings.Cut(argument, " ")
		c, err := schedules.Again(ctx, combination, schedule)
		enter(r, c)
		return err
	}},
	{"metamorphic", runMetamorphic, nil},
	{"planted", runPlanted, nil},
}

// counters are in the report also if nothing was counted.
var counters = []string{
	"crash_states", "fault_points", "damage_variants", "schedules", "lost", "invented", "reordered",
	"false_corruption", "undetected", "planted_bugs", "planted_caught",
}

type options struct {
	quick, long, json bool
	first             bool
	seed              uint64
	time              time.Duration
	only, replay      string
}

func main() {
	schedules.Serve() // ends here in a process that runs schedules for another
	var o options
	flag.BoolVar(&o.quick, "quick", false, "do the share of a test run")
	flag.BoolVar(&o.long, "long", false, "go on without end, with longer and longer histories")
	flag.BoolVar(&o.json, "json", false, "print nothing but the counts, as JSON on one line, and what was found")
	flag.Uint64Var(&o.seed, "seed", 1, "what chance begins with")
	flag.DurationVar(&o.time, "time", 0, "how long each check may take; 0: as long as it takes, in -quick as long as it should")
	flag.StringVar(&o.only, "only", "", "run this check only")
	flag.BoolVar(&o.first, "first", false, "stop at the first finding")
	flag.StringVar(&o.replay, "replay", "", "do again what a finding says")
	flag.Parse()
	debug.SetGCPercent(800) // most of what is made is thrown away at once
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// memoryLimit is from where on memory is collected more often.
const memoryLimit = 1 << 30

var errFound = errors.New("promises were broken")

func run(ctx context.Context, o options) error {
	r := report.New(counters...)
	if o.first {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		r.OnFind = stop
	}
	if o.replay != "" {
		if err := replay(ctx, o, r); err != nil {
			return err
		}
		return conclude(o, r)
	}
	for _, c := range checks {
		if o.only == "" || o.only == c.name {
			began := time.Now()
			c.run(ctx, o, r, o.sayer(c.name))
			r.Add(c.name+"_seconds", int64(time.Since(began).Seconds()))
		}
	}
	return conclude(o, r)
}

func replay(ctx context.Context, o options, r *report.Report) error {
	name, argument, _ := strings.Cut(o.replay, " ")
	for _, c := range checks {
		switch {
		case c.name != name:
		case c.replay == nil:
			c.run(ctx, o, r, o.sayer(c.name))
			return nil
		default:
			return c.replay(ctx, argument, o, r)
		}
	}
	return fmt.Errorf("replay: there is no check %q", name)
}

// conclude prints what was counted and found.
func conclude(o options, r *report.Report) error {
	found := r.Findings()
	for _, f := range found {
		fmt.Fprintln(os.Stderr, f)
	}
	fmt.Println(r.JSON())
	if len(found) > 0 {
		return errFound
	}
	return nil
}

// sayer tells of progress, on a terminal.
func (o options) sayer(name string) func(format string, args ...any) {
	info, err := os.Stderr.Stat()
	if o.json || err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "\r%s: %s\033[K", name, fmt.Sprintf(format, args...))
	}
}

// The crashes of -quick end when there were all sequences and so many states,
// which takes about six minutes on two processors, or when the time is over.
const (
	quickCrash  = 20 * time.Minute
	quickStates = 1_000_000
)

func runCrash(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	c := crash.Options{Seed: o.seed, Length: 3, Core: o.quick, Random: o.long || o.quick, Time: o.time}
	if o.quick && c.Time == 0 {
		c.Time, c.Enough = quickCrash, quickStates
	}
	crash.Run(ctx, c, r, say)
}

func runFaults(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	faults.Run(ctx, faults.Options{Seed: o.seed}, r, say)
}

// runDamage spoils the fixed stores in every way, each time the same.
func runDamage(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	c, err := damage.Sweep(ctx, false, func(done, total int) { say("%d of %d variants", done, total) })
	r.Add("damage_variants", c.Variants)
	for kind, n := range map[string]int64{"lost": c.Lost, "invented": c.Invented, "undetected": c.Undetected, "false_corruption": c.FalseCorruption} {
		r.Add(kind, n)
	}
	found(r, "damage", "damage_findings", err)
}

// runSchedules runs pairs of operations in every order. A finding names its
// schedule.
func runSchedules(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	c, err := schedules.Explore(ctx, o.quick, func(done, total int) { say("%d of %d combinations", done, total) })
	enter(r, c)
	found(r, "schedules", "schedule_findings", err)
}

func enter(r *report.Report, c schedules.Counts) {
	r.Add("schedules", int64(c.Schedules))
	for _, f := range c.Findings {
		r.Find(report.Finding{Kind: "schedule_findings", What: f.What, Replay: "schedules " + f.Combination + " " + f.Schedule})
	}
}

// runMetamorphic plays histories under all settings until its time is over.
func runMetamorphic(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	const histories, steps = 4, 60
	for seed := o.seed; ctx.Err() == nil && (o.long || seed < o.seed+histories); seed++ {
		n, differ, err := metamorphic.Run(ctx, []uint64{seed}, steps)
		r.Add("metamorphic_comparisons", int64(n))
		for _, what := range differ {
			r.Find(report.Finding{Kind: "metamorphic_differences", What: what, Replay: "metamorphic"})
		}
		found(r, "metamorphic", "metamorphic_differences", err)
		say("%d comparisons", r.Count("metamorphic_comparisons"))
	}
}

// runPlanted plants every known bug. One that is not caught is a finding.
func runPlanted(ctx context.Context, o options, r *report.Report, say func(format string, args ...any)) {
	if o.long && o.only == "" {
		return // they stay the same
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		found(r, "planted", "planted_failed", fmt.Errorf("find the module: %w", err))
		return
	}
	err = planted.Plant(ctx, strings.TrimSpace(string(module)), planted.Bugs, func(was planted.Outcome) {
		r.Add("planted_bugs", 1)
		if !was.Caught {
			r.Find(report.Finding{Kind: "planted_missed", What: was.Bug.Name, Replay: "planted"})
			return
		}
		r.Add("planted_caught", 1)
		say("%d of %d bugs", r.Count("planted_bugs"), len(planted.Bugs))
		if !o.json {
			fmt.Printf("%6.2f s  %s: %s\n", was.Took.Seconds(), was.Bug.Name, was.Said)
		}
	})
	found(r, "planted", "planted_failed", err)
}

// bounded is ctx for as long as a check may take.
func (o options) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.time > 0 {
		return context.WithTimeout(ctx, o.time)
	}
	return context.WithCancel(ctx)
}

// found enters why a check failed, unless its time was over.
func found(r *report.Report, check, kind string, err error) {
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		r.Find(report.Finding{Kind: kind, What: err.Error(), Replay: check})
	}
}

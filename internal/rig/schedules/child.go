package schedules

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// The hook is the program's, and bubbles of package testing/synctest are had by
// tests only. So schedules are run by processes of their own, each on one
// processor: that also makes a panic of the store a finding.

// serveEnv is set for a process that runs schedules, to its task as JSON.
const serveEnv = "BRAIDLOG_SCHEDULES"

// A task is the part of one process.
type task struct {
	Part, Of int           // it has every combination whose number leaves Part, divided by Of
	Time     time.Duration // for all of them; 0: as long as it takes
	Seed     uint64

	// Or one schedule, again.
	Combination, Schedule string
}

// A report is what a process writes, a line each, after every combination.
type report struct {
	Counts
	Began string `json:"began,omitempty"` // a combination that is about to begin, and nothing else
}

// Serve runs schedules if this process was started by Explore, and then does not
// return. A program that calls Explore calls it first.
func Serve() {
	text := os.Getenv(serveEnv)
	if text == "" {
		return
	}
	var job task
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		panic(err)
	}
	runtime.GOMAXPROCS(1)
	testing.Init()
	flag.CommandLine.Parse(nil) // #nosec G104 -- there is nothing to parse
	out := json.NewEncoder(os.Stdout)
	testing.Main(regexp.MatchString, []testing.InternalTest{{Name: "Schedules", F: func(t *testing.T) {
		job.run(t, func(r report) {
			if err := out.Encode(r); err != nil {
				panic(err) // nobody listens any more
			}
		})
	}}}, nil, nil)
}

// run goes through the combinations of a task. Those that take less than their
// share of the time leave the rest to the others.
func (j task) run(t *testing.T, tell func(report)) {
	if j.Combination != "" {
		tell(report{Began: j.Combination})
		tell(report{Counts: again(t, j.Combination, j.Schedule)})
		return
	}
	end := time.Now().Add(j.Time)
	if j.Time == 0 {
		end = time.Now().Add(1000 * time.Hour)
	}
	var mine []combination
	for i, c := range combinations() {
		if i%j.Of == j.Part {
			mine = append(mine, c)
		}
	}
	for i, c := range mine {
		tell(report{Began: c.String()})
		left := time.Until(end) / time.Duration(len(mine)-i)
		tell(report{Counts: explore(t, c, j.Seed+uint64(i), time.Now().Add(left))})
	}
}

// again runs one schedule.
func again(t *testing.T, name, text string) Counts {
	counts := Counts{Combinations: 1}
	c, err := find(name)
	var s schedule
	if err == nil {
		s, err = parse(text)
	}
	var p *player
	if err == nil {
		p, err = newPlayer(c)
	}
	if err != nil {
		counts.Findings = []Finding{{name, text, err.Error()}}
		return counts
	}
	r := p.play(t, s, true)
	counts.Schedules, counts.Steps = 1, len(r.widths)
	if len(r.wrong) > 0 {
		what := strings.Join(r.wrong, "\n") + "\n" + strings.Join(r.trace, "\n")
		counts.Findings = []Finding{{name, text, what}}
	}
	return counts
}

// explore runs schedules of one combination.
func explore(t *testing.T, c combination, seed uint64, until time.Time) Counts {
	p, err := newPlayer(c)
	if err != nil {
		return Counts{Combinations: 1, Findings: []Finding{{c.String(), "", err.Error()}}}
	}
	s := &search{player: p, rng: rand.New(rand.NewPCG(seed, 1)), until: until, seen: map[string]bool{}}
	s.run(t)
	return s.counts
}

// quickTime is how long Explore takes if it is to be quick.
const quickTime = 55 * time.Second

// Explore runs every combination of operations, with two processes or as many as
// there are processors: all schedules of up to two deviations and some by
// chance, which takes about an hour; or if it is to be quick, as many as there
// is time for, of each about the same share. progress, which may be nil, is told
// how many combinations are done. A finding is no error.
func Explore(ctx context.Context, quick bool, progress func(done, total int)) (Counts, error) {
	job := task{Of: runtime.NumCPU(), Seed: rand.Uint64()}
	if quick {
		job.Time, job.Seed = quickTime, 1
	}
	var (
		mu   sync.Mutex
		sum  Counts
		errs []error
		all  sync.WaitGroup
	)
	total := len(combinations())
	for part := range job.Of {
		job.Part = part
		mine := job
		all.Go(func() {
			err := mine.start(ctx, func(c Counts) {
				mu.Lock()
				defer mu.Unlock()
				sum.add(c)
				if progress != nil {
					progress(sum.Combinations, total)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	return sum, errors.Join(errs...)
}

// Again runs one schedule again, given as a finding has it, and tells step by step
// who went on, if it still goes wrong.
func Again(ctx context.Context, combination, schedule string) (counts Counts, err error) {
	job := task{Of: 1, Combination: combination, Schedule: schedule}
	err = job.start(ctx, counts.add)
	return counts, err
}

// start runs a task in a process of its own, and tells what it reports. If the
// process ends before its time, that is a finding.
func (j task) start(ctx context.Context, tell func(Counts)) error {
	text, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("run schedules: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("run schedules: %w", err)
	}
	cmd := exec.CommandContext(ctx, self) // #nosec G204 -- this program again
	cmd.Env = append(os.Environ(), serveEnv+"="+string(text))
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("run schedules: %w", err)
	}
	began, other := listen(out, tell)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run schedules: %w", ctx.Err())
	case err != nil && began != "":
		tell(Counts{Combinations: 1, Findings: []Finding{{began, "", ending(trouble.String() + other)}}})
		return nil
	case err != nil:
		return fmt.Errorf("run schedules: %w: %s", err, ending(trouble.String()+other))
	}
	return nil
}

// listen reads reports until there are no more. It returns the combination that
// began and did not end, and what was no report.
func listen(out io.Reader, tell func(Counts)) (began, other string) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var r report
		switch err := json.Unmarshal(lines.Bytes(), &r); {
		case err != nil:
			other += lines.Text() + "\n"
		case r.Began != "":
			began = r.Began
		default:
			began = ""
			tell(r.Counts)
		}
	}
	return began, other
}

// ending returns a text without what stands in the middle, if it is long.
func ending(text string) string {
	const most = 8 << 10
	if len(text) > 2*most {
		text = text[:most] + "\n...\n" + text[len(text)-most:]
	}
	return text
}

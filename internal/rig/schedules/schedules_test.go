package schedules

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/yield"
)

func TestMain(m *testing.M) {
	Serve()
	os.Exit(m.Run())
}

// alone gives the test one processor: with more, goroutines that begin at the
// same time do not get their numbers in order.
func alone(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// Some schedules of a part of the combinations: `go run ./internal/rig` has the
// rest.
func TestSomeSchedules(t *testing.T) {
	alone(t)
	var sum Counts
	task{Of: 12, Part: time.Now().YearDay() % 12, Time: 4 * time.Second, Seed: 1}.run(t, func(r report) { sum.add(r.Counts) })
	for _, f := range sum.Findings {
		t.Error(f)
	}
	require.GreaterOrEqual(t, sum.Schedules, len(combinations())/12)
}

// The same choices have the same steps, at the same marks.
func TestSchedulesCanBeRepeated(t *testing.T) {
	alone(t)
	for _, name := range []string{"append+batch/sync", "close+delete/interval-heap", "roll+read/os", "async+failsync/sync", "backup+close/os-cold"} {
		c, err := find(name)
		require.NoError(t, err)
		p, err := newPlayer(c)
		require.NoError(t, err)
		for _, text := range []string{"", "3:1", "5:1 9:1"} {
			s, err := parse(text)
			require.NoError(t, err)
			require.Equal(t, text, s.String())
			first, again := p.play(t, s, true), p.play(t, s, true)
			require.Empty(t, first.wrong, "%s at %q", name, text)
			require.Equal(t, first.trace, again.trace, "%s at %q", name, text)
			require.Equal(t, first.widths, again.widths)
			require.NotEmpty(t, first.widths)
		}
	}
}

// What goes wrong in one schedule only is found, and is found again by its name.
func TestPlantedWrongsAreFound(t *testing.T) {
	alone(t)
	var a, b yield.Mutex
	lock := func(first, second *yield.Mutex) func(w *world) {
		return func(*world) {
			first.Lock()
			defer first.Unlock()
			second.Lock()
			defer second.Unlock()
		}
	}
	count := 0
	increase := func(w *world) {
		yield.Point()
		n := count
		yield.Point()
		if count != n {
			w.complain("an increment is lost")
		}
		count = n + 1
	}
	fail := false
	plants := []struct {
		name      string
		one, two  func(w *world)
		wrong     string
		deviation int
	}{
		{"deadlock", lock(&a, &b), lock(&b, &a), "deadlock: 2 operations", 1},
		{"lost update", increase, increase, "an increment is lost", 1},
		{"panic", func(*world) { fail = true; yield.Point(); fail = false }, func(*world) {
			if fail {
				panic("met")
			}
		}, "panic: met", 1},
		{"nobody there", func(*world) { select {} }, func(*world) {}, "deadlock: ", 0},
		{"invented", func(w *world) {
			if _, err := w.topic.AppendTo(bg, 0, braidlog.Record{Value: []byte("nobody's")}); err != nil {
				w.complain("%v", err)
			}
		}, func(*world) {}, "invented: offsets [9, 10)", 0},
	}
	for _, plant := range plants {
		t.Run(plant.name, func(t *testing.T) {
			a, b = yield.Mutex{}, yield.Mutex{}
			c := combination{settings[0], []operation{{name: "one", do: plant.one}, {name: "two", do: plant.two}}}
			found := explore(t, c, 1, time.Now().Add(time.Minute)).Findings
			require.Len(t, found, 1)
			require.True(t, strings.HasPrefix(found[0].What, plant.wrong), found[0].What)
			s, err := parse(found[0].Schedule)
			require.NoError(t, err)
			require.Len(t, s, plant.deviation)
			a, b, fail = yield.Mutex{}, yield.Mutex{}, false
			p, err := newPlayer(c)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(p.play(t, s, false).wrong[0], plant.wrong))
		})
	}
}

func TestCombinationsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for _, c := range combinations() {
		require.False(t, names[c.String()], "twice: %v", c)
		names[c.String()] = true
		found, err := find(c.String())
		require.NoError(t, err)
		require.Equal(t, c.setting, found.setting)
	}
	_, err := find("append+nothing/sync")
	require.EqualError(t, err, `find combination: there is no "append+nothing/sync"`)
}

// A process of its own runs its part, and what it writes when it ends before its
// time is a finding.
func TestProcesses(t *testing.T) {
	var sum Counts
	job := task{Of: len(combinations()) / 3, Time: 100 * time.Millisecond, Seed: 1}
	require.NoError(t, job.start(context.Background(), func(c Counts) { sum.add(c) }))
	require.GreaterOrEqual(t, sum.Combinations, 3)
	require.GreaterOrEqual(t, sum.Schedules, sum.Combinations)
	require.Empty(t, sum.Findings)

	began, other := listen(strings.NewReader(`{"began":"append+roll/sync"}`+"\n"+`{"schedules":2}`+"\n"+`{"began":"append+trim/sync"}`+"\npanic: met\n"), func(c Counts) { sum = c })
	require.Equal(t, "append+trim/sync", began)
	require.Equal(t, "panic: met\n", other)
	require.Equal(t, 2, sum.Schedules)

	one, err := Again(context.Background(), "append+close/sync", "3:1")
	require.NoError(t, err)
	require.Equal(t, 1, one.Schedules)
	require.Empty(t, one.Findings)
	one, err = Again(context.Background(), "append+close/sync", "3:1 100000:1")
	require.NoError(t, err)
	require.Len(t, one.Findings, 1)
	require.Contains(t, one.Findings[0].What, "another way than before")

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Explore(ended, true, nil)
	require.ErrorIs(t, err, context.Canceled)
}

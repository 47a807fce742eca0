package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	program := new(options).program()
	showtest.Check(t, program, `{"records":5000,"delivered":5000,"duplicates":0,"lost":0,"order_violations":0,"rebalances":3}`)
}

// start runs the program with a fault and -json, and returns its exit status and
// its figures.
func start(t *testing.T, plant func(r []braidlog.Record) []braidlog.Record, args ...string) (status int, f figures, stderr string) {
	t.Helper()
	program := new(options).program()
	program.Plant = plant
	status, stdout, stderr := showtest.Run(t, context.Background(), program, append(args, "-json")...)
	require.Equal(t, 1, strings.Count(stdout, "\n"), stderr)
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&f))
	var all map[string]int
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 6)
	return status, f, stderr
}

func write(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data.jsonl")
	require.NoError(t, os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600))
	return name
}

func TestChurn(t *testing.T) {
	one := write(t, `{"id":"a"}`)
	for _, args := range []string{"", "-members 1 -partitions 1", "-members 40 -key destination", "-partitions 50 -key delay", "-key id -data " + one} {
		t.Run(strings.ReplaceAll(args, one, "one"), func(t *testing.T) {
			status, f, stderr := start(t, nil, append(strings.Fields(args), "-churn")...)
			require.Zero(t, status, stderr)
			require.Empty(t, stderr)
			require.Zero(t, f.Lost)
			require.Zero(t, f.OrderViolations)
			require.Equal(t, f.Records+f.Duplicates, f.Delivered)
			require.GreaterOrEqual(t, f.Duplicates, crashes, "each of them held a record")
			require.Greater(t, f.Rebalances, crashes)
		})
	}
}

// Members crash, leave and join, and the story tells of each.
func TestStoryOfChurn(t *testing.T) {
	status, story, stderr := showtest.Run(t, context.Background(), new(options).program(), "-churn", "-members", "2")
	require.Zero(t, status, stderr)
	fates := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^member-\d+  (\w+)`).FindAllStringSubmatch(story, -1) {
		fates[line[1]]++
	}
	require.Equal(t, crashes, fates["crashed"], story)
	require.Positive(t, fates["left"], story)
	require.Positive(t, fates["stayed"], story)
	require.Regexp(t, `\nok workers records=5000 delivered=\d+ duplicates=\d+ lost=0 order_violations=0 rebalances=\d+\n$`, story)
}

// Members that are taken for crashed although they only wait for the disk, or for
// their turn, are replaced, and nothing is lost.
func TestImpatience(t *testing.T) {
	ctx := context.Background()
	recs, err := jsonl.Load("", jsonl.DefaultKey)
	require.NoError(t, err)
	store, err := braidlog.Open(t.TempDir(), braidlog.Options{})
	require.NoError(t, err)
	defer store.Close()
	topic, err := store.CreateTopic(ctx, "lines", braidlog.TopicConfig{Partitions: 6, Durability: braidlog.OS})
	require.NoError(t, err)
	require.NoError(t, topic.AppendBatch(ctx, slices.Clone(recs)))
	c := newCrew(topic, newTally(recs, &show.Progress{}), true)
	c.patience = time.Millisecond
	require.NoError(t, c.run(ctx, 5))
	require.NoError(t, c.tally.verdict())
	fates := map[string]int{}
	for _, w := range c.workers {
		fates[w.fate]++
	}
	require.Equal(t, crashes, fates["crashed"])
}

// Each counter finds what it is for, also when members come and go.
func TestPlantedFaultsAreCounted(t *testing.T) {
	type recs = []braidlog.Record
	for name, c := range map[string]struct {
		plant                func(r recs) recs
		lost, again, swapped int
		want                 string
	}{
		"loss":   {func(r recs) recs { return slices.Delete(r, 1700, 1701) }, 1, 0, 0, "1 records lost, 0 out of order, 0 repeated where nobody crashed, 0 foreign"},
		"repeat": {func(r recs) recs { return slices.Insert(r, 4000, r[1700]) }, 0, 1, 0, "0 records lost, 0 out of order, 1 repeated where nobody crashed, 0 foreign"},
		"swap": {func(r recs) recs {
			i, j := ofKey(r, "LAX", 0), ofKey(r, "LAX", 1)
			r[i], r[j] = r[j], r[i]
			return r
		}, 0, 0, 1, "0 records lost, 1 out of order, 0 repeated where nobody crashed, 0 foreign"},
		"another value": {func(r recs) recs {
			r[1700].Value = []byte("{}")
			return r
		}, 1, 0, 0, "1 records lost, 0 out of order, 0 repeated where nobody crashed, 1 foreign"},
	} {
		t.Run(name, func(t *testing.T) {
			status, f, stderr := start(t, c.plant)
			f.Rebalances = 0
			require.Equal(t, 1, status)
			require.Equal(t, "workers: what was processed is not what was appended: "+c.want+"\n", stderr)
			if name != "another value" {
				require.Equal(t, figures{5000, 5000 - c.lost + c.again, c.again, c.lost, c.swapped, 0}, f)
			}
			status, f, stderr = start(t, c.plant, "-churn")
			require.Equal(t, 1, status)
			require.Contains(t, stderr, fmt.Sprintf("%d records lost, %d out of order, %d repeated", c.lost, c.swapped, c.again))
			require.Equal(t, []int{5000, c.lost, c.swapped}, []int{f.Records, f.Lost, f.OrderViolations})
			require.Greater(t, f.Duplicates, c.again)
		})
	}
}

// ofKey returns the index of a key's nth record.
func ofKey(recs []braidlog.Record, key string, n int) int {
	for i := range recs {
		if string(recs[i].Key) == key {
			if n == 0 {
				return i
			}
			n--
		}
	}
	panic("there are not so many")
}

func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no members":        {[]string{"-members", "0"}, "-members is 0, want 1 to 1000"},
		"many members":      {[]string{"-members", "1001"}, "-members is 1001, want 1 to 1000"},
		"no partitions":     {[]string{"-partitions", "0"}, "-partitions is 0, want 1 to 100000"},
		"no such field":     {[]string{"-key", "airline"}, `the flights, line 1: there is no field "airline"`},
		"no such file":      {[]string{"-data", filepath.Join(t.TempDir(), "none")}, "read data: open "},
		"not JSON":          {[]string{"-data", write(t, `{"origin":"HNL"}`, `{"`)}, ", line 2: not JSON: "},
		"a file for -dir":   {[]string{"-dir", write(t)}, "open store "},
		"a negative number": {[]string{"-members", "-1"}, "-members is -1, want 1 to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := showtest.Run(t, context.Background(), new(options).program(), c.args...)
			require.Equal(t, 1, status)
			require.Empty(t, stdout)
			require.Contains(t, stderr, c.want)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		})
	}
}

// Records 0 to 5 have keys a and b in turn. What is processed is written as
// numbers; behind "!" stands what is held by who then crashed; "x" is not one of
// them.
func TestTally(t *testing.T) {
	for _, c := range []struct {
		did      string
		want     figures
		repeated int
		foreign  int
	}{
		{"024 135", figures{Delivered: 6}, 0, 0},
		{"012345", figures{Delivered: 6}, 0, 0},
		{"135 024", figures{Delivered: 6}, 0, 0},
		{"024 13", figures{Delivered: 5, Lost: 1}, 0, 0},
		{"", figures{Lost: 6}, 0, 0},
		{"0024 135", figures{Delivered: 7, Duplicates: 1}, 1, 0},
		{"024 135 024", figures{Delivered: 9, Duplicates: 3}, 3, 0},
		{"204 135", figures{Delivered: 6, OrderViolations: 1}, 0, 0},
		{"420 135", figures{Delivered: 6, OrderViolations: 2}, 0, 0},
		{"02 !02 024 135", figures{Delivered: 8, Duplicates: 2}, 0, 0},
		{"02 !02 02 !02 024 135", figures{Delivered: 10, Duplicates: 4}, 0, 0},
		{"02 !2 024 135", figures{Delivered: 8, Duplicates: 2}, 1, 0}, // 0 was committed
		{"024 !24 135", figures{Delivered: 6, Lost: 2}, 0, 0},         // they did not come again
		{"02 !02 4 02 135", figures{Delivered: 8, Duplicates: 2}, 0, 0},
		{"0 !0 24 0 135", figures{Delivered: 7, Duplicates: 1}, 0, 0},
		{"24 0 135", figures{Delivered: 6, OrderViolations: 1}, 0, 0},
		{"024 x 135", figures{Delivered: 7}, 0, 1},
	} {
		t.Run(c.did, func(t *testing.T) {
			var sent []braidlog.Record
			for i := range 6 {
				sent = append(sent, braidlog.Record{Key: []byte{'a' + byte(i%2)}, ID: [16]byte{9, 15: byte(i)}})
			}
			tally := newTally(sent, &show.Progress{})
			for _, numbers := range strings.Fields(c.did) {
				numbers, crashed := strings.CutPrefix(numbers, "!")
				recs := make([]braidlog.Record, len(numbers))
				for i := range recs {
					if numbers[i] != 'x' {
						recs[i] = sent[numbers[i]-'0']
					}
				}
				if crashed {
					tally.hold(recs)
				} else {
					tally.process(recs)
				}
			}
			c.want.Records = 6
			require.Equal(t, c.want, tally.result())
			require.Equal(t, []int{c.repeated, c.foreign}, []int{tally.repeated(), tally.foreign})
			good := c.want.Lost == 0 && c.want.OrderViolations == 0 && c.repeated == 0 && c.foreign == 0
			require.Equal(t, good, tally.verdict() == nil)
		})
	}
}

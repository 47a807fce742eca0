// Package showtest checks what holds for every example that tells a story.
package showtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// Check runs the program in every way, and requires that it prints these
// figures; that it notices each record that is dropped, repeated or swapped with
// another one before it is appended; and that a document quotes it, and every
// one that does word for word. It returns the story.
func Check(t *testing.T, p show.Program, figures string) (story string) {
	t.Helper()
	story = checkFigures(t, p, figures)
	checkDocument(t, p.Name, story)
	t.Run("kept directory", func(t *testing.T) { checkDirectory(t, p) })
	t.Run("arguments", func(t *testing.T) { checkArguments(t, p) })
	t.Run("faults", func(t *testing.T) { checkFaults(t, p) })
	t.Run("trouble", func(t *testing.T) { checkTrouble(t, p) })
	return story
}

// Run runs the program, and requires that it leaves no temporary directory
// behind.
func Run(t *testing.T, ctx context.Context, p show.Program, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := useTemp(t)
	var out, errs bytes.Buffer
	status = p.Run(ctx, args, &out, &errs)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
	return status, out.String(), errs.String()
}

// memory is where a directory is not on a disk, if there is such a place.
const memory = "/dev/shm"

// tempDir is t.TempDir, in memory: what is tested here is not the disk, and a
// hundred partitions that are made and closed in every run wait long for it.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp(memory, "braidlog-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// useTemp has temporary directories made in one of their own.
func useTemp(t *testing.T) string {
	temp := tempDir(t)
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, temp)
	}
	return temp
}

// checkFigures requires that -json prints the figures and no more, and that the
// story's last line says the same.
func checkFigures(t *testing.T, p show.Program, figures string) (story string) {
	t.Helper()
	status, stdout, stderr := Run(t, context.Background(), p, "-json")
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	require.Equal(t, figures+"\n", stdout)
	status, story, stderr = Run(t, context.Background(), p)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	lines := strings.Split(strings.TrimSuffix(story, "\n"), "\n")
	require.Greater(t, len(lines), 3, "that is no story")
	last := lines[len(lines)-1]
	require.True(t, strings.HasPrefix(last, "ok "+p.Name+" "), last)
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(figures), &all))
	for key, value := range all {
		require.Contains(t, last+" ", fmt.Sprintf(" %s=%s ", key, strings.Trim(string(value), `"`)))
	}
	require.Equal(t, len(all)+2, len(strings.Fields(last)))
	return story
}

// checkDocument requires that what documents say the program prints is a part of
// what it does print.
func checkDocument(t *testing.T, name, story string) {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	require.NoError(t, err)
	quoted := 0
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, quote := range strings.Split(string(text), "\n$ go run ./examples/"+name+"\n")[1:] {
			quote, _, found := strings.Cut(quote, "\n```")
			require.True(t, found)
			for _, part := range strings.Split(quote, "\n…\n") {
				require.Contains(t, "\n"+story, "\n"+strings.TrimSuffix(part, "\n…")+"\n", doc)
			}
			quoted++
		}
	}
	require.Positive(t, quoted, "no document shows go run ./examples/%s", name)
}

// checkDirectory requires that -dir keeps a store, and no second one.
func checkDirectory(t *testing.T, p show.Program) {
	dir := filepath.Join(tempDir(t), "new")
	status, _, stderr := Run(t, context.Background(), p, "-dir", dir)
	require.Zero(t, status, stderr)
	store, err := braidlog.Open(dir, braidlog.Options{})
	require.NoError(t, err)
	require.NotEmpty(t, store.Topics())
	require.NoError(t, store.Close())
	status, stdout, stderr := Run(t, context.Background(), p, "-dir", dir)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Equal(t, p.Name+": -dir is "+dir+", which has a store.json already\n", stderr)
}

func checkArguments(t *testing.T, p show.Program) {
	for _, args := range [][]string{{"-nonsense"}, {"-dir"}, {"-json=maybe"}, {"elsewhere"}} {
		status, stdout, stderr := Run(t, context.Background(), p, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "Usage of "+p.Name)
	}
	status, _, stderr := Run(t, context.Background(), p, "-h")
	require.Zero(t, status)
	require.Contains(t, stderr, "Usage of "+p.Name)
}

// A fault is a change of what is appended.
type fault struct {
	name  string
	plant func(recs []braidlog.Record) []braidlog.Record
}

var faults = []fault{
	{"drop", func(recs []braidlog.Record) []braidlog.Record {
		return slices.Delete(recs, len(recs)/2, len(recs)/2+1)
	}},
	{"repeat", func(recs []braidlog.Record) []braidlog.Record {
		return slices.Insert(recs, len(recs)/2, recs[len(recs)/2])
	}},
	{"swap", func(recs []braidlog.Record) []braidlog.Record {
		i, j := farApart(recs)
		recs[i], recs[j] = recs[j], recs[i]
		return recs
	}},
}

// farApart returns the first and the last record of a key, of any if there is
// only one.
func farApart(recs []braidlog.Record) (first, last int) {
	key := recs[len(recs)/2].Key
	same := func(rec braidlog.Record) bool { return bytes.Equal(rec.Key, key) }
	first, last = slices.IndexFunc(recs, same), len(recs)-1
	for !same(recs[last]) {
		last--
	}
	if first == last {
		return 0, len(recs) - 1
	}
	return first, last
}

// checkFaults plants every fault in whatever is appended, one at a time.
func checkFaults(t *testing.T, p show.Program) {
	appends := runWith(t, p, 0, fault{}, 0)
	require.Positive(t, appends, "the program plants no faults")
	for n := range appends {
		for _, f := range faults {
			runWith(t, p, n+1, f, 1)
		}
	}
}

// runWith runs the program with a fault in the n-th append. It returns how many
// there were.
func runWith(t *testing.T, p show.Program, n int, f fault, want int) (appends int) {
	t.Helper()
	p.Plant = func(recs []braidlog.Record) []braidlog.Record {
		if appends++; appends == n {
			return f.plant(recs)
		}
		return recs
	}
	status, stdout, stderr := Run(t, context.Background(), p)
	require.Equal(t, want, status, "%s in append %d: %s", f.name, n, stderr)
	require.Equal(t, want, strings.Count(stderr, "\n"), stderr)
	require.Equal(t, want == 0, strings.Contains(stdout, "\nok "), "%s in append %d", f.name, n)
	return appends
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// checkTrouble interrupts the program, and lets nobody hear it.
func checkTrouble(t *testing.T, p show.Program) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	status, _, stderr := Run(t, ctx, p)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "context canceled")
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	for _, args := range [][]string{nil, {"-json"}} {
		useTemp(t)
		var stderr bytes.Buffer
		require.Equal(t, 1, p.Run(context.Background(), args, fullDisk{}, &stderr))
		require.Equal(t, p.Name+": report: disk full\n", stderr.String())
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
)

// start runs the program and returns its exit status and what it printed. It
// fails the test if a temporary store is left behind.
func start(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return startWith(t, context.Background(), args...)
}

func startWith(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, temp)
	}
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
	return status, out.String(), errs.String()
}

// write returns a file of these lines.
func write(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data.jsonl")
	require.NoError(t, os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600))
	return name
}

// figuresOf runs the program with -json, which must print them and no more.
func figuresOf(t *testing.T, args ...string) (f figures) {
	t.Helper()
	status, stdout, stderr := start(t, append(args, "-json")...)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	require.Equal(t, 1, strings.Count(stdout, "\n"))
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&f))
	require.False(t, d.More())
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 5)
	require.Positive(t, f.Seconds)
	f.Seconds = 0
	return f
}

func TestFlights(t *testing.T) {
	status, stdout, stderr := start(t)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Regexp(t, `^appended 5000 records to topic flights in `, lines[0])
	require.Equal(t, "partition  0     820 ###########################", lines[2])
	require.Equal(t, "partition  3    1199 ########################################", lines[5])
	require.Regexp(t, `^first record appended at or after \d{4}-`, lines[9])
	require.Regexp(t, `^partition \d, offset \d+, key "[A-Z]{3}", \d{4}-`, lines[10])
	require.Regexp(t, `^\{"date":`, lines[11])
	require.Regexp(t, `^ok quickstart records=5000 keys=180 partitions=6 order_violations=0 `, lines[len(lines)-1])
}

func TestFigures(t *testing.T) {
	orders := write(t,
		`{"customer":"ann","amount":3,"paid":true}`,
		`{"customer":"bob","amount":3.0,"paid":true}`,
		``,
		`  {"customer":"ann","amount":1e3,"paid":false}`+"\r",
		`{"customer":"","amount":[1, 2],"paid":true,"customer":"ann"}`,
		`{"customer":"\u00e4","amount":{"eur": 1},"paid":"true"}`,
		``,
	)
	for _, c := range []struct {
		args []string
		want figures
	}{
		{nil, figures{Records: 5000, Keys: 180, Partitions: []int{820, 404, 860, 1199, 842, 875}}},
		{[]string{"-partitions", "1"}, figures{Records: 5000, Keys: 180, Partitions: []int{5000}}},
		{[]string{"-key", "destination", "-partitions", "2"}, figures{Records: 5000, Keys: 186, Partitions: []int{2499, 2501}}},
		{[]string{"-data", orders, "-key", "customer", "-partitions", "1"}, figures{Records: 5, Keys: 3, Partitions: []int{5}}},
		{[]string{"-data", orders, "-key", "amount", "-partitions", "1"}, figures{Records: 5, Keys: 5, Partitions: []int{5}}},
		{[]string{"-data", orders, "-key", "paid", "-partitions", "1"}, figures{Records: 5, Keys: 2, Partitions: []int{5}}},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) { require.Equal(t, c.want, figuresOf(t, c.args...)) })
	}
}

func TestBadInput(t *testing.T) {
	good := `{"origin":"HNL"}`
	file := func(lines ...string) []string { return []string{"-data", write(t, lines...)} }
	for name, c := range map[string]struct {
		args []string
		want string // in the one line on stderr
	}{
		"not JSON":             {file(good, `{"origin":`), ", line 2: not JSON: "},
		"not one value":        {file(good, good+good), ", line 2: not JSON: "},
		"not an object":        {file(good, "", `["HNL"]`), ", line 3: want a JSON object, it begins with '['"},
		"no such field":        {file(good, `{"Origin":"HNL"}`), `, line 2: there is no field "origin"`},
		"no such field at all": {[]string{"-key", "airline"}, `the flights, line 1: there is no field "airline"`},
		"null":                 {file(`{"origin":null}`), `, line 1: field "origin" is null`},
		"empty file":           {file(), "there are no records"},
		"blank file":           {file("", " ", ""), "there are no records"},
		"long key":             {file(good, `{"origin":"`+strings.Repeat("x", 256)+`"}`), ", line 2: its key has 256 bytes, a key may have 255"},
		"long record":          {file(good, lineOf(1<<20-2)), ", line 2: key and value have 1048577 bytes, a record may have 1048576"},
		"long line":            {file(good, good, lineOf(3<<20)), ", line 3: it has more than the 1048576 bytes"},
		"no such file":         {[]string{"-data", filepath.Join(t.TempDir(), "none")}, "read data: open "},
		"a directory":          {[]string{"-data", t.TempDir()}, "read data: "},
		"no partitions":        {[]string{"-partitions", "0"}, "-partitions is 0, want 1 to 100000"},
		"negative partitions":  {[]string{"-partitions", "-6"}, "-partitions is -6, want 1 to 100000"},
		"many partitions":      {[]string{"-partitions", "100001"}, "-partitions is 100001, want 1 to 100000"},
		"very many partitions": {[]string{"-partitions", "100000000000000000000"}, ", want 1 to 100000"},
		"a file as directory":  {[]string{"-dir", write(t)}, "open store "},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{c.args, append(c.args, "-json")} {
				status, stdout, stderr := start(t, args...)
				require.Equal(t, 1, status)
				require.Empty(t, stdout)
				require.Contains(t, stderr, c.want)
				require.True(t, strings.HasPrefix(stderr, "quickstart: "), stderr)
				require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
			}
		})
	}
}

// lineOf returns an object of n bytes with a key of 3.
func lineOf(n int) string {
	const begin, end = `{"origin":"HNL","x":"`, `"}`
	return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
}

func TestLongLines(t *testing.T) {
	longest := 1<<20 - len("HNL")
	data := write(t, lineOf(64<<10), lineOf(64<<10+1), lineOf(longest)+"\r", lineOf(longest))
	require.Equal(t, figures{Records: 4, Keys: 1, Partitions: []int{4}}, figuresOf(t, "-data", data, "-partitions", "1"))
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-partitions", "six"}, {"-partitions"}, {"-json=maybe"}, {"flights.jsonl"}} {
		status, stdout, stderr := start(t, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "Usage of quickstart")
	}
	status, _, stderr := start(t, "-h")
	require.Zero(t, status)
	require.Contains(t, stderr, "Usage of quickstart")
}

// Only what a run appended itself is read back.
func TestKeptDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	want := figures{Records: 5000, Keys: 180, Partitions: []int{2019, 1246, 1735}}
	require.Equal(t, want, figuresOf(t, "-dir", dir, "-partitions", "3"))
	require.Equal(t, want, figuresOf(t, "-dir", dir, "-partitions", "3"))
	require.Equal(t, want, figuresOf(t, "-dir", dir), "as many as there are")

	status, _, stderr := start(t, "-dir", dir, "-partitions", "6")
	require.Equal(t, 1, status)
	require.Equal(t, "quickstart: open topic flights: partitions is 3, not 6\n", stderr)

	store, err := braidlog.Open(dir, braidlog.Options{})
	require.NoError(t, err)
	topic, err := store.Topic("flights")
	require.NoError(t, err)
	require.EqualValues(t, 15000, topic.Stats().Records)
	status, _, stderr = start(t, "-dir", dir)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, fmt.Sprint("pid ", os.Getpid()))
	require.NoError(t, store.Close())
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	status, stdout, stderr := startWith(t, ctx)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "context canceled")
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{nil, {"-json"}} {
		var stderr bytes.Buffer
		require.Equal(t, 1, run(context.Background(), args, fullDisk{}, &stderr))
		require.Equal(t, "quickstart: report: disk full\n", stderr.String())
	}
}

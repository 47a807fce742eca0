package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

var ctx = context.Background()

// start runs the program and returns its exit status and what it printed. It
// fails the test if a temporary store is left behind.
func start(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return startWith(t, ctx, args...)
}

func startWith(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := useTemp(t)
	var out, errs bytes.Buffer
	status = program.Run(ctx, args, &out, &errs)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
	return status, out.String(), errs.String()
}

// useTemp has temporary directories made in one of their own.
func useTemp(t *testing.T) string {
	temp := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, temp)
	}
	return temp
}

func TestFigures(t *testing.T) {
	status, stdout, stderr := start(t, "-json")
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	m := regexp.MustCompile(`^{"torn_bytes":(\d+),"torn_records_kept":2000,"flip_lost":\[(\d+),(\d+)\],"flip_read_after":(\d+),"index_rebuilt":true}\n$`).FindStringSubmatch(stdout)
	require.NotNil(t, m, stdout)
	var n [4]int
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(m[i+1])
		require.NoError(t, err)
	}
	require.Positive(t, n[0])
	require.Equal(t, batchRecords, n[2]-n[1], "one batch is lost")
	require.Equal(t, records, n[2]+n[3], "everything behind it is read")
}

func TestText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	status, stdout, stderr := start(t, "-dir", dir)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Regexp(t, `^appended 2000 records to .*store, in \d segments$`, lines[0])
	require.Regexp(t, `^ok recovery torn_bytes=\d+ torn_records_kept=2000 flip_lost=\[\d+,\d+\) flip_read_after=\d+ index_rebuilt=true$`, lines[len(lines)-1])
	for _, want := range []string{
		"  open    cut bytes [", "  read    2000 records: all that were acknowledged",
		" are lost, a whole batch; 1980 records can be read", "  append  20 records: appends go on",
		"  read    2000 records, and one error that names the gap [", "the index is there again: true",
	} {
		require.Equal(t, 1, strings.Count(stdout, want), want)
	}
	require.Equal(t, 3, strings.Count(stdout, "  repair  refused: repair orders/0: not damaged\n"))
	require.Equal(t, 3, strings.Count(stdout, "  append  20 records; 2020 can be read\n"))

	for name, want := range map[string]int64{whole: 2000, torn: 2020, flipped: 2040, unindexed: 2020} {
		store, err := braidlog.Open(filepath.Join(dir, name), braidlog.Options{})
		require.NoError(t, err)
		topic, err := store.Topic("orders")
		require.NoError(t, err)
		require.Equal(t, want, topic.Partition(0).End(), name)
		require.NoError(t, store.Close())
	}
	status, stdout, stderr = start(t, "-dir", dir)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Equal(t, "recovery: -dir is "+dir+", which has a store already\n", stderr)
}

// What is appended differs by one fault from what is expected.
func TestPlantedFaultsAreFound(t *testing.T) {
	type recs = []braidlog.Record
	for name, c := range map[string]struct {
		plant func(r recs) recs
		want  string
	}{
		"loss":             {func(r recs) recs { return slices.Delete(r, 700, 701) }, "the record at offset 700 is not the one that was appended"},
		"loss at the end":  {func(r recs) recs { return r[:1999] }, "records were appended up to offset 2000, and can be read up to 1999"},
		"repeat":           {func(r recs) recs { return slices.Insert(r, 900, r[700]) }, "the record at offset 900 is not the one that was appended"},
		"swap":             {func(r recs) recs { r[70], r[1700] = r[1700], r[70]; return r }, "the record at offset 70 is not the one that was appended"},
		"one too many":     {func(r recs) recs { return append(r, r[0]) }, "2000 records were appended, and one has offset 2000"},
		"another key":      {func(r recs) recs { r[700].Key = nil; return r }, "the record at offset 700 is not the one that was appended"},
		"another value":    {func(r recs) recs { r[700].Value = []byte("{}"); return r }, "the record at offset 700 is not the one that was appended"},
		"too few segments": {func(r recs) recs { return r[:10] }, "want 3 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			useTemp(t)
			for _, asJSON := range []bool{false, true} {
				var stdout, stderr bytes.Buffer
				p := program
				p.Plant = c.plant
				require.Equal(t, 1, p.Run(ctx, []string{fmt.Sprint("-json=", asJSON)}, &stdout, &stderr))
				require.Contains(t, stderr.String(), c.want)
				require.Equal(t, 1, strings.Count(stderr.String(), "\n"))
				require.NotContains(t, stdout.String(), "ok recovery")
				require.False(t, asJSON && stdout.Len() > 0)
			}
		})
	}
}

// filled returns a stage whose stores are not damaged yet.
func filled(t *testing.T) *stage {
	s := &stage{dir: t.TempDir(), text: io.Discard, sent: newRecords(0, records)}
	require.NoError(t, s.fill(ctx, newRecords(0, records)))
	return s
}

// Each scene fails if the damage is another one than it says.
func TestScenesWantTheirDamage(t *testing.T) {
	s, f := filled(t), figures{}
	inside := func(name string, scene func(l *ledger) error) error {
		return s.in(ctx, name, braidlog.Options{}, scene)
	}
	err := inside(torn, func(l *ledger) error { return s.afterTear(ctx, l, &f) })
	require.ErrorContains(t, err, "a torn tail was not reported")

	err = inside(flipped, func(l *ledger) error { return s.afterFlip(ctx, l, &f) })
	require.ErrorContains(t, err, "offsets [] are lost and [] were given up")

	// The flip is of another batch than the one before.
	files, err := filesOf(s.path(flipped), ".log")
	require.NoError(t, err)
	b, all, err := readSegment(files[1])
	require.NoError(t, err)
	b[all[2].at+all[2].bytes/2] ^= 1
	require.NoError(t, os.WriteFile(files[1], b, 0o600))
	_, _, err = flip(s.path(flipped))
	require.NoError(t, err)
	err = inside(flipped, func(l *ledger) error { return s.afterFlip(ctx, l, &f) })
	require.ErrorContains(t, err, "want one range of the first")
	err = inside(flipped, func(l *ledger) error { return s.sound(ctx, l) })
	require.ErrorContains(t, err, "are damaged, and nothing should be")
	err = inside(flipped, func(l *ledger) error { return s.same(ctx, l, span{1, 2}) })
	require.ErrorContains(t, err, "are damaged, and readers are told [1,2)")
	err = inside(flipped, func(l *ledger) error { return s.repair(ctx, l, span{1, 2}) })
	require.ErrorContains(t, err, "the repair gave up ")
}

// A reader that is told nothing of what is missing gets an error.
func TestWhatNobodySaidIsMissing(t *testing.T) {
	s := filled(t)
	require.NoError(t, s.in(ctx, whole, braidlog.Options{}, func(l *ledger) error {
		require.NoError(t, l.part.Trim(ctx, 5))
		_, err := l.read(ctx)
		require.ErrorContains(t, err, "offset 0 is not there, and nobody said so: the next record has offset 5")
		return nil
	}))
	for _, c := range []struct {
		err  error
		want span
		ok   bool
	}{
		{&braidlog.CorruptError{FromOffset: 3, ToOffset: 5}, span{3, 5}, true},
		{&braidlog.GapError{From: 4, To: 9}, span{4, 9}, true},
		{errors.New("disk on fire"), span{}, false},
	} {
		var r reading
		got, ok := r.note(c.err)
		require.Equal(t, c.want, got)
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.ok, partition.Skippable(c.err))
	}
}

func TestMissingIndexIsNoSuccess(t *testing.T) {
	f := figures{TornBytes: 8, TornRecordsKept: 9, FlipLost: [2]int64{1, 2}, FlipReadAfter: 3}
	var stdout bytes.Buffer
	require.Error(t, report(&stdout, false, f))
	require.Equal(t, "\nFAILED recovery torn_bytes=8 torn_records_kept=9 flip_lost=[1,2) flip_read_after=3 index_rebuilt=false\n", stdout.String())
	stdout.Reset()
	require.Error(t, report(&stdout, true, f))
	require.Equal(t, `{"torn_bytes":8,"torn_records_kept":9,"flip_lost":[1,2],"flip_read_after":3,"index_rebuilt":false}`+"\n", stdout.String())
}

// Where a batch is, the example reads from the bytes that docs/FORMAT.md shows.
func TestBatchesOf(t *testing.T) {
	b := make([]byte, firstFrame+200)
	require.Empty(t, batchesOf(b))
	require.Empty(t, batchesOf(nil))
	b[firstFrame], b[firstFrame+36] = 96, 2
	b[firstFrame+96] = 48
	require.Equal(t, []batch{{firstFrame, 96, 2}, {firstFrame + 96, 48, 0}}, batchesOf(b))
	require.Equal(t, []batch{{firstFrame, 96, 2}}, batchesOf(b[:firstFrame+96]))
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-json=maybe"}, {"elsewhere"}} {
		status, stdout, stderr := start(t, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "Usage of recovery")
	}
	status, _, stderr := start(t, "-h")
	require.Zero(t, status)
	require.Contains(t, stderr, "Usage of recovery")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	status, stdout, stderr := start(t, "-dir", file)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.True(t, strings.HasPrefix(stderr, "recovery: open store "), stderr)
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	status, stdout, stderr := startWith(t, ctx)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "context canceled")
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputCannotBeWritten(t *testing.T) {
	useTemp(t)
	for _, args := range [][]string{nil, {"-json"}} {
		var stderr bytes.Buffer
		require.Equal(t, 1, program.Run(ctx, args, fullDisk{}, &stderr))
		require.Equal(t, "recovery: report: disk full\n", stderr.String())
	}
}

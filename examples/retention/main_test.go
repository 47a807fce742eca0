package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
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
	require.Equal(t, 1, strings.Count(stdout, "\n"))
	var f figures
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&f))
	require.False(t, d.More())
	require.Equal(t, 4*records, f.Appended)
	require.Equal(t, f.Appended, f.Archived+f.Kept)
	require.Equal(t, records, f.SlowReader)
	require.Greater(t, f.Archived, 2*records, "all by age, some of each other topic")
	require.Positive(t, f.Kept)
	require.Positive(t, f.HeldBack)
	require.Less(t, f.HeldBack, 3*records/4, "what the reader had not read")
}

func TestText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	status, stdout, stderr := start(t, "-dir", dir)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Len(t, lines, 8)
	require.Regexp(t, `^topic +limit +appended +archived +kept +bytes kept$`, lines[0])
	for i, want := range []string{
		`^by-age       1ms +2000     2000        0 +\d+$`,
		`^by-partition 64 KiB a partition +2000 +\d{3,4} +\d{3,4} +\d{6}$`,
		`^by-topic     128 KiB all together +2000 +\d{3,4} +\d{3,4} +\d{6}$`,
		`^held-back    64 KiB, a reader at 500 +2000 +\d{3} +1\d{3} +\d{6}$`,
		`^held-back    64 KiB, a reader at 2000 +2000 +\d{4} +\d{3,4} +\d{5,6}$`,
		`^$`,
		`^ok retention appended=8000 archived=\d+ kept=\d+ held_back=\d+ slow_reader=2000$`,
	} {
		require.Regexp(t, want, lines[i+1])
	}
	for _, name := range []string{storeDir, archiveDir} {
		require.DirExists(t, filepath.Join(dir, name, "topics", "held-back"))
	}
	status, stdout, stderr = start(t, "-dir", dir)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Equal(t, "retention: -dir is "+dir+", which has a store already\n", stderr)
}

// What is appended differs by one fault from what is expected.
func TestPlantedFaultsAreFound(t *testing.T) {
	type recs = []braidlog.Record
	for name, c := range map[string]struct {
		plant func(r recs) recs
		want  string
	}{
		"loss":            {func(r recs) recs { return slices.Delete(r, 700, 701) }, "the record at offset 700 is not the one that was appended"},
		"loss at the end": {func(r recs) recs { return r[:1999] }, "2000 records were appended, and there are 1999"},
		"repeat":          {func(r recs) recs { return slices.Insert(r, 900, r[700]) }, "the record at offset 900 is not the one that was appended"},
		"swap":            {func(r recs) recs { r[70], r[1700] = r[1700], r[70]; return r }, "the record at offset 70 is not the one that was appended"},
		"one too many":    {func(r recs) recs { return append(r, r[0]) }, "2000 records were appended, and there are more"},
		"another key":     {func(r recs) recs { r[700].Key = nil; return r }, "the record at offset 700 is not the one that was appended"},
		"another value":   {func(r recs) recs { r[700].Value = []byte("{}"); return r }, "the record at offset 700 is not the one that was appended"},
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
				require.NotContains(t, stdout.String(), "ok retention")
				require.False(t, asJSON && stdout.Len() > 0)
			}
		})
	}
}

// limited has a limit that removes some records.
var limited = braidlog.TopicConfig{Partitions: 1, Retention: braidlog.Retention{PartitionBytes: 32 << 10}}

// newStage returns one in a directory of its own.
func newStage(t *testing.T) *stage {
	s, err := open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.store.Close()) })
	return s
}

// What is missing in the archive is missed.
func TestArchiveIsRead(t *testing.T) {
	s := newStage(t)
	l, err := s.fill(ctx, "by-partition", limited)
	require.NoError(t, err)
	c, err := l.enforce(ctx)
	require.NoError(t, err)
	require.NoError(t, l.within(c, 32<<10))
	require.Equal(t, records, c.archived+c.kept)

	files, err := filepath.Glob(filepath.Join(s.archive, "topics", "by-partition", "partitions", "0", "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(files), 2)
	require.NoError(t, os.Remove(files[0]))
	_, err = l.enforce(ctx)
	require.ErrorContains(t, err, "in the archive: ")
}

// A topic that is not within its limit is told from one that is.
func TestLimitsAreChecked(t *testing.T) {
	l, err := newStage(t).fill(ctx, "kept", braidlog.TopicConfig{})
	require.NoError(t, err)
	require.NoError(t, l.within(count{archived: 1, kept: 1, bytes: 100}, 100))
	for _, c := range []count{{archived: 1, kept: 1, bytes: 101}, {kept: 1, bytes: 100}, {archived: 1, bytes: 100}} {
		require.ErrorContains(t, l.within(c, 100), "its limit is 100 bytes")
	}
}

// The slow reader notices what it did not get.
func TestSlowReaderIsChecked(t *testing.T) {
	s := newStage(t)
	err := s.slowReader(ctx, fullDisk{})
	require.EqualError(t, err, "report: disk full")
	s = newStage(t)
	s.plant = func(r []braidlog.Record) []braidlog.Record { return slices.Delete(r, 1000, 1001) }
	require.ErrorContains(t, s.slowReader(ctx, io.Discard), "is not the one that was appended")
	s = newStage(t)
	s.plant = func(r []braidlog.Record) []braidlog.Record { return r[:250] }
	require.EqualError(t, s.slowReader(ctx, io.Discard), "the slow reader came to the end at offset 250, want 500")
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"-json=maybe"}, {"elsewhere"}} {
		status, stdout, stderr := start(t, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "Usage of retention")
	}
	status, _, stderr := start(t, "-h")
	require.Zero(t, status)
	require.Contains(t, stderr, "Usage of retention")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	status, stdout, stderr := start(t, "-dir", file)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.True(t, strings.HasPrefix(stderr, "retention: open store "), stderr)
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	status, _, stderr := startWith(t, ctx)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "context canceled")
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputCannotBeWritten(t *testing.T) {
	useTemp(t)
	for _, args := range [][]string{nil, {"-json"}} {
		var stderr bytes.Buffer
		require.Equal(t, 1, program.Run(ctx, args, fullDisk{}, &stderr))
		require.Equal(t, "retention: report: disk full\n", stderr.String())
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// start runs the program and returns its exit status and what it printed. It
// fails the test if a temporary store is left behind.
func start(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return startWith(t, context.Background(), args...)
}

func startWith(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := useTemp(t)
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
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
	for _, orders := range []int{2, 3, 300, 2000} {
		status, stdout, stderr := start(t, "-json", "-orders", strconv.Itoa(orders))
		require.Zero(t, status, stderr)
		require.Empty(t, stderr)
		var f figures
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&f))
		require.False(t, d.More())
		requireFigures(t, f, orders)
	}
}

// requireFigures requires what holds whenever the backup was made.
func requireFigures(t *testing.T, f figures, orders int) {
	t.Helper()
	require.Zero(t, f.Violations)
	require.Positive(t, f.Seconds)
	require.Equal(t, f.SourceOrders, f.SourcePayments)
	require.GreaterOrEqual(t, f.SourceOrders, orders)
	require.LessOrEqual(t, f.Orders, f.SourceOrders)
	require.LessOrEqual(t, f.Payments, f.Orders)
	require.LessOrEqual(t, f.Orders-f.Payments, writers, "a writer has one order at a time")
	require.GreaterOrEqual(t, f.Payments, orders/2-writers, "half the orders were taken before")
}

func TestText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	status, stdout, stderr := start(t, "-orders", "500", "-dir", dir)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Len(t, lines, 2)
	require.Regexp(t, `^backed up .*store to .*backup in .*, while 8 goroutines appended$`, lines[0])
	require.Regexp(t, `^ok backup orders=\d+ payments=\d+ source_orders=\d{3,} source_payments=\d{3,} violations=0 lost=0 repeated=0 swapped=0 foreign=0 unpaired=0 seconds=\d+\.\d{3}$`, lines[1])

	for _, name := range []string{"store", "backup"} {
		store, err := braidlog.Open(filepath.Join(dir, name), braidlog.Options{})
		require.NoError(t, err)
		require.Equal(t, []string{"orders", "payments"}, store.Topics())
		require.NoError(t, store.Close())
	}
	status, stdout, stderr = start(t, "-dir", dir)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Equal(t, "backup: -dir is "+dir+", which has a store already\n", stderr)
}

// The backup is changed by one fault before it is read.
func TestPlantedFaultsAreFound(t *testing.T) {
	type recs = []braidlog.Record
	for name, c := range map[string]struct {
		topic string
		plant func(r recs) recs
		want  string
	}{
		"none":   {"payments", func(r recs) recs { return r }, ""},
		"loss":   {"payments", func(r recs) recs { return slices.Delete(r, 7, 8) }, "1 records lost, 0 repeated, 0 swapped, 0 foreign, 0 payments"},
		"repeat": {"payments", func(r recs) recs { return slices.Insert(r, 20, r[7]) }, "0 records lost, 1 repeated, 0 swapped, 0 foreign, 0 payments"},
		"swap": {"orders", func(r recs) recs {
			r[7], r[20] = r[20], r[7]
			return r
		}, "0 records lost, 0 repeated, 1 swapped, 0 foreign, 0 payments"},
		"another value": {"orders", func(r recs) recs {
			r[7].Value = []byte("{}")
			return r
		}, "0 records lost, 0 repeated, 0 swapped, 1 foreign, 0 payments"},
		"a foreign record":         {"orders", func(r recs) recs { return append(r, braidlog.Record{Value: []byte("{}")}) }, "0 records lost, 0 repeated, 0 swapped, 1 foreign, 0 payments"},
		"loss of a paid order":     {"orders", func(r recs) recs { return slices.Delete(r, 7, 8) }, "1 records lost, 0 repeated, 0 swapped, 0 foreign, 1 payments"},
		"loss of what came before": {"payments", func(r recs) recs { return r[:7] }, " records lost, 0 repeated, 0 swapped, 0 foreign, 0 payments"},
	} {
		t.Run(name, func(t *testing.T) {
			useTemp(t)
			for _, asJSON := range []bool{false, true} {
				o := options{tamper: func(backup string) error { return rewrite(backup, c.topic, c.plant) }}
				var stdout, stderr bytes.Buffer
				status := o.program().Run(context.Background(), []string{"-orders=400", fmt.Sprint("-json=", asJSON)}, &stdout, &stderr)
				last := stdout.String()[strings.LastIndex(strings.TrimSuffix(stdout.String(), "\n"), "\n")+1:]
				if c.want == "" {
					require.Zero(t, status, stderr.String())
					continue
				}
				require.Equal(t, 1, status)
				require.Contains(t, stderr.String(), "backup: what was read back from the backup is not what was appended: ")
				require.Contains(t, stderr.String(), c.want)
				if asJSON {
					var f figures
					require.NoError(t, json.Unmarshal(stdout.Bytes(), &f))
					require.Positive(t, f.Violations)
				} else {
					require.True(t, strings.HasPrefix(last, "FAILED backup "), last)
				}
			}
		})
	}
}

// rewrite makes a topic of a store anew, the records of partition 1 as plant
// has them.
func rewrite(dir, name string, plant func([]braidlog.Record) []braidlog.Record) (err error) {
	ctx := context.Background()
	store, err := braidlog.Open(dir, braidlog.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := store.Topic(name)
	if err != nil {
		return err
	}
	parts := make([][]braidlog.Record, config.Partitions)
	for rec, err := range topic.Records(ctx, partition.First()) {
		if err != nil {
			return err
		}
		parts[rec.Partition] = append(parts[rec.Partition], rec)
	}
	parts[1] = plant(parts[1])
	if err = store.DeleteTopic(ctx, name); err != nil {
		return err
	}
	c := config
	c.Durability = braidlog.OS
	if topic, err = store.CreateTopic(ctx, name, c); err != nil {
		return err
	}
	for i, recs := range parts {
		for _, rec := range recs {
			if _, err = topic.AppendTo(ctx, i, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		args []string
		want string // in the one line on stderr
	}{
		"no orders":           {[]string{"-orders", "0"}, "-orders is 0, want 2 to 1000000"},
		"one order":           {[]string{"-orders", "1"}, "-orders is 1, want 2 to 1000000"},
		"negative orders":     {[]string{"-orders", "-6"}, "-orders is -6, want 2 to 1000000"},
		"many orders":         {[]string{"-orders", "1000001"}, "-orders is 1000001, want 2 to 1000000"},
		"a file as directory": {[]string{"-dir", file}, "open store "},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := start(t, c.args...)
			require.Equal(t, 1, status)
			require.Empty(t, stdout)
			require.Contains(t, stderr, c.want)
			require.True(t, strings.HasPrefix(stderr, "backup: "), stderr)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		})
	}
	for _, args := range [][]string{{"-nonsense"}, {"-orders", "six"}, {"-orders"}, {"-json=maybe"}, {"elsewhere"}} {
		status, stdout, stderr := start(t, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "Usage of backup")
	}
	status, _, stderr := start(t, "-h")
	require.Zero(t, status)
	require.Contains(t, stderr, "Usage of backup")
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
	useTemp(t)
	for _, args := range [][]string{{"-orders", "10"}, {"-orders", "10", "-json"}} {
		var stderr bytes.Buffer
		require.Equal(t, 1, run(context.Background(), args, fullDisk{}, &stderr))
		require.Equal(t, "backup: report: disk full\n", stderr.String())
	}
}

func TestSwaps(t *testing.T) {
	for _, c := range []struct {
		numbers []int
		want    int
	}{
		{nil, 0}, {[]int{4}, 0}, {[]int{1, 2, 5}, 0}, {[]int{2, 1}, 1}, {[]int{3, 2, 1}, 1}, {[]int{2, 3, 1}, 2}, {[]int{2, 1, 4, 3}, 2},
	} {
		require.Equal(t, c.want, swaps(c.numbers))
	}
}

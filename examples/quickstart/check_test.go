package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/jsonl"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// What is appended differs by one fault from what the check expects.
func TestPlantedFaultsAreFound(t *testing.T) {
	type recs = []braidlog.Record
	for name, c := range map[string]struct {
		plant   func(r recs) recs
		records int
		keys    int
		want    string
	}{
		"none":   {func(r recs) recs { return r }, 5000, 180, ""},
		"loss":   {func(r recs) recs { return slices.Delete(r, 1700, 1701) }, 4999, 180, "1 records lost, 0 repeated, 0 swapped, 0 foreign"},
		"repeat": {func(r recs) recs { return slices.Insert(r, 4000, r[1700]) }, 5001, 180, "0 records lost, 1 repeated, 0 swapped, 0 foreign"},
		"swap": {func(r recs) recs {
			i, j := ofKey(r, "LAX", 0), ofKey(r, "LAX", 1)
			r[i], r[j] = r[j], r[i]
			return r
		}, 5000, 180, "0 records lost, 0 repeated, 1 swapped, 0 foreign"},
		"swap from afar": {func(r recs) recs {
			i, j := ofKey(r, "LAX", 0), ofKey(r, "LAX", 50)
			r[i], r[j] = r[j], r[i]
			return r
		}, 5000, 180, "0 records lost, 0 repeated, 1 swapped, 0 foreign"},
		"foreign key": {func(r recs) recs {
			return slices.Insert(r, 2000, braidlog.Record{Key: []byte("XXX"), Value: []byte("{}")})
		}, 5001, 181, "0 records lost, 0 repeated, 0 swapped, 1 foreign"},
		"another key": {func(r recs) recs {
			r[1700].Key = []byte("XXX")
			return r
		}, 5000, 181, "0 records lost, 0 repeated, 0 swapped, 1 foreign"},
		"another value": {func(r recs) recs {
			r[1700].Value = []byte("{}")
			return r
		}, 5000, 180, "0 records lost, 0 repeated, 0 swapped, 1 foreign"},
	} {
		t.Run(name, func(t *testing.T) {
			found := roundTrip(t, c.plant)
			require.Equal(t, c.records, found.records)
			var stdout, stderr bytes.Buffer
			status := show.ExitStatus("quickstart", &stderr, report(&stdout, true, found, time.Second))
			var f figures
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &f))
			require.Equal(t, c.keys, f.Keys)
			if c.want == "" {
				require.Zero(t, status)
				require.Zero(t, f.OrderViolations)
				require.Empty(t, stderr.String())
				return
			}
			require.Equal(t, 1, status)
			require.Equal(t, 1, f.OrderViolations)
			require.Equal(t, "quickstart: what was read back is not what was appended: "+c.want+"\n", stderr.String())
			stdout.Reset()
			require.Error(t, report(&stdout, false, found, time.Second))
			require.True(t, strings.HasPrefix(stdout.String(), "FAILED quickstart "), stdout.String())
		})
	}
}

// roundTrip appends the flights with a fault and reads them back as if there
// were none.
func roundTrip(t *testing.T, plant func([]braidlog.Record) []braidlog.Record) tally {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	sent, err := jsonl.Load("", jsonl.DefaultKey)
	require.NoError(t, err)
	starts, err := fill(ctx, dir, 6, plant(slices.Clone(sent)), io.Discard, &show.Progress{})
	require.NoError(t, err)
	found, err := readBack(ctx, dir, starts, sent, &show.Progress{})
	require.NoError(t, err)
	return found
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

// Records 0 to 5 have keys a and b in turn; a belongs to partition 0 and b to
// 1. What is read is written as number and partition; "x" is not one of them.
func TestChecker(t *testing.T) {
	for _, c := range []struct {
		read string
		want tally // of faults
	}{
		{"00 20 40 11 31 51", tally{}},
		{"00 11 20 31 40 51", tally{}},
		{"11 00 31 20 51 40", tally{}},
		{"00 20 11 31 51", tally{lost: 1}},
		{"", tally{lost: 6}},
		{"00 00 20 40 11 31 51", tally{repeated: 1}},
		{"00 20 40 00 00 11 31 51", tally{repeated: 2}},
		{"20 00 40 11 31 51", tally{swapped: 1}},
		{"40 20 00 11 31 51", tally{swapped: 1}},
		{"20 40 00 11 31 51", tally{swapped: 2}},
		{"20 00 40 31 11 51", tally{swapped: 2}},
		{"00 x0 20 40 11 31 51", tally{foreign: 1}},
		{"00 20 40 30 11 51", tally{foreign: 1}}, // in the wrong partition
		{"20 00 00 x1 11 31 51", tally{lost: 1, repeated: 1, swapped: 1, foreign: 1}},
	} {
		t.Run(c.read, func(t *testing.T) {
			ck := newChecker(sixRecords(), 2, func(key []byte) (int, error) { return int(key[0] - 'a'), nil })
			for _, s := range strings.Fields(c.read) {
				rec := braidlog.Record{Key: []byte("a")}
				if s[0] != 'x' {
					rec = ck.sent[s[0]-'0']
				}
				rec.Partition = int(s[1] - '0')
				require.NoError(t, ck.read(&rec))
			}
			got := ck.result()
			require.Equal(t, len(strings.Fields(c.read)), got.records)
			require.Equal(t, got.records, got.partitions[0]+got.partitions[1])
			got.records, got.keys, got.partitions = 0, 0, nil
			require.Equal(t, c.want, got)
		})
	}
}

func sixRecords() (recs []braidlog.Record) {
	for i := range 6 {
		rec := braidlog.Record{Key: []byte{'a' + byte(i%2)}, Value: fmt.Append(nil, i), ID: [16]byte{0: 9}}
		binary.BigEndian.PutUint64(rec.ID[8:], uint64(i))
		recs = append(recs, rec)
	}
	return recs
}

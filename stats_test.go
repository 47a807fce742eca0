package braidlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

func TestSkew(t *testing.T) {
	for _, c := range []struct {
		records []int // of each partition
		skew    float64
	}{
		{[]int{0, 0, 0}, 0},
		{[]int{5, 5, 5}, 1},
		{[]int{1}, 1},
		{[]int{0, 9, 0}, 3},
		{[]int{1, 2, 3}, 1.5},
		{[]int{0, 0, 0, 1}, 4},
	} {
		s := openMem(t, fs.NewMem())
		topic := ensure(t, s, TopicConfig{Partitions: len(c.records), Durability: OS})
		total := 0
		for n, count := range c.records {
			for i := range count {
				_, err := topic.AppendTo(bg, n, rec("k", i))
				require.NoError(t, err)
				total++
			}
		}
		require.InDelta(t, c.skew, topic.Stats().Skew, 1e-9, "%v", c.records)
		require.EqualValues(t, total, topic.Stats().Records)
		require.NoError(t, s.Close())
	}
}

// sums adds up what partitions say.
func sums(parts []PartitionStats) (s Stats) {
	for _, p := range parts {
		s.Records += p.End - p.Start
		s.Bytes += p.Bytes
		s.Segments += p.Segments
		s.Appends += p.Appends
		s.Reads += p.Reads
		s.Syncs += p.Syncs
		s.SyncTime += p.SyncTime
		s.LongestSync = max(s.LongestSync, p.LongestSync)
		s.Groups += p.Groups
		s.GroupRecords += p.GroupRecords
		s.LargestGroup = max(s.LargestGroup, p.LargestGroup)
	}
	return s
}

// requireSums compares a topic's figures with its partitions'.
func requireSums(t *testing.T, s Stats) {
	t.Helper()
	want := sums(s.Partitions)
	want.Skew, want.Partitions = s.Skew, s.Partitions
	require.Equal(t, want, s)
}

// What is counted is what was done, at every level, from many goroutines.
func TestFiguresOfATopic(t *testing.T) {
	for _, level := range []Durability{Sync, Interval, OS} {
		for _, heap := range []bool{true, false} {
			t.Run(fmt.Sprint(level, ", heap ", heap), func(t *testing.T) {
				m := fs.NewMem()
				s := openMem(t, m, func(o *Options) { o.forceHeap = heap })
				topic := ensure(t, s, TopicConfig{Durability: level, SegmentBytes: 16 << 10})
				var syncs atomic.Int64
				m.OnOp(func(op fs.Op) error {
					if op.Kind == fs.OpSync && strings.HasSuffix(op.Name, ".log") {
						syncs.Add(1)
					}
					return nil
				})
				const goroutines, each = 16, 40
				var wg sync.WaitGroup
				for g := range goroutines {
					wg.Go(func() {
						for i := range each {
							_, err := topic.Append(bg, rec(fmt.Sprint("k", g), i))
							require.NoError(t, err)
						}
						recs := make([]Record, each)
						for i := range recs {
							recs[i] = rec(fmt.Sprint("k", i), g)
						}
						require.NoError(t, topic.AppendBatch(bg, recs))
					})
				}
				wg.Wait()
				require.NoError(t, topic.Sync(bg))
				st := topic.Stats()
				requireSums(t, st)
				const all = 2 * goroutines * each
				require.EqualValues(t, all, st.Records)
				require.EqualValues(t, all, st.Appends)
				if level == Sync || heap {
					require.EqualValues(t, all, st.GroupRecords)
					require.Positive(t, st.LargestGroup)
				} else {
					require.Zero(t, st.GroupRecords)
				}
				require.NoError(t, s.Close())
				require.Equal(t, syncs.Load(), topic.Stats().Syncs)
				require.Positive(t, topic.Stats().Syncs)
			})
		}
	}
}

func TestFiguresOfReads(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	perKey := map[string]int64{}
	for i := range 300 {
		key := fmt.Sprint("k", i%10)
		perKey[key]++
		_, err := topic.Append(bg, rec(key, i))
		require.NoError(t, err)
	}
	total := int64(0)
	is := func(more int64, what string) {
		t.Helper()
		total += more
		require.Equal(t, total, topic.Stats().Reads, what)
		requireSums(t, topic.Stats())
	}
	require.Len(t, values(t, topic.Records(bg, partition.First())), 300)
	is(300, "Records")
	n, err := topic.Route(rec("k3", 0))
	require.NoError(t, err)
	require.Len(t, values(t, topic.Key(bg, []byte("k3"))), int(perKey["k3"]))
	is(topic.Partition(n).End(), "Key reads its partition")
	for range topic.Tail(bg, partition.First()) {
		if perKey["k0"]--; perKey["k0"] == 0 {
			break
		}
	}
	is(30, "Tail")
	c := topic.NewCursor(partition.First())
	for range 42 {
		_, err := c.Next(bg)
		require.NoError(t, err)
	}
	text, err := c.MarshalText()
	require.NoError(t, err)
	require.NoError(t, c.UnmarshalText(text))
	is(42, "a cursor that is moved")
	for err = nil; err == nil; _, err = c.TryNext() {
	}
	require.Equal(t, ErrEnd, err)
	is(300-42, "a cursor at the end")
	require.NoError(t, c.Close())
	is(0, "a cursor that is closed")
	require.NoError(t, s.Close())
}

// Figures are JSON as they are, and so fit for expvar.
func TestFiguresAsJSON(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{Partitions: 2})
	_, err := s.CreateTopic(bg, "empty", TopicConfig{Partitions: 1})
	require.NoError(t, err)
	_, err = topic.AppendTo(bg, 1, rec("k", 1))
	require.NoError(t, err)
	b, err := json.Marshal(s.Stats())
	require.NoError(t, err)
	var got struct {
		OpenFiles int                       `json:"open_files"`
		Topics    map[string]map[string]any `json:"topics"`
	}
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, s.Stats().OpenFiles, got.OpenFiles)
	require.Equal(t, 1, got.OpenFiles)
	require.Len(t, got.Topics, 2)
	orders, st := got.Topics["orders"], topic.Stats()
	require.EqualValues(t, 1, orders["records"])
	require.EqualValues(t, 2, orders["skew"])
	require.EqualValues(t, st.SyncTime.Nanoseconds(), orders["sync_ns"])
	require.EqualValues(t, st.LongestSync.Nanoseconds(), orders["longest_sync_ns"])
	require.EqualValues(t, st.Bytes, orders["bytes"])
	parts := orders["partitions"].([]any)
	require.Len(t, parts, 2)
	require.NotContains(t, parts[0], "first", "it has no records")
	require.Equal(t, st.Partitions[1].First.Format("2006-01-02T15:04:05.999999999Z"), parts[1].(map[string]any)["first"])
	require.EqualValues(t, 1, parts[1].(map[string]any)["appends"])
	for _, name := range []string{"segments", "appends", "reads", "syncs", "groups", "group_records", "largest_group"} {
		require.Contains(t, orders, name)
	}
	require.NoError(t, s.Close())
	_, err = json.Marshal(s.Stats())
	require.NoError(t, err, "after Close")
}

package braidlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// The benchmarks of docs/DESIGN.md. Each runs its work and a hand-written
// floor in turn, in the same process and on the same disk, and prints the
// median of both and their ratio:
//
//	go test -run '^$' -bench . -benchtime 40x
//
// A round is as many operations as the benchmark says; b.N counts rounds.

// measure runs rounds of both and reports medians per operation. Where more is
// better than the floor, times is floor over work.
func measure(b *testing.B, operations int, floor, work func(n int)) {
	floor(operations)
	work(operations)
	var floors, works, ratios []float64
	var before, after runtime.MemStats
	var allocs uint64
	for b.Loop() {
		f := perOperation(operations, floor)
		runtime.ReadMemStats(&before)
		w := perOperation(operations, work)
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
		floors, works, ratios = append(floors, f), append(works, w), append(ratios, w/f)
	}
	b.ReportMetric(median(works), "ns/op")
	b.ReportMetric(median(floors), "floor-ns/op")
	b.ReportMetric(median(ratios), "of-floor")
	b.ReportMetric(float64(allocs/uint64(b.N*operations)), "allocs/op")
}

func perOperation(n int, f func(n int)) float64 {
	start := time.Now()
	f(n)
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// frameBytes is what a record of 128 bytes with a key of 12 takes on disk.
const frameBytes = 200

func benchRecord() Record {
	return Record{Key: []byte("customer-042"), Value: make([]byte, 128)}
}

func benchStore(b *testing.B) (*Store, string) {
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s, dir
}

// floorFile returns a new file beside the store.
func floorFile(b *testing.B, dir string) fs.File {
	d, err := fs.OS{}.OpenDir(filepath.Dir(dir), false)
	require.NoError(b, err)
	f, err := d.Create(filepath.Base(dir) + "-floor")
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, f.Close())
		require.NoError(b, d.Close())
	})
	return f
}

// writer returns a floor that appends to a file by one bare write of a
// frame's bytes each, starting over at 128 MiB.
func writer(b *testing.B, dir string) func(n int) {
	f, frame, at := floorFile(b, dir), make([]byte, frameBytes), int64(0)
	return func(n int) {
		for range n {
			if at += frameBytes; at > 128<<20 {
				at = 0
				require.NoError(b, f.Truncate(0))
			}
			if _, err := f.WriteAt(frame, at); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// What HotKeys costs: its floor is the same topic without. Keys are as skewed as
// words are, over far more keys than are counted.
func BenchmarkAppendHotKeys(b *testing.B) {
	s, _ := benchStore(b)
	appends := func(name string, hot int) func(n int) {
		topic, err := s.CreateTopic(bg, name, TopicConfig{Durability: OS, HotKeys: hot})
		require.NoError(b, err)
		z, keys := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<20), make([][]byte, 20_000)
		for i := range keys {
			keys[i] = fmt.Appendf(nil, "customer-%07d", z.Uint64())
		}
		return func(n int) {
			r := benchRecord()
			for i := range n {
				r.Key = keys[i]
				if _, err := topic.Append(bg, r); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	measure(b, 20_000, appends("off", NoHotKeys), appends("on", 100))
}

func BenchmarkAppendOS(b *testing.B) {
	s, dir := benchStore(b)
	topic := ensure(b, s, TopicConfig{Durability: OS})
	ctx, r := context.Background(), benchRecord()
	measure(b, 20_000, writer(b, dir), func(n int) {
		for range n {
			if _, err := topic.Append(ctx, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendBatchOS(b *testing.B) {
	s, dir := benchStore(b)
	topic := ensure(b, s, TopicConfig{Durability: OS})
	recs := make([]Record, 100)
	for i := range recs {
		recs[i] = Record{Key: fmt.Appendf(nil, "customer-%03d", i), Value: make([]byte, 128)}
	}
	ctx := context.Background()
	measure(b, 20_000, writer(b, dir), func(n int) {
		for range n / len(recs) {
			if err := topic.AppendBatch(ctx, recs); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReplay reads 64 MiB of records appended one by one, in a store that
// was just opened, against reading the same file in pieces of 1 MiB and
// checksumming it. of-floor is time over time: 1/0.7 is 1.43.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(b, err)
	topic := ensure(b, s, TopicConfig{Durability: OS, Partitions: 1})
	const count = (64 << 20) / frameBytes
	for range count {
		_, err = topic.Append(bg, benchRecord())
		require.NoError(b, err)
	}
	require.NoError(b, s.Close())
	s, err = Open(dir, Options{})
	require.NoError(b, err)
	topic, err = s.Topic("orders")
	require.NoError(b, err)
	d, err := fs.OS{}.OpenDir(filepath.Join(dir, "topics", "orders", "partitions", "0"), false)
	require.NoError(b, err)
	f, err := d.Open("00000000000000000000.log", false)
	require.NoError(b, err)
	measure(b, count, func(int) { checksumAll(b, f) }, func(n int) {
		r := topic.Partition(0).NewReader(partition.First())
		for range n {
			if _, err := r.TryNext(); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := r.TryNext(); err != ErrEnd {
			b.Fatal(err)
		}
	})
	require.NoError(b, f.Close())
	require.NoError(b, d.Close())
	require.NoError(b, s.Close())
}

// checksumAll is the floor of BenchmarkReplay.
func checksumAll(b *testing.B, f fs.File) {
	table := crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, 1<<20)
	var sum uint32
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		sum = crc32.Update(sum, table, buf[:n])
		at += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	binary.LittleEndian.PutUint32(buf, sum)
}

// syncer returns a floor that writes the bytes of count frames at a time into
// a file with reserved space and syncs it.
func syncer(b *testing.B, dir string, count int) func(n int) {
	f, at := floorFile(b, dir), int64(0)
	frames := make([]byte, count*frameBytes)
	const reserved = 64 << 20
	require.NoError(b, f.Allocate(0, reserved))
	require.NoError(b, f.Sync())
	return func(n int) {
		for range n / count {
			if at+int64(len(frames)) > reserved {
				b.Fatal("the floor's file is full")
			}
			if _, err := f.WriteAt(frames, at); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			at += int64(len(frames))
		}
	}
}

func BenchmarkAppendSync(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		for _, partitions := range []int{1, 6} {
			b.Run(fmt.Sprintf("goroutines=%d/partitions=%d", goroutines, partitions), func(b *testing.B) {
				s, dir := benchStore(b)
				topic := ensure(b, s, TopicConfig{Partitions: partitions})
				measure(b, 64*goroutines, syncer(b, dir, 1), func(n int) { appendFrom(b, topic, goroutines, n) })
			})
		}
	}
}

// appendFrom appends n records from several goroutines.
func appendFrom(b *testing.B, topic *Topic, goroutines, n int) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			r := benchRecord()
			r.Key = fmt.Appendf(nil, "customer-%03d", g)
			for range n / goroutines {
				if _, err := topic.Append(bg, r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkCommit has 64 members of a group commit, a partition each: as fast as
// they can, and 10,000 commits a second in all.
func BenchmarkCommit(b *testing.B) {
	const members, every = 64, 64 * time.Second / 10_000
	run := func(b *testing.B, pace time.Duration) {
		s, dir := benchStore(b)
		topic := ensure(b, s, TopicConfig{Partitions: members})
		before := s.ledger.Stats()
		measure(b, 64*members, syncer(b, dir, 1), func(n int) {
			var wg sync.WaitGroup
			for g := range members {
				wg.Go(func() { commitsPaced(b, s, topic, g, n/members, pace) })
			}
			wg.Wait()
		})
		after := s.ledger.Stats()
		b.ReportMetric(float64(after.Commits-before.Commits)/float64(after.Syncs-before.Syncs), "commits/sync")
	}
	b.Run("fast", func(b *testing.B) { run(b, 0) })
	b.Run("paced", func(b *testing.B) { run(b, every) })
}

// commitsPaced commits n times, one each pace if the last one is done by then.
func commitsPaced(b *testing.B, s *Store, topic *Topic, number, n int, pace time.Duration) {
	due := time.Now().Add(pace * time.Duration(number) / 64)
	for i := range n {
		if pace > 0 {
			time.Sleep(time.Until(due))
			due = due.Add(pace)
		}
		if err := commitTo(s, "workers", topic, number, int64(i)); err != nil {
			b.Error(err)
			return
		}
	}
}

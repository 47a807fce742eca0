package braidlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// BenchmarkVerify verifies a store of 1 GiB. The floor reads the same files
// with preads of 1 MiB and takes CRC-32C of them, in as many goroutines.
func BenchmarkVerify(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batches of %d", batch), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(dir, Options{})
			require.NoError(b, err)
			topic := ensure(b, s, TopicConfig{Durability: OS, SegmentBytes: 64 << 20})
			fill(b, topic, batch, 1<<30)
			require.NoError(b, s.Close()) // so that no file has more than is read
			s, err = Open(dir, Options{})
			require.NoError(b, err)
			defer s.Close()
			floor := func(int) { checksumStore(b, dir+"/topics/orders/partitions", topic.NumPartitions()) }
			measure(b, 1, floor, func(int) {
				r, err := s.Verify(b.Context())
				require.NoError(b, err)
				require.Empty(b, r.Damaged)
				b.SetBytes(r.Bytes)
			})
		})
	}
}

// fill appends records of 1 KiB until the topic has so many bytes.
func fill(b *testing.B, topic *Topic, batch int, bytes int64) {
	recs := make([]Record, batch)
	for n := 0; topic.quota.Used() < bytes; n++ {
		for i := range recs {
			recs[i] = Record{Key: fmt.Appendf(nil, "customer-%d", n*batch+i), Value: make([]byte, 1<<10)}
		}
		require.NoError(b, topic.AppendBatch(b.Context(), recs))
	}
	require.NoError(b, topic.Sync(b.Context()))
}

// checksumStore reads all segments in as many goroutines as Verify does.
func checksumStore(b *testing.B, dir string, partitions int) {
	var todo []func()
	for i := range partitions {
		d, err := fs.OS{}.OpenDir(fmt.Sprintf("%s/%d", dir, i), false)
		require.NoError(b, err)
		defer d.Close()
		names, err := d.List(".")
		require.NoError(b, err)
		for _, e := range names {
			if _, ok := segment.ParseName(e.Name); ok {
				todo = append(todo, func() { checksumFile(b, d, e.Name) })
			}
		}
	}
	var next atomic.Int64
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			for i := next.Add(1); i <= int64(len(todo)); i = next.Add(1) {
				todo[i-1]()
			}
		})
	}
	g.Wait()
}

func checksumFile(b *testing.B, d fs.Dir, name string) {
	f, err := d.Open(name, false)
	require.NoError(b, err)
	defer f.Close()
	buf := make([]byte, 1<<20)
	for at, sum := int64(0), uint32(0); ; at += int64(len(buf)) {
		n, err := f.ReadAt(buf, at)
		sum = crc32.Update(sum, castagnoli, buf[:n])
		if err == io.EOF {
			break
		}
		require.NoError(b, err)
	}
}

// BenchmarkRetention appends for a second to each of two topics that had 10,000
// segments at the beginning. One of them keeps them; from the other retention
// removes some in each of its passes, of which there is one in each second.
func BenchmarkRetention(b *testing.B) {
	for _, level := range []Durability{OS, Sync} {
		b.Run(level.String(), func(b *testing.B) {
			c := clock.Start()
			s, err := Open(b.TempDir(), Options{clock: c})
			require.NoError(b, err)
			defer s.Close()
			with, without := benchTopic(b, s, "with"), benchTopic(b, s, "without")
			c.Skip(2 * time.Hour)
			var free atomic.Int64 // the offset below which records may go
			config := TopicConfig{Durability: level, SegmentBytes: 64 << 20}
			require.NoError(b, without.SetConfig(b.Context(), config))
			config.Retention = Retention{Age: time.Hour}
			config.HoldBack = func(int) int64 { return free.Load() }
			require.NoError(b, with.SetConfig(b.Context(), config))
			var kept, removed []float64
			for n := 0; b.Loop(); n++ {
				remove := func() {
					removed = append(removed, tail(b, with, func() { free.Add(30); s.keeper.wake() }))
				}
				keep := func() { kept = append(kept, tail(b, without, func() {})) }
				if n%2 == 0 { // neither is always the one that comes after the other
					keep()
					remove()
				} else {
					remove()
					keep()
				}
			}
			left, _ := with.Partition(0).Sealed()
			require.NotEmpty(b, left, "retention ran out of segments")
			gone := int64(0)
			for i := range with.NumPartitions() {
				gone += with.Partition(i).Start()
			}
			require.Positive(b, gone)
			b.ReportMetric(float64(gone), "removed-records")
			b.ReportMetric(median(kept), "p99.9-without-ns")
			b.ReportMetric(median(removed), "p99.9-with-ns")
			b.ReportMetric(median(removed)/median(kept), "of-without")
		})
	}
}

// benchTopic makes a topic of 10 partitions with 1,000 sealed segments each.
func benchTopic(b *testing.B, s *Store, name string) *Topic {
	t, err := s.CreateTopic(b.Context(), name, TopicConfig{Partitions: 10, Durability: OS, SegmentBytes: 4 << 10})
	require.NoError(b, err)
	var g errgroup.Group
	for i := range t.NumPartitions() {
		g.Go(func() error {
			p := t.Partition(i)
			for {
				if segs, _ := p.Sealed(); len(segs) >= 1_000 {
					return nil
				}
				if _, err := p.Append(b.Context(), Record{Value: make([]byte, 1_000)}); err != nil {
					return err
				}
			}
		})
	}
	require.NoError(b, g.Wait())
	return t
}

// tail calls begin, appends for a second and returns the time that 999 of 1,000
// appends stay below.
func tail(b *testing.B, t *Topic, begin func()) float64 {
	var took []float64
	rec := Record{Value: make([]byte, 128)}
	begun := time.Now()
	begin()
	for n := 0; ; n++ {
		rec.Key = binary.LittleEndian.AppendUint32(rec.Key[:0], uint32(n))
		start := time.Now()
		if start.Sub(begun) > time.Second {
			break
		}
		if _, err := t.Append(b.Context(), rec); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(start).Nanoseconds()))
	}
	slices.Sort(took)
	return took[len(took)*999/1000]
}

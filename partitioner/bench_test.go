package partitioner

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

var (
	keyedRecord   = record.Record{Key: []byte("order-123456"), Value: make([]byte, 128)}
	keylessRecord = record.Record{Value: make([]byte, 128)}
)

func BenchmarkKey(b *testing.B)        { benchmark(b, Key(), keyedRecord) }
func BenchmarkKafka(b *testing.B)      { benchmark(b, Kafka(), keyedRecord) }
func BenchmarkIggy(b *testing.B)       { benchmark(b, Iggy(), keyedRecord) }
func BenchmarkSarama(b *testing.B)     { benchmark(b, Sarama(), keyedRecord) }
func BenchmarkLibrdkafka(b *testing.B) { benchmark(b, Librdkafka(), keyedRecord) }
func BenchmarkKinesis(b *testing.B)    { benchmark(b, Kinesis(KinesisConfig{}), keyedRecord) }
func BenchmarkJump(b *testing.B)       { benchmark(b, Jump(), keyedRecord) }
func BenchmarkLinear(b *testing.B)     { benchmark(b, Linear(6), keyedRecord) }
func BenchmarkRendezvous(b *testing.B) { benchmark(b, Rendezvous(), keyedRecord) }
func BenchmarkPrefix(b *testing.B)     { benchmark(b, Prefix("-", 1, nil), keyedRecord) }
func BenchmarkLookup(b *testing.B)     { benchmark(b, Lookup(map[string]int{"a": 0}, nil), keyedRecord) }
func BenchmarkPriority(b *testing.B) {
	benchmark(b, Priority(KeyPrefix("HIGH:"), []int{0}, nil), keyedRecord)
}
func BenchmarkSplit(b *testing.B)      { benchmark(b, Split(50, nil, nil), keyedRecord) }
func BenchmarkSalted(b *testing.B)     { benchmark(b, Salted(nil, 4, everyKey), keyedRecord) }
func BenchmarkWeighted(b *testing.B)   { benchmark(b, Weighted(35, 35, 10, 10, 5, 5), keyedRecord) }
func BenchmarkTimeWindow(b *testing.B) { benchmark(b, TimeWindow(time.Hour, nil), keyedRecord) }
func BenchmarkSticky(b *testing.B)     { benchmark(b, Sticky(StickyConfig{}), keylessRecord) }
func BenchmarkRoundRobin(b *testing.B) { benchmark(b, RoundRobin(), keyedRecord) }

// What a topic pays for a record without a key that is appended alone.
func BenchmarkStickyBatchEnd(b *testing.B) {
	p := newSticky(StickyConfig{})
	b.ReportAllocs()
	for b.Loop() {
		n, _ := p.Partition(keylessRecord, 6)
		p.BatchEnd(n, 1, 128)
	}
}

func BenchmarkStickyParallel(b *testing.B) {
	p := Sticky(StickyConfig{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = p.Partition(keylessRecord, 6)
		}
	})
}

func benchmark(b *testing.B, p Partitioner, rec record.Record) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = p.Partition(rec, 6)
	}
}

// The floor of a sketch is what any count by key has to do: a hash of the key
// and a lock. At most 30 ns more than nothing are wanted.
func BenchmarkSketch(b *testing.B) {
	for _, c := range []struct {
		name string
		keys [][]byte
	}{
		{"hot", sketchKeys(50)},
		{"zipf", zipfKeys(1<<16, 1.1, 1<<20)},
		{"uniform", sketchKeys(1 << 16)}, // nearly every key takes another's place
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := NewSketch(100)
			require.NoError(b, err)
			benchmarkKeys(b, c.keys, s.Add)
		})
	}
	b.Run("floor", func(b *testing.B) {
		seed, mu, count := maphash.MakeSeed(), sync.Mutex{}, [8]int64{}
		benchmarkKeys(b, sketchKeys(1<<16), func(key []byte) {
			h := maphash.Bytes(seed, key)
			mu.Lock()
			count[h%8]++
			mu.Unlock()
		})
	})
}

func BenchmarkSketchParallel(b *testing.B) {
	s, err := NewSketch(100)
	require.NoError(b, err)
	keys := zipfKeys(1<<16, 1.1, 1<<20)
	for _, key := range keys {
		s.Add(key)
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := int(next.Add(7919)); pb.Next(); i++ { // each begins elsewhere
			s.Add(keys[i%len(keys)])
		}
	})
}

// benchmarkKeys counts all keys once and then times it.
func benchmarkKeys(b *testing.B, keys [][]byte, add func([]byte)) {
	for _, key := range keys {
		add(key)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		add(keys[i])
		if i++; i == len(keys) {
			i = 0
		}
	}
}

// sketchKeys returns n different keys, in an order by chance.
func sketchKeys(n int) [][]byte {
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	return keysOf(n, func(i int) uint64 { return uint64(order[i]) })
}

// zipfKeys returns n keys out of most, the k-th of which is k^exponent
// times rarer than the first.
func zipfKeys(n int, exponent float64, most uint64) [][]byte {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), exponent, 1, most)
	return keysOf(n, func(int) uint64 { return z.Uint64() })
}

// keysOf returns keys of 12 bytes that stand one behind the other: what is
// appended was just written and is near, so memory that is far must not count.
func keysOf(n int, number func(i int) uint64) [][]byte {
	keys, room := make([][]byte, n), make([]byte, 0, 16*n)
	for i := range keys {
		from := len(room)
		room = fmt.Appendf(room, "order-%06d", number(i)%1_000_000)
		keys[i] = room[from:len(room):len(room)]
	}
	return keys
}

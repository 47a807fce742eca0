package partitioner

import (
	"testing"

	"github.com/braidlog/braidlog/record"
)

var (
	keyedRecord   = record.Record{Key: []byte("order-123456"), Value: make([]byte, 128)}
	keylessRecord = record.Record{Value: make([]byte, 128)}
)

func BenchmarkKey(b *testing.B)        { benchmark(b, Key(), keyedRecord) }
func BenchmarkKafka(b *testing.B)      { benchmark(b, Kafka(), keyedRecord) }
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

package partitioner

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// What the built-in partitioners promise beyond Partition; the topic finds it
// out by assertion, so losing a method would break nothing visibly.
type (
	common interface {
		Placer
		Checker
	}
	hashed interface {
		common
		KeyPartitioner
		Batcher
		Predecessors
		Router
	}
	composed interface {
		common
		KeyPartitions
		Batcher
		Predecessors
	}
	composedRouter interface {
		composed
		Router
	}
	composedByKey interface {
		composedRouter
		KeyPartitioner
	}
	composedByLoad interface {
		composed
		LoadAware
	}
)

var (
	_ hashed = (*keyed)(nil)
	_ hashed = (*ruled)(nil)
	_ interface {
		common
		KeyPartitions
		Batcher
		Predecessors
		Router
	} = (*crcKeyed)(nil)
	_ interface {
		common
		Batcher
		Router
	} = (*explicit)(nil)
	_ interface {
		common
		Batcher
		Router
	} = (*sticky)(nil)
	_ interface {
		common
		Router
	} = (*roundRobin)(nil)
	_ interface {
		common
		Router
	} = (*weighted)(nil)
	_ interface {
		common
		LoadAware
	} = (*leastLoaded)(nil)
	_ common         = (*timeWindow)(nil)
	_ common         = (*function)(nil)
	_ common         = (*invalid)(nil)
	_ composedRouter = (*wholeRouter)(nil)
	_ composedByKey  = (*wholeByKey)(nil)
	_ composedByLoad = (*wholeByLoad)(nil)
)

// What those built around others are depends on the others.
func TestComposedOnesAreWhatTheirPartsAre(t *testing.T) {
	urgent := Classify("urgent", func(rec record.Record) bool { return len(rec.Value) > 3 })
	around := map[string]func(inner Partitioner) Partitioner{
		"prefix":   func(p Partitioner) Partitioner { return Prefix(":", 1, p) },
		"lookup":   func(p Partitioner) Partitioner { return Lookup(nil, p) },
		"split a":  func(p Partitioner) Partitioner { return Split(50, p, Key()) },
		"split b":  func(p Partitioner) Partitioner { return Split(50, Jump(), p) },
		"priority": func(p Partitioner) Partitioner { return Priority(KeyPrefix("HIGH:"), []int{0}, p) },
		"content":  func(p Partitioner) Partitioner { return Priority(urgent, []int{0}, p) },
		"salted":   func(p Partitioner) Partitioner { return Salted(p, 2, everyKey) },
		"adaptive": func(p Partitioner) Partitioner { return Adaptive(p, AdaptiveConfig{}) },
		"nested":   func(p Partitioner) Partitioner { return Prefix(":", 2, Lookup(map[string]int{"a": 0}, p)) },
	}
	never := map[string]bool{"content": true, "salted": true, "adaptive": true} // by key alone
	for name, compose := range around {
		for _, inner := range []Partitioner{Key(), Jump(), RoundRobin(), Librdkafka(), LeastLoaded(), Adaptive(nil, AdaptiveConfig{})} {
			p := compose(inner)
			_, innerByKey := inner.(KeyPartitioner)
			_, innerByLoad := inner.(LoadAware)
			_, byKey := p.(KeyPartitioner)
			_, byLoad := p.(LoadAware)
			_, router := p.(Router)
			require.Equal(t, innerByKey && !innerByLoad && !never[name], byKey, "%s around %s", name, Placement(inner))
			require.Equal(t, innerByLoad || name == "adaptive", byLoad, "%s around %s", name, Placement(inner))
			require.Equal(t, !byLoad, router, "%s around %s", name, Placement(inner))
			require.Implements(t, (*composed)(nil), p)
		}
	}
}

func everyKey([]byte) bool { return true }

// builtIn returns new partitioners of all kinds that work with 1 to 1000
// partitions.
func builtIn() []Partitioner {
	first := func(record.Record, int) (int, error) { return 0, nil }
	return []Partitioner{
		Key(), Kafka(), RoundRobin(), Sticky(StickyConfig{}), Func("first", first),
		Iggy(), Sarama(), SaramaReference(), Librdkafka(),
		Kinesis(KinesisConfig{}), Kinesis(KinesisConfig{HashKey: func(record.Record) string { return "12345678901234567890123456789" }}),
		Jump(), Linear(1), Rendezvous(),
		Prefix(":", 1, nil), Lookup(map[string]int{"k": 0}, RoundRobin()), Split(10, Key(), Kafka()),
		Salted(nil, 3, everyKey), TimeWindow(time.Hour, nil), LeastLoaded(), Adaptive(nil, AdaptiveConfig{}),
	}
}

func TestNoPartitions(t *testing.T) {
	for _, p := range builtIn() {
		for _, n := range []int{0, -1} {
			for _, key := range [][]byte{nil, {}, []byte("k")} {
				_, err := p.Partition(record.Record{Key: key}, n)
				require.ErrorContains(t, err, fmt.Sprintf("n is %d, want at least 1", n), Placement(p))
				require.ErrorContains(t, p.(Checker).Check(n), fmt.Sprintf("n is %d, want at least 1", n), Placement(p))
				if r, ok := p.(Router); ok {
					_, err = r.Route(record.Record{Key: key}, n)
					require.ErrorContains(t, err, fmt.Sprintf("n is %d, want at least 1", n), Placement(p))
				}
			}
			if k, ok := p.(KeyPartitioner); ok {
				require.Equal(t, -1, k.PartitionKey([]byte("k"), n))
			}
		}
	}
}

func TestOnePartition(t *testing.T) {
	for _, p := range builtIn() {
		for range 100 {
			require.Equal(t, 0, mustPartition(t, p, record.Record{}, 1))
			require.Equal(t, 0, mustPartition(t, p, record.Record{Key: []byte("k")}, 1))
		}
	}
}

// For the race detector: all methods at once, and with two n, as if two topics
// shared the partitioner.
func TestManyGoroutines(t *testing.T) {
	for _, p := range builtIn() {
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() { usePartitioner(t, p, 3+g%2) })
		}
		all.Wait()
	}
}

// usePartitioner runs in a goroutine of its own, so it must not end the test.
func usePartitioner(t *testing.T, p Partitioner, n int) {
	for i := range 2000 {
		rec := record.Record{Value: make([]byte, 100)}
		if i%2 == 0 {
			rec.Key = []byte{byte(i)}
		}
		if r, ok := p.(Router); ok {
			if got, err := r.Route(rec, n); err != nil || got < 0 || got >= n {
				t.Errorf("%s: route: %d, %v; n = %d", Placement(p), got, err, n)
				return
			}
		}
		got, err := p.Partition(rec, n)
		if err != nil || got < 0 || got >= n {
			t.Errorf("%s: %d, %v; n = %d", Placement(p), got, err, n)
			return
		}
		if b, ok := p.(Batcher); ok {
			b.BatchEnd(got, 1, 150)
		}
	}
}

// The append path allocates nothing, nor may its partitioner.
func TestNoAllocations(t *testing.T) {
	keyed := record.Record{Key: []byte("order-1"), Value: []byte("v")}
	keyless := record.Record{Value: []byte("v"), Headers: []record.Header{{Key: "h"}}}
	everyRecordATurn := Sticky(StickyConfig{Bytes: 1})
	for _, p := range append(builtIn(), everyRecordATurn) {
		for _, n := range []int{6, 1000} {
			allocs := testing.AllocsPerRun(100, func() {
				_, _ = p.Partition(keyed, n)
				got, _ := p.Partition(keyless, n)
				if b, ok := p.(Batcher); ok {
					b.BatchEnd(got, 2, 100)
				}
			})
			require.Zero(t, allocs, "%s, n = %d", Placement(p), n)
		}
	}
}

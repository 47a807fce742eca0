package partitioner

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// What the built-in partitioners promise beyond Partition; the topic finds it
// out by assertion, so losing a method would break nothing visibly.
var (
	_ interface {
		KeyPartitioner
		Placer
		Batcher
		Predecessors
		Router
	} = (*keyed)(nil)
	_ interface {
		Placer
		Batcher
		Router
	} = (*sticky)(nil)
	_ interface {
		Placer
		Router
	} = (*roundRobin)(nil)
	_ Placer = (*function)(nil)
)

// builtIn returns new partitioners of all kinds.
func builtIn() []Partitioner {
	first := func(record.Record, int) (int, error) { return 0, nil }
	return []Partitioner{Key(), Kafka(), RoundRobin(), Sticky(StickyConfig{}), Func("first", first)}
}

func TestNoPartitions(t *testing.T) {
	for _, p := range builtIn() {
		for _, n := range []int{0, -1} {
			for _, key := range [][]byte{nil, {}, []byte("k")} {
				_, err := p.Partition(record.Record{Key: key}, n)
				require.EqualError(t, err, fmt.Sprintf("partition with %q: n is %d, want at least 1", Placement(p), n))
				if r, ok := p.(Router); ok {
					_, again := r.Route(record.Record{Key: key}, n)
					require.Equal(t, err, again)
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

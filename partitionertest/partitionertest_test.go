package partitionertest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/record"
)

var (
	hotKey  = func(key []byte) bool { return len(key) > 7 }
	content = partitioner.Classify("content", func(rec record.Record) bool { return bytes.HasPrefix(rec.Value, []byte("!")) })
	hashKey = func(rec record.Record) string {
		if len(rec.Value) > 10 {
			return "1234567890123456789"
		}
		return ""
	}
)

// All built-in ones keep to the contract that they document.
func TestBuiltIn(t *testing.T) {
	for name, c := range map[string]struct {
		make    func() partitioner.Partitioner
		options []Option
	}{
		"key":              {partitioner.Key, none},
		"kafka":            {partitioner.Kafka, none},
		"iggy":             {partitioner.Iggy, none},
		"sarama":           {partitioner.Sarama, none},
		"sarama reference": {partitioner.SaramaReference, none},
		"librdkafka":       {partitioner.Librdkafka, none},
		"jump":             {partitioner.Jump, none},
		"kinesis":          {func() partitioner.Partitioner { return partitioner.Kinesis(partitioner.KinesisConfig{}) }, none},
		"kinesis explicit": {func() partitioner.Partitioner {
			return partitioner.Kinesis(partitioner.KinesisConfig{HashKey: hashKey})
		}, none},
		"linear 1":         {func() partitioner.Partitioner { return partitioner.Linear(1) }, none},
		"linear 6":         {func() partitioner.Partitioner { return partitioner.Linear(6) }, none},
		"rendezvous":       {func() partitioner.Partitioner { return partitioner.Rendezvous() }, none},
		"rendezvous 2 0 1": {func() partitioner.Partitioner { return partitioner.Rendezvous(2, 0, 1) }, none},
		"sticky":           {func() partitioner.Partitioner { return partitioner.Sticky(partitioner.StickyConfig{}) }, keyless},
		"round robin":      {partitioner.RoundRobin, keyless},
		"weighted":         {func() partitioner.Partitioner { return partitioner.Weighted(35, 35, 10, 10, 10) }, keyless},
		"least loaded":     {partitioner.LeastLoaded, keyless},
		"time window":      {func() partitioner.Partitioner { return partitioner.TimeWindow(time.Hour, nil) }, keyless},
		"prefix":           {func() partitioner.Partitioner { return partitioner.Prefix(":", 2, nil) }, none},
		"prefix of salted": {func() partitioner.Partitioner { return partitioner.Prefix(":", 1, partitioner.Salted(nil, 3, hotKey)) }, none},
		"lookup": {func() partitioner.Partitioner {
			return partitioner.Lookup(map[string]int{"order-1": 2, "": 1}, partitioner.Jump())
		}, none},
		"split": {func() partitioner.Partitioner {
			return partitioner.Split(30, partitioner.Kafka(), partitioner.Linear(2))
		}, none},
		"salted":   {func() partitioner.Partitioner { return partitioner.Salted(partitioner.Jump(), 4, hotKey) }, none},
		"adaptive": {func() partitioner.Partitioner { return partitioner.Adaptive(nil, partitioner.AdaptiveConfig{}) }, none},
		"adaptive any key": {func() partitioner.Partitioner {
			return partitioner.Adaptive(nil, partitioner.AdaptiveConfig{GiveUpOrderOfKeys: true})
		}, none},
		"priority": {func() partitioner.Partitioner {
			return partitioner.Priority(partitioner.KeyPrefix("HIGH:"), []int{1}, nil)
		}, none},
		"priority content": {func() partitioner.Partitioner { return partitioner.Priority(content, []int{2, 0}, partitioner.Jump()) }, none},
		"priority by load": {func() partitioner.Partitioner {
			return partitioner.Priority(content, []int{2, 0}, partitioner.LeastLoaded())
		}, none},
		"prefix of by load": {func() partitioner.Partitioner {
			return partitioner.Prefix(":", 1, partitioner.Adaptive(nil, partitioner.AdaptiveConfig{}))
		}, none},
		"func": {func() partitioner.Partitioner {
			return partitioner.Func("first", func(record.Record, int) (int, error) { return 0, nil })
		}, none},
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, c.make(), append([]Option{Again(c.make), NoAllocations()}, c.options...)...)
		})
	}
}

var (
	none    []Option
	keyless = []Option{IgnoresKeys()}
)

// broken is a partitioner with one thing wrong. What is nil is right: keys go
// to the partition of their length modulo n.
type broken struct {
	partition func(rec record.Record, n int) (int, error)
	key       func(key []byte, n int) int
	route     func(rec record.Record, n int) (int, error)
	placement func() string
	where     func(key []byte, n int) []int
	before    func(old, n, p int) []int
	check     func(n int) error
}

func (b *broken) Partition(rec record.Record, n int) (int, error) {
	if b.partition != nil {
		return b.partition(rec, n)
	}
	return len(rec.Key) % n, nil
}

func (b *broken) PartitionKey(key []byte, n int) int {
	if b.key != nil {
		return b.key(key, n)
	}
	p, _ := b.Partition(record.Record{Key: key}, n)
	return p
}

func (b *broken) Route(rec record.Record, n int) (int, error) {
	if b.route != nil {
		return b.route(rec, n)
	}
	return b.Partition(rec, n)
}

func (b *broken) Placement() string {
	if b.placement != nil {
		return b.placement()
	}
	return "broken"
}

func (b *broken) KeyPartitions(key []byte, n int) []int {
	if b.where != nil {
		return b.where(key, n)
	}
	return []int{b.PartitionKey(key, n)}
}

func (b *broken) Predecessors(old, n, p int) []int {
	if b.before != nil {
		return b.before(old, n, p)
	}
	return upTo(old)
}

func (b *broken) Check(n int) error {
	if b.check != nil {
		return b.check(n)
	}
	return nil
}

func upTo(n int) (all []int) {
	for p := range n {
		all = append(all, p)
	}
	return all
}

// plain hides all but Partition.
type plain struct{ p partitioner.Partitioner }

func (b plain) Partition(rec record.Record, n int) (int, error) { return b.p.Partition(rec, n) }

// byLoad adds PartitionLoad.
type byLoad struct {
	broken
	load func(rec record.Record, load []partitioner.Load) (int, error)
}

func (b *byLoad) PartitionLoad(rec record.Record, load []partitioner.Load) (int, error) {
	return b.load(rec, load)
}

// findings are what was reported.
type findings []string

func (f *findings) Helper()                           {}
func (f *findings) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func find(p partitioner.Partitioner, options ...Option) (all findings) {
	s := newSuite(p, options)
	for _, c := range checks {
		s.run(&all, c)
	}
	return all
}

func TestNothingIsWrongWithOneThatIsNot(t *testing.T) {
	require.Empty(t, find(&broken{}))
	require.Empty(t, find(plain{&broken{}}, NoAllocations()))
	require.Empty(t, find(&byLoad{load: func(rec record.Record, load []partitioner.Load) (int, error) { return len(rec.Key) % len(load), nil }}))
}

// A fault that concerns one key in two hundred is a fault all the same: Check is
// right to refuse it.
func TestFaultsOfFewKeysAreFound(t *testing.T) {
	for percent := 5; percent <= 20; percent += 5 {
		inner := partitioner.Split(10, partitioner.Linear(7), nil)
		require.Empty(t, find(partitioner.Split(percent, inner, nil)), "%d%%", percent)
		require.Empty(t, find(partitioner.Split(100-percent, nil, inner)), "%d%%", percent)
	}
}

// Each mistake is found, by the check that is for it.
func TestMistakesAreFound(t *testing.T) {
	var count atomic.Int64
	turns := func(_ record.Record, n int) (int, error) { return int(count.Add(1) % int64(n)), nil }
	for name, c := range map[string]struct {
		p       partitioner.Partitioner
		options []Option
		want    string
	}{
		"out of range": {plain{&broken{partition: func(_ record.Record, n int) (int, error) { return n, nil }}}, nil,
			`Range: Partition(key "", n = 1) = 1, want 0 to 0`},
		"negative": {plain{&broken{partition: func(rec record.Record, n int) (int, error) { return -len(rec.Key) % n, nil }}}, nil,
			`Range: Partition(key "\x00", n = 2) = -1, want 0 to 1`},
		"fails": {plain{&broken{partition: func(rec record.Record, n int) (int, error) {
			if rec.Key != nil && len(rec.Key) == 0 {
				return 0, errors.New("no key")
			}
			return 0, nil
		}}}, nil, `Range: Partition(key "", n = 1): no key`},
		"panics with short keys": {plain{&broken{partition: func(rec record.Record, n int) (int, error) { return int(rec.Key[4]) % n, nil }}}, nil,
			"Range: it panicked: runtime error: index out of range [4] with length 0"},
		"changes the key": {plain{&broken{partition: func(rec record.Record, n int) (int, error) { clear(rec.Key); return 0, nil }}}, nil,
			"changed the record"},
		"changes the key on the short way": {&broken{key: func(key []byte, n int) int { p := len(key) % n; clear(key); return p },
			where: func(key []byte, n int) []int { return []int{len(key) % n} }}, nil,
			`changed the key`},
		"takes no number": {&broken{check: func(n int) error { return errors.New("no") }}, nil,
			"Range: no number of partitions up to 300 is accepted by Check: no"},
		"refuses what works": {&broken{check: func(n int) error {
			if n == 7 {
				return errors.New("unlucky")
			}
			return nil
		}}, nil, "Range: Check(7) refuses what Partition takes: unlucky"},
		"one key goes to several": {plain{&broken{partition: turns}}, nil, "when asked again"},
		"goes by more than the key": {&broken{partition: func(rec record.Record, n int) (int, error) { return len(rec.Value) % n, nil },
			key: func([]byte, int) int { return 0 }, where: func(_ []byte, n int) []int { return upTo(n) }}, nil,
			"but PartitionKey = 0"},
		"route says something else": {&broken{route: func(rec record.Record, n int) (int, error) { return 0, nil }}, nil,
			"but Route said 0 and then 0"},
		"is elsewhere than told": {&broken{where: func([]byte, int) []int { return []int{0} }}, nil, "but KeyPartitions says [0]"},
		"tells out of order":     {&broken{where: func(_ []byte, n int) []int { return append(upTo(n), 0) }}, nil, "want different numbers in range, ascending"},
		"no placement":           {&broken{placement: func() string { return "" }}, nil, "Placement: the placement is empty"},
		"placement is no text":   {&broken{placement: func() string { return "caf\xe9" }}, nil, `Placement: the placement "caf\xe9" is not UTF-8`},
		"placement changes":      {&broken{placement: func() string { return fmt.Sprint(count.Add(1)) }}, nil, "when asked again"},
		"pretends to be another": {&broken{placement: func() string { return "key" }}, nil, "but the one that ByPlacement makes says"},
		"placement lacks a parameter": {&broken{}, []Option{Again(func() partitioner.Partitioner {
			return &broken{partition: func(rec record.Record, n int) (int, error) { return (len(rec.Key) + 1) % n, nil }}
		})}, "but the one that Again makes says"},
		"placement differs next time": {&broken{}, []Option{Again(func() partitioner.Partitioner {
			return &broken{placement: func() string { return "other" }}
		})}, `Placement: the placement is "broken", that of the one that Again makes "other"`},
		"predecessors are missing":  {&broken{before: func(old, n, p int) []int { return []int{p % old} }}, nil, "without"},
		"predecessors out of range": {&broken{before: func(old, n, p int) []int { return []int{old} }}, nil, "Predecessors: Predecessors(1, 1, 0) = [1]: want"},
		"allocates": {plain{&broken{partition: func(rec record.Record, n int) (int, error) { return len(fmt.Sprint(len(rec.Key), "k")) % n, nil }}},
			[]Option{NoAllocations()}, "allocations, n = 300"},
		"load out of range": {&byLoad{load: func(_ record.Record, load []partitioner.Load) (int, error) { return len(load), nil }}, nil,
			`Load: PartitionLoad(key "", n = 1) = 1, want 0 to 0`},
		"no load is enough": {&byLoad{load: func(_ record.Record, load []partitioner.Load) (int, error) {
			for p, l := range load {
				if l.Writable {
					return p, nil
				}
			}
			return -1, nil
		}}, nil, "Load: PartitionLoad"},
		"changes the load": {&byLoad{load: func(_ record.Record, load []partitioner.Load) (int, error) { load[0].Lag = 7; return 0, nil }}, nil,
			"changed the load"},
		"load moves keys": {&byLoad{load: func(_ record.Record, load []partitioner.Load) (int, error) { return len(load) - 1, nil }}, nil,
			"but KeyPartitions says"},
	} {
		t.Run(name, func(t *testing.T) {
			got := find(c.p, c.options...)
			require.NotEmpty(t, got)
			require.Contains(t, fmt.Sprint(got), c.want)
		})
	}
}

// One whose answers depend on whether others ask at the same time.
func TestMistakesUnderConcurrencyAreFound(t *testing.T) {
	p := &meeting{pair: make(chan struct{}), met: make(chan struct{})}
	s := newSuite(p, nil)
	for _, c := range checks {
		var got findings
		p.wait.Store(c.name == "Concurrency")
		s.run(&got, c)
		require.Equal(t, c.name == "Concurrency", len(got) > 0, "%s: %v", c.name, got)
	}
}

// meeting lets the first two that ask at once meet, and gives one of them a
// wrong answer.
type meeting struct {
	wait atomic.Bool
	pair chan struct{}
	met  chan struct{} // closed once they have
	once sync.Once
}

func (m *meeting) Partition(rec record.Record, n int) (int, error) {
	if m.wait.Load() && n > 1 && len(rec.Key) > 0 {
		select {
		case m.pair <- struct{}{}:
			m.once.Do(func() { close(m.met) })
			return (len(rec.Key) + 1) % n, nil
		case <-m.pair:
		case <-m.met:
		}
	}
	return len(rec.Key) % n, nil
}

func TestOwnKeys(t *testing.T) {
	p := plain{&broken{partition: func(rec record.Record, n int) (int, error) {
		if len(rec.Key) != 3 {
			return 0, fmt.Errorf("%q is no airport", rec.Key)
		}
		return int(rec.Key[0]) % n, nil
	}}}
	require.Contains(t, fmt.Sprint(find(p)), "is no airport")
	require.Empty(t, find(p, Keys([]byte("VIE"), []byte("JFK"))))
}

package partitioner

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// twins returns partitioners of each kind that remembers something, as pairs
// that get the same chance and the same clock.
func twins(now func() time.Duration) map[string][2]Partitioner {
	fixed := func(s *sticky) *sticky {
		s.now, s.intN = now, rand.New(rand.NewPCG(3, 4)).IntN
		return s
	}
	small := StickyConfig{Bytes: 1000, Linger: 10 * time.Millisecond}
	keyless := func(p Partitioner) Partitioner {
		k := p.(*keyed)
		k.keyless = fixed(newSticky(small))
		return k
	}
	return map[string][2]Partitioner{
		"key":        {keyless(Key()), keyless(Key())},
		"kafka":      {keyless(Kafka()), keyless(Kafka())},
		"roundrobin": {RoundRobin(), RoundRobin()},
		"sticky":     {fixed(newSticky(small)), fixed(newSticky(small))},
	}
}

// One of two twins is asked for routes in between: of records that come next
// and of others, any number of times. Both must answer the same all along.
func TestRouteAgreesAndDisturbsNothing(t *testing.T) {
	var now time.Duration
	for name, pair := range twins(func() time.Duration { return now }) {
		t.Run(name, func(t *testing.T) {
			now = 0
			chance := rand.New(rand.NewPCG(5, 6))
			for i := range 5000 {
				now += time.Duration(chance.IntN(3)*chance.IntN(4)) * time.Millisecond
				rec := randomRecord(chance)
				for range chance.IntN(3) {
					mustRoute(t, pair[0], randomRecord(chance), 6)
				}
				want := mustRoute(t, pair[0], rec, 6)
				require.Equal(t, want, mustPartition(t, pair[0], rec, 6), "record %d", i)
				require.Equal(t, want, mustPartition(t, pair[1], rec, 6), "record %d, without routes", i)
				if b, ok := pair[0].(Batcher); ok && chance.IntN(5) == 0 {
					b.BatchEnd(want, 1, 1)
					pair[1].(Batcher).BatchEnd(want, 1, 1)
				}
			}
		})
	}
}

func randomRecord(chance *rand.Rand) (rec record.Record) {
	rec.Value = make([]byte, chance.IntN(400))
	if chance.IntN(3) == 0 {
		rec.Key = []byte{byte(chance.IntN(256))}
	}
	return rec
}

func mustRoute(t *testing.T, p Partitioner, rec record.Record, n int) int {
	t.Helper()
	got, err := p.(Router).Route(rec, n)
	require.NoError(t, err)
	require.True(t, got >= 0 && got < n, "%d of %d", got, n)
	return got
}

func TestRouteOfRoundRobinStandsStill(t *testing.T) {
	p := RoundRobin()
	for _, want := range []int{0, 1, 2, 0} {
		for range 3 {
			require.Equal(t, want, mustRoute(t, p, record.Record{}, 3))
			require.Zero(t, mustRoute(t, p, record.Record{}, 5), "counts by itself")
		}
		require.Equal(t, want, mustPartition(t, p, record.Record{}, 3))
	}
}

// A route that begins a turn chooses its partition; it keeps it although
// records come in between that fit into the turn before.
func TestRouteOfStickyRemembersTheNextTurn(t *testing.T) {
	sized := func(n int) record.Record { return record.Record{Value: make([]byte, n)} }
	s := newSticky(StickyConfig{Bytes: 100, Linger: time.Hour})
	first := mustRoute(t, s, sized(60), 1000)
	require.Equal(t, first, mustPartition(t, s, sized(60), 1000))
	next := mustRoute(t, s, sized(60), 1000)
	require.NotEqual(t, first, next)
	require.Equal(t, first, mustRoute(t, s, sized(40), 1000), "it still fits")
	require.Equal(t, first, mustPartition(t, s, sized(40), 1000))
	require.Equal(t, next, mustRoute(t, s, sized(1), 1000))
	require.Equal(t, next, mustPartition(t, s, sized(60), 1000))
}

func TestRouteOfStickyWhenTheNumberChanges(t *testing.T) {
	s := newSticky(StickyConfig{Bytes: 1})
	last := func(n int) int { return n - 1 }
	s.intN = last
	rec := record.Record{Value: []byte("v")}
	for _, step := range []struct{ n, want int }{
		{6, 5}, // chosen
		{12, 5},
		{3, 2}, // 5 is gone
		{12, 2},
		{1, 0},
	} {
		require.Equal(t, step.want, mustRoute(t, s, rec, step.n), "n = %d", step.n)
	}
	require.Equal(t, 0, mustPartition(t, s, rec, 1))
	require.Equal(t, 0, mustRoute(t, s, rec, 1), "the only one follows itself")
	require.NotEqual(t, 0, mustRoute(t, s, rec, 3), "but not where there are others")
}

func TestRouteAllocatesNothing(t *testing.T) {
	rec := record.Record{Value: []byte("v")}
	for _, p := range append(builtIn(), Sticky(StickyConfig{Bytes: 1})) {
		r, ok := p.(Router)
		if !ok {
			continue
		}
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, _ = r.Route(rec, 6)
			_, _ = p.Partition(rec, 6)
		}), Placement(p))
	}
}

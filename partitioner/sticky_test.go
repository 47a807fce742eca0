package partitioner

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// stickyStep is what happens to a sticky partitioner of three partitions, in
// this order.
type stickyStep struct {
	wait time.Duration // passes
	end  bool          // then the partition of the latest record has a batch end
	size int           // then a record of that size comes
	want int           // and goes there
}

// The first turn is partition 0's; then chance is made to alternate: from 0 to
// 1 and from there to 0.
func TestStickyTurns(t *testing.T) {
	const ms = time.Millisecond
	for name, steps := range map[string][]stickyStep{
		"bytes up to the limit stay":            {{size: 60, want: 0}, {size: 40, want: 0}, {size: 1, want: 1}, {size: 99, want: 1}, {size: 1, want: 0}},
		"a record that does not fit goes on":    {{size: 60, want: 0}, {size: 41, want: 1}},
		"a large record is a turn of its own":   {{size: 500, want: 0}, {size: 500, want: 1}, {size: 1, want: 0}},
		"a record without bytes fits anywhere":  {{size: 100, want: 0}, {want: 0}, {want: 0}, {size: 1, want: 1}},
		"time just not over":                    {{size: 1, want: 0}, {wait: 10*ms - 1, size: 1, want: 0}},
		"time over":                             {{size: 1, want: 0}, {wait: 10 * ms, size: 1, want: 1}},
		"time runs from the first of a turn":    {{size: 1, want: 0}, {wait: 6 * ms, size: 1, want: 0}, {wait: 6 * ms, size: 1, want: 1}, {wait: 6 * ms, size: 1, want: 1}, {wait: 6 * ms, size: 1, want: 0}},
		"a slow stream changes at each record":  {{size: 1, want: 0}, {wait: time.Second, size: 1, want: 1}, {wait: time.Second, size: 1, want: 0}},
		"a batch for which there is room again": {{size: 50, want: 0}, {end: true, size: 1, want: 0}},
		"a batch for which there is none":       {{size: 51, want: 0}, {end: true, size: 1, want: 1}},
		"the second batch is measured alone":    {{size: 40, want: 0}, {end: true, size: 30, want: 0}, {end: true, size: 1, want: 0}},
		"and ends the turn alone":               {{size: 10, want: 0}, {end: true, size: 46, want: 0}, {end: true, size: 1, want: 1}},
		"an end without records of ours":        {{size: 50, want: 0}, {end: true, size: 10, want: 0}, {end: true}, {end: true, size: 40, want: 0}},
	} {
		t.Run(name, func(t *testing.T) { runSticky(t, steps) })
	}
}

func runSticky(t *testing.T, steps []stickyStep) {
	var now time.Duration
	s := newSticky(StickyConfig{Bytes: 100, Linger: 10 * time.Millisecond})
	s.now = func() time.Duration { return now }
	s.intN = func(int) int { return 0 }
	latest := -1
	for i, step := range steps {
		now += step.wait
		if step.end {
			s.BatchEnd(latest, 1, 1)
		}
		latest = mustPartition(t, s, record.Record{Value: make([]byte, step.size)}, 3)
		require.Equal(t, step.want, latest, "step %d: %+v", i, step)
	}
}

// After a fast stream halts, no more than stickyUntimed records join its turn.
func TestStickyReadsTheClockInTime(t *testing.T) {
	for fast := 2; fast < 30; fast++ {
		var now time.Duration
		s := newSticky(StickyConfig{})
		s.now = func() time.Duration { return now }
		first := mustPartition(t, s, record.Record{}, 3)
		for range fast - 1 {
			require.Equal(t, first, mustPartition(t, s, record.Record{}, 3))
		}
		now += time.Hour
		joined := 0
		for mustPartition(t, s, record.Record{}, 3) == first {
			joined++
			require.LessOrEqual(t, joined, stickyUntimed, "after %d records", fast)
		}
	}
}

// A fast stream has the clock read for its first record and then for one in
// stickyUntimed+1.
func TestStickyReadsTheClockSeldom(t *testing.T) {
	var now time.Duration
	reads := 0
	s := newSticky(StickyConfig{})
	s.now = func() time.Duration { reads++; return now }
	for range 1 + 100*(stickyUntimed+1) {
		mustPartition(t, s, record.Record{}, 3)
		now += 10 * time.Microsecond // 8 ms in all: one turn
	}
	require.Equal(t, 1+100, reads)
}

func TestStickyReadsTheRealClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Sticky(StickyConfig{})
		first := mustPartition(t, p, record.Record{}, 3)
		time.Sleep(defaultStickyLinger - 1)
		require.Equal(t, first, mustPartition(t, p, record.Record{}, 3))
		time.Sleep(time.Nanosecond)
		require.NotEqual(t, first, mustPartition(t, p, record.Record{}, 3))
	})
}

func TestStickyCountsKeyValueAndHeaders(t *testing.T) {
	rec := record.Record{Key: []byte("k"), Value: []byte("va"), Headers: []record.Header{
		{Key: "abc", Value: []byte("defg")}, {Key: "hijkl"},
	}}
	require.Equal(t, 1+2+3+4+5, recordBytes(&rec))
	require.Zero(t, recordBytes(&record.Record{ID: [16]byte{1}}))
}

// Every record is a turn: each partition must be followed by each other one
// equally often, and never by itself.
func TestStickyGoesOnToAnyOther(t *testing.T) {
	const n = 4
	s := newSticky(StickyConfig{Bytes: 1})
	s.intN = rand.New(rand.NewPCG(1, 2)).IntN
	var followed [n][n]int
	p := mustPartition(t, s, record.Record{Value: []byte("v")}, n)
	for range 12_000 {
		q := mustPartition(t, s, record.Record{Value: []byte("v")}, n)
		followed[p][q]++
		p = q
	}
	for p := range n {
		require.Zero(t, followed[p][p], "a turn of %d after its own", p)
		others := append(append([]int{}, followed[p][:p]...), followed[p][p+1:]...)
		require.Less(t, chiSquared(others), 13.816, "after %d: %v", p, others) // 2 degrees of freedom, 1 in 1000
	}
}

func TestStickyWhenTheNumberChanges(t *testing.T) {
	s := newSticky(StickyConfig{})
	s.intN = func(n int) int { return n - 1 }
	require.Equal(t, 5, mustPartition(t, s, record.Record{}, 6))
	require.Equal(t, 5, mustPartition(t, s, record.Record{}, 12), "still there: the turn goes on")
	require.Equal(t, 2, mustPartition(t, s, record.Record{}, 3), "gone: any of the three")
}

func TestStickyIgnoresBatchesElsewhere(t *testing.T) {
	s := newSticky(StickyConfig{Bytes: 100})
	s.BatchEnd(0, 1, 1000) // before the first record
	first := mustPartition(t, s, record.Record{Value: make([]byte, 51)}, 3)
	s.BatchEnd((first+1)%3, 1, 1000)
	s.BatchEnd((first+2)%3, 1, 1000)
	require.Equal(t, first, mustPartition(t, s, record.Record{Value: make([]byte, 49)}, 3))
}

// However many goroutines ask, no turn gets more than its bytes nor ends before.
func TestStickyTurnsAreFullUnderConcurrency(t *testing.T) {
	const goroutines, each, perTurn = 8, 1000, 10
	turns := 0 // guarded by s.mu, under which intN is called
	s := newSticky(StickyConfig{Bytes: perTurn * 10, Linger: time.Hour})
	s.intN = func(int) int { turns++; return 0 }
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				_, _ = s.Partition(record.Record{Value: make([]byte, 10)}, 3)
			}
		})
	}
	all.Wait()
	require.Equal(t, goroutines*each/perTurn, turns)
}

func TestStickyConfig(t *testing.T) {
	for _, c := range []struct {
		config StickyConfig
		want   string
	}{
		{StickyConfig{Bytes: -1}, "configure sticky partitioner: Bytes is -1, want at least 0"},
		{StickyConfig{Linger: -time.Second}, "configure sticky partitioner: Linger is -1s, want at least 0"},
	} {
		p := Sticky(c.config)
		p.(Batcher).BatchEnd(0, 1, 1)
		_, err := p.Partition(record.Record{}, 3)
		require.EqualError(t, err, c.want)
		_, err = p.(Router).Route(record.Record{}, 3)
		require.EqualError(t, err, c.want)
	}
	require.Equal(t, StickyConfig{Bytes: 64 << 10, Linger: 10 * time.Millisecond}, newSticky(StickyConfig{}).config)
	require.Equal(t, StickyConfig{Bytes: 1, Linger: 1}, newSticky(StickyConfig{Bytes: 1, Linger: 1}).config)
}

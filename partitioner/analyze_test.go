package partitioner

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// byLength sends a key to the partition of its length, modulo n.
func byLength(rec record.Record, n int) (int, error) { return len(rec.Key) % n, nil }

func lengths(lens ...int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		reused := make([]byte, 100) // as a reader's record would be
		for _, l := range lens {
			if !yield(reused[:l]) {
				return
			}
		}
	}
}

// Worked out by hand: keys of 0, 1, 2, 4 and 5 bytes in two partitions.
func TestAnalyzeByHand(t *testing.T) {
	a, err := Analyze(Func("length", byLength), 2, lengths(4, 4, 1, 4, 5, 0, 2, 4, 0, 4))
	require.NoError(t, err)
	require.Equal(t, "func:length", a.Placement)
	require.Equal(t, 2, a.Partitions)
	require.Equal(t, []int64{8, 2}, a.Records.Counts)
	require.EqualValues(t, 10, a.Records.Total)
	require.InDelta(t, 8.0/5, a.Records.Skew, 1e-12)
	require.InDelta(t, 3.6, a.Records.ChiSquared, 1e-12, "3²/5 twice")
	require.InDelta(t, 0.0578, a.Records.PValue, 1e-4)
	require.InDelta(t, 0.3, a.Records.Gini, 1e-12, "2(1·2 + 2·8)/(2·10) - 3/2")
	require.Equal(t, []int64{3, 2}, a.Keys.Counts)
	require.EqualValues(t, 5, a.Keys.Total)
	require.InDelta(t, 3/2.5, a.Keys.Skew, 1e-12)
	require.InDelta(t, 0.2, a.Keys.ChiSquared, 1e-12)
	require.Zero(t, a.Keyless)
	require.Zero(t, a.Scattered)

	zeros := strings.Repeat("\x00", 5)
	require.Equal(t, []HotKey{
		{zeros[:4], 5, 0, 0.5}, {"", 2, 0, 0.2}, {zeros[:1], 1, 0, 0.1}, {zeros[:2], 1, 0, 0.1}, {zeros[:5], 1, 0, 0.1},
	}, a.Top)
	require.InDelta(t, 1, a.TopShare, 1e-12)
	// Of four partitions, only the key of 2 bytes goes elsewhere: to 2.
	require.InDelta(t, 0.2, a.Doubled.KeysMoved, 1e-12)
	require.InDelta(t, 0.1, a.Doubled.RecordsMoved, 1e-12)
	require.InDelta(t, 7/2.5, a.Doubled.Skew, 1e-12)
}

func sequence(n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "order-%d", i)) {
				return
			}
		}
	}
}

func TestAnalyzeAnEvenSpread(t *testing.T) {
	a, err := Analyze(Key(), 6, sequence(10_000))
	require.NoError(t, err)
	require.Equal(t, a.Keys, a.Records)
	require.Less(t, a.Keys.Skew, 1.1)
	require.Greater(t, a.Keys.PValue, 0.001)
	require.Less(t, a.Keys.Gini, 0.05)
	require.InDelta(t, 0.5, a.Doubled.KeysMoved, 0.02, "modulo moves half of them")
	require.InDelta(t, 0.001, a.TopShare, 1e-12)
	require.Len(t, a.Top, 10)
}

// Few keys with most of the records: the keys are spread well and the records
// are not.
func TestAnalyzeTellsHotKeysFromBadPartitioners(t *testing.T) {
	hot := func(yield func([]byte) bool) {
		for key := range sequence(1000) {
			for range 10 {
				if !yield(key) || !yield([]byte("order-7")) {
					return
				}
			}
		}
	}
	a, err := Analyze(Key(), 6, hot)
	require.NoError(t, err)
	require.Greater(t, a.Keys.PValue, 0.001)
	require.Less(t, a.Records.PValue, 1e-9)
	require.Greater(t, a.Records.Skew, 3.0)
	require.Equal(t, HotKey{"order-7", 10_010, 0, 0.5005}, a.Top[0])

	a, err = Analyze(Func("length", byLength), 6, sequence(1000))
	require.NoError(t, err)
	require.Less(t, a.Keys.PValue, 1e-9)
}

// What goes by something else than the key takes keys apart.
func TestAnalyzeCountsScatteredKeys(t *testing.T) {
	a, err := Analyze(RoundRobin(), 3, lengths(1, 1, 2, 2, 2, 2, 3))
	require.NoError(t, err)
	require.Equal(t, []int64{3, 2, 2}, a.Records.Counts)
	require.Equal(t, 2, a.Scattered)
	require.InDelta(t, 3.0/7, a.Doubled.RecordsMoved, 1e-12, "0 1 2 0 1 2 0, then 0 1 2 3 4 5 0")
	require.InDelta(t, 1.0/3, a.Doubled.KeysMoved, 1e-12)
	require.Contains(t, a.String(), "2 keys are in more than one partition")
}

func TestAnalyzeWithoutKeys(t *testing.T) {
	a, err := Analyze(RoundRobin(), 2, slices.Values([][]byte{nil, nil, {}, nil}))
	require.NoError(t, err)
	require.EqualValues(t, 3, a.Keyless)
	require.EqualValues(t, 1, a.Keys.Total)
	require.EqualValues(t, 4, a.Records.Total)
	require.Equal(t, []HotKey{{"", 1, 0, 1}}, a.Top)
	require.Equal(t, 1.0, a.Doubled.RecordsMoved, "the third record is in 0, and in 2 of four")

	a, err = Analyze(Key(), 2, slices.Values([][]byte{nil, nil}))
	require.NoError(t, err)
	require.EqualValues(t, 2, a.Keyless)
	require.Zero(t, a.Keys.Skew)
	require.Equal(t, 1.0, a.Keys.PValue)
	require.Contains(t, a.String(), "2 records have no key")
}

// One that cannot have twice as many is analyzed all the same, and one that
// cannot have n says what is wrong, also if it goes by the key alone.
func TestAnalyzeAsksWhetherItWorks(t *testing.T) {
	const why = `partition with "weighted(35,35,10,10,10)": there are 5 weights, but n is 10`
	a, err := Analyze(Weighted(35, 35, 10, 10, 10), 5, sequence(100))
	require.NoError(t, err)
	require.Equal(t, []int64{35, 35, 10, 10, 10}, a.Records.Counts)
	require.Equal(t, Doubling{Refused: why}, a.Doubled)
	require.Contains(t, a.String(), "doubled to 10: refused: "+why+"\n")

	_, err = Analyze(Linear(7), 6, sequence(100))
	require.EqualError(t, err, `analyze "linear(7)": partition with "linear(7)": n is 6, want at least the base, 7`)
	_, err = Analyze(Weighted(1, 2), 6, sequence(100))
	require.EqualError(t, err, `analyze "weighted(1,2)": partition with "weighted(1,2)": there are 2 weights, but n is 6`)
}

func TestAnalyzeOnePartition(t *testing.T) {
	a, err := Analyze(Key(), 1, sequence(10))
	require.NoError(t, err)
	require.Equal(t, Spread{Total: 10, Counts: []int64{10}, Skew: 1, PValue: 1}, a.Records)
}

func TestAnalyzeBadInput(t *testing.T) {
	some := lengths(1, 2)
	for _, c := range []struct {
		p    Partitioner
		n    int
		keys iter.Seq[[]byte]
		want string
	}{
		{Key(), 0, some, `analyze "key": n is 0, want 1 to 1048576`},
		{Key(), -3, some, `analyze "key": n is -3, want 1 to 1048576`},
		{Key(), 1<<20 + 1, some, `analyze "key": n is 1048577, want 1 to 1048576`},
		{Key(), 6, nil, `analyze "key": there are no keys`},
		{Key(), 6, lengths(), `analyze "key": there are no keys`},
		{nil, 6, some, `analyze "type:<nil>": the partitioner is nil`},
		{Func("f", func(record.Record, int) (int, error) { return 0, errors.New("no") }), 6, some, `analyze "func:f": no`},
		{Func("f", func(record.Record, int) (int, error) { panic("oh") }), 6, some, `analyze "func:f": it panicked: oh`},
		{Func("f", func(_ record.Record, n int) (int, error) { return n, nil }), 6, some, `analyze "func:f": it returned partition 6 of 6`},
		{Func("f", func(record.Record, int) (int, error) { return -1, nil }), 6, some, `analyze "func:f": it returned partition -1 of 6`},
		{Func("f", func(_ record.Record, n int) (int, error) { return n / 12 * n, nil }), 6, some, `analyze "func:f" doubled: it returned partition 12 of 12`},
	} {
		a, err := Analyze(c.p, c.n, c.keys)
		require.EqualError(t, err, c.want)
		require.Zero(t, a)
	}
}

func TestAnalysisIsJSON(t *testing.T) {
	a, err := Analyze(Key(), 3, sequence(100))
	require.NoError(t, err)
	text, err := json.Marshal(a)
	require.NoError(t, err)
	require.Contains(t, string(text), `{"placement":"key","partitions":3,"records":{"total":100,"counts":[`)
	var back Analysis
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, a, back)
}

// Of many partitions a table shows the largest.
func TestAnalysisStringOfManyPartitions(t *testing.T) {
	a, err := Analyze(Func("length", byLength), 1000, lengths(77, 77, 5))
	require.NoError(t, err)
	lines := strings.Split(a.String(), "\n")
	require.Regexp(t, `^ +77 +2 +66\.7% #{40}$`, lines[1])
	require.Regexp(t, `^ +5 +1 +33\.3% #{20}$`, lines[2])
	require.Regexp(t, `^ +0 +0 +0\.0%$`, lines[3])
	require.Equal(t, "    and 968 partitions with no more", lines[33])
	require.Less(t, len(a.Top[0].Key), 100)
	for _, line := range lines {
		require.Less(t, len(line), 200, "a long key is cut")
	}
}

package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func lags(all ...int64) []Load {
	load := make([]Load, len(all))
	for i, lag := range all {
		load[i] = Load{Lag: lag, Writable: lag >= 0}
	}
	return load
}

// newAdaptive returns an adaptive one with a fate: each place in turn.
func newAdaptive(t *testing.T, inner Partitioner, config AdaptiveConfig, total int64) *wholeByLoad {
	p := Adaptive(inner, config).(*wholeByLoad)
	next := int64(0)
	p.whole.(*adaptive).int64N = func(n int64) int64 {
		require.Equal(t, total, n)
		next++
		return (next - 1) % n
	}
	return p
}

func TestAdaptiveWeights(t *testing.T) {
	for _, c := range []struct {
		load    []Load
		weights []int
	}{
		{lags(0, 3, 1), []int{4, 1, 3}},
		{lags(0, 0, 0), []int{1, 1, 1}},
		{lags(5), []int{1}},
		{lags(7, 0, -1), []int{1, 8, 0}}, // the last cannot be written
		{lags(-1, 2, -1, 2), []int{0, 1, 0, 1}},
	} {
		total := 0
		for _, w := range c.weights {
			total += w
		}
		p := newAdaptive(t, nil, AdaptiveConfig{}, int64(total))
		got := make([]int, len(c.load))
		for range total {
			q, err := p.PartitionLoad(record.Record{}, c.load)
			require.NoError(t, err)
			got[q]++
		}
		require.Equal(t, c.weights, got, "%+v", c.load)
	}
}

func TestAdaptiveWhereNothingCanBeWritten(t *testing.T) {
	q, err := newAdaptive(t, nil, AdaptiveConfig{}, 3).PartitionLoad(record.Record{}, lags(-1, -1, -1))
	require.NoError(t, err)
	require.Zero(t, q, "any: the topic tells")
}

// Keys stay, however much waits, unless their order is given up.
func TestAdaptiveKeepsKeys(t *testing.T) {
	rec := record.Record{Key: []byte("user-1")} // partition 2 of 3
	load := lags(1, 100_000, 1_000_000_000)
	q, err := Adaptive(nil, AdaptiveConfig{Threshold: 10}).(LoadAware).PartitionLoad(rec, load)
	require.NoError(t, err)
	require.Equal(t, 2, q)
	require.Equal(t, []int{2}, keyPartitions(Adaptive(nil, AdaptiveConfig{}), rec.Key, 3))

	p := newAdaptive(t, nil, AdaptiveConfig{GiveUpOrderOfKeys: true}, 100_001)
	require.Nil(t, p.KeyPartitions(rec.Key, 3))
	counts := make([]int, 3)
	for range 100_001 {
		q, err = p.PartitionLoad(rec, load)
		require.NoError(t, err)
		counts[q]++
	}
	require.Equal(t, []int{100_000, 1, 0}, counts)

	for _, stays := range [][]Load{lags(0, 0, 100_000), lags(100_001, 100_002, 100_003)} {
		q, err = p.PartitionLoad(rec, stays)
		require.NoError(t, err)
		require.Equal(t, 2, q, "not overloaded, or all are")
	}
}

func TestAdaptiveWithoutLoad(t *testing.T) {
	require.Equal(t, 2, mustPartition(t, Adaptive(nil, AdaptiveConfig{}), record.Record{Key: []byte("user-1")}, 3))
}

func TestLeastLoaded(t *testing.T) {
	p := LeastLoaded().(*leastLoaded)
	for first := range 3 {
		p.intN = func(int) int { return first }
		for _, c := range []struct {
			load []Load
			want int
		}{
			{lags(3, 1, 2), 1},
			{lags(3, -1, 2), 2},
			{lags(-1, -1, 9), 2},
			{[]Load{{Lag: 1, Bytes: 1, Writable: true}, {Bytes: 9, Writable: true}, {Bytes: 8, Writable: true}}, 2},
			{lags(1, 1, 1), first},
			{lags(-1, -1, -1), first},
		} {
			got, err := p.PartitionLoad(record.Record{Key: []byte("k")}, c.load)
			require.NoError(t, err)
			require.Equal(t, c.want, got, "%+v", c.load)
		}
	}
	_, err := p.PartitionLoad(record.Record{}, nil)
	require.ErrorContains(t, err, "n is 0")
}

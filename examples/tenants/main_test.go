package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":6000,"tenants":500,"isolated":500,"behind":1980,"fairness":0.16,"readers":[1963,4037],"salted_isolated":499,"salted_loud":10,"salted_behind":213,"salted_fairness":0.67,"salted_readers":[2987,3013]}`)
}

func TestTally(t *testing.T) {
	tally := newTally()
	for _, c := range []struct {
		key          string
		reader, part int
	}{
		{"a:1", 0, 0}, {"a:2", 0, 0}, {"b:1", 1, 1}, {"b:1", 1, 3}, {"c:1", 0, 2}, {"c:2", 1, 2},
		{loud + ":1", 0, 4}, {loud + ":1", 0, 4}, {loud + ":1", 0, 0},
	} {
		tally.add(c.reader, &braidlog.Record{Key: []byte(c.key), Partition: c.part})
	}
	require.Equal(t, 1, tally.isolated(), "b is in two partitions, c has two readers")
	require.Equal(t, 1, tally.behind(), "nobody else is in partition 4")
	require.Equal(t, []int{6, 3}, tally.readers)
	require.Equal(t, show.Round(81.0/(50*(9+1+4+1+4))), tally.fairness())
	for p := range tally.counts {
		tally.counts[p] = 7
	}
	require.Equal(t, 1.0, tally.fairness())
}

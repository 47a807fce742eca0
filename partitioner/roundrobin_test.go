package partitioner

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestRoundRobinGoesInTurn(t *testing.T) {
	p := RoundRobin()
	for i := range 100 {
		rec := record.Record{Key: []byte("always the same")}
		require.Equal(t, i%6, mustPartition(t, p, rec, 6))
		if i%3 == 0 { // another n in between disturbs nothing
			require.Equal(t, i/3%4, mustPartition(t, p, rec, 4))
		}
	}
}

func TestRoundRobinIsEven(t *testing.T) {
	const goroutines, each, n = 8, 1500, 6
	p := RoundRobin()
	counts := make([][n]int, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for range each {
				i, _ := p.Partition(record.Record{}, n)
				counts[g][i]++
			}
		})
	}
	all.Wait()
	var sum [n]int
	for _, c := range counts {
		for i := range sum {
			sum[i] += c[i]
		}
	}
	for i := range sum {
		require.Equal(t, goroutines*each/n, sum[i], "partition %d of %v", i, sum)
	}
}

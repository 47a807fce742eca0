package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":1000,"partitions":[350,350,100,100,100],"windows":901,"exact":901,"seconds":10,"seconds_in_turn":20}`)
}

// One job on another machine is seen in every stretch that it is in.
func TestWindows(t *testing.T) {
	var recs []braidlog.Record
	for range 3 {
		for machine, n := range speeds {
			for range n {
				recs = append(recs, braidlog.Record{Partition: machine})
			}
		}
	}
	all, exact := windows(recs)
	require.Equal(t, []int{201, 201}, []int{all, exact})
	recs[120].Partition = 4
	all, exact = windows(recs)
	require.Equal(t, []int{201, 101}, []int{all, exact})
	all, exact = windows(recs[:99])
	require.Equal(t, []int{0, 0}, []int{all, exact})
}

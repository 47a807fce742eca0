package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":1344,"partitions":[224,224,224,224,224,224],"hours":24,"together":24,"partition_1430":2,"hour_records":80,"hour_read":224,"hour_late":3}`)
}

// An hour in two partitions is not together.
func TestHoursApart(t *testing.T) {
	var recs []braidlog.Record
	for i := range 48 {
		recs = append(recs, braidlog.Record{OriginTime: midnight.Add(time.Duration(i) * 30 * time.Minute), Partition: i / 2 % partitions})
	}
	hours, together := draw(&show.Stage{JSON: true}, recs)
	require.Equal(t, []int{24, 24}, []int{hours, together})
	recs[7].Partition++
	hours, together = draw(&show.Stage{JSON: true}, recs)
	require.Equal(t, []int{24, 23}, []int{hours, together})
}

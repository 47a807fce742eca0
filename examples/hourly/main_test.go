package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":1344,"partitions":[224,224,224,224,224,224],"hours":24,"together":24,"partition_1430":2,"hour_records":80,"hour_read":224,"hour_late":3}`)
}

package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":1000,"partitions":[350,350,100,100,100],"windows":901,"exact":901,"seconds":10,"seconds_in_turn":20}`)
}

package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":540,"urgent":300,"in_turn_urgent_wait":17,"strict_urgent_wait":2,"strict_starved":22,"fair_urgent_wait":7,"fair_starved":0}`)
}

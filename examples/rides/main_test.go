package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"positions":600,"events":240,"members":3,"drivers":12,"metres":1112734,"rides":60,"joint":6,"committed":840}`)
}

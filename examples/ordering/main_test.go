package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":24,"users":3,"partitions":3,"disorder":0,"random_disorder":7}`)
}

package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":300,"accounts":5,"from_start":300,"from_time":150,"total":5172}`)
}

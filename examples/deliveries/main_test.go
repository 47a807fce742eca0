package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":20,"at_most_once_missing":2,"at_most_once_repeated":0,"at_least_once_missing":0,"at_least_once_repeated":3}`)
}

package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":4800,"orders":600,"random_skew":1.05,"random_disorder":507,"status_skew":3,"status_disorder":600,"order_skew":1.18,"order_disorder":0}`)
}

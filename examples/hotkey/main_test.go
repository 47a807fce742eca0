package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":3000,"hot_key":"customer-7","hot_share":0.4,"skew":2.92,"salted_skew":1.2,"merged":1207,"others_skew":1.32,"own_records":1207,"own_skew":1.37}`)
}

package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":6000,"tenants":500,"isolated":500,"behind":1980,"fairness":0.16,"readers":[1963,4037],"salted_isolated":499,"salted_loud":10,"salted_behind":213,"salted_fairness":0.67,"salted_readers":[2987,3013]}`)
}

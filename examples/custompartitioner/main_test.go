package main

import (
	"testing"

	"github.com/braidlog/braidlog/examples/internal/show/showtest"
	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/partitionertest"
)

func TestProgram(t *testing.T) {
	showtest.Check(t, program, `{"records":600,"partitions":[123,147,132,198],"regions":9,"together":9,"reopened":300,"stored":"postcode-1","refused":"postcode-2"}`)
}

func TestByPostcodeKeepsTheContract(t *testing.T) {
	again := func() partitioner.Partitioner { return byPostcode{digits: 1} }
	partitionertest.Run(t, again(), partitionertest.Again(again), partitionertest.NoAllocations(),
		partitionertest.Keys([]byte("1010"), []byte("1020"), []byte("2340"), []byte("9")))
}

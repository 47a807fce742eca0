package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// figures are what -json prints.
type figures struct {
	Records         int     `json:"records"`
	Keys            int     `json:"keys"`
	Partitions      []int   `json:"partitions"`
	OrderViolations int     `json:"order_violations"`
	Seconds         float64 `json:"seconds"`
}

// report prints what was found, and returns an error if that is not what was
// appended.
func report(stdout io.Writer, asJSON bool, t tally, took time.Duration) error {
	if err := printTally(stdout, asJSON, t, took); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if t.violations() > 0 {
		return fmt.Errorf("what was read back is not what was appended: %d records lost, %d repeated, %d swapped, %d foreign",
			t.lost, t.repeated, t.swapped, t.foreign)
	}
	return nil
}

func printTally(stdout io.Writer, asJSON bool, t tally, took time.Duration) error {
	if asJSON {
		return json.NewEncoder(stdout).Encode(figures{t.records, t.keys, t.partitions, t.violations(), took.Seconds()})
	}
	verdict := "ok"
	if t.violations() > 0 {
		verdict = "FAILED"
	}
	_, err := fmt.Fprintf(stdout, "%s quickstart records=%d keys=%d partitions=%d order_violations=%d lost=%d repeated=%d swapped=%d foreign=%d seconds=%.3f\n",
		verdict, t.records, t.keys, len(t.partitions), t.violations(), t.lost, t.repeated, t.swapped, t.foreign, took.Seconds())
	return err
}

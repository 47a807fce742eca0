package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// figures are what -json prints. All but the seconds are of records that were
// read back.
type figures struct {
	Orders         int     `json:"orders"`          // in the backup
	Payments       int     `json:"payments"`        // in the backup
	SourceOrders   int     `json:"source_orders"`   // in the store, in the end
	SourcePayments int     `json:"source_payments"` // in the store, in the end
	Violations     int     `json:"violations"`      // in both
	Seconds        float64 `json:"seconds"`
}

// report prints what was found in the backup and in its source, and returns an
// error if that is not what was appended.
func report(stdout io.Writer, asJSON bool, backup, source tally, took time.Duration) error {
	if err := printTallies(stdout, asJSON, backup, source, took); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for _, t := range []struct {
		name string
		tally
	}{{"store", source}, {"backup", backup}} {
		if t.violations() > 0 {
			return fmt.Errorf("what was read back from the %s is not what was appended: %d records lost, %d repeated, %d swapped, %d foreign, %d payments without their order",
				t.name, t.lost, t.repeated, t.swapped, t.foreign, t.unpaired)
		}
	}
	return nil
}

func printTallies(stdout io.Writer, asJSON bool, backup, source tally, took time.Duration) error {
	violations := backup.violations() + source.violations()
	if asJSON {
		return json.NewEncoder(stdout).Encode(figures{backup.counts[0], backup.counts[1], source.counts[0], source.counts[1], violations, took.Seconds()})
	}
	verdict := "ok"
	if violations > 0 {
		verdict = "FAILED"
	}
	_, err := fmt.Fprintf(stdout, "%s backup orders=%d payments=%d source_orders=%d source_payments=%d violations=%d lost=%d repeated=%d swapped=%d foreign=%d unpaired=%d seconds=%.3f\n",
		verdict, backup.counts[0], backup.counts[1], source.counts[0], source.counts[1], violations,
		backup.lost+source.lost, backup.repeated+source.repeated, backup.swapped+source.swapped,
		backup.foreign+source.foreign, backup.unpaired+source.unpaired, took.Seconds())
	return err
}

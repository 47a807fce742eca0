package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// figures are what -json prints: what was reported and what was read.
type figures struct {
	TornBytes       int64    `json:"torn_bytes"`        // that recovery cut
	TornRecordsKept int      `json:"torn_records_kept"` // read after that
	FlipLost        [2]int64 `json:"flip_lost"`         // offsets [from, to) named as lost
	FlipReadAfter   int      `json:"flip_read_after"`   // records read behind them
	IndexRebuilt    bool     `json:"index_rebuilt"`     // a look-up found its record, and the file is there
}

// report prints the figures, and returns an error if the index is missing;
// everything else that is wrong ends the program before.
func report(stdout io.Writer, asJSON bool, f figures) error {
	if err := printFigures(stdout, asJSON, f); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if !f.IndexRebuilt {
		return errors.New("the index that was removed is not there again")
	}
	return nil
}

func printFigures(stdout io.Writer, asJSON bool, f figures) error {
	if asJSON {
		return json.NewEncoder(stdout).Encode(f)
	}
	verdict := "ok"
	if !f.IndexRebuilt {
		verdict = "FAILED"
	}
	_, err := fmt.Fprintf(stdout, "\n%s recovery torn_bytes=%d torn_records_kept=%d flip_lost=[%d,%d) flip_read_after=%d index_rebuilt=%v\n",
		verdict, f.TornBytes, f.TornRecordsKept, f.FlipLost[0], f.FlipLost[1], f.FlipReadAfter, f.IndexRebuilt)
	return err
}

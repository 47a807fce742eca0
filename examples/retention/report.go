package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// figures are what -json prints: records that were read back.
type figures struct {
	Appended   int `json:"appended"`    // archived and kept
	Archived   int `json:"archived"`    // read from the archive
	Kept       int `json:"kept"`        // read from the topics
	HeldBack   int `json:"held_back"`   // kept over the limit until the slow reader had them
	SlowReader int `json:"slow_reader"` // read by the slow reader
}

func (f *figures) add(c count) {
	f.Appended += c.archived + c.kept
	f.Archived += c.archived
	f.Kept += c.kept
}

// report prints the figures. Whatever is wrong ended the program before.
func report(stdout io.Writer, asJSON bool, f figures) (err error) {
	if asJSON {
		err = json.NewEncoder(stdout).Encode(f)
	} else {
		_, err = fmt.Fprintf(stdout, "\nok retention appended=%d archived=%d kept=%d held_back=%d slow_reader=%d\n",
			f.Appended, f.Archived, f.Kept, f.HeldBack, f.SlowReader)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

package main

import (
	"fmt"
	"strconv"

	"github.com/braidlog/braidlog"
)

// Roads are where drivers drive, each on one.
type roads struct {
	at     map[string]int // where each driver is
	driven map[string]int // metres of each driver
}

func newRoads() roads { return roads{at: map[string]int{}, driven: map[string]int{}} }

// drive takes a driver to where it is.
func (r roads) drive(rec *braidlog.Record) error {
	to, err := strconv.Atoi(string(rec.Value))
	if err != nil {
		return fmt.Errorf("%.100q is no position: %w", rec.Value, err)
	}
	driver := string(rec.Key)
	from, known := r.at[driver]
	if !known {
		from = to
	}
	r.driven[driver] += max(to-from, from-to)
	r.at[driver] = to
	return nil
}

// total returns how far all drivers drove.
func (r roads) total() (metres int) {
	for _, n := range r.driven {
		metres += n
	}
	return metres
}

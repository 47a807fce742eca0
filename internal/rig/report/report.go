// Package report is what the checks of the rig hand in.
package report

import (
	"encoding/json"
	"fmt"
	"sync"
)

// A Finding is a broken promise, and how to see it again.
type Finding struct {
	Kind   string // a counter of Report
	What   string
	Replay string // argument of -replay
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s\n  -replay '%s'", f.Kind, f.What, f.Replay)
}

// A Report has counts, by name, and what was found. It may be filled from many
// goroutines.
type Report struct {
	OnFind func() // called with each finding, under no lock; nil: nothing; set before use

	mu       sync.Mutex
	counts   map[string]int64
	findings []Finding
}

// New returns a report in which the counters have been named, at zero.
func New(counters ...string) *Report {
	r := &Report{counts: map[string]int64{}}
	for _, c := range counters {
		r.counts[c] = 0
	}
	return r
}

// Add adds to a counter.
func (r *Report) Add(counter string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[counter] += n
}

// Count returns a counter.
func (r *Report) Count(counter string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[counter]
}

// maxFindings is how many findings are kept: one is enough to fail.
const maxFindings = 1000

// Find enters a finding, and counts it.
func (r *Report) Find(f Finding) {
	r.mu.Lock()
	r.counts[f.Kind]++
	if len(r.findings) < maxFindings {
		r.findings = append(r.findings, f)
	}
	r.mu.Unlock()
	if r.OnFind != nil {
		r.OnFind()
	}
}

// Findings returns what was found, the first ones if it was a lot.
func (r *Report) Findings() []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Finding(nil), r.findings...)
}

// JSON returns the counts on one line.
func (r *Report) JSON() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(r.counts)
	if err != nil {
		panic(err) // numbers by names
	}
	return string(b)
}

package main

import (
	"bytes"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// A tally is what the readers found.
type tally struct {
	homes    map[string][]int // the partitions of each tenant
	readerOf map[string][]int // the readers of each tenant
	counts   []int            // records by partition
	loud     []int            // of these, those of the loud tenant
	readers  []int            // records by reader
	quiet    [partitions]bool // partitions that have other tenants too
}

func newTally() *tally {
	return &tally{
		homes: map[string][]int{}, readerOf: map[string][]int{},
		counts: make([]int, partitions), loud: make([]int, partitions), readers: make([]int, readers),
	}
}

func (t *tally) add(reader int, rec *braidlog.Record) {
	name, _, _ := bytes.Cut(rec.Key, []byte(":"))
	tenant := string(name)
	if !slices.Contains(t.homes[tenant], rec.Partition) {
		t.homes[tenant] = append(t.homes[tenant], rec.Partition)
	}
	if !slices.Contains(t.readerOf[tenant], reader) {
		t.readerOf[tenant] = append(t.readerOf[tenant], reader)
	}
	t.counts[rec.Partition]++
	t.readers[reader]++
	if tenant == loud {
		t.loud[rec.Partition]++
	} else {
		t.quiet[rec.Partition] = true
	}
}

// isolated returns how many tenants are in one partition, and have one reader.
func (t *tally) isolated() (n int) {
	for tenant, homes := range t.homes {
		if len(homes) == 1 && len(t.readerOf[tenant]) == 1 {
			n++
		}
	}
	return n
}

// behind returns the most records of the loud tenant that others have among
// theirs.
func (t *tally) behind() (most int) {
	for p, n := range t.loud {
		if t.quiet[p] {
			most = max(most, n)
		}
	}
	return most
}

// fairness is the index of Jain, Chiu and Hawe, 1984: the square of the sum, over
// the sum of squares times their number.
func (t *tally) fairness() float64 {
	sum, squares := 0, 0
	for _, n := range t.counts {
		sum += n
		squares += n * n
	}
	return show.Round(float64(sum*sum) / float64(partitions*squares))
}

// draw shows the fullest partitions.
func (t *tally) draw(s *show.Stage, name string) {
	fullest := make([]int, partitions)
	for p := range fullest {
		fullest[p] = p
	}
	slices.SortStableFunc(fullest, func(p, q int) int { return t.counts[q] - t.counts[p] })
	table := show.Table{{"partition", "records", "of " + loud, ""}}
	for _, p := range fullest[:12] {
		table.Add(p, t.counts[p], t.loud[p], show.Bar(t.counts[p], t.counts[fullest[0]]))
	}
	s.Say("topic %s, the fullest of %d partitions:", name, partitions)
	table.Print(s)
	s.Say("")
}

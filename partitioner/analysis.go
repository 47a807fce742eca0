package partitioner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	analysisRows = 32 // partitions that String lists
	analysisBar  = 40 // characters of the longest bar
	analysisKey  = 40 // bytes of a key
)

// String returns the analysis as a table of several lines: a bar for each
// partition, of more than 32 for the largest, then what the figures are.
func (a Analysis) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q over %d partitions: %d records, %d keys\n", a.Placement, a.Partitions, a.Records.Total, a.Keys.Total)
	a.writeRows(&b)
	writeSpread(&b, "records", a.Records)
	writeSpread(&b, "keys", a.Keys)
	if a.Keyless > 0 {
		fmt.Fprintf(&b, "%d records have no key\n", a.Keyless)
	}
	if a.Scattered > 0 {
		fmt.Fprintf(&b, "%d keys are in more than one partition: their records are in no order\n", a.Scattered)
	}
	if len(a.Top) > 0 {
		fmt.Fprintf(&b, "the top %d keys have %s of the records with a key:\n", len(a.Top), percent(a.TopShare))
		for _, k := range a.Top {
			fmt.Fprintf(&b, "  %6s %q\n", percent(k.Share), shortened(k.Key))
		}
	}
	d := a.Doubled
	if d.Refused != "" {
		fmt.Fprintf(&b, "doubled to %d: refused: %s\n", 2*a.Partitions, d.Refused)
		return b.String()
	}
	fmt.Fprintf(&b, "doubled to %d: %s of the keys and %s of the records move, largest/mean %.2f\n",
		2*a.Partitions, percent(d.KeysMoved), percent(d.RecordsMoved), d.Skew)
	return b.String()
}

func (a Analysis) writeRows(b *strings.Builder) {
	counts := a.Records.Counts
	rows := make([]int, len(counts))
	for i := range rows {
		rows[i] = i
	}
	if len(rows) > analysisRows {
		slices.SortStableFunc(rows, func(i, j int) int { return cmp.Compare(counts[j], counts[i]) })
		rows = rows[:analysisRows]
	}
	largest := int64(1)
	for _, i := range rows {
		largest = max(largest, counts[i])
	}
	for _, i := range rows {
		bar := strings.Repeat("#", int(float64(counts[i])/float64(largest)*analysisBar+0.5))
		line := fmt.Sprintf("%7d %10d %6s %s", i, counts[i], percent(share(counts[i], a.Records.Total)), bar)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if more := len(counts) - len(rows); more > 0 {
		fmt.Fprintf(b, "    and %d partitions with no more\n", more)
	}
}

func writeSpread(b *strings.Builder, of string, s Spread) {
	fmt.Fprintf(b, "%-8s largest/mean %.2f, chi-squared %.1f (p = %.3f), Gini %.2f\n", of+":", s.Skew, s.ChiSquared, s.PValue, s.Gini)
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

// shortened keeps a key of any length out of a line.
func shortened(key string) string {
	if len(key) > analysisKey {
		return key[:analysisKey] + "…"
	}
	return key
}

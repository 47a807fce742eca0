package show

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

const (
	barWidth  = 40 // characters of the longest bar
	barsShown = 50 // partitions, if there are more
)

// Bar returns a bar for n where most, which is not 0, has the longest there is.
func Bar(n, most int) string { return strings.Repeat("#", n*barWidth/most) }

// Partitions draws how many records each partition has, of 50 at most.
func Partitions(w io.Writer, counts []int) {
	most := slices.Max(counts)
	for i, n := range counts[:min(len(counts), barsShown)] {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("partition %2d %7d %s", i, n, Bar(n, most)), " "))
	}
	if more := len(counts) - barsShown; more > 0 {
		fmt.Fprintf(w, "and %d partitions more\n", more)
	}
}

// Skew returns the largest count over the mean: 1 if all are the same.
func Skew(counts []int) float64 {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return Round(float64(slices.Max(counts)*len(counts)) / float64(sum))
}

// Round leaves two digits behind the point: figures are for people.
func Round(x float64) float64 { return math.Round(x*100) / 100 }

// A Table is lines of columns, the first of which is the head.
type Table [][]any

// Add adds a line.
func (t *Table) Add(columns ...any) { *t = append(*t, columns) }

// Print prints the table. Numbers stand at the right of their columns, and so
// does what is over them.
func (t Table) Print(w io.Writer) {
	widths := make([]int, len(t[0]))
	for _, line := range t {
		for i, c := range line {
			widths[i] = max(widths[i], len([]rune(text(c))))
		}
	}
	last := t[len(t)-1] // tells numbers from text
	for _, line := range t {
		var b strings.Builder
		for i, c := range line {
			width := widths[i]
			if _, isText := last[i].(string); isText {
				width = -width
			}
			fmt.Fprintf(&b, "%*s  ", width, text(c))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func text(c any) string {
	if f, ok := c.(float64); ok {
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprint(c)
}

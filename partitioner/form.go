package partitioner

import (
	"strconv"
	"strings"
	"time"
)

// A placement with parameters has the form name(parameter,parameter …), where
// each is a number, a word, or a text in Go's quotes. The placement of a
// partitioner inside is such a text, so that where it ends is beyond doubt.

// form returns a placement, the bare name if there are no parameters.
func form(name string, params ...string) string {
	if len(params) == 0 {
		return name
	}
	return name + "(" + strings.Join(params, ",") + ")"
}

func quote(text string) string { return strconv.Quote(text) }

// numbers returns numbers as parameters.
func numbers(all []int) []string {
	params := make([]string, len(all))
	for i, n := range all {
		params[i] = strconv.Itoa(n)
	}
	return params
}

// params are what is left of the parameters of a placement. Whoever takes one
// that is not there, or of another kind, makes them bad.
type params struct {
	rest []string
	bad  bool
}

// parseForm takes a placement apart. It is lenient: who makes something of the
// result compares placements.
func parseForm(placement string) (name string, ps *params, ok bool) {
	name, list, found := strings.Cut(placement, "(")
	if !found {
		return name, &params{}, true
	}
	list, ok = strings.CutSuffix(list, ")")
	if !ok {
		return "", nil, false
	}
	rest, ok := cutParams(list)
	return name, &params{rest: rest}, ok
}

// cutParams cuts at the commas that are not in quotes.
func cutParams(list string) (all []string, ok bool) {
	for {
		end := strings.IndexByte(list, ',')
		if quoted, err := strconv.QuotedPrefix(list); err == nil {
			end = len(quoted)
		} else if end < 0 {
			end = len(list)
		}
		all = append(all, list[:end])
		if list = list[end:]; list == "" {
			return all, true
		}
		if list[0] != ',' {
			return nil, false
		}
		list = list[1:]
	}
}

func (ps *params) next() string {
	if len(ps.rest) == 0 {
		ps.bad = true
		return ""
	}
	first := ps.rest[0]
	ps.rest = ps.rest[1:]
	return first
}

// text takes a text in quotes.
func (ps *params) text() string {
	s, err := strconv.Unquote(ps.next())
	ps.bad = ps.bad || err != nil
	return s
}

func (ps *params) number() int {
	n, err := strconv.Atoi(ps.next())
	ps.bad = ps.bad || err != nil
	return n
}

// numbers takes as many as there are.
func (ps *params) numbers() (all []int) {
	for len(ps.rest) > 0 && !ps.bad && !strings.HasPrefix(ps.rest[0], `"`) {
		all = append(all, ps.number())
	}
	return all
}

// word takes a word if it is next, and reports whether it was.
func (ps *params) word(word string) bool {
	if len(ps.rest) == 0 || ps.rest[0] != word {
		return false
	}
	ps.next()
	return true
}

func (ps *params) duration() time.Duration {
	d, err := time.ParseDuration(ps.next())
	ps.bad = ps.bad || err != nil
	return d
}

// zone takes the name of a zone. What follows, its offsets, the comparison of
// placements compares.
func (ps *params) zone() *time.Location {
	zone, err := time.LoadLocation(ps.text())
	ps.bad = ps.bad || err != nil
	return zone
}

// classifier takes a name and makes the Classifier again.
func (ps *params) classifier() Classifier {
	c, ok := classifierByName(ps.text())
	ps.bad = ps.bad || !ok
	return c
}

// table takes pairs of a text and a number; the last text is not of a pair.
func (ps *params) table() map[string]int {
	table := map[string]int{}
	for len(ps.rest) > 1 && !ps.bad {
		key := ps.text()
		table[key] = ps.number()
	}
	return table
}

// inner takes a placement and makes the partitioner again, nil if it cannot.
func (ps *params) inner() Partitioner {
	p, ok := ByPlacement(ps.text())
	ps.bad = ps.bad || !ok
	return p
}

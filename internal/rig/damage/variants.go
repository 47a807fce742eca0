package damage

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// A form is what stands under a name.
type form uint8

const (
	regular form = iota
	missing
	directory
	symlink // to a file elsewhere that has the right bytes
	pipe
)

func (f form) String() string {
	return [...]string{"regular", "missing", "directory", "symlink", "pipe"}[f]
}

// An entry is what a file of a fixture is replaced by.
type entry struct {
	form  form
	bytes []byte // of a regular file
}

// A change is one way to spoil a store: other things under some names.
type change struct {
	what  string
	files map[string]entry
}

// after returns what stands under a name after the change. Missing is what was
// not there before.
func (f *fixture) after(c change, name string) entry {
	if e, ok := c.files[name]; ok {
		return e
	}
	b, ok := f.files[name]
	if !ok {
		return entry{form: missing}
	}
	return entry{bytes: b}
}

// A series is changes of one kind to one file.
type series struct {
	count int
	at    func(i int) change
}

func one(what, name string, e entry) series {
	return series{1, func(int) change { return change{what, map[string]entry{name: e}} }}
}

// variants are all ways to spoil the store in memory; with a step above 1, of the
// bits and lengths one in step, and of the rest one in so many.
func (f *fixture) variants(step int) iter.Seq[series] {
	return func(yield func(series) bool) {
		n := 0
		for v := range f.all(step) {
			if n++; step > 1 && v.count == 1 && n%shareOfRest != 0 {
				continue
			}
			if !yield(v) {
				return
			}
		}
	}
}

func (f *fixture) all(step int) iter.Seq[series] {
	return func(yield func(series) bool) {
		for _, name := range f.paths {
			for _, all := range []iter.Seq[series]{f.bytewise(name, step), f.sectors(name), f.growth(name), f.wholes(name)} {
				for v := range all {
					if !yield(v) {
						return
					}
				}
			}
		}
		yield(series{1, func(int) change { return f.groupsGone() }})
	}
}

// what describes a variant.
func (f *fixture) what(name, format string, args ...any) string {
	return fmt.Sprintf("%s store, %s: ", f.name, name) + fmt.Sprintf(format, args...)
}

// every returns how many of n are tried, one in step, and with an offset that
// differs from file to file.
func every(n, step int, name string) (count, first int) {
	if step == 1 {
		return n, 0
	}
	for _, c := range []byte(name) {
		first += int(c)
	}
	first %= step
	return max(0, (n-first+step-1)/step), first
}

// rarely is how much less often bits and lengths are tried where a store that
// was killed is no different from one that was closed.
const rarely = 7

// seldom is how much less often they are tried in the sealed segment of the
// groups log, most of which is metadata.
const seldom = 3

// reach returns how many bytes of a file are spoiled one by one, and how often.
// Of space that was reserved the beginning is enough.
func (f *fixture) reach(name string, step int) (bytes, every int) {
	const reserved = 64
	n := len(f.files[name])
	switch {
	case f.clean && name == f.ledger.segments[0].name:
		return n, step * seldom
	case f.clean:
		return n, step
	}
	for _, p := range f.logs() {
		if last := p.last(); last.name == name {
			return min(n, int(last.used)+reserved), step
		}
	}
	return n, step * rarely
}

// bytewise are every bit flipped, and truncation at every length.
func (f *fixture) bytewise(name string, step int) iter.Seq[series] {
	b := f.files[name]
	n, step := f.reach(name, step)
	return func(yield func(series) bool) {
		bits, first := every(8*n, step, name)
		if !yield(series{bits, func(i int) change {
			bit := first + i*step
			spoiled := bytes.Clone(b)
			spoiled[bit/8] ^= 1 << (bit % 8)
			return change{f.what(name, "bit %d of byte %d flipped", bit%8, bit/8), map[string]entry{name: {bytes: spoiled}}}
		}}) {
			return
		}
		lengths, shortest := every(n, step, name)
		yield(series{lengths, func(i int) change {
			n := shortest + i*step
			return change{f.what(name, "cut to %d bytes", n), map[string]entry{name: {bytes: b[:n:n]}}}
		}})
	}
}

const sectorBytes = 512

// sectors are each sector zeroed, filled, swapped with the next, and with the
// one at its place in a file of the same kind elsewhere.
func (f *fixture) sectors(name string) iter.Seq[series] {
	b := f.files[name]
	return func(yield func(series) bool) {
		for from := 0; from < len(b); from += sectorBytes {
			to := min(from+sectorBytes, len(b))
			for _, how := range slices.Sorted(maps.Keys(fills)) {
				spoiled := bytes.Clone(b)
				fills[how](spoiled[from:to])
				if !yield(one(f.what(name, "sector at %d %s", from, how), name, entry{bytes: spoiled})) {
					return
				}
			}
			if next := min(to+sectorBytes, len(b)); to < next {
				spoiled := bytes.Join([][]byte{b[:from], b[to:next], b[from:to], b[next:]}, nil)
				if !yield(one(f.what(name, "sector at %d swapped with the next", from), name, entry{bytes: spoiled})) {
					return
				}
			}
			for _, other := range f.siblings(name) {
				o := f.files[other]
				if path.Base(other) != path.Base(name) || len(o) < to {
					continue
				}
				mine, theirs := bytes.Clone(b), bytes.Clone(o)
				copy(mine[from:to], o[from:to])
				copy(theirs[from:to], b[from:to])
				c := change{f.what(name, "sector at %d swapped with that of %s", from, other), map[string]entry{name: {bytes: mine}, other: {bytes: theirs}}}
				if !yield(series{1, func(int) change { return c }}) {
					return
				}
			}
		}
	}
}

// fills are what disks put in the place of a sector.
var fills = map[string]func([]byte){
	"zeroed":           func(b []byte) { clear(b) },
	"filled with ones": func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) },
	"filled with chance": func(b []byte) {
		rng := rand.New(rand.NewPCG(1, uint64(len(b))))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	},
}

// siblings are files of the same kind: of segments and indexes those of the same
// partition, and those of the same name elsewhere.
func (f *fixture) siblings(name string) (all []string) {
	for _, other := range f.paths {
		near := path.Dir(other) == path.Dir(name) || path.Base(other) == path.Base(name) || kindOf(name) == "json"
		if other != name && kindOf(other) == kindOf(name) && near {
			all = append(all, other)
		}
	}
	return all
}

// kindOf tells files of the same kind: all that are JSON are one.
func kindOf(name string) string {
	switch base := path.Base(name); {
	case strings.HasSuffix(base, ".json"), base == "checkpoint":
		return "json"
	default:
		return path.Ext(base)
	}
}

// growth is what may be added to a file.
func (f *fixture) growth(name string) iter.Seq[series] {
	b := f.files[name]
	return func(yield func(series) bool) {
		added := map[string][]byte{
			"its own end": b[max(0, len(b)-200):],
			"all of it":   b,
		}
		for _, n := range []int{1, 7, 8, 47, 48, 511, 512, 4096, 70_000} {
			added[fmt.Sprintf("%d zeros", n)] = make([]byte, n)
			junk := make([]byte, n)
			fills["filled with chance"](junk)
			added[fmt.Sprintf("%d bytes of chance", n)] = junk
			added[fmt.Sprintf("8 zeros and %d ones", n)] = append(make([]byte, 8), bytes.Repeat([]byte{0xff}, n)...)
		}
		for _, what := range slices.Sorted(maps.Keys(added)) {
			more := added[what]
			if !yield(one(f.what(name, "grown by %s", what), name, entry{bytes: append(bytes.Clone(b), more...)})) {
				return
			}
		}
	}
}

// wholes are things done to a file as a whole.
func (f *fixture) wholes(name string) iter.Seq[series] {
	return func(yield func(series) bool) {
		for _, form := range []form{missing, directory} {
			if !yield(one(f.what(name, "%s", form), name, entry{form: form})) {
				return
			}
		}
		for _, other := range f.siblings(name) {
			c := change{f.what(name, "replaced by %s", other), map[string]entry{name: {bytes: f.files[other]}}}
			swap := change{f.what(name, "swapped with %s", other), map[string]entry{name: {bytes: f.files[other]}, other: {bytes: f.files[name]}}}
			if !yield(series{1, func(int) change { return c }}) || !yield(series{1, func(int) change { return swap }}) {
				return
			}
		}
	}
}

package partition

import (
	"cmp"
	"slices"
)

// A span is the offsets [From, To).
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// givenUp reports whether a repair gave up the offsets [from, to).
func (p *Partition) givenUp(from, to int64) bool {
	for _, g := range *p.gaps.Load() {
		if g.From <= from && to <= g.To {
			return true
		}
	}
	return false
}

// gapAt returns the gap of a repair that offset is in.
func (p *Partition) gapAt(offset int64) (span, bool) {
	for _, g := range *p.gaps.Load() {
		if g.From <= offset && offset < g.To {
			return g, true
		}
	}
	return span{}, false
}

// notArchived reports whether what is missing was, for all that is known,
// trimmed without being archived.
func (p *Partition) notArchived(e *CorruptError) bool { return p.opts.Archive && e.File == "" }

// givenUpTo returns the offset behind all that a repair gave up. Everything
// below was durable, or decided, when it did.
func (p *Partition) givenUpTo() int64 {
	gaps := *p.gaps.Load()
	if len(gaps) == 0 {
		return 0
	}
	return gaps[len(gaps)-1].To
}

// merged returns spans in order, those that touch as one.
func merged(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	var out []span
	for _, s := range all {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		}
		if s.From < s.To {
			out = append(out, s)
		}
	}
	return out
}

// below returns the part of rising spans that is below end.
func below(all []span, end int64) (out []span) {
	for _, s := range all {
		if s.From < end {
			out = append(out, span{s.From, min(s.To, end)})
		}
	}
	return out
}

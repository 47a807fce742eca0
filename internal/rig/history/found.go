package history

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// A Found is what is in a store: the topic's partitions, none if there is no
// topic.
type Found struct {
	Parts []FoundPart
}

// A FoundPart is what is in a partition.
type FoundPart struct {
	Start, End int64
	Entries    []Entry
	Next       int64  // where appends go on: End, or behind what a repair skipped; 0: nobody tried
	Lost       []Span // what readers are told to be damaged, or to have been given up
	Committed  int64  // up to where the group committed; 0: nowhere; or notTold
}

// An Entry is a record that was read.
type Entry struct {
	Offset int64
	Number int
}

// Read reads everything. Damage is taken down, and nothing else may be wrong.
func Read(s *braidlog.Store) (*Found, *Violation) {
	f := &Found{}
	if names := s.Topics(); len(names) > 1 || len(names) == 1 && names[0] != topicName {
		return f, violation(Invented, "topics %q", names)
	}
	if broken := s.Recovery().Broken; len(broken) > 0 {
		return f, violation(FalseCorruption, "topics that do not open: %v", broken)
	}
	t, err := s.Topic(topicName)
	if errors.Is(err, braidlog.ErrTopicNotFound) {
		return f, nil
	}
	if err != nil {
		return f, violation(FalseCorruption, "%v", err)
	}
	f.Parts = make([]FoundPart, t.NumPartitions())
	for i := range f.Parts {
		if v := f.Parts[i].read(t.Partition(i)); v != nil {
			return f, v
		}
	}
	return f, f.readCommits(s, t)
}

func (f *FoundPart) read(p *partition.Partition) *Violation {
	if err := p.Recovery().Err; err != nil {
		return violation(FalseCorruption, "opening found %v", err)
	}
	r := p.NewReader(partition.First())
	defer r.Close() // #nosec G104 -- it gives memory back
	for {
		rec, err := r.TryNext()
		switch {
		case err == partition.ErrEnd:
			f.Start, f.End = p.Start(), p.End()
			return nil
		case err != nil && f.lost(err):
			continue
		case err != nil:
			return violation(FalseCorruption, "%v", err)
		}
		n, err := numberOf(rec)
		if err != nil {
			return violation(Invented, "offset %d: %v", rec.Offset, err)
		}
		if k := len(f.Entries); k > 0 && f.Entries[k-1].Offset >= rec.Offset {
			return violation(Reordered, "offset %d behind offset %d", rec.Offset, f.Entries[k-1].Offset)
		}
		f.Entries = append(f.Entries, Entry{rec.Offset, n})
	}
}

// lost takes down an error that names lost offsets, and reports whether it is
// one.
func (f *FoundPart) lost(err error) bool {
	var damage *partition.CorruptError
	var gap *partition.GapError
	switch {
	case errors.As(err, &damage):
		f.Lost = append(f.Lost, Span{damage.FromOffset, damage.ToOffset})
	case errors.As(err, &gap):
		f.Lost = append(f.Lost, Span{gap.From, gap.To})
	default:
		return false
	}
	return true
}

// Key returns a string that two have in common if they are equal.
func (f *Found) Key() string {
	var b []byte
	for i := range f.Parts {
		p := &f.Parts[i]
		b = binary.AppendVarint(b, int64(len(p.Entries)))
		b = binary.AppendVarint(binary.AppendVarint(b, p.Start), p.End)
		b = binary.AppendVarint(binary.AppendVarint(b, p.Committed), int64(len(p.Lost)))
		for _, s := range p.Lost {
			b = binary.AppendVarint(binary.AppendVarint(b, s.From), s.To)
		}
		for _, e := range p.Entries {
			b = binary.AppendVarint(binary.AppendVarint(b, e.Offset), int64(e.Number))
		}
	}
	return string(b)
}

// Same reports whether two are equal.
func (f *Found) Same(g *Found) bool {
	return f.sameLosses(g) && slices.EqualFunc(f.Parts, g.Parts, func(a, b FoundPart) bool {
		return a.Start == b.Start && a.End == b.End && a.Committed == b.Committed && slices.Equal(a.Entries, b.Entries)
	})
}

// sameLosses reports whether readers are told of the same lost offsets.
func (f *Found) sameLosses(g *Found) bool {
	return slices.EqualFunc(f.Parts, g.Parts, func(a, b FoundPart) bool {
		return slices.Equal(merged(a.Lost, a.Start), merged(b.Lost, b.Start))
	})
}

// Begins reports whether g has all that f has, and perhaps more behind it.
func (f *Found) Begins(g *Found) bool {
	if len(f.Parts) == 0 {
		return true
	}
	return slices.EqualFunc(f.Parts, g.Parts, func(a, b FoundPart) bool {
		n := len(a.Entries)
		return n <= len(b.Entries) && slices.Equal(a.Entries, b.Entries[:n])
	})
}

// With returns f with one more record in each partition, at its end, and
// committed if there is a group.
func (f *Found) With(number int, committed bool) *Found {
	g := &Found{Parts: slices.Clone(f.Parts)}
	for i := range g.Parts {
		p := &g.Parts[i]
		p.Entries = append(slices.Clip(p.Entries), Entry{p.End, number})
		p.End++
		if committed {
			p.Committed = p.End
		}
	}
	return g
}

// sameEntries reports whether two have the same records, wherever they end.
func (f *Found) sameEntries(g *Found) bool { return f.Begins(g) && g.Begins(f) }

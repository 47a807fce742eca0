package history

import (
	"fmt"
	"slices"
)

// A Known is what the user of a store knows: what it was asked for, and what it
// answered.
type Known struct {
	Opened  bool   // the store was opened once
	Dark    bool   // the power went, and nobody has looked since what is left
	Lives   []Life // of the topic: made, deleted, made again
	Backups []Backup
}

// A Life is one of a topic.
type Life struct {
	State State
	Parts []Part
}

// State is what is known of whether a topic is there.
type State uint8

// The states.
const (
	Making State = iota // there whole, or not at all
	There
	Going // likewise
	Gone
)

// A Part is what is known of a partition.
type Part struct {
	Offered []Offered
	Visible int64 // the greatest End seen
	Durable int64 // the greatest Durable seen
	Seen    int64 // the greatest End seen at level Sync
	Start   int64 // the greatest Start seen
	Asked   int64 // the greatest Start that was asked for
	Damaged []Span

	Committed  int64 // up to where the group committed, and was told so; 0: nowhere
	Committing int64 // the farthest that it tried to commit
}

// An Offered is a record that was to be appended, and what became of it.
type Offered struct {
	Number int
	Frame  int
	Fate   Fate
	Offset int64
	Firm   bool // acknowledged at level Sync

	Damaged bool // the disk lost it
}

// A Fate is what the user was told of a record.
type Fate uint8

// The fates.
const (
	Pending Fate = iota
	Acknowledged
	Refused // it is not in the log, and never will be
	Doubtful
)

// A Backup is one that was begun.
type Backup struct {
	Path  string
	Done  bool
	Known *Known // when it was begun
}

// last returns the life that is under way, nil before the first.
func (k *Known) last() *Life {
	if len(k.Lives) == 0 {
		return nil
	}
	return &k.Lives[len(k.Lives)-1]
}

func (k *Known) clone() *Known {
	c := &Known{Opened: k.Opened, Dark: k.Dark, Lives: slices.Clone(k.Lives), Backups: slices.Clone(k.Backups)}
	for i := range c.Lives {
		l := &c.Lives[i]
		l.Parts = slices.Clone(l.Parts)
		for j := range l.Parts {
			l.Parts[j].Offered = slices.Clone(l.Parts[j].Offered)
			l.Parts[j].Damaged = slices.Clone(l.Parts[j].Damaged)
		}
	}
	return c
}

// Forgiving returns what is left of the promises when a sync failed, the kernel
// threw away what had not been synced, and store.json could not be written: readers
// have seen what is gone, nothing on disk tells of it, and its offsets are given
// out again.
func (k *Known) Forgiving() *Known {
	c := k.clone()
	for i := range c.Lives {
		for j := range c.Lives[i].Parts {
			p := &c.Lives[i].Parts[j]
			p.Visible = max(p.Durable, p.Seen)
		}
	}
	return c
}

// A Violation is a promise that was broken.
type Violation struct {
	Kind Kind
	Text string
}

func (v *Violation) Error() string { return fmt.Sprintf("%s: %s", v.Kind, v.Text) }

// A Kind of violation.
type Kind string

// The kinds.
const (
	Lost            Kind = "lost"             // promised, and not there
	Invented        Kind = "invented"         // there, and never offered, or given up, or refused
	Reordered       Kind = "reordered"        // there without one before it, or at another offset
	FalseCorruption Kind = "false_corruption" // damage is reported, or nothing opens, where there is none
	Reused          Kind = "reused"           // an offset is given out again
	Unstable        Kind = "unstable"         // opened again, it is not the same
	Changed         Kind = "changed"          // reading only changed something
	Hidden          Kind = "hidden"           // an error that nobody was told of
)

func violation(k Kind, format string, args ...any) *Violation {
	return &Violation{k, fmt.Sprintf(format, args...)}
}

// Judge compares what was found with what is known. killed says that the
// process ended and the machine did not: then nothing written is lost.
func (k *Known) Judge(f *Found, killed bool) *Violation {
	killed = killed && !k.Dark
	l := k.last()
	there := len(f.Parts) > 0
	switch {
	case l == nil && there, l != nil && l.State == Gone && there:
		return violation(Invented, "a topic that nobody made, or that was deleted")
	case l != nil && l.State == There && !there:
		return violation(Lost, "the topic")
	case !there:
		return nil
	}
	if len(f.Parts) != len(l.Parts) {
		return violation(Invented, "%d partitions of %d", len(f.Parts), len(l.Parts))
	}
	for i := range f.Parts {
		if v := l.Parts[i].judge(&f.Parts[i], killed); v != nil {
			v.Text = fmt.Sprintf("partition %d: %s", i, v.Text)
			return v
		}
	}
	return nil
}

// judge compares a partition. Its records are those offered, in order, without
// any that was refused, up to some point; those with a promise are there.
func (p *Part) judge(f *FoundPart, killed bool) *Violation {
	switch {
	case f.Start < p.Start:
		return violation(Invented, "it starts at %d, was trimmed to %d", f.Start, p.Start)
	case f.Start > max(p.Start, p.Asked):
		return violation(Lost, "it starts at %d, nobody asked for more than %d", f.Start, max(p.Start, p.Asked))
	}
	if got, want := merged(f.Lost, f.Start), merged(p.Damaged, f.Start); !slices.Equal(got, want) {
		return violation(FalseCorruption, "%v is told to be damaged, %v is", got, want)
	}
	left := f.Entries
	missing, frame, got := 0, 0, false
	for i := range p.Offered {
		o := &p.Offered[i]
		here := len(left) > 0 && left[0].Number == o.Number
		if o.Damaged && !here {
			continue
		}
		if below := o.Fate == Acknowledged && o.Offset < f.Start; !below {
			trimmed := o.Fate != Acknowledged && p.Asked > 0 // its beginning may be
			if o.Frame == frame && (got && !here || here && !got && !trimmed) {
				return violation(Reordered, "a part of the frame of record %d", o.Number)
			}
			frame, got = o.Frame, here
		}
		if here {
			switch {
			case o.Damaged:
				return violation(Invented, "record %d was damaged, and is there", o.Number)
			case o.Fate == Refused:
				return violation(Invented, "record %d was refused or gone, and is there", o.Number)
			case missing > 0:
				return violation(Reordered, "record %d is there, and record %d before it is not", o.Number, missing)
			case o.Fate == Acknowledged && o.Offset != left[0].Offset:
				return violation(Reordered, "record %d is at offset %d, was at %d", o.Number, left[0].Offset, o.Offset)
			}
			left = left[1:]
			continue
		}
		if o.Fate != Acknowledged || o.Offset < f.Start {
			continue
		}
		missing = o.Number
		if killed || o.Firm || o.Offset < p.Durable || o.Offset < p.Seen {
			return violation(Lost, "record %d, offset %d, of [%d, %d) found", o.Number, o.Offset, f.Start, f.End)
		}
	}
	if len(left) > 0 {
		return violation(Invented, "record %d at offset %d, out of turn", left[0].Number, left[0].Offset)
	}
	if next := max(f.End, f.Next); next < p.Visible {
		return violation(Reused, "it goes on at %d, an offset of up to %d was seen", next, p.Visible)
	}
	return p.judgeCommit(f)
}

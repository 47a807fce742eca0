package consumergroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/braidlog/braidlog/partition"
)

// A ledgerState is what the records of the log, in order, leave behind.
type ledgerState map[string]*ledgerGroup

// A ledgerGroup is what is known of a group: what it was opened with, and its
// positions.
type ledgerGroup struct {
	spec *Spec // nil if it was never opened
	at   map[ledgerPlace]ledgerPosition
}

type ledgerPlace struct {
	topic  TopicID
	number int
}

type ledgerPosition struct {
	Committed
	kind PositionKind
}

// apply has a record that was appended at a time take effect. In a snapshot
// each position has a time of its own.
func (s ledgerState) apply(r *ledgerRecord, at time.Time) {
	switch r.kind {
	case ledgerSpec:
		spec := r.spec
		s.group(r.group).spec = &spec
	case ledgerBegin, ledgerCommit:
		s.group(r.group).set(r.at, at, r.kind.position())
	case ledgerDeleteGroup:
		delete(s, r.group)
	case ledgerDeleteTopic:
		for _, g := range s {
			maps.DeleteFunc(g.at, func(p ledgerPlace, _ ledgerPosition) bool { return p.topic == r.topic })
		}
	}
}

// position returns the kind of the positions that a kind of records has.
func (k ledgerKind) position() PositionKind {
	if k == ledgerBegin {
		return PositionStarted
	}
	return PositionCommitted
}

// group returns a group, which is made if it is not there.
func (s ledgerState) group(name string) *ledgerGroup {
	g := s[name]
	if g == nil {
		g = &ledgerGroup{at: map[ledgerPlace]ledgerPosition{}}
		s[name] = g
	}
	return g
}

func (g *ledgerGroup) set(all []Committed, at time.Time, kind PositionKind) {
	for _, c := range all {
		place := ledgerPlace{c.TopicID, c.Partition}
		if kind == PositionStarted && g.at[place].kind != PositionNone {
			continue // it was decided before
		}
		if !at.IsZero() {
			c.Time = at
		}
		g.at[place] = ledgerPosition{c, kind}
	}
}

// of returns a group's positions of a kind, sorted.
func (g *ledgerGroup) of(kind PositionKind) []Committed {
	var all []Committed
	for _, p := range g.at {
		if p.kind == kind {
			all = append(all, p.Committed)
		}
	}
	slices.SortFunc(all, byPlace)
	return all
}

// parts returns the records between the first and the last of a snapshot of s
// that begins at offset begun, each of about limit bytes.
func (s ledgerState) parts(begun int64, limit int) (parts []ledgerRecord) {
	part := ledgerRecord{kind: ledgerPart, begun: begun}
	size := 0
	add := func(item ledgerRecord, bytes int) {
		if size > 0 && size+bytes > limit {
			parts = append(parts, part)
			part.items, size = nil, 0
		}
		part.items, size = append(part.items, item), size+bytes
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		g := s[name]
		if g.spec != nil {
			item := ledgerRecord{kind: ledgerSpec, group: name, spec: *g.spec}
			add(item, item.spec.size()+len(name))
		}
		for _, as := range []ledgerKind{ledgerBegin, ledgerCommit} {
			for at := g.of(as.position()); len(at) > 0; {
				n, bytes := fitting(at, limit/4)
				add(ledgerRecord{kind: as, group: name, at: at[:n]}, bytes+len(name))
				at = at[n:]
			}
		}
	}
	if size > 0 {
		parts = append(parts, part)
	}
	return parts
}

// Bounds of what things take in a snapshot beside their names and metadata.
const (
	mostPosition = 5 + 9 + 3 + 8 // partition, offset, length of the metadata, time
	mostTopic    = 2 + 16 + 5    // length of the name, id, number of partitions
	mostItem     = 32            // the rest, that of a spec too
)

// size returns a bound of what a spec takes.
func (s *Spec) size() int {
	n := mostItem + len(s.Pattern)
	for _, t := range s.Topics {
		n += 2 + len(t)
	}
	return n
}

// fitting returns how many positions, at least one, take no more than limit
// bytes, and a bound of what they take.
func fitting(at []Committed, limit int) (n, bytes int) {
	bytes = mostItem
	for i := range at {
		more := mostPosition + len(at[i].Metadata)
		if i == 0 || byTopic(at[i-1], at[i]) != 0 {
			more += mostTopic + len(at[i].Topic)
		}
		if i > 0 && bytes+more > limit {
			return i, bytes
		}
		bytes += more
	}
	return len(at), bytes
}

// A ledgerReplay reads the log from its first record on.
type ledgerReplay struct {
	state ledgerState
	begun bool           // a record was read
	whole bool           // state has all that came before: the log begins at 0, or a snapshot was read
	err   error          // the first thing that makes state doubtful
	newer error          // the first thing that only a newer braidlog understands
	snap  *ledgerReading // the snapshot that is being read

	snapshotBytes int64 // of the last whole snapshot
	grown         int64 // bytes of records since it began
}

// A ledgerReading is a snapshot that is being read.
type ledgerReading struct {
	begun int64
	parts int64
	bytes int64
	state ledgerState
	since []ledgerSince // what came after it began
	grown int64
	err   error // the first since then
}

type ledgerSince struct {
	record ledgerRecord
	at     time.Time
}

func newReplay() *ledgerReplay { return &ledgerReplay{state: ledgerState{}} }

// read reads on to the end of the log. Damage is no error: it is kept in err.
func (y *ledgerReplay) read(r *partition.Reader) error {
	for {
		rec, err := r.TryNext()
		switch {
		case err == nil:
			y.record(rec.Offset, rec.Timestamp, rec.Value)
		case err == partition.ErrEnd:
			return nil
		case !partition.Skippable(err):
			return err
		default:
			y.doubt(err)
		}
	}
}

// doubt takes down that something is wrong with what is read now.
func (y *ledgerReplay) doubt(err error) {
	y.begun = true
	if y.newer == nil && errors.Is(err, ErrNewerLedger) {
		y.newer = err
	}
	if y.err == nil {
		y.err = err
	}
	if y.snap != nil && y.snap.err == nil {
		y.snap.err = err
	}
}

// record takes in the record at an offset.
func (y *ledgerReplay) record(offset int64, at time.Time, value []byte) {
	y.whole = y.whole || !y.begun && offset == 0
	y.begun = true
	y.grown += int64(len(value)) + recordOverhead
	r, err := decodeLedger(value)
	if err == nil {
		err = y.take(offset, at, &r, int64(len(value)))
	}
	if err != nil {
		y.doubt(fmt.Errorf("offset %d of %s: %w", offset, LedgerName, err))
	}
}

// recordOverhead is about what a record takes beside its value.
const recordOverhead = 56

func (y *ledgerReplay) take(offset int64, at time.Time, r *ledgerRecord, bytes int64) error {
	s := y.snap
	switch r.kind {
	case ledgerSnapshot:
		y.snap = &ledgerReading{begun: offset, state: ledgerState{}, grown: y.grown}
		return nil
	case ledgerSettled:
		return nil
	case ledgerPart, ledgerEnd:
		if s == nil || s.begun != r.begun {
			return fmt.Errorf("%w: a snapshot that began at %d and is not there", partition.ErrCorrupt, r.begun)
		}
	default:
		y.state.apply(r, at)
		if s != nil {
			s.since = append(s.since, ledgerSince{*r, at})
		}
		return nil
	}
	if r.kind == ledgerEnd {
		return y.finish(r)
	}
	s.parts++
	s.bytes += bytes
	for i := range r.items {
		s.state.apply(&r.items[i], time.Time{})
	}
	return nil
}

// finish takes over a snapshot that was read: whatever was wrong before it
// began does not matter any more.
func (y *ledgerReplay) finish(end *ledgerRecord) error {
	s := y.snap
	y.snap = nil
	if s.parts != end.parts {
		return fmt.Errorf("%w: a snapshot of %d parts that has %d", partition.ErrCorrupt, end.parts, s.parts)
	}
	for i := range s.since {
		s.state.apply(&s.since[i].record, s.since[i].at)
	}
	y.state, y.whole, y.err = s.state, true, s.err
	y.snapshotBytes, y.grown = s.bytes, y.grown-s.grown
	return nil
}

// result returns why the state cannot be relied on, nil if it can.
func (y *ledgerReplay) result() error {
	switch {
	case y.newer != nil:
		return y.newer
	case y.err != nil:
		return y.err
	case y.begun && !y.whole:
		return fmt.Errorf("%w: %s does not begin at offset 0, and has no whole snapshot", partition.ErrCorrupt, LedgerName)
	}
	return nil
}

package partition

import (
	"fmt"
	"time"
)

// EventKind says what an Event tells of.
type EventKind uint8

// The kinds of events.
const (
	// Rolled: a new segment was begun, at From; the segment before it takes no
	// more appends.
	Rolled EventKind = iota + 1
	// Trimmed: the partition now starts at To; it started at From. Bytes is
	// how much disk space the segments had that were removed.
	Trimmed
	// Recovered: opening the partition cut a torn end, skipped offsets, or
	// found damage: [From, To), if that is known.
	Recovered
	// Repaired: the offsets [From, To) were given up.
	Repaired
	// Archived: the segment of the offsets [From, To) was archived.
	Archived
	// Trouble: something in the background failed; Err says what. What it
	// means for appends, those who append are told.
	Trouble
)

func (k EventKind) String() string {
	switch k {
	case Rolled:
		return "rolled"
	case Trimmed:
		return "trimmed"
	case Recovered:
		return "recovered"
	case Repaired:
		return "repaired"
	case Archived:
		return "archived"
	case Trouble:
		return "trouble"
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// An Event is something that happened to a partition beside appends and reads.
type Event struct {
	Kind      EventKind
	Topic     string
	Partition int
	Time      time.Time
	From, To  int64  // offsets [From, To), as the kind says
	Bytes     int64  // as the kind says
	What      string // of Trouble: what could not be done
	Err       error  // of Trouble and Recovered, else nil
}

// emit tells of an event. It may be called under a lock, and so what it calls
// must only take note of it and return.
func (p *Partition) emit(e Event) {
	if p.opts.OnEvent == nil {
		return
	}
	e.Topic, e.Partition = p.opts.Topic, p.opts.Number
	e.Time = time.Unix(0, p.shared.clock.Now()).UTC()
	p.opts.OnEvent(e)
}

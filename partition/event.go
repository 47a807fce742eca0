package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/braidlog/braidlog/internal/relay"
)

// EventKind says what an Event tells of.
type EventKind uint8

// The kinds of events.
const (
	// Rolled: a new segment was begun, at From; the segment before it takes no
	// more appends, and Bytes is how long that one is. The first segment of a
	// partition is no roll.
	Rolled EventKind = iota + 1
	// Trimmed: the partition now starts at To; it started at From. Bytes is
	// how much disk space the segments had that were removed.
	Trimmed
	// Recovered: opening the partition found something that Err names; each
	// finding is an event. A *CorruptError is damage at [From, To), a
	// *GapError is [From, To) that was skipped. Anything else is a torn end
	// that was cut off at From, Bytes of them from the file that is the last
	// now, or a last record that is ahead of the clock.
	Recovered
	// Repaired: the offsets [From, To) were given up.
	Repaired
	// Archived: the segment of the offsets [From, To) was archived.
	Archived
	// Trouble: something in the background failed; Err says what. What it
	// means for appends, those who append are told. A partition that fails for
	// good tells of it once.
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

// level returns how much an event matters in a log.
func (k EventKind) level() slog.Level {
	switch k {
	case Rolled:
		return slog.LevelDebug
	case Recovered, Repaired:
		return slog.LevelWarn
	case Trouble:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// An Event is something that happened to a partition, or to a store, beside
// appends and reads.
type Event struct {
	Kind      EventKind
	Topic     string // "" if it is no topic's
	Partition int    // -1 if it is no partition's
	Time      time.Time
	From, To  int64  // offsets [From, To), as the kind says
	Bytes     int64  // as the kind says
	What      string // of Trouble and Recovered: in a few words
	Err       error  // of Trouble and Recovered, else nil
	// Dropped is how many events were not told of since the one told before
	// this, because too many came at a time.
	Dropped int
}

// Log writes the event to a logger: rolls at level Debug, trims and archived
// segments at Info, recoveries and repairs at Warn, trouble at Error.
func (e Event) Log(l *slog.Logger) {
	ctx := context.Background()
	if !l.Enabled(ctx, e.Kind.level()) {
		return
	}
	r := slog.NewRecord(e.Time, e.Kind.level(), e.message(), 0)
	if e.Topic != "" {
		r.Add("topic", e.Topic)
	}
	if e.Partition >= 0 {
		r.Add("partition", e.Partition)
	}
	if e.From != 0 || e.To != 0 {
		r.Add("from", e.From, "to", e.To)
	}
	if e.Bytes != 0 {
		r.Add("bytes", e.Bytes)
	}
	if e.Err != nil {
		r.Add("error", e.Err)
	}
	if e.Dropped != 0 {
		r.Add("dropped", e.Dropped)
	}
	l.Handler().Handle(ctx, r) // #nosec G104 -- as a Logger does: there is nobody to tell
}

func (e Event) message() string {
	switch {
	case e.What == "" && e.Kind == Archived:
		return "segment archived"
	case e.What == "":
		return "partition " + e.Kind.String()
	case e.Partition >= 0:
		return "partition " + e.What
	}
	return e.What
}

// maxLogged is how many events wait for the logger of a partition that stands
// alone.
const maxLogged = 1024

// newLog returns what tells l of events, nil if l is.
func newLog(l *slog.Logger) *relay.Relay[Event] {
	if l == nil {
		return nil
	}
	log := relay.New(maxLogged, func(e Event, dropped int) {
		e.Dropped = dropped
		e.Log(l)
	})
	log.Start()
	return log
}

// emit tells of an event. It may be called under a lock.
func (p *Partition) emit(e Event) {
	e.Topic, e.Partition = p.opts.Topic, p.opts.Number
	e.Time = time.Unix(0, p.shared.clock.Now()).UTC()
	p.events.Tell(e)
	if p.opts.OnEvent != nil {
		p.opts.OnEvent(e)
	}
}

// log tells of trouble in the background.
func (p *Partition) log(what string, err error) {
	p.emit(Event{Kind: Trouble, What: what, Err: err})
}

// told reports whether an error says that the partition failed for good, which
// was told when it did.
func told(err error) bool { return errors.Is(err, ErrFailed) || errors.Is(err, ErrOutcomeUnknown) }

// rolled tells of a segment that was begun behind another one, by who began
// it.
func (p *Partition) rolled() {
	list := p.all()
	if n := len(list); n > 1 {
		p.emit(Event{Kind: Rolled, From: list[n-1].Base, To: list[n-1].Base, Bytes: list[n-2].Readable()})
	}
}

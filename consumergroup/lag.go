package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Lag is how far a group is behind in one partition.
type Lag struct {
	TopicPartition
	// Committed is the next offset to be processed: the last commit, or where
	// the group begins. -1: it has no place there yet.
	Committed int64
	// Kind says which of the three Committed is.
	Kind PositionKind
	// Time and Metadata are those of the commit.
	Time     time.Time
	Metadata []byte

	End     int64         // of the partition
	Records int64         // between Committed and End; what gaps leave out is not counted
	Bytes   int64         // they take on disk, to about a kibibyte
	Age     time.Duration // since the oldest of them was appended; 0 if there are none
	Owner   string        // member; "": nobody
}

// Lag returns how far the group is behind in each partition, sorted. For those
// that it has not caught up with, one batch is read. Before the first member
// joined there is nothing to be behind in.
func (g *Group) Lag(ctx context.Context) ([]Lag, error) {
	lags, err := g.lag(ctx)
	if err != nil {
		return nil, fmt.Errorf("lag of group %s: %w", g.name, err)
	}
	return lags, nil
}

func (g *Group) lag(ctx context.Context) ([]Lag, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if err := g.lookFirst(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	slots := g.sortedSlotsLocked()
	lags := make([]Lag, len(slots))
	for i, s := range slots {
		lags[i] = Lag{TopicPartition: s.tp}
		if s.claim != nil {
			lags[i].Owner = s.claim.member.id
		}
	}
	g.mu.Unlock()
	there := lags[:0]
	for i, s := range slots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := lags[i].measure(g, s)
		if errors.Is(err, ErrClosed) && g.usable() == nil {
			continue // the topic is being deleted: the group will be told
		}
		if err != nil {
			return nil, err
		}
		there = append(there, lags[i])
	}
	return there, nil
}

// measure fills in what the ledger and the partition know.
func (l *Lag) measure(g *Group, s *slot) error {
	pos, kind := g.position(s)
	l.Committed, l.Kind, l.Metadata = pos.Offset, kind, pos.Metadata
	from := pos.Offset
	switch kind {
	case PositionNone:
		l.Committed, from = -1, s.log.Start()
	case PositionCommitted:
		l.Time = pos.Time
	}
	b, err := s.log.Backlog(from)
	if err != nil {
		return err
	}
	l.End, l.Records, l.Bytes = s.log.End(), b.Records, b.Bytes
	if !b.Since.IsZero() {
		l.Age = max(0, time.Since(b.Since))
	}
	return nil
}

// A Description is what a group looks like at one moment.
type Description struct {
	Group      string
	Topics     []string // that there are now, sorted
	Pattern    string
	Assignor   string
	Generation int // how often the partitions were divided anew since the store was opened

	Members   []MemberDescription // static ones first, as assignors see them
	Handovers []Handover          // partitions that are on their way
	Skipped   []Skipped           // what was trimmed away unread since the store was opened

	Empty     bool  // it has no member
	Committed bool  // it committed something, ever
	Err       error // why partitions are not divided anew: ErrAssignor
}

// A MemberDescription is what a member looks like.
type MemberDescription struct {
	ID         string
	InstanceID string           // of a static one
	Gone       bool             // it was closed, and its place is kept
	Owned      []TopicPartition // what it has, what it is to let go included
	Target     []TopicPartition // what it is to have
	Paused     []TopicPartition
	Progress   time.Time // when it last polled, committed or called Heartbeat
	Waiting    bool      // it waits in Poll, or Run has nothing to process
}

// A Handover is a partition that is to move, or to be had by somebody.
type Handover struct {
	TopicPartition
	From, To string    // members; "": nobody
	Since    time.Time // when From was told; zero: From is ""
	Waits    string    // for what
}

// Skipped is how many offsets of a partition were trimmed away unread.
type Skipped struct {
	TopicPartition
	Offsets int64
}

// Describe returns what the group looks like now.
func (g *Group) Describe() Description {
	d, slots := g.describe()
	for _, s := range slots {
		_, kind := g.position(s)
		d.Committed = d.Committed || kind == PositionCommitted
	}
	return d
}

func (g *Group) describe() (Description, []*slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := Description{
		Group: g.name, Pattern: g.config.Pattern, Assignor: g.config.Assignor.Name(),
		Generation: g.generation, Empty: true, Err: g.planError,
	}
	for topic := range g.topics {
		d.Topics = append(d.Topics, topic)
	}
	slices.Sort(d.Topics)
	targets := map[*Member][]TopicPartition{}
	slots := g.sortedSlotsLocked()
	for _, s := range slots {
		if s.target != nil {
			targets[s.target] = append(targets[s.target], s.tp)
		}
		if h, moving := s.handoverLocked(); moving {
			d.Handovers = append(d.Handovers, h)
		}
		if s.skipped > 0 {
			d.Skipped = append(d.Skipped, Skipped{s.tp, s.skipped})
		}
	}
	for _, m := range g.members {
		d.Empty = d.Empty && m.ended != nil
		d.Members = append(d.Members, m.describeLocked(targets[m]))
	}
	slices.SortFunc(d.Members, func(a, b MemberDescription) int {
		return compareSubscriptions(Subscription{Member: a.ID, InstanceID: a.InstanceID}, Subscription{Member: b.ID, InstanceID: b.InstanceID})
	})
	return d, slots
}

func (m *Member) describeLocked(target []TopicPartition) MemberDescription {
	d := MemberDescription{
		ID: m.id, InstanceID: m.config.InstanceID, Gone: m.ended != nil,
		Owned: told(m.claims), Target: target, Progress: m.progress, Waiting: m.waiting,
	}
	for _, c := range m.claims {
		if c.paused {
			d.Paused = append(d.Paused, c.slot.tp)
		}
	}
	slices.SortFunc(d.Paused, compareTopicPartitions)
	return d
}

// handoverLocked returns what a slot waits for, if it does.
func (s *slot) handoverLocked() (h Handover, moving bool) {
	h.TopicPartition = s.tp
	if s.target != nil {
		h.To = s.target.id
	}
	c := s.claim
	switch {
	case c != nil && !c.revoking, c == nil && s.target == nil && s.writing == 0:
		return h, false
	case c == nil && s.writing > 0:
		h.Waits = "a commit to be stored"
		return h, true
	case c == nil && s.held:
		h.Waits = "Reset"
		return h, true
	case c == nil && s.target.config.InstanceID == "":
		h.Waits = "the assignor"
		return h, true
	case c == nil:
		h.Waits = fmt.Sprintf("a member of instance id %q to come back", s.target.config.InstanceID)
		return h, true
	}
	h.From, h.Since = c.member.id, c.since
	h.Waits = fmt.Sprintf("%s to poll, commit or close", h.From)
	if why := c.member.keepsLocked(c); c.told && why != "" {
		h.Waits = strings.TrimSpace(h.From + ": " + why)
	}
	return h, true
}

package consumergroup

import (
	"context"
	"fmt"

	"github.com/braidlog/braidlog/partition"
)

// mostAtOnce is how many positions are stored in one go. A group of more
// partitions stores where it begins, or a Reset, in several.
const mostAtOnce = 5_000

// begin stores where a new group begins, once: in every partition that there
// is. From then on those without a position are ones that came later.
func (g *Group) begin(ctx context.Context) error {
	if err := acquire(ctx, g.deciding); err != nil {
		return err
	}
	defer func() { <-g.deciding }()
	g.mu.Lock()
	begun := g.begun
	g.mu.Unlock()
	if begun {
		return nil
	}
	if _, ok := g.ledger.Spec(g.name); !ok {
		if err := g.beginAnew(ctx); err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.begun = true // first: from here on Refresh looks too, and misses nothing
	g.mu.Unlock()
	g.look() // nobody has anything to lose yet
	return nil
}

// beginAnew is begin for a group that the ledger does not know. The spec comes
// last: after a crash before it, the group is still new, and positions that were
// stored stay.
func (g *Group) beginAnew(ctx context.Context) error {
	var starts []Committed
	for _, t := range g.find() {
		for i, log := range t.Partitions {
			if _, kind := g.ledger.Position(g.name, t.ID, i); kind != PositionNone {
				continue
			}
			n, err := resolve(g.config.Start, log)
			if err != nil {
				return fmt.Errorf("begin in %v: %w", TopicPartition{t.Name, i}, err)
			}
			starts = append(starts, Committed{Topic: t.Name, TopicID: t.ID, Partition: i, Offset: n})
		}
	}
	if err := g.inTurns(ctx, starts, g.ledger.Begin); err != nil {
		return err
	}
	return g.storeSpec(ctx)
}

func (g *Group) storeSpec(ctx context.Context) error {
	return g.ledger.SetSpec(ctx, g.name, Spec{Topics: g.config.Topics, Pattern: g.config.Pattern, Start: g.config.Start})
}

// inTurns stores positions, so many at a time.
func (g *Group) inTurns(ctx context.Context, all []Committed, store func(context.Context, string, []Committed) error) error {
	for len(all) > 0 {
		n := min(len(all), mostAtOnce)
		if err := store(ctx, g.name, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// resolve returns the offset that a policy stands for now.
func resolve(p StartPolicy, log *partition.Partition) (int64, error) {
	switch p.Kind {
	case StartLatest:
		return log.End(), nil
	case StartAt:
		return log.Resolve(partition.At(p.Time))
	case StartFail:
		return 0, ErrNoPosition
	}
	return log.Start(), nil
}

// place finds out where claims begin: where the group is, and in a partition
// that came later at its first record, which is stored.
func (m *Member) place(ctx context.Context, claims []*claim) error {
	g := m.group
	if err := g.enlist(); err != nil {
		return err
	}
	defer g.calls.Done()
	var starts []Committed
	for _, c := range claims {
		if _, kind := g.position(c.slot); kind == PositionNone {
			starts = append(starts, c.slot.at(c.slot.log.Start()))
		}
	}
	if err := g.inTurns(ctx, starts, g.ledger.Begin); err != nil {
		return err
	}
	found := make([]Committed, len(claims))
	kinds := make([]PositionKind, len(claims))
	for i, c := range claims {
		found[i], kinds[i] = g.position(c.slot)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, c := range claims {
		if !c.placed { // else it was to be let go, and may stay: it is where it was
			n := found[i].Offset
			c.placed, c.done, c.next, c.high, c.base, c.stored = true, n, n, n, n, kinds[i] == PositionCommitted
		}
	}
	return nil
}

func (g *Group) position(s *slot) (Committed, PositionKind) {
	return g.ledger.Position(g.name, s.topic, s.tp.Partition)
}

// at returns an offset of the slot as the ledger has it.
func (s *slot) at(offset int64) Committed {
	return Committed{Topic: s.tp.Topic, TopicID: s.topic, Partition: s.tp.Partition, Offset: offset}
}

// open has the claim read from offset on.
func (c *claim) open(offset int64) {
	if c.reader != nil {
		c.reader.Close() // #nosec G104 -- closing a reader does not fail; it counts what was read
	}
	c.reader = c.slot.log.NewReader(partition.Offset(offset))
	if !c.member.config.Reuse {
		c.reader.Keep()
	}
}

// A leap is where a claim goes on whose next record is not there.
type leap struct{ from, to int64 }

// behind returns where to go on if e.Offset is not there: where Config.Trimmed
// says. A claim that is behind the end, in a log that lost its end, goes on at the
// end: what comes next was not read yet.
func (c *claim) behind(e *partition.OffsetError) (*leap, error) {
	log := c.slot.log
	if e.Offset >= e.Start {
		return &leap{e.Offset, log.End()}, nil
	}
	to, err := resolve(c.member.group.config.Trimmed, log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, e)
	}
	return &leap{e.Offset, max(to, e.Offset)}, nil // of a time long ago
}

// goOn has claims go on behind what is not there. That is stored first: else it
// would be decided anew for whoever gets the partition next, and Latest would
// leave out what was handed out meanwhile.
func (m *Member) goOn(ctx context.Context) error {
	var leaping []*claim
	for _, c := range m.active {
		if c.leap != nil {
			leaping = append(leaping, c)
		}
	}
	if len(leaping) == 0 {
		return nil
	}
	_, err := m.write(ctx, func() (marks []mark, _ []TopicPartition, _ error) {
		for _, c := range leaping {
			if c.slot.claim == c && !c.moved {
				marks = append(marks, mark{c: c, offset: c.leap.to, seeks: c.seeks})
			}
		}
		return marks, nil, nil
	})
	if err != nil {
		return err
	}
	for _, c := range leaping {
		c.land()
	}
	return nil
}

// land ends a leap, and tells of it. A claim that was lost or moved meanwhile
// stays where it is: activate ends the leap.
func (c *claim) land() {
	g, l := c.member.group, *c.leap
	g.mu.Lock()
	stays := c.slot.claim != c || c.moved
	if !stays {
		if l.to < l.from {
			c.next, c.done = l.to, l.to
		}
		c.floor = l.to
		c.slot.skipped += max(0, l.to-l.from)
	}
	g.mu.Unlock()
	if stays {
		return
	}
	c.leap = nil
	c.open(l.to)
	g.source.Report(c.slot.tp, "was trimmed before a group read it", &TrimmedError{g.name, c.slot.tp, l.from, l.to})
}

// Position returns the offset behind the last record of a partition that Poll
// returned, which is what Commit commits. ErrInvalid if the member does not
// have the partition, or was not told of it yet.
func (m *Member) Position(tp TopicPartition) (int64, error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	c, err := m.placedLocked(tp)
	if err != nil {
		return 0, fmt.Errorf("position of %s: %w", m.id, err)
	}
	return c.next, nil
}

// placedLocked returns the claim to a partition, if its place is known.
func (m *Member) placedLocked(tp TopicPartition) (*claim, error) {
	claims, err := m.claimsLocked([]TopicPartition{tp})
	if err != nil {
		return nil, err
	}
	if !claims[0].placed {
		return nil, fmt.Errorf("%w partition: %s was not told of %v yet", ErrInvalid, m.id, tp)
	}
	return claims[0], nil
}

// Seek has the member go on in a partition at start, backwards too, without
// committing: the next commit stores it. The error is ErrInvalid for a
// partition that the member does not have or was not told of yet, and a
// *partition.OffsetError for an offset that is not there; nothing changes then.
func (m *Member) Seek(tp TopicPartition, start partition.Start) error {
	if err := m.seek(tp, start); err != nil {
		return fmt.Errorf("seek %s to %v: %w", m.id, start, err)
	}
	return nil
}

func (m *Member) seek(tp TopicPartition, start partition.Start) error {
	g := m.group
	g.mu.Lock()
	c, err := m.placedLocked(tp)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	n, err := c.slot.log.Resolve(start)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.slot.claim != c {
		return fmt.Errorf("%w: %v went to somebody else meanwhile", ErrFenced, tp)
	}
	c.next, c.done, c.moved, c.back, c.floor = n, n, true, true, 0
	c.high = max(c.high, n)
	c.seeks++
	m.changedLocked()
	return nil
}

// Reset moves the group to start in the partitions given, or in all of them,
// and stores that. Members that have them are revoked first, as if the
// partitions moved, but nothing they processed keeps them; then they get them
// back and go on at start. So it waits for their next Poll, until ctx ends; then
// nothing is changed and members go on. The error is ErrInvalid for a partition
// that the group does not read, and a *partition.OffsetError if start is not in
// all of them.
func (g *Group) Reset(ctx context.Context, start partition.Start, partitions ...TopicPartition) error {
	if err := g.reset(ctx, start, partitions); err != nil {
		return fmt.Errorf("reset group %s to %v: %w", g.name, start, err)
	}
	return nil
}

func (g *Group) reset(ctx context.Context, start partition.Start, partitions []TopicPartition) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if err := g.enlist(); err != nil {
		return err
	}
	defer g.calls.Done()
	if err := acquire(ctx, g.deciding); err != nil {
		return err
	}
	defer func() { <-g.deciding }()
	if err := g.lookFirst(); err != nil {
		return err
	}
	slots, err := g.pickSlots(partitions)
	if err != nil {
		return err
	}
	to := make([]Committed, len(slots))
	for i, s := range slots {
		n, err := s.log.Resolve(start)
		if err != nil {
			return err
		}
		to[i] = s.at(n)
	}
	defer g.hold(slots, false)
	g.hold(slots, true)
	if err = g.awaitFree(ctx, slots); err != nil {
		return err
	}
	if err = g.inTurns(ctx, to, g.ledger.Commit); err != nil {
		return err
	}
	if _, ok := g.ledger.Spec(g.name); ok {
		return nil
	}
	return g.storeNew(ctx)
}

// lookFirst looks for topics if nobody did yet.
func (g *Group) lookFirst() error {
	g.mu.Lock()
	begun := g.begun
	g.mu.Unlock()
	if !begun {
		g.look()
	}
	return g.usable()
}

// storeNew makes the group one that exists, once it was reset. What was not
// reset begins by the policy, if that says where.
func (g *Group) storeNew(ctx context.Context) error {
	if g.config.Start.Kind == StartFail {
		return g.storeSpec(ctx)
	}
	return g.beginAnew(ctx)
}

// pickSlots returns the slots of partitions, all of them if there are none.
func (g *Group) pickSlots(partitions []TopicPartition) ([]*slot, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(partitions) == 0 {
		return g.sortedSlotsLocked(), nil
	}
	slots := make([]*slot, len(partitions))
	for i, tp := range partitions {
		if slots[i] = g.slots[tp]; slots[i] == nil {
			return nil, fmt.Errorf("%w partition: the group does not read %v", ErrInvalid, tp)
		}
	}
	return slots, nil
}

// hold keeps slots free, or gives them to their targets again.
func (g *Group) hold(slots []*slot, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range slots {
		if g.slots[s.tp] == s { // else the topic was deleted
			s.held = held
			g.moveLocked(s)
		}
	}
}

// awaitFree waits until nobody has the slots and no commit is under way.
func (g *Group) awaitFree(ctx context.Context, slots []*slot) error {
	for {
		free := g.waitsFor(slots)
		if free == nil {
			return g.usable()
		}
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitsFor returns nil if all slots are free, and else what is closed when one
// more is.
func (g *Group) waitsFor(slots []*slot) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range slots {
		if !g.closed && (s.claim != nil || s.writing > 0) {
			if g.freed == nil {
				g.freed = make(chan struct{})
			}
			return g.freed
		}
	}
	return nil
}

package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// Poll returns the next records of the member's partitions, at most max of
// them; 0 stands for 500. It waits until there is one or ctx ends, whose error
// it returns. Records of one partition stand together and in order, those of a
// partition with much to read do not keep the others waiting for ever, and all
// are the caller's to keep, unless MemberConfig.Reuse says otherwise.
//
// To Poll is also to say that what the last one returned was processed: that is
// what CommitPolicy goes by. Partitions are given and let go in Poll, and the
// callbacks called.
//
// Errors come without records, and the next Poll goes on: a
// *partition.CorruptError or *partition.GapError names offsets that hold no
// records and comes once; a failed commit or callback, ErrNoPosition and
// ErrAssignor come as long as it is so, but for the last once for each try.
// ErrFenced says that the member was closed for good, ErrClosed that it or the
// store was closed, ErrPolling that another Poll is under way.
func (m *Member) Poll(ctx context.Context, max int) ([]record.Record, error) {
	recs, err := m.poll(ctx, max)
	if err != nil && !partition.Skippable(err) {
		return nil, fmt.Errorf("poll %s of group %s: %w", m.id, m.group.name, err)
	}
	return recs, err
}

func (m *Member) poll(ctx context.Context, most int) ([]record.Record, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if most < 0 {
		return nil, fmt.Errorf("%w number of records: %d", ErrInvalid, most)
	}
	if most == 0 {
		most = DefaultPollRecords
	}
	if err := m.enter(true); err != nil {
		return nil, err
	}
	recs, err := m.pollOn(ctx, m.atMost(most))
	return m.leavePoll(recs, err)
}

// atMost is how many records a poll may return so that the commit after every
// CommitPolicy.Records of them comes in time.
func (m *Member) atMost(most int) int {
	n := m.group.config.Commit.Records
	switch {
	case n > m.processed:
		return min(most, n-m.processed)
	case n > 0: // this poll commits first
		return min(most, n)
	}
	return most
}

// pollOn polls until there is something to return.
func (m *Member) pollOn(ctx context.Context, most int) ([]record.Record, error) {
	for {
		if err := m.commitIfDue(ctx); err != nil {
			return nil, err
		}
		recs, err := m.step(ctx, most)
		if recs = m.handOut(recs); len(recs) > 0 || err != nil {
			return recs, err
		}
		if err = m.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// enter begins a poll: what the last one returned was processed.
func (m *Member) enter(waiting bool) error {
	if err := m.group.ledger.Err(); err != nil {
		return err
	}
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case m.ended != nil:
		return m.ended
	case m.closing:
		return ErrClosed
	case m.polling:
		return ErrPolling
	}
	m.polling, m.waiting = true, waiting
	for _, c := range m.handed {
		c.done = c.next
	}
	m.processed += m.returned
	m.handed, m.returned = m.handed[:0], 0
	return nil
}

// leavePoll ends a poll. A member that was fenced meanwhile returns nothing.
func (m *Member) leavePoll(recs []record.Record, err error) ([]record.Record, error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.polling, m.waiting = false, false
	m.progress = time.Now()
	if m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
	if m.ended != nil {
		m.unwatch()
		return nil, m.ended
	}
	return recs, err
}

// handOut takes note of how far the records go that are about to be returned, and
// leaves out those of partitions that went while they were read: whoever has them
// now gets them too. Those that BeforeHandOut has committed are the member's.
func (m *Member) handOut(recs []record.Record) []record.Record {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.handed = slices.DeleteFunc(m.handed, func(c *claim) bool {
		if c.slot.claim != c && c.base < c.reader.Offset() {
			recs = slices.DeleteFunc(recs, func(rec record.Record) bool { return c.slot.tp == TopicPartition{rec.Topic, rec.Partition} })
			return true
		}
		c.high = max(c.high, c.reader.Offset())
		if !c.moved { // else Seek says where to go on
			c.next = c.reader.Offset()
		}
		return false
	})
	m.returned = len(recs)
	return recs
}

// step does what there is to do, and returns what there is to read.
func (m *Member) step(ctx context.Context, most int) ([]record.Record, error) {
	if err := m.reconcile(ctx); err != nil {
		return nil, err
	}
	if most == 0 {
		return nil, nil
	}
	if err := m.goOn(ctx); err != nil {
		return nil, err
	}
	recs, err := m.read(most)
	if len(recs) > 0 && m.group.config.Commit.BeforeHandOut {
		if err = m.commitHanded(ctx); err != nil {
			return nil, err
		}
	}
	return recs, err
}

// wait waits until there may be something to do.
func (m *Member) wait(ctx context.Context) error {
	m.watch()
	if m.available(1) > 0 {
		return nil
	}
	due, stop := m.commitTimer()
	defer stop()
	select {
	case <-m.wake:
		return nil // reconcile looks why
	case <-due:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errLocked returns why a poll cannot go on, nil if it can.
func (m *Member) errLocked() error {
	if m.closing && m.ended == nil {
		return ErrClosed
	}
	return m.ended
}

// watch has appends wake the member. It goes on until the member has something
// else to read: one that soon waits again has less to do, and appenders lose
// nothing by waking somebody who does not sleep.
func (m *Member) watch() {
	if m.watched != nil {
		return
	}
	m.watched = make([]func(), len(m.active), len(m.active)+1)
	for i, c := range m.active {
		m.watched[i] = c.slot.log.Watch(m.wake)
	}
}

// unwatch undoes watch.
func (m *Member) unwatch() {
	for _, stop := range m.watched {
		stop()
	}
	m.watched = nil
}

// available returns how many records can be read, or at least enough.
func (m *Member) available(enough int) (n int) {
	for _, c := range m.active {
		switch {
		case c.slot.log.Closed(): // the coordinator will say why
		case c.failed != nil || c.leap != nil || c.reader.Err() != nil:
			n++
		default:
			n += int(min(int64(enough), c.left()))
		}
		if n >= enough {
			return enough
		}
	}
	return n
}

// left returns how many offsets there are up to the end.
func (c *claim) left() int64 { return max(0, c.slot.log.End()-c.reader.Offset()) }

// read returns up to most records, or an error. Records that come before an
// error are returned first, and the error by the next poll.
func (m *Member) read(most int) ([]record.Record, error) {
	n := m.available(most)
	if n == 0 {
		return nil, nil
	}
	if n > 1 && n == most {
		m.unwatch() // it will not sleep soon
	}
	recs := m.room(n)
	for range m.active {
		c := m.active[m.turn]
		m.turn = (m.turn + 1) % len(m.active)
		before := len(recs)
		recs = c.read(recs)
		failed := c.failed
		if len(recs) > before || failed != nil {
			m.handed = append(m.handed, c)
		}
		if failed != nil && len(recs) == 0 {
			c.failed = nil
			return nil, failed
		}
		if len(recs) == cap(recs) {
			break
		}
	}
	return recs, nil
}

// room returns an empty slice for n records.
func (m *Member) room(n int) []record.Record {
	if !m.config.Reuse {
		return make([]record.Record, 0, n)
	}
	if cap(m.reused) < n {
		m.reused = make([]record.Record, n)
	}
	return m.reused[:0:n]
}

// read appends records of the partition to recs, up to its capacity. What ends
// it early is kept in failed.
func (c *claim) read(recs []record.Record) []record.Record {
	if c.failed != nil || c.leap != nil || c.left() == 0 && c.reader.Err() == nil {
		return recs
	}
	n, err := c.reader.ReadBefore(recs[len(recs):cap(recs)], c.slot.log.End())
	if err != nil && err != partition.ErrEnd {
		c.stumble(err)
	}
	return recs[:len(recs)+n]
}

// stumble takes note of why a partition cannot be read on.
func (c *claim) stumble(err error) {
	var out *partition.OffsetError
	switch {
	case errors.Is(err, ErrClosed):
		// The topic was deleted, or the store is being closed: the coordinator
		// will say.
	case errors.As(err, &out):
		c.leap, c.failed = c.behind(out)
	default:
		c.failed = err
	}
}

// reconcile lets go what is to be let go, and takes what was given.
func (m *Member) reconcile(ctx context.Context) error {
	g := m.group
	g.mu.Lock()
	changed, planError, err := m.changed, m.planError, m.errLocked()
	m.changed, m.planError = false, nil
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if changed {
		m.unwatch()
		if err := m.move(ctx); err != nil {
			g.mu.Lock()
			m.changed = true // the next poll tries again
			g.mu.Unlock()
			return err
		}
	}
	return planError
}

// move takes the member's next step towards its target.
func (m *Member) move(ctx context.Context) error {
	going, coming := m.sort()
	if err := m.letGo(ctx, going); err != nil {
		return err
	}
	if err := m.take(ctx, coming); err != nil {
		return err
	}
	m.activate()
	return nil
}

// sort returns the claims that are to be let go and those that are new.
func (m *Member) sort() (going, coming []*claim) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, c := range m.claims {
		switch {
		case c.revoking:
			going = append(going, c)
		case !c.ready:
			coming = append(coming, c)
		}
	}
	return going, coming
}

// letGo calls OnRevoked for claims that it was not called for, commits what is
// due, and lets go those that nothing keeps.
func (m *Member) letGo(ctx context.Context, claims []*claim) error {
	if len(claims) == 0 {
		return nil
	}
	err := m.tell(ctx, "OnRevoked", m.config.OnRevoked, told(m.untold(claims)))
	if m.commitsItself() {
		if failed := m.commitDone(ctx, claims); failed != nil {
			return failed
		}
	}
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, c := range claims {
		if !m.tryReleaseLocked(c) {
			m.changed = true // for the next poll
		}
	}
	return err
}

// tryReleaseLocked lets a claim go if it is to go and nothing keeps it.
func (m *Member) tryReleaseLocked(c *claim) bool {
	if c.slot.claim != c || !c.revoking {
		return true // it is gone already, or may stay after all
	}
	if m.keepsLocked(c) != "" {
		return false
	}
	m.releaseLocked(c)
	return true
}

// untold returns the claims that OnRevoked is to be called for now.
func (m *Member) untold(claims []*claim) (now []*claim) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, c := range claims {
		if !c.told && c.ready {
			now = append(now, c)
		}
		c.told = true
	}
	return now
}

// keepsLocked returns why a claim cannot be let go yet, "" if it can. What a
// member was given is to be committed first.
func (m *Member) keepsLocked(c *claim) string {
	switch {
	case m.run != nil && m.run.busy(c):
		return "records are being processed"
	case m.run == nil && c.wants(c.next) && !c.slot.held:
		return fmt.Sprintf("records up to %d were polled, and committed up to %d", c.next, c.base)
	}
	return ""
}

// take finds out where new claims begin, and calls OnAssigned.
func (m *Member) take(ctx context.Context, claims []*claim) error {
	if len(claims) == 0 {
		return nil
	}
	if err := m.place(ctx, claims); err != nil {
		return err
	}
	m.group.mu.Lock()
	for _, c := range claims {
		c.ready = true
	}
	m.group.mu.Unlock()
	return m.tell(ctx, "OnAssigned", m.config.OnAssigned, told(claims))
}

// activate makes what may be read what is read.
func (m *Member) activate() {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.active = m.active[:0]
	for _, c := range m.claims {
		if !c.ready || c.revoking || c.paused {
			continue
		}
		if c.reader == nil || c.moved {
			if m.run != nil && !m.run.clearLocked(c) {
				continue
			}
			c.moved, c.failed, c.leap = false, nil, nil
			c.open(max(c.next, c.floor))
		}
		m.active = append(m.active, c)
	}
	slices.SortFunc(m.active, func(a, b *claim) int { return compareTopicPartitions(a.slot.tp, b.slot.tp) })
	m.turn = min(m.turn, max(0, len(m.active)-1))
}

package consumergroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// An Offset is a place in a partition, to be committed: of the next record to
// be read.
type Offset struct {
	TopicPartition
	Offset int64
	// Metadata is kept with the commit, and told by Group.Lag: at most
	// MaxMetadataBytes. Nil: none.
	Metadata []byte
}

// A mark is what a commit writes of one claim.
type mark struct {
	c        *claim
	offset   int64
	metadata []byte
	seeks    int // of the claim, when that was decided
}

// Commit commits everything that Poll returned: it was processed. When it
// returns nil that is durable. What the member lost since is not written: the
// error is a *FencedError that names it, and the rest was. If ctx ends while
// the disk is waited for, the error is partition.ErrOutcomeUnknown.
func (m *Member) Commit(ctx context.Context) error {
	err := m.commit(ctx, func() ([]mark, []TopicPartition, error) {
		gone := m.unsaved
		m.unsaved = nil
		return marksLocked(m.claims, func(c *claim) int64 { return c.next }), gone, nil
	})
	if _, fenced := err.(*FencedError); err == nil || fenced { // what the member has was written
		m.yield()
	}
	return err
}

// CommitRecords commits what is before and with these records, in each of
// their partitions up to the last of them. Otherwise it is Commit. A partition
// that is committed further already stays so, unless Seek went back. One that
// went to somebody else and came back counts as lost for records that the
// member polled before. A record of a partition that the member never had, or
// beyond the end, is an error, and nothing is written.
func (m *Member) CommitRecords(ctx context.Context, recs ...record.Record) error {
	last := map[TopicPartition]int64{}
	for i := range recs {
		tp := TopicPartition{recs[i].Topic, recs[i].Partition}
		last[tp] = max(last[tp], recs[i].Offset+1)
	}
	offsets := make([]Offset, 0, len(last))
	for tp, n := range last {
		offsets = append(offsets, Offset{TopicPartition: tp, Offset: n})
	}
	return m.CommitOffsets(ctx, offsets...)
}

// CommitOffsets commits offsets, each of the next record to be read, with
// metadata. Otherwise it is CommitRecords.
func (m *Member) CommitOffsets(ctx context.Context, offsets ...Offset) error {
	return m.commit(ctx, func() ([]mark, []TopicPartition, error) { return m.pickLocked(offsets) })
}

// commit writes what pick returns, and returns a *FencedError for what else it
// names. Pick is called with Group.mu held.
func (m *Member) commit(ctx context.Context, pick func() ([]mark, []TopicPartition, error)) error {
	gone, err := m.write(ctx, func() ([]mark, []TopicPartition, error) {
		m.progress = time.Now()
		return pick()
	})
	if err != nil {
		err = fmt.Errorf("commit of %s in group %s: %w", m.id, m.group.name, err)
	}
	if len(gone) == 0 {
		return err
	}
	fenced := &FencedError{m.group.name, m.id, gone}
	if err == nil {
		return fenced
	}
	return errors.Join(err, fenced) // it is told once
}

func (m *Member) write(ctx context.Context, pick func() ([]mark, []TopicPartition, error)) (gone []TopicPartition, err error) {
	if err = checkContext(ctx); err != nil {
		return nil, err
	}
	if err = m.group.ledger.Err(); err != nil {
		return nil, err
	}
	if err = acquire(ctx, m.committing); err != nil {
		return nil, err
	}
	marks, gone, err := m.beginCommit(pick)
	if len(marks) == 0 || err != nil {
		<-m.committing
		return gone, err
	}
	return gone, m.store(ctx, marks)
}

// beginCommit decides what is written. From then on the slots wait for it, and
// so does the member's next commit, until finishCommit: it would not know what
// it must not go behind.
func (m *Member) beginCommit(pick func() ([]mark, []TopicPartition, error)) (marks []mark, gone []TopicPartition, err error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	if m.ended != nil {
		return nil, nil, m.ended
	}
	if marks, gone, err = pick(); err != nil {
		return nil, nil, err
	}
	if len(marks) > 0 {
		m.group.calls.Add(1) // until finishCommit
	}
	for _, k := range marks {
		k.c.slot.writing++
	}
	return marks, gone, nil
}

// marksLocked returns what there is to write of claims if each is to be at
// offset.
func marksLocked(claims []*claim, offset func(*claim) int64) (marks []mark) {
	for _, c := range claims {
		if n := offset(c); c.slot.claim == c && c.placed && c.wants(n) {
			marks = append(marks, mark{c: c, offset: n, seeks: c.seeks})
		}
	}
	return marks
}

// wants reports whether there is something to write so that n is committed. Only
// Seek makes a position go back.
func (c *claim) wants(n int64) bool { return n > c.base || n < c.base && c.back }

// pickLocked returns what there is to write so that these offsets are
// committed, and what the member lost.
func (m *Member) pickLocked(offsets []Offset) (marks []mark, gone []TopicPartition, err error) {
	for _, o := range offsets {
		c := m.claimLocked(o.TopicPartition)
		if c == nil || !c.placed {
			if _, had := m.past[o.TopicPartition]; !had {
				return nil, nil, fmt.Errorf("%w partition: %s does not have %v", ErrInvalid, m.id, o.TopicPartition)
			}
			gone = append(gone, o.TopicPartition)
			continue
		}
		if err = o.check(c.slot.log); err != nil {
			return nil, nil, err
		}
		if _, had := m.past[o.TopicPartition]; had && o.Offset > c.high {
			gone = append(gone, o.TopicPartition) // polled before the partition went and came back
			continue
		}
		if c.wants(o.Offset) || o.Offset == c.base && (!c.stored || o.Metadata != nil) {
			marks = append(marks, mark{c, o.Offset, bytes.Clone(o.Metadata), c.seeks})
		}
	}
	return marks, gone, nil
}

// check returns why an offset cannot be committed. One that was trimmed can.
func (o *Offset) check(log *partition.Partition) error {
	if end := log.End(); o.Offset < 0 || o.Offset > end {
		return &partition.OffsetError{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Start: 0, End: end + 1, Op: "commit"}
	}
	if n := len(o.Metadata); n > MaxMetadataBytes {
		return &partition.SizeError{What: "metadata of " + o.String(), Bytes: n, Most: MaxMetadataBytes}
	}
	return nil
}

// store has the ledger store marks.
func (m *Member) store(ctx context.Context, marks []mark) error {
	list := make([]Committed, len(marks))
	for i, k := range marks {
		list[i] = k.c.slot.at(k.offset)
		list[i].Metadata = k.metadata
	}
	err := m.group.ledger.Commit(ctx, m.group.name, list)
	if errors.Is(err, partition.ErrOutcomeUnknown) {
		m.findOut(marks, list)
		return err
	}
	m.finishCommit(marks, err)
	return err
}

// savedLocked takes note that a claim is committed up to its end which went while
// that was written: nothing was lost.
func (m *Member) savedLocked(c *claim) {
	if c.slot.claim == c || c.next != c.base {
		return
	}
	for i, tp := range slices.Backward(m.unsaved) { // the last is this one's
		if tp == c.slot.tp {
			m.unsaved = slices.Delete(m.unsaved, i, i+1)
			return
		}
	}
}

// findOut writes marks again behind a commit that nobody waits for any more:
// when this one is stored that one is too, or never will be. Until then nobody
// else gets the partitions.
func (m *Member) findOut(marks []mark, list []Committed) {
	done := func(err error) { m.finishCommit(marks, err) }
	if err := m.group.ledger.CommitAsync(m.group.name, list, done); err != nil {
		done(err)
	}
}

// finishCommit takes note of what was written, and lets go what only waited for
// that.
func (m *Member) finishCommit(marks []mark, err error) {
	defer m.group.calls.Done()
	defer func() { <-m.committing }()
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, k := range marks {
		c := k.c
		c.slot.writing--
		if err == nil {
			c.base, c.stored = k.offset, true
			c.back = c.back && k.seeks != c.seeks // there was one since
			m.savedLocked(c)
		}
		switch {
		case c.slot.claim == nil:
			m.group.moveLocked(c.slot) // it went meanwhile, and waited for this
		case m.polling && c.revoking:
			m.changedLocked() // Poll lets it go
		default:
			m.yieldLocked(c)
		}
	}
}

// yield lets go what is to be let go and nothing keeps, also what there was nothing
// to write of. The member says that it is at no record any more.
func (m *Member) yield() {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, c := range slices.Clone(m.claims) {
		m.yieldLocked(c)
	}
}

// yieldLocked is yield for one claim. Poll and Close let go by themselves, and not
// before OnRevoked, which may be committing now, has returned.
func (m *Member) yieldLocked(c *claim) {
	if !m.polling && !m.closing && (c.told || m.config.OnRevoked == nil) {
		m.tryReleaseLocked(c)
	}
}

// commitsItself reports whether what was processed is committed without being
// asked to.
func (m *Member) commitsItself() bool {
	p := m.group.config.Commit // before it is handed out too: what Seek and damage moved is left
	return m.run != nil || p != CommitPolicy{}
}

// commitDone commits what was processed of claims, as far as they are still the
// member's.
func (m *Member) commitDone(ctx context.Context, claims []*claim) error {
	_, err := m.write(ctx, func() ([]mark, []TopicPartition, error) {
		return marksLocked(claims, func(c *claim) int64 { return c.done }), nil, nil
	})
	return err
}

// commitIfDue commits what was processed if CommitPolicy says that it is time.
func (m *Member) commitIfDue(ctx context.Context) error {
	p := m.group.config.Commit
	if p == (CommitPolicy{}) || p.BeforeHandOut || m.processed == 0 {
		return nil
	}
	if !p.Exhausted && (p.Records == 0 || m.processed < p.Records) && (p.Interval == 0 || m.commitWait() > 0) {
		return nil
	}
	return m.commitNow(ctx)
}

// commitNow commits all that was processed.
func (m *Member) commitNow(ctx context.Context) error {
	m.group.mu.Lock()
	claims := slices.Clone(m.claims)
	m.group.mu.Unlock()
	if err := m.commitDone(ctx, claims); err != nil {
		return err
	}
	m.processed, m.lastCommit = 0, time.Now()
	return nil
}

// commitWait returns how long it is until the next commit by time.
func (m *Member) commitWait() time.Duration {
	return m.group.config.Commit.Interval - time.Since(m.lastCommit)
}

// commitTimer returns what tells when a commit is due, nothing if none will be.
func (m *Member) commitTimer() (due <-chan time.Time, stop func()) {
	if m.group.config.Commit.Interval == 0 || m.processed == 0 || m.group.config.Commit.BeforeHandOut {
		return nil, func() {}
	}
	t := time.NewTimer(m.commitWait())
	return t.C, func() { t.Stop() }
}

// commitHanded commits what the poll under way is about to return. If it fails
// nothing is returned, and the next poll reads it again.
func (m *Member) commitHanded(ctx context.Context) error {
	_, err := m.write(ctx, func() ([]mark, []TopicPartition, error) {
		marks := marksLocked(m.handed, func(c *claim) int64 { return c.reader.Offset() })
		for i := range marks {
			if marks[i].c.moved {
				marks[i].seeks-- // it was read before the last Seek, which is to be committed yet
			}
		}
		return marks, nil, nil
	})
	if err == nil {
		return nil
	}
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	for _, c := range m.handed {
		c.moved = true
	}
	m.handed = m.handed[:0]
	m.changed = true
	return err
}

package consumergroup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A Member reads the partitions that its group gives it. Poll is for one
// goroutine at a time; the other methods may be called from many.
type Member struct {
	group  *Group       // immutable
	id     string       // immutable
	config MemberConfig // immutable

	wake       chan struct{}   // has room for one; there may be something to do or to read
	committing chan struct{}   // held, one place, by who commits: commits of a member are in order
	life       context.Context // ends when the member is fenced or closed
	end        context.CancelFunc

	// Guarded by Group.mu:
	claims    []*claim                    // what it has, those it is to let go included
	changed   bool                        // claims have to be looked through
	polling   bool                        // Poll or Run is under way
	waiting   bool                        // it has nothing to process: it need not make progress
	closing   bool                        // Close is under way: Poll ends
	idle      chan struct{}               // made by who waits for the end of a Poll, closed by it
	ended     error                       // why it can do nothing any more; nil while it can
	progress  time.Time                   // when it last polled, committed or called Heartbeat
	timer     *time.Timer                 // looks after it
	past      map[TopicPartition]struct{} // what it had
	unsaved   []TopicPartition            // what it lost with uncommitted records, not told yet
	planError error                       // a failed plan that it was not told of yet

	// The poller's, and with Group.mu anybody's who ends a member that does not poll:
	active     []*claim        // what it reads now
	handed     []*claim        // what the last poll returned records of
	turn       int             // which of active is read next
	reused     []record.Record // what Poll returned, with MemberConfig.Reuse
	watched    []func()        // ends watching the partitions of active
	processed  int             // records returned by earlier polls, since the last commit
	returned   int             // records returned by the last poll
	lastCommit time.Time       // of auto-commits by time
	run        *runner         // nil unless Run polls
}

// A claim is a member's right to a partition. It ends when the slot has another
// one. All of it but the last three fields is guarded by Group.mu.
type claim struct {
	slot   *slot   // immutable
	member *Member // immutable
	epoch  int64   // immutable

	placed   bool      // next is known
	ready    bool      // OnAssigned was called, or is about to be
	revoking bool      // it is to be let go
	told     bool      // OnRevoked was called
	since    time.Time // when that began
	paused   bool
	moved    bool  // the reader is to go to next
	back     bool  // Seek: the next commit may go backwards
	seeks    int   // how often it was moved by Seek
	done     int64 // behind what polls before the last one returned
	next     int64 // behind what polls returned: what Commit commits
	high     int64 // the greatest that next was
	base     int64 // what is committed, or where the group began
	stored   bool  // base is a commit
	floor    int64 // where it went on behind what was trimmed: reading does not go back before it

	reader *partition.Reader // the poller's; nil before the first record is read
	failed error             // the poller's; for the next Poll
	leap   *leap             // the poller's; over what is not there, to be stored
}

func newMember(g *Group, id string, config MemberConfig) *Member {
	m := &Member{
		group: g, id: id, config: config,
		wake: make(chan struct{}, 1), committing: make(chan struct{}, 1),
		progress: time.Now(), lastCommit: time.Now(), past: map[TopicPartition]struct{}{},
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.timer = time.AfterFunc(g.config.PollInterval, m.check)
	return m
}

// ID returns the member's name in its group, which no other has or had while
// the store is open.
func (m *Member) ID() string { return m.id }

// Assignment returns the partitions that the member has, sorted. Those that it
// is to let go are left out.
func (m *Member) Assignment() []TopicPartition {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	tps := []TopicPartition{}
	for _, c := range m.claims {
		if !c.revoking {
			tps = append(tps, c.slot.tp)
		}
	}
	slices.SortFunc(tps, compareTopicPartitions)
	return tps
}

// Heartbeat says that the member is alive while it processes records for long.
// The error is ErrFenced if it is too late, and ErrClosed after Close.
func (m *Member) Heartbeat() error {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	if m.ended != nil {
		return fmt.Errorf("heartbeat of %s: %w", m.id, m.ended)
	}
	m.progress = time.Now()
	return nil
}

// Pause has Poll return nothing from partitions until Resume. They stay the
// member's; one that it does not have is ErrInvalid, and none is paused. A
// partition that moves is not paused for its new owner.
func (m *Member) Pause(partitions ...TopicPartition) error {
	if err := m.setPaused(true, partitions); err != nil {
		return fmt.Errorf("pause %s: %w", m.id, err)
	}
	return nil
}

// Resume undoes Pause.
func (m *Member) Resume(partitions ...TopicPartition) error {
	if err := m.setPaused(false, partitions); err != nil {
		return fmt.Errorf("resume %s: %w", m.id, err)
	}
	return nil
}

func (m *Member) setPaused(paused bool, partitions []TopicPartition) error {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	claims, err := m.claimsLocked(partitions)
	if err != nil {
		return err
	}
	for _, c := range claims {
		c.paused = paused
	}
	m.changedLocked()
	return nil
}

// claimsLocked returns the claims of partitions, or why there are none.
func (m *Member) claimsLocked(partitions []TopicPartition) ([]*claim, error) {
	if m.ended != nil {
		return nil, m.ended
	}
	claims := make([]*claim, len(partitions))
	for i, tp := range partitions {
		if claims[i] = m.claimLocked(tp); claims[i] == nil {
			return nil, fmt.Errorf("%w partition: %s does not have %v", ErrInvalid, m.id, tp)
		}
	}
	return claims, nil
}

// claimLocked returns the member's claim to a partition, nil if it has none.
func (m *Member) claimLocked(tp TopicPartition) *claim {
	if s := m.group.slots[tp]; s != nil && s.claim != nil && s.claim.member == m {
		return s.claim
	}
	return nil
}

// changedLocked has the member look through its claims, at once if it waits.
func (m *Member) changedLocked() {
	m.changed = true
	m.poke()
}

// poke wakes the member if it waits.
func (m *Member) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it was told already
	}
}

// Close gives everything back: OnRevoked is called, what is due by
// CommitPolicy is committed, and others get the partitions. What the last Poll
// returned is not committed by itself, since nobody said that it was processed:
// Commit first if it was. A Poll that waits ends with ErrClosed. The place of a
// static member is kept for Config.SessionTimeout. If the commit fails, the
// member is closed all the same and the error says so; if ctx ends while a Poll
// is under way, it is not closed. A second Close returns ErrClosed. It must not
// be called by a callback.
func (m *Member) Close(ctx context.Context) error {
	if err := m.close(ctx); err != nil {
		return fmt.Errorf("close %s of group %s: %w", m.id, m.group.name, err)
	}
	return nil
}

func (m *Member) close(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if err := m.stopPolling(ctx); err != nil {
		return err
	}
	err := m.leave(ctx)
	m.group.rebalance()
	return err
}

// stopPolling waits until no Poll is under way, and none will be.
func (m *Member) stopPolling(ctx context.Context) error {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case m.ended != nil:
		return m.ended
	case m.closing:
		return ErrClosed
	}
	m.closing = true
	m.poke()
	for m.polling {
		if m.idle == nil {
			m.idle = make(chan struct{})
		}
		idle := m.idle
		g.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if err := ctx.Err(); err != nil && m.polling {
			m.closing = false
			return err
		}
	}
	return m.ended // fenced meanwhile
}

// leave commits what is due and gives everything back.
func (m *Member) leave(ctx context.Context) error {
	g := m.group
	g.mu.Lock()
	claims := slices.Clone(m.claims)
	g.mu.Unlock()
	err := m.tell(ctx, "OnRevoked", m.config.OnRevoked, told(m.untold(claims)))
	if m.commitsItself() {
		if failed := m.commitDone(ctx, claims); failed != nil {
			err = failed
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.ended != nil {
		return m.ended
	}
	m.endLocked(fmt.Errorf("member %s is %w", m.id, ErrClosed)) // first: it gets nothing back

	// What it was given meanwhile goes too.
	for _, c := range slices.Clone(m.claims) {
		m.releaseLocked(c)
	}
	if m.config.InstanceID == "" {
		g.forgetLocked(m)
	} else { // its slots stay its own, and free
		m.timer = time.AfterFunc(g.config.SessionTimeout, m.expire)
	}
	return err
}

// expire ends the time for which the place of a closed static member is kept.
func (m *Member) expire() {
	g := m.group
	g.mu.Lock()
	if g.members[m.id] != m { // it is taken, or the group is closed
		g.mu.Unlock()
		return
	}
	g.forgetLocked(m)
	g.calls.Add(1)
	g.mu.Unlock()
	defer g.calls.Done()
	g.rebalance()
}

// forgetLocked takes a member off the group.
func (g *Group) forgetLocked(m *Member) {
	delete(g.members, m.id)
	g.wanted++
}

// endLocked makes the member fail from now on.
func (m *Member) endLocked(err error) {
	m.ended = err
	if !m.polling { // else the poll does that
		m.unwatch()
	}
	m.timer.Stop()
	m.end()
	m.poke()
}

// check is called when the member may be stuck. It waits for nobody.
func (m *Member) check() {
	g := m.group
	g.mu.Lock()
	if m.ended != nil {
		g.mu.Unlock()
		return
	}
	t := time.Now()
	due := t.Add(-g.config.PollInterval)
	var lost loss
	if !m.waiting && !m.progress.After(due) {
		lost = g.dropLocked(m, fmt.Errorf("%w: %s made no progress for %v", ErrFenced, m.id, g.config.PollInterval))
	} else {
		lost = m.loseLocked(overdue(m.claims, due))
		m.timer.Reset(m.nextCheckLocked(t))
	}
	g.calls.Add(1)
	g.mu.Unlock()
	defer g.calls.Done()
	g.rebalance()
	lost.tell()
}

// overdue returns the claims that were to be let go before a time.
func overdue(claims []*claim, due time.Time) (late []*claim) {
	for _, c := range claims {
		if c.revoking && !c.since.After(due) {
			late = append(late, c)
		}
	}
	return late
}

// nextCheckLocked returns how long nothing can be overdue.
func (m *Member) nextCheckLocked(t time.Time) time.Duration {
	first := t
	if !m.waiting {
		first = m.progress
	}
	for _, c := range m.claims {
		if c.revoking && c.since.Before(first) {
			first = c.since
		}
	}
	return m.group.config.PollInterval - t.Sub(first)
}

// A loss is what a member lost, to be told of under no lock.
type loss struct {
	member *Member
	tps    []TopicPartition
}

func (l loss) tell() {
	if len(l.tps) == 0 {
		return
	}
	err := l.member.call(context.Background(), "OnLost", l.member.config.OnLost, l.tps)
	if err != nil {
		l.member.group.source.Report(l.tps[0], "OnLost failed", err)
	}
}

// dropLocked fences a member and takes everything from it.
func (g *Group) dropLocked(m *Member, cause error) loss {
	delete(g.members, m.id)
	g.wanted++
	if m.ended != nil {
		return loss{} // a closed static one
	}
	m.endLocked(cause) // first: it gets nothing back
	return m.loseLocked(m.claims)
}

// loseLocked takes claims from the member, which is told at once.
func (m *Member) loseLocked(claims []*claim) loss {
	l := loss{member: m}
	for _, c := range slices.Clone(claims) {
		if c.wants(c.next) {
			m.unsaved = append(m.unsaved, c.slot.tp)
		}
		if c.ready { // else it was never told of it
			l.tps = append(l.tps, c.slot.tp)
		}
		m.releaseLocked(c)
	}
	slices.SortFunc(l.tps, compareTopicPartitions)
	return l
}

// releaseLocked ends a claim. The slot is free, and goes to its target.
func (m *Member) releaseLocked(c *claim) {
	if i := slices.Index(m.claims, c); i >= 0 {
		m.claims = slices.Delete(m.claims, i, i+1)
		m.past[c.slot.tp] = struct{}{}
		m.changedLocked()
	}
	if c.slot.claim == c {
		c.slot.claim = nil
		m.group.moveLocked(c.slot)
	}
}

// tell calls a callback in Poll or Close. Meanwhile the member does not wait: if
// the callback hangs, it is stuck.
func (m *Member) tell(ctx context.Context, what string, f Callback, tps []TopicPartition) error {
	g := m.group
	g.mu.Lock()
	waiting := m.waiting
	m.waiting, m.progress = false, time.Now()
	g.mu.Unlock()
	err := m.call(ctx, what, f, tps)
	g.mu.Lock()
	m.waiting, m.progress = waiting, time.Now()
	g.mu.Unlock()
	return err
}

// call calls a callback with partitions, if there are both. A panic is the
// error.
func (m *Member) call(ctx context.Context, what string, f Callback, tps []TopicPartition) (err error) {
	if f == nil || len(tps) == 0 {
		return nil
	}
	defer caught(what, &err)
	f(ctx, m, tps)
	return nil
}

// told returns the partitions of claims, sorted.
func told(claims []*claim) []TopicPartition {
	tps := make([]TopicPartition, len(claims))
	for i, c := range claims {
		tps[i] = c.slot.tp
	}
	slices.SortFunc(tps, compareTopicPartitions)
	return tps
}

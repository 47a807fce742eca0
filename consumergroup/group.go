package consumergroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/braidlog/braidlog/partition"
)

// A Group shares the partitions of its topics among its members. It is their
// coordinator: there is one for a name and a store. Its methods may be called
// from many goroutines.
//
// It keeps, for each partition, who is to have it (the target, from the
// assignor) and who has it (the claim). Members move from one to the other by
// themselves, in their next Poll, Commit or Close; a partition that is free goes
// to its target at once.
type Group struct {
	name   string
	source Source
	ledger *Ledger
	config Config         // immutable; with defaults
	match  *regexp.Regexp // immutable; of Config.Pattern, nil without one

	// deciding is held, one place, by who stores where the group begins: the
	// first Join, and Reset. It is taken before mu.
	deciding chan struct{}
	calls    sync.WaitGroup // OnLost, and what is being stored; added to with mu while the group is open

	// mu is a leaf: nothing is called under it that may wait, and no code of
	// the application.
	mu         sync.Mutex
	members    map[string]*Member       // guarded by mu; by id; closed static ones too, while their place is kept
	slots      map[TopicPartition]*slot // guarded by mu; all partitions that the group reads
	topics     map[string]int           // guarded by mu; their numbers of partitions; replaced, never changed
	joins      int                      // guarded by mu; how many members ever joined
	generation int                      // guarded by mu; how often the target changed
	wanted     int                      // guarded by mu; rises with what a plan depends on
	planned    int                      // guarded by mu; what the last plan was made of
	planning   bool                     // guarded by mu; somebody asks the assignor
	planError  error                    // guarded by mu; why there is no newer target
	looks      int                      // guarded by mu; how often topics were looked for
	looked     int                      // guarded by mu; which of those the topics are from
	freed      chan struct{}            // guarded by mu; made by who waits for slots, closed when one is free
	begun      bool                     // guarded by mu; where the group begins is stored
	closed     bool                     // guarded by mu
}

// A slot is one partition of the group: who is to have it and who has it. All
// of it but the first three is guarded by Group.mu.
type slot struct {
	tp    TopicPartition
	topic TopicID
	log   *partition.Partition

	target  *Member // nil: nobody
	claim   *claim  // nil: it is free
	epoch   int64   // of the last claim; rises
	writing int     // commits under way: who gets the partition would miss them
	held    bool    // by Reset: nobody gets it
	skipped int64   // offsets that were trimmed away unread
}

// Open returns the coordinator of a group. A store has one for each name; who
// opens a second one of the same ledger breaks what is promised. The error is
// ErrInvalid, a *MismatchError if the ledger knows the group with other topics,
// or the source's for a topic that is not there.
func Open(name string, source Source, l *Ledger, config Config) (*Group, error) {
	g, err := newGroup(name, source, l, config)
	if errors.Is(err, ErrMismatch) {
		return nil, err // it says all that
	}
	if err != nil {
		return nil, fmt.Errorf("open group %s: %w", name, err)
	}
	return g, nil
}

func newGroup(name string, source Source, l *Ledger, config Config) (*Group, error) {
	if err := checkName("group", name); err != nil {
		return nil, err
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	stored, err := config.asStored(name, l)
	if err != nil {
		return nil, err
	}
	g := &Group{
		name: name, source: source, ledger: l, config: config,
		deciding: make(chan struct{}, 1),
		members:  map[string]*Member{}, slots: map[TopicPartition]*slot{},
	}
	g.match, err = config.pattern()
	if err != nil {
		return nil, err // withDefaults found none: what is stored was written by somebody else
	}
	for _, topic := range config.Topics {
		// A topic that was deleted since is not read until there is one again,
		// as if the group had been open.
		if _, err = source.Topic(topic); err != nil && !stored {
			return nil, err
		}
	}
	return g, nil
}

// asStored takes over the topics of a group that is stored, or returns a
// *MismatchError if others are given.
func (c *Config) asStored(name string, l *Ledger) (stored bool, err error) {
	spec, stored := l.Spec(name)
	given := len(c.Topics) > 0 || c.Pattern != ""
	switch {
	case !stored && !given:
		if err = l.Err(); err != nil {
			return false, err // else it might know
		}
		return false, fmt.Errorf("%w config: neither Topics nor Pattern", ErrInvalid)
	case !stored:
		return false, nil
	case given && (c.Pattern != spec.Pattern || !slices.Equal(c.Topics, spec.Topics)):
		return true, &MismatchError{name, "topics", reads(spec.Topics, spec.Pattern), reads(c.Topics, c.Pattern)}
	}
	c.Topics, c.Pattern = spec.Topics, spec.Pattern
	return true, nil
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Config returns the settings in force.
func (g *Group) Config() Config {
	c := g.config
	c.Topics = slices.Clone(c.Topics)
	return c
}

// Matches returns a *MismatchError if config, with which the group is opened
// again, has something else than is in force. Zeros match everything, and so
// does Start, which counts only for a new group.
func (g *Group) Matches(config Config) error {
	have := &g.config
	given, err := config.withDefaults()
	if err != nil {
		return fmt.Errorf("open group %s: %w", g.name, err)
	}
	if (len(config.Topics) > 0 || config.Pattern != "") && (!slices.Equal(given.Topics, have.Topics) || given.Pattern != have.Pattern) {
		return &MismatchError{g.name, "topics", reads(have.Topics, have.Pattern), reads(given.Topics, given.Pattern)}
	}
	for _, f := range []struct {
		field       string
		have, given any
		set         bool
	}{
		{"Assignor", have.Assignor.Name(), given.Assignor.Name(), config.Assignor != nil},
		{"Trimmed", have.Trimmed, given.Trimmed, config.Trimmed != StartPolicy{}},
		{"Commit", have.Commit, given.Commit, config.Commit != CommitPolicy{}},
		{"PollInterval", have.PollInterval, given.PollInterval, config.PollInterval != 0},
		{"SessionTimeout", have.SessionTimeout, given.SessionTimeout, config.SessionTimeout != 0},
	} {
		if f.set && f.have != f.given {
			return &MismatchError{g.name, f.field, fmt.Sprintf("%+v", f.have), fmt.Sprintf("%+v", f.given)}
		}
	}
	return nil
}

// Join makes a member, which gets its partitions in its first Poll. The first
// one of a new group stores where it begins; ErrNoPosition if the policy is
// Fail. A static member whose InstanceID another one has fences that one.
func (g *Group) Join(ctx context.Context, config MemberConfig) (*Member, error) {
	m, err := g.join(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", g.name, err)
	}
	return m, nil
}

func (g *Group) join(ctx context.Context, config MemberConfig) (*Member, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if n := len(config.InstanceID); n > maxInstanceID {
		return nil, fmt.Errorf("%w config: InstanceID has %d bytes, want at most %d", ErrInvalid, n, maxInstanceID)
	}
	if err := g.enlist(); err != nil {
		return nil, err
	}
	defer g.calls.Done()
	if err := g.begin(ctx); err != nil {
		return nil, err
	}
	m, lost, err := g.admit(config)
	if err != nil {
		return nil, err
	}
	g.rebalance()
	lost.tell()
	return m, nil
}

// enlist is usable, and if it returns nil Close waits until calls is told that
// the caller stored what it has to store.
func (g *Group) enlist() error {
	if err := g.usable(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fmt.Errorf("group %s is %w", g.name, ErrClosed)
	}
	g.calls.Add(1)
	return nil
}

// usable returns why the group cannot be used, or nil.
func (g *Group) usable() error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return fmt.Errorf("group %s is %w", g.name, ErrClosed)
	}
	return g.ledger.Err()
}

// admit makes a member and gives it the place of the one before it that had its
// InstanceID.
func (g *Group) admit(config MemberConfig) (m *Member, lost loss, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, loss{}, fmt.Errorf("group %s is %w", g.name, ErrClosed)
	}
	g.joins++
	m = newMember(g, fmt.Sprintf("member-%06d", g.joins), config)
	before := g.staticLocked(config.InstanceID)
	g.members[m.id] = m
	if before == nil {
		g.wanted++
		return m, loss{}, nil
	}
	lost = g.dropLocked(before, fmt.Errorf("%w: %s joined with its instance id, %q", ErrFenced, m.id, config.InstanceID))
	for _, s := range g.slots { // no rebalance: it takes the place as it is
		if s.target == before {
			s.target = m
		}
		g.moveLocked(s)
	}
	return m, lost, nil
}

// staticLocked returns the member of an InstanceID, nil if there is none.
func (g *Group) staticLocked(instance string) *Member {
	for _, m := range g.members {
		if instance != "" && m.config.InstanceID == instance {
			return m
		}
	}
	return nil
}

// Refresh has the group look which topics there are. It is to be called, under
// no lock, when one was made or deleted.
func (g *Group) Refresh() {
	g.mu.Lock()
	begun := g.begun && !g.closed
	if begun {
		g.calls.Add(1)
	}
	g.mu.Unlock()
	if !begun {
		return // who joins looks
	}
	defer g.calls.Done()
	lost := g.look()
	g.rebalance()
	for _, l := range lost {
		l.tell()
	}
}

// look finds the topics of the group, and makes and drops slots accordingly.
func (g *Group) look() (lost []loss) {
	g.mu.Lock()
	g.looks++
	turn := g.looks
	g.mu.Unlock()
	found := g.find()
	g.mu.Lock()
	defer g.mu.Unlock()
	if turn < g.looked {
		return nil // somebody looked later and was sooner
	}
	g.looked = turn
	return g.readLocked(found)
}

// find returns the topics that there are.
func (g *Group) find() (found []Topic) {
	names := g.config.Topics
	if g.match != nil {
		names = slices.Clone(names)
		for _, name := range g.source.Topics() {
			if g.match.MatchString(name) {
				names = append(names, name)
			}
		}
		names = sortedSet(names)
	}
	for _, name := range names {
		if t, err := g.source.Topic(name); err == nil { // else it is gone, or cannot be opened
			found = append(found, t)
		}
	}
	return found
}

// readLocked has the group read these topics and no others.
func (g *Group) readLocked(found []Topic) (lost []loss) {
	topics := map[string]int{}
	ids := map[string]TopicID{}
	for _, t := range found {
		topics[t.Name], ids[t.Name] = len(t.Partitions), t.ID
	}
	gone := map[*Member][]*claim{}
	changed := false
	for tp, s := range g.slots {
		if id, ok := ids[tp.Topic]; ok && id == s.topic {
			continue
		}
		delete(g.slots, tp)
		s.held, changed = true, true
		if s.claim != nil {
			gone[s.claim.member] = append(gone[s.claim.member], s.claim)
		}
	}
	for m, claims := range gone {
		lost = append(lost, m.loseLocked(claims))
	}
	for _, t := range found {
		for i, log := range t.Partitions {
			tp := TopicPartition{t.Name, i}
			if g.slots[tp] == nil {
				g.slots[tp] = &slot{tp: tp, topic: t.ID, log: log}
				changed = true
			}
		}
	}
	if changed {
		g.topics = topics
		g.wanted++
	}
	return lost
}

// Close closes the group and its members, as the store does when it is closed:
// nothing is committed, and whoever waits gets ErrClosed. It waits for OnLost
// that is being called, and for what is being stored.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return fmt.Errorf("close group %s: %w", g.name, ErrClosed)
	}
	g.closed = true
	err := fmt.Errorf("group %s is %w", g.name, ErrClosed)
	for _, m := range g.members {
		m.endLocked(err)
	}
	clear(g.members)
	g.freedLocked()
	g.mu.Unlock()
	g.calls.Wait()
	return nil
}

// freedLocked wakes who waits for slots.
func (g *Group) freedLocked() {
	if g.freed != nil {
		close(g.freed)
		g.freed = nil
	}
}

// sortedSlotsLocked returns all slots in order.
func (g *Group) sortedSlotsLocked() []*slot {
	return slices.SortedFunc(maps.Values(g.slots), func(a, b *slot) int { return compareTopicPartitions(a.tp, b.tp) })
}

func checkContext(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w context: nil", ErrInvalid)
	}
	return ctx.Err()
}

// acquire takes a place in a channel that has room for one.
func acquire(ctx context.Context, place chan struct{}) error {
	select {
	case place <- struct{}{}:
		return nil
	default:
	}
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// caught is deferred around calls of somebody else's code.
func caught(what string, err *error) {
	if r := recover(); r != nil {
		*err = errors.Join(*err, fmt.Errorf("%s: %w: %v", what, ErrCallback, r))
	}
}

// compareTopicPartitions orders by topic, then by number.
func compareTopicPartitions(a, b TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

package braidlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/braidlog/braidlog/consumergroup"
)

// coordinators are the groups that are open.
type coordinators struct {
	mu     sync.Mutex                      // held while a group is opened, which reads memory only; above Store.mu
	open   map[string]*consumergroup.Group // guarded by mu; by name
	going  map[string]int                  // guarded by mu; calls of DeleteGroup by name: they are not opened
	closed bool                            // guarded by mu
}

// Group opens a consumer group, a new one or one that exists; opened again, it
// is the same. Config says what it reads: topics that exist, and a pattern. Of a
// group that exists it may say nothing. The errors are ErrTopicNotFound,
// ErrInvalid, and *consumergroup.MismatchError if the group has something else.
func (s *Store) Group(name string, config consumergroup.Config) (*consumergroup.Group, error) {
	g, err := s.group(name, config)
	if err != nil {
		return nil, known(err)
	}
	return g, nil
}

func (s *Store) group(name string, config consumergroup.Config) (*consumergroup.Group, error) {
	if s.cfg.ReadOnly {
		return nil, fmt.Errorf("open group %s: %w", name, ErrReadOnly)
	}
	c := &s.groups
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("open group %s: store is %w", name, ErrClosed)
	}
	if c.going[name] > 0 {
		return nil, fmt.Errorf("open group %s: it is being deleted, and %w", name, ErrClosed)
	}
	if g := c.open[name]; g != nil {
		return g, g.Matches(config)
	}
	g, err := consumergroup.Open(name, source{s}, s.ledger, config)
	if err != nil {
		return nil, err
	}
	if c.open == nil {
		c.open = map[string]*consumergroup.Group{}
	}
	c.open[name] = g
	return g, nil
}

// Group opens a consumer group of this topic alone; otherwise it is
// Store.Group. Topics and Pattern of config stay empty.
func (t *Topic) Group(name string, config consumergroup.Config) (*consumergroup.Group, error) {
	if len(config.Topics) > 0 || config.Pattern != "" {
		return nil, fmt.Errorf("open group %s of topic %s: %w config: Topics or Pattern is given; use Store.Group", name, t.name, ErrInvalid)
	}
	config.Topics = []string{t.name}
	return t.store.Group(name, config)
}

// list returns the groups that are open.
func (c *coordinators) list() []*consumergroup.Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.open))
}

// refresh tells groups that a topic was made or deleted. The caller does not
// hold Store.mu.
func (c *coordinators) refresh() {
	for _, g := range c.list() {
		g.Refresh()
	}
}

// close closes a group, if it is open. It cannot be opened again until release.
func (c *coordinators) close(name string) (closed bool, release func()) {
	c.mu.Lock()
	g := c.open[name]
	delete(c.open, name)
	if c.going == nil {
		c.going = map[string]int{}
	}
	c.going[name]++
	c.mu.Unlock()
	return g != nil && g.Close() == nil, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.going[name]--; c.going[name] == 0 {
			delete(c.going, name)
		}
	}
}

// closeAll closes all groups, for good. The caller does not hold Store.mu:
// callbacks that are waited for may ask for a topic.
func (c *coordinators) closeAll() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, g := range c.list() {
		g.Close() // #nosec G104 -- it fails only if it was closed already
	}
}

// A source is a store as its groups see it.
type source struct{ s *Store }

func (o source) Topics() []string { return o.s.Topics() }

func (o source) Topic(name string) (consumergroup.Topic, error) {
	t, err := o.s.Topic(name)
	if err != nil {
		return consumergroup.Topic{}, err
	}
	return consumergroup.Topic{Name: t.name, ID: t.id, Partitions: t.parts}, nil
}

func (o source) Append(ctx context.Context, topic string, rec Record) error {
	t, err := o.s.Topic(topic)
	if err == nil {
		_, err = t.Append(ctx, rec)
	}
	return err
}

func (o source) Report(tp consumergroup.TopicPartition, what string, err error) {
	o.s.notify(trouble(o.s.cfg.clock, tp.Topic, tp.Partition, what, err))
}

// nobodyReads is what slowest says of a topic that no group reads.
const nobodyReads = math.MaxInt64

// slowest returns, for each partition, the offset below which every group has
// processed everything. One that did not begin in a partition has processed
// nothing of it. It fails with the ledger: what groups need is then unknown.
func (t *Topic) slowest() ([]int64, error) {
	l := t.store.ledger
	if err := l.Err(); err != nil {
		return nil, err
	}
	to := make([]int64, len(t.parts))
	for i := range to {
		to[i] = nobodyReads
	}
	for _, name := range l.Groups() {
		if spec, ok := l.Spec(name); !ok || !t.readBy(spec) {
			continue
		}
		for i := range to {
			c, _ := l.Position(name, t.id, i)
			to[i] = min(to[i], c.Offset)
		}
	}
	return to, nil
}

// readBy reports whether a group of that spec reads the topic.
func (t *Topic) readBy(spec consumergroup.Spec) bool {
	if slices.Contains(spec.Topics, t.name) || spec.Pattern == "" {
		return slices.Contains(spec.Topics, t.name)
	}
	// A pattern that does not compile was refused when the group was made. If
	// one is stored all the same, the group may read anything.
	match, err := regexp.MatchString(`^(?:`+spec.Pattern+`)$`, t.name)
	return match || err != nil
}

// A behind is how far the slowest group is in each partition, as it was a
// moment ago.
type behind struct {
	at time.Time
	to []int64
}

// lagAge is how old the lag may be that partitioners are told.
const lagAge = 100 * time.Millisecond

// behindNow returns how far the slowest group is in each partition, nil if that
// is unknown.
func (t *Topic) behindNow() []int64 {
	b := t.behind.Load()
	if b == nil || time.Since(b.at) > lagAge {
		to, _ := t.slowest() // without it partitioners are told of no lag: appends do not depend on groups
		b = &behind{time.Now(), to}
		t.behind.Store(b)
	}
	return b.to
}

// lagOf returns how many records of a partition the slowest group has not
// processed.
func (t *Topic) lagOf(to []int64, i int) int64 {
	if to == nil {
		return 0
	}
	p := t.parts[i]
	return max(0, p.End()-max(to[i], p.Start()))
}

// deleteGroup closes a group, if it is open, and has the ledger forget it.
func (s *Store) deleteGroup(ctx context.Context, name string) error {
	if err := cmp.Or(checkContext(ctx), s.ledger.Err()); err != nil {
		return fmt.Errorf("delete group %s: %w", name, err) // and it stays open
	}
	open, release := s.groups.close(name)
	defer release()
	err := s.ledger.DeleteGroup(ctx, name)
	if open && errors.Is(err, ErrGroupNotFound) {
		return nil // nobody ever joined
	}
	return err
}

package braidlog

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// A Topic is a fixed number of partitions and the partitioner that routes
// records among them. Its methods may be called from many goroutines.
type Topic struct {
	store *Store                     // immutable
	name  string                     // immutable
	id    topicID                    // immutable
	parts []*partition.Partition     // immutable
	state atomic.Pointer[topicState] // replaced under store.mu
	mixed bool                       // guarded by store.mu; a change of settings failed: some partitions may have it
	loads sync.Pool                  // of *[]partitioner.Load
	batch sync.Pool                  // of *batch
	ids   *dedup                     // immutable; unused while Dedup.Mode is DedupOff

	keeping   chan struct{}    // held, one place, by who enforces retention
	sweptTo   int              // guarded by keeping; the partition that was looked at last
	archiving archiving        //
	quota     *partition.Quota // immutable; its limit is changed with state
	seen      lastSeen         // with ReadOnly

	behind atomic.Pointer[behind] // what partitioners are told of lag; nil: not yet
}

// A topicState is a topic's configuration and what its partitioner can do.
// It is immutable.
type topicState struct {
	config    TopicConfig
	placement string // as stored
	p         partitioner.Partitioner
	byKey     partitioner.KeyPartitioner // nil if p is none
	byLoad    partitioner.LoadAware      // nil if p is none
	keys      partitioner.KeyPartitions  // nil if p is none
	batcher   partitioner.Batcher        // nil if p is none
	dedup     *dedup                     // nil if nobody looks for repeats
	hot       *partitioner.Sketch        // nil if nobody counts keys
}

func newTopicState(config TopicConfig, placement string) *topicState {
	st := &topicState{config: config, placement: placement, p: config.Partitioner}
	st.byKey, _ = st.p.(partitioner.KeyPartitioner)
	st.byLoad, _ = st.p.(partitioner.LoadAware)
	st.keys, _ = st.p.(partitioner.KeyPartitions)
	st.batcher, _ = st.p.(partitioner.Batcher)
	return st
}

// Name returns the topic's name.
func (t *Topic) Name() string { return t.name }

// NumPartitions returns how many partitions the topic has.
func (t *Topic) NumPartitions() int { return len(t.parts) }

// Partition returns partition i, or nil if there is none of that number. It is
// the topic's to close.
func (t *Topic) Partition(i int) *partition.Partition {
	if i < 0 || i >= len(t.parts) {
		return nil
	}
	return t.parts[i]
}

// Config returns the settings in force. Partitioner is nil if the stored one
// is not known here.
func (t *Topic) Config() TopicConfig { return t.state.Load().config }

// Placement returns the stored name of the topic's partitioner.
func (t *Topic) Placement() string { return t.state.Load().placement }

// SetConfig changes the settings that may change; a zero leaves one as it is.
// A *MismatchError says that one is given that is fixed for life. A level that
// promises more is in force once everything appended before is durable.
func (t *Topic) SetConfig(ctx context.Context, config TopicConfig) error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if err := t.store.check(ctx, "configure topic", t.name); err != nil {
		return err
	}
	t.store.findTopicLocked(t.name)
	if t.store.topics[t.name] != t { // it was deleted, and another one may have its name
		return fmt.Errorf("configure topic %s: topic is %w", t.name, ErrClosed)
	}
	return t.setConfig(ctx, config)
}

// setConfig is SetConfig with store.mu held.
func (t *Topic) setConfig(ctx context.Context, config TopicConfig) error {
	t.seen.mu.Lock() // readers who follow take over what is on disk
	defer t.seen.mu.Unlock()
	old := t.state.Load()
	if err := t.matches(old, config); err != nil {
		return err
	}
	next, err := config.over(old.config).withDefaults()
	if err == nil {
		err = checkPartitioner(config.Partitioner, len(t.parts))
	}
	if err != nil {
		return fmt.Errorf("configure topic %s: %w", t.name, err)
	}
	if t.mixed || settingsOf(next) != settingsOf(old.config) {
		if t.store.cfg.ReadOnly {
			return fmt.Errorf("configure topic %s: %w", t.name, ErrReadOnly)
		}
		if err = t.change(ctx, old, next); err != nil {
			return fmt.Errorf("configure topic %s: %w", t.name, known(err))
		}
	}
	t.setState(newTopicState(next, old.placement))
	if a := config.Archive; a.To != nil || a.Dir != "" || a.Off {
		t.archiving.startOver()
	}
	t.store.keeper.wake()
	return nil
}

// setState puts settings in force that are not a partition's.
func (t *Topic) setState(st *topicState) {
	t.ids.configure(st.config.Dedup)
	if st.config.Dedup.Mode != DedupOff {
		st.dedup = t.ids
	}
	st.hot = t.sketch(st.config.HotKeys)
	t.state.Store(st)
	limit := int64(Unlimited)
	if r := st.config.Retention; r.Full == Refuse {
		limit = r.TopicBytes
	}
	t.quota.SetLimit(limit)
}

// matches returns a *MismatchError if config has something else than what is
// fixed for life.
func (t *Topic) matches(old *topicState, config TopicConfig) error {
	if n := config.Partitions; n != 0 && n != len(t.parts) {
		return &MismatchError{t.name, "partitions", fmt.Sprint(len(t.parts)), fmt.Sprint(n)}
	}
	if config.Partitioner == nil {
		return nil
	}
	if given := partitioner.Placement(config.Partitioner); given != old.placement {
		return &MismatchError{t.name, "placement", fmt.Sprintf("%q", old.placement), fmt.Sprintf("%q", given)}
	}
	return nil
}

// change writes new settings and brings them into force. A level that
// promises more is in force before it is written, one that promises less is
// written and told by Config first: at no time does either promise what is not
// kept.
func (t *Topic) change(ctx context.Context, old *topicState, next TopicConfig) error {
	if _, err := t.store.begin(); err != nil {
		return err
	}
	write := func() error { return t.write(next, old.placement) }
	configure := func() error { return t.configure(ctx, next) }
	if next.ofPartition() == old.config.ofPartition() && !t.mixed {
		configure = func() error { return nil } // appends need not wait
	}
	tell := func() error {
		t.setState(newTopicState(next, old.placement))
		return nil
	}
	steps := []func() error{write, tell, configure}
	if next.Durability < old.config.Durability { // Sync is the least
		steps = []func() error{configure, write, tell}
	}
	if t.mixed { // what topic.json says is open: it may promise more than Config
		steps = append([]func() error{func() error { return t.write(old.config, old.placement) }}, steps...)
	}
	err := inTurn(steps)
	t.mixed = err != nil
	return err
}

// write replaces topic.json.
func (t *Topic) write(config TopicConfig, placement string) error {
	return meta.Write(t.store.dir.Sub(topicsDir+"/"+t.name), topicFile, t.meta(config, placement))
}

// meta returns what topic.json says with these settings.
func (t *Topic) meta(config TopicConfig, placement string) *topicMeta {
	return &topicMeta{
		Format: meta.Format, Name: t.name, Topic: t.id, Config: settingsOf(config),
		Generations: []generation{{len(t.parts), placement}},
	}
}

// inTurn takes steps until one fails.
func inTurn(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topic) configure(ctx context.Context, next TopicConfig) error {
	return t.each(func(p *partition.Partition) error { return p.Configure(ctx, next.ofPartition()) })
}

// each calls f for every partition, side by side, and returns the first error.
func (t *Topic) each(f func(p *partition.Partition) error) error {
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	for _, p := range t.parts {
		g.Go(func() error {
			yield.Woken()
			return f(p)
		})
	}
	err := g.Wait()
	yield.Woken()
	return err
}

// close closes the partitions.
func (t *Topic) close() error { return t.each((*partition.Partition).Close) }

// Sync waits until everything appended before is durable, whatever the level.
func (t *Topic) Sync(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return fmt.Errorf("sync topic %s: %w", t.name, err)
	}
	return t.each(func(p *partition.Partition) error { return p.Sync(ctx) })
}

// Recovery returns what opening the topic found and did, partition by
// partition.
func (t *Topic) Recovery() []partition.Recovery {
	all := make([]partition.Recovery, len(t.parts))
	for i, p := range t.parts {
		all[i] = p.Recovery()
	}
	return all
}

// equalKeys reports whether two keys are the same. A missing key is not an
// empty one.
func equalKeys(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// closed reports whether the partitions were closed.
func (t *Topic) closed() bool { return t.parts[0].Closed() }

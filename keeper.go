package braidlog

import (
	"context"
	"sync"
	"time"
)

// A keeper is the store's background worker: it enforces retention, topic by
// topic, when a segment was rolled and from time to time.
type keeper struct {
	ctx  context.Context
	stop context.CancelFunc
	kick chan struct{} // has room for one
	done sync.WaitGroup
}

// How often retention looks around: a tenth of the shortest age, within bounds,
// and when a segment was rolled, but no more than once a second: each pass that
// removes something waits for the disk a few times, and appends at level Sync
// wait with it.
const (
	minKeepEvery = time.Second
	maxKeepEvery = time.Minute
)

// startKeeper begins the background work.
func (s *Store) startKeeper() {
	k := &s.keeper
	k.done.Go(s.keep)
	k.wake()
}

// wake has the keeper look around soon. It never blocks.
func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// end ends the background work and waits for it.
func (k *keeper) end() {
	k.stop()
	k.done.Wait()
}

func (s *Store) keep() {
	k := &s.keeper
	var again <-chan struct{}
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.kick:
		case <-again:
		}
		again = nil
		if wait := s.keepAll(); wait > 0 {
			again = s.cfg.clock.After(wait)
		}
		select {
		case <-k.ctx.Done():
			return
		case <-s.cfg.clock.After(minKeepEvery):
		}
	}
}

// keepAll enforces the limits of all topics and returns when to come again, 0
// for not before somebody asks.
func (s *Store) keepAll() (wait time.Duration) {
	for _, t := range s.allTopics() {
		every := t.state.Load().config.keepEvery()
		if every == 0 {
			continue
		}
		again, err := t.enforce(s.keeper.ctx, true)
		if err != nil && s.keeper.ctx.Err() == nil {
			s.warn(t.name, "could not enforce retention", err)
		}
		if again > 0 {
			every = min(every, again)
		}
		if wait == 0 || every < wait {
			wait = every
		}
	}
	return wait
}

func (s *Store) allTopics() []*Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Topic, 0, len(s.topics))
	for _, t := range s.topics {
		all = append(all, t)
	}
	return all
}

// keepEvery returns how often a topic has to be looked at, 0 for never.
func (c TopicConfig) keepEvery() time.Duration {
	r := c.Retention
	if r.Age == Unlimited && r.PartitionBytes == Unlimited && r.TopicBytes == Unlimited {
		return 0
	}
	return max(minKeepEvery, min(r.Age/10, r.HoldBackAge/10, maxKeepEvery))
}

// rolled is told of events, perhaps under a partition's lock.
func (k *keeper) rolled(e Event) {
	if e.Kind == Rolled {
		k.wake()
	}
}

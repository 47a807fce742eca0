package braidlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/braidlog/braidlog/partition"
)

// Enforce removes what Retention says is to go, now and not when the store's
// background worker comes by, and waits for that. A segment that cannot be
// archived stays, and the error says so. The errors of several partitions are
// joined; the others are looked after all the same.
func (t *Topic) Enforce(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return fmt.Errorf("enforce retention of %s: %w", t.name, err)
	}
	if t.store.cfg.ReadOnly {
		return fmt.Errorf("enforce retention of %s: %w", t.name, ErrReadOnly)
	}
	if _, err := t.enforce(ctx, false); err != nil {
		return fmt.Errorf("enforce retention of %s: %w", t.name, err)
	}
	return nil
}

// enforce is Enforce. In the background it leaves alone what waits to be
// archived again, and returns when that is due.
func (t *Topic) enforce(ctx context.Context, background bool) (again time.Duration, err error) {
	select {
	case t.keeping <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-t.keeping }()
	s := sweep{t: t, c: t.state.Load().config, background: background}
	s.plan(ctx)
	for i := range s.parts {
		if s.parts[i].gone > 0 && ctx.Err() == nil {
			s.note(s.remove(ctx, &s.parts[i]))
		}
	}
	return s.again, errors.Join(append(s.errs, ctx.Err())...)
}

// A sweep is one pass of retention over a topic.
type sweep struct {
	t          *Topic
	c          TopicConfig
	background bool
	parts      []sweepPart
	errs       []error
	again      time.Duration
}

// A sweepPart is what a sweep knows of one partition.
type sweepPart struct {
	p     *partition.Partition
	now   time.Time
	gone  int   // how many of its oldest segments are to go
	bytes int64 // that are left then
	keep  int64 // HoldBack's answer
}

func (s *sweep) note(err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		s.errs = append(s.errs, err)
	}
}

// plan decides what is to go.
func (s *sweep) plan(ctx context.Context) {
	s.parts = make([]sweepPart, len(s.t.parts))
	for i, p := range s.t.parts {
		part := &s.parts[i]
		*part = sweepPart{p: p, now: p.Now()}
		if s.c.Retention.Age < Unlimited {
			s.note(p.RollOld(ctx, part.now.Add(-s.c.Retention.Age)))
		}
		part.bytes, part.keep = p.Bytes(), s.heldBack(i)
		s.planPart(part)
	}
	if s.c.Retention.Full == DeleteOldest {
		s.planTotal()
	}
}

// heldBack asks HoldBack. If it panics, or is stored and not given, everything
// is held back.
func (s *sweep) heldBack(i int) (offset int64) {
	if s.c.HoldBack == nil {
		if s.c.holdBackStored {
			return 0
		}
		return Unlimited
	}
	defer func() {
		if r := recover(); r != nil {
			offset = 0
			s.note(fmt.Errorf("HoldBack of partition %d: it panicked: %v", i, r))
		}
	}()
	return s.c.HoldBack(i)
}

// planPart applies the limits of a single partition.
func (s *sweep) planPart(part *sweepPart) {
	for {
		seg, age, ok := s.next(part)
		if !ok || age < s.c.Retention.Age && part.bytes <= s.c.Retention.PartitionBytes {
			return
		}
		part.take(seg)
	}
}

// next returns the oldest segment of a partition that is not to go yet, and
// its age, if it may go.
func (s *sweep) next(part *sweepPart) (seg partition.Sealed, age time.Duration, ok bool) {
	seg, ok = part.p.Sealed(part.gone)
	if !ok {
		return seg, 0, false
	}
	last, err := seg.LastAppended()
	if err != nil {
		s.note(err)
		return seg, 0, false
	}
	age = part.now.Sub(last)
	r := s.c.Retention
	held := seg.To > part.keep && part.bytes <= r.HoldBackBytes && age < r.HoldBackAge
	return seg, age, !held
}

func (part *sweepPart) take(seg partition.Sealed) {
	part.gone++
	part.bytes -= seg.Bytes
}

// planTotal applies the limit of the topic: of the oldest segments of all
// partitions the oldest goes, until what is left is little enough.
func (s *sweep) planTotal() {
	var total int64
	for i := range s.parts {
		total += s.parts[i].bytes
	}
	if total <= s.c.Retention.TopicBytes {
		return
	}
	ages := make([]time.Duration, len(s.parts)) // of the oldest segment of each, -1 for none
	segs := make([]partition.Sealed, len(s.parts))
	look := func(i int) {
		seg, age, ok := s.next(&s.parts[i])
		if segs[i], ages[i] = seg, max(age, 0); !ok {
			ages[i] = -1
		}
	}
	for i := range s.parts {
		look(i)
	}
	for total > s.c.Retention.TopicBytes {
		oldest := 0
		for i, age := range ages {
			if age > ages[oldest] {
				oldest = i
			}
		}
		if ages[oldest] < 0 {
			return
		}
		total -= segs[oldest].Bytes
		s.parts[oldest].take(segs[oldest])
		look(oldest)
	}
}

// remove archives what is to go, if that is asked for, and trims.
func (s *sweep) remove(ctx context.Context, part *sweepPart) error {
	if !s.c.archives() {
		seg, ok := part.p.Sealed(part.gone - 1)
		if !ok {
			return nil // somebody trimmed it meanwhile
		}
		return part.p.Trim(ctx, seg.To)
	}
	for range part.gone {
		seg, ok := part.p.Sealed(0)
		if !ok {
			return nil
		}
		wait, err := s.t.archive(ctx, s.c, part.p, seg, s.background)
		if wait > 0 && (s.again == 0 || wait < s.again) {
			s.again = wait
		}
		if err != nil || wait > 0 {
			return err
		}
		if err = part.p.Trim(ctx, seg.To); err != nil {
			return err
		}
	}
	return nil
}

// Purge gives up all records that there are when it is called, durably: each
// partition then starts where it ended. The files go too.
func (t *Topic) Purge(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return fmt.Errorf("purge topic %s: %w", t.name, err)
	}
	err := t.each(func(p *partition.Partition) error { return p.Trim(ctx, p.End()) })
	if err != nil {
		return fmt.Errorf("purge topic %s: %w", t.name, known(err))
	}
	return nil
}

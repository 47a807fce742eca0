package braidlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/braidlog/braidlog/internal/yield"
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
	_, err := t.enforce(ctx, false)
	if err == nil && t.closed() {
		err = fmt.Errorf("topic is %w", ErrClosed)
	}
	if err != nil {
		return fmt.Errorf("enforce retention of %s: %w", t.name, known(err))
	}
	return nil
}

// enforce is Enforce. In the background it leaves alone what waits to be
// archived again, and returns when that is due.
func (t *Topic) enforce(ctx context.Context, background bool) (again time.Duration, err error) {
	select {
	case t.keeping <- struct{}{}:
		yield.Woken()
	case <-ctx.Done():
		yield.Woken()
		return 0, ctx.Err()
	}
	defer func() { <-t.keeping }()
	s := sweep{t: t, c: t.state.Load().config, background: background}
	s.plan(ctx)
	most := len(s.parts)
	if background { // appends wait for the disk with each trim: a minute is soon enough
		most = 1 + most/60
	}
	for range s.parts {
		t.sweptTo = (t.sweptTo + 1) % len(s.parts)
		part := &s.parts[t.sweptTo]
		if ctx.Err() != nil || part.to == 0 && !part.p.Littered() {
			continue
		}
		if most == 0 {
			s.again = minKeepEvery
			break
		}
		most--
		if part.to > 0 {
			s.note(s.remove(ctx, part))
		}
		if part.p.Littered() {
			s.note(part.p.Trim(ctx, part.p.Start()))
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
	groups     []int64 // below this they need nothing; nil: they are not asked
}

// A sweepPart is what a sweep knows of one partition. What is to go is an
// offset, since a trim by somebody else changes which segment is the oldest.
type sweepPart struct {
	p     *partition.Partition
	now   time.Time
	segs  []partition.Sealed // that are not to go yet, oldest first
	to    int64              // what is below is to go
	bytes int64              // that are left then
	keep  int64              // HoldBack's answer
}

func (s *sweep) note(err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		s.errs = append(s.errs, err)
	}
}

// plan decides what is to go.
func (s *sweep) plan(ctx context.Context) {
	s.parts = make([]sweepPart, len(s.t.parts))
	s.askGroups()
	for i, p := range s.t.parts {
		part := &s.parts[i]
		*part = sweepPart{p: p, now: p.Now()}
		if s.c.Retention.Age < Unlimited {
			s.note(p.RollOld(ctx, part.now.Add(-s.c.Retention.Age)))
		}
		part.keep = s.heldBack(i)
		if s.groups != nil {
			part.keep = min(part.keep, s.groups[i])
		}
		part.segs, part.bytes = p.Sealed()
		s.planPart(part)
	}
	if s.c.Retention.Full == DeleteOldest {
		s.planTotal()
	}
}

// askGroups finds out what groups need, if that is held back. If it cannot be
// known, everything is.
func (s *sweep) askGroups() {
	if s.c.Retention.Groups != HoldForGroups {
		return
	}
	var err error
	if s.groups, err = s.t.slowest(); err != nil {
		s.groups = make([]int64, len(s.t.parts))
		s.note(fmt.Errorf("what groups need: %w", err))
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
		age, ok := s.next(part)
		if !ok || age < s.c.Retention.Age && part.bytes <= s.c.Retention.PartitionBytes {
			return
		}
		part.take()
	}
}

// next returns the age of the oldest segment of a partition that is not to go
// yet, if it may go. One whose age cannot be found out counts as new: limits in
// bytes are kept all the same.
func (s *sweep) next(part *sweepPart) (age time.Duration, ok bool) {
	if len(part.segs) == 0 {
		return 0, false
	}
	seg := part.segs[0]
	last, err := seg.LastAppended()
	if err == nil {
		age = part.now.Sub(last)
	}
	s.note(err)
	r := s.c.Retention
	held := seg.To > part.keep && part.bytes <= r.HoldBackBytes && age < r.HoldBackAge
	return age, !held
}

// take has the oldest segment go, and returns how many bytes that frees.
func (part *sweepPart) take() (bytes int64) {
	seg := part.segs[0]
	part.segs, part.to = part.segs[1:], seg.To
	part.bytes -= seg.Bytes
	return seg.Bytes
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
	look := func(i int) {
		age, ok := s.next(&s.parts[i])
		if ages[i] = max(age, 0); !ok {
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
		total -= s.parts[oldest].take()
		look(oldest)
	}
}

// remove archives what is to go, if that is asked for, and trims. What somebody
// else trimmed meanwhile is passed over.
func (s *sweep) remove(ctx context.Context, part *sweepPart) error {
	if !s.c.archives() {
		return part.p.Trim(ctx, part.to)
	}
	for {
		segs, _ := part.p.Sealed()
		if len(segs) == 0 || segs[0].To > part.to {
			return nil
		}
		wait, err := s.t.archive(ctx, s.c, part.p, segs[0], s.background)
		if wait > 0 && (s.again == 0 || wait < s.again) {
			s.again = wait
		}
		if err != nil || wait > 0 {
			return err
		}
		if err = part.p.Trim(ctx, segs[0].To); err != nil {
			return err
		}
	}
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

package history

import (
	"errors"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/partition"
)

// groupName is the group that histories commit in.
const groupName = "g"

// commits has a member of a group poll what it has not seen, and commit that.
func (w *World) commits() {
	w.appends(1, 60) // so that there is something
	if !w.ready() {
		return
	}
	g, err := w.topic.Group(groupName, consumergroup.Config{})
	if !w.saw("open group", err) {
		return
	}
	m, err := g.Join(bg, consumergroup.MemberConfig{})
	if !w.saw("join", err) {
		return
	}
	for w.behind(g) { // else Poll would wait
		recs, err := m.Poll(bg, 0)
		if err != nil && partition.Skippable(err) {
			continue
		}
		if !w.saw("poll", err) || !w.commit(m, recs) {
			break
		}
	}
	w.saw("leave", m.Close(bg))
}

// behind reports whether a group has something to poll.
func (w *World) behind(g *consumergroup.Group) bool {
	lags, err := g.Lag(bg)
	return w.saw("lag", err) && slices.ContainsFunc(lags, func(l consumergroup.Lag) bool { return l.Records > 0 })
}

// commit commits records, and takes down what was promised.
func (w *World) commit(m *consumergroup.Member, recs []braidlog.Record) bool {
	to := map[int]int64{}
	for i := range recs {
		to[recs[i].Partition] = recs[i].Offset + 1
	}
	w.mu.Lock()
	l := w.known.last()
	for i, offset := range to {
		l.Parts[i].Committing = max(l.Parts[i].Committing, offset)
	}
	w.mu.Unlock()
	if !w.saw("commit", m.CommitRecords(bg, recs...)) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, offset := range to {
		l.Parts[i].Committed = offset
	}
	return true
}

// readCommits finds out how far the group is; who only reads is not told.
func (f *Found) readCommits(s *braidlog.Store, t *braidlog.Topic) *Violation {
	if !slices.Contains(s.Groups(), groupName) {
		return nil
	}
	g, err := t.Group(groupName, consumergroup.Config{})
	if errors.Is(err, braidlog.ErrReadOnly) {
		for i := range f.Parts {
			f.Parts[i].Committed = notTold
		}
		return nil
	}
	var lags []consumergroup.Lag
	if err == nil {
		lags, err = g.Lag(bg)
	}
	if err != nil {
		return violation(FalseCorruption, "group: %v", err)
	}
	for _, l := range lags {
		if l.Kind == consumergroup.PositionCommitted {
			f.Parts[l.Partition].Committed = l.Committed
		}
	}
	return nil
}

// notTold stands for a commit of which nothing was found out.
const notTold = -1

// judgeCommit compares how far the group is. What was committed is durable at
// every level, and was seen: where the partition may end is judged by that.
func (p *Part) judgeCommit(f *FoundPart) *Violation {
	switch {
	case f.Committed == notTold:
	case f.Committed < p.Committed:
		return violation(Lost, "committed up to %d, was acknowledged up to %d", f.Committed, p.Committed)
	case f.Committed > max(p.Committed, p.Committing):
		return violation(Invented, "committed up to %d, nobody asked for more than %d", f.Committed, max(p.Committed, p.Committing))
	}
	return nil
}

// committed reports whether a group was promised something.
func (k *Known) committed() bool {
	l := k.last()
	return l != nil && slices.ContainsFunc(l.Parts, func(p Part) bool { return p.Committed > 0 })
}

// sameCommits reports whether a group is as far in g as in f.
func (f *Found) sameCommits(g *Found) bool {
	return slices.EqualFunc(f.Parts, g.Parts, func(a, b FoundPart) bool { return a.Committed == b.Committed })
}

// commitAll has the group of a store that has one commit everything that there
// is.
func commitAll(s *braidlog.Store, t *braidlog.Topic) error {
	if !slices.Contains(s.Groups(), groupName) {
		return nil
	}
	g, err := t.Group(groupName, consumergroup.Config{})
	if err != nil {
		return err
	}
	return g.Reset(bg, partition.End())
}

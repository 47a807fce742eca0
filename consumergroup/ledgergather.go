package consumergroup

import (
	"context"
	"slices"
	"time"
)

// Commits that come often and one by one would each have a sync of its own on a
// fast disk. So when they come often, one waits a little for more before it is
// submitted: until gatherCommits wait, or for gatherTime. Who commits now and
// then, or alone, does not wait. One of those who wait submits all of them
// before anybody waits for the disk: else whoever has the baton would take the
// first of them alone.
const (
	gatherCommits = 16
	gatherTime    = 3 * time.Millisecond
	// gatherOften is how many commits in gatherSpan are often.
	gatherOften = 16
	gatherSpan  = 10 * time.Millisecond
	// gatherPause is how long nobody waits after it was in vain so many times.
	gatherPause = 100 * time.Millisecond
	gatherVain  = 3
)

// A ledgerGather is how often commits come, and those that wait for more.
type ledgerGather struct {
	began  time.Time // of the span that is counted
	count  int       // commits in it
	before int       // commits in the span before
	vain   int       // times in a row that waiting was
	pause  time.Time // nobody waits until then
	crowd  *ledgerCrowd
}

// A ledgerCrowd is commits that are submitted together.
type ledgerCrowd struct {
	writes []*ledgerWrite // guarded by the ledger's mu until it is no more the ledger's
	gone   chan struct{}  // closed when they were submitted
}

// joinLocked counts a commit, and returns the crowd that it joined, nil if it is
// not to wait. If that is full now, it is the caller's to submit.
func (g *ledgerGather) joinLocked(w *ledgerWrite, now time.Time) (c *ledgerCrowd, full bool) {
	if span := now.Sub(g.began); span >= gatherSpan {
		g.before = g.count
		if span >= 2*gatherSpan {
			g.before = 0
		}
		g.began, g.count = now, 0
	}
	g.count++
	if g.crowd == nil && (max(g.before, g.count) < gatherOften || now.Before(g.pause)) {
		return nil, false
	}
	if g.crowd == nil {
		g.crowd = &ledgerCrowd{gone: make(chan struct{})}
	}
	c = g.crowd
	c.writes = append(c.writes, w)
	if len(c.writes) < gatherCommits {
		return c, false
	}
	g.crowd, g.vain = nil, 0
	return c, true
}

// lateLocked takes a crowd that waited long enough, unless somebody else did.
func (g *ledgerGather) lateLocked(c *ledgerCrowd, now time.Time) (taken bool) {
	if g.crowd != c {
		return false
	}
	g.crowd = nil
	g.vain++
	if len(c.writes) >= gatherCommits/4 {
		g.vain = 0
	}
	if g.vain >= gatherVain {
		g.pause = now.Add(gatherPause)
	}
	return true
}

// leaveLocked takes a commit out of a crowd that was not submitted yet.
func (g *ledgerGather) leaveLocked(c *ledgerCrowd, w *ledgerWrite) (left bool) {
	if g.crowd != c {
		return false
	}
	c.writes = slices.DeleteFunc(c.writes, func(o *ledgerWrite) bool { return o == w })
	if len(c.writes) == 0 {
		g.crowd = nil
	}
	return true
}

// gather submits a commit, together with others if they come often.
func (l *Ledger) gather(ctx context.Context, w *ledgerWrite) error {
	l.mu.Lock()
	c, full := l.gathering.joinLocked(w, time.Now())
	l.mu.Unlock()
	switch {
	case c == nil:
		return l.put(ctx, w)
	case full:
		l.putAll(c)
		return w.refused
	}
	return l.awaitCrowd(ctx, c, w)
}

// putAll submits a crowd.
func (l *Ledger) putAll(c *ledgerCrowd) {
	for _, w := range c.writes {
		w.refused = l.put(context.Background(), w) // it waits for room only
	}
	close(c.gone)
}

// awaitCrowd waits until a commit was submitted with its crowd. An error of ctx
// means that it was not.
func (l *Ledger) awaitCrowd(ctx context.Context, c *ledgerCrowd, w *ledgerWrite) error {
	t := time.NewTimer(gatherTime)
	defer t.Stop()
	late := false
	select {
	case <-c.gone:
		return w.refused
	case <-t.C:
		late = true
	case <-ctx.Done():
	}
	l.mu.Lock()
	taken := late && l.gathering.lateLocked(c, time.Now())
	left := !late && l.gathering.leaveLocked(c, w)
	l.mu.Unlock()
	switch {
	case left:
		return ctx.Err()
	case taken:
		l.putAll(c)
	default:
		<-c.gone // somebody is submitting it
	}
	return w.refused
}

package consumergroup

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

var ledgerContext = context.Background()

// A ledgerRig is a ledger on a disk in memory. Its segments are small and its
// snapshots many.
type ledgerRig struct {
	*Ledger
	shared  *partition.Shared
	dir     fs.Dir
	trouble chan error
}

// openLedgerOn opens the ledger on a disk; change may change how.
func openLedgerOn(t testing.TB, m fs.FS, change ...func(*partition.Options, *LedgerOptions)) *ledgerRig {
	t.Helper()
	shared, err := partition.NewShared(partition.SharedOptions{FS: m})
	require.NoError(t, err)
	dir, err := m.OpenDir("/store", !isReading(m))
	require.NoError(t, err)
	r := &ledgerRig{shared: shared, dir: dir, trouble: make(chan error, 100)}
	o := partition.Options{Config: LedgerConfig(), Topic: LedgerName, TopicID: LedgerID, Shared: shared}
	o.SegmentBytes = 32 << 10
	lo := LedgerOptions{SnapshotBytes: 2000, OnTrouble: func(what string, err error) { r.trouble <- fmt.Errorf("%s: %w", what, err) }}
	for _, c := range change {
		c(&o, &lo)
	}
	p, err := partition.OpenIn(dir, "groups", o)
	if err != nil { // as the store does it
		p = partition.Broken(o, err)
	}
	r.Ledger = OpenLedger(p, lo)
	return r
}

func isReading(m fs.FS) bool {
	_, ok := m.(*fs.Mem)
	return !ok
}

// large has the ledger as a store has it.
func large(o *partition.Options, lo *LedgerOptions) {
	o.SegmentBytes, lo.SnapshotBytes = LedgerConfig().SegmentBytes, 0
}

func (r *ledgerRig) close(t testing.TB) {
	t.Helper()
	require.NoError(t, r.Close())
	r.shared.Close()
	require.NoError(t, r.dir.Close())
}

// idle waits until no snapshot is being written.
func (r *ledgerRig) idle() { r.background.Wait() }

func at(topic byte, number int, offset int64) Committed {
	return Committed{Topic: fmt.Sprintf("topic-%d", topic), TopicID: ledgerTopic(topic), Partition: number, Offset: offset}
}

// A ledgerView is all that a ledger tells, without times.
type ledgerView struct {
	specs             map[string]Spec
	committed, starts map[string][]Committed
}

func (l *Ledger) view() ledgerView {
	v := newLedgerView()
	for _, g := range l.Groups() {
		if s, ok := l.Spec(g); ok {
			v.specs[g] = s
		}
		v.committed[g], v.starts[g] = timeless(l.Positions(g)), timeless(l.Starts(g))
	}
	return v
}

func newLedgerView() ledgerView {
	return ledgerView{map[string]Spec{}, map[string][]Committed{}, map[string][]Committed{}}
}

func timeless(all []Committed) []Committed {
	for i := range all {
		all[i].Time = time.Time{}
	}
	return all
}

func TestLedgerRemembers(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m)
	_, ok := l.Spec("billing")
	require.False(t, ok)
	require.Empty(t, l.Groups())
	c, kind := l.Position("billing", ledgerTopic(1), 0)
	require.Equal(t, PositionNone, kind)
	require.Zero(t, c)

	spec := Spec{Topics: []string{"orders", "refunds"}, Pattern: "audit-.*", Start: StoredStart{StartAt, time.Unix(7, 9).UTC()}}
	require.NoError(t, l.SetSpec(ledgerContext, "billing", spec))
	require.NoError(t, l.Begin(ledgerContext, "billing", []Committed{at(1, 0, 100), at(1, 1, 50)}))
	require.NoError(t, l.Begin(ledgerContext, "billing", []Committed{at(1, 0, 3)}), "decided before")
	before := l.p.Now()
	one := at(1, 1, 60)
	one.Metadata = []byte("m")
	require.NoError(t, l.Commit(ledgerContext, "billing", []Committed{at(2, 0, 7), one}))
	one.Metadata[0] = 'x' // it is the caller's again
	require.NoError(t, l.Begin(ledgerContext, "billing", []Committed{at(1, 1, 3)}), "committed before")
	require.NoError(t, l.Commit(ledgerContext, "other", []Committed{at(1, 1, 59)}))

	check := func(l *ledgerRig) {
		got, ok := l.Spec("billing")
		require.True(t, ok)
		require.Equal(t, spec, got)
		require.Equal(t, []string{"billing", "other"}, l.Groups())
		c, kind := l.Position("billing", ledgerTopic(1), 0)
		require.Equal(t, PositionStarted, kind)
		require.Equal(t, int64(100), c.Offset)
		c, kind = l.Position("billing", ledgerTopic(1), 1)
		require.Equal(t, PositionCommitted, kind)
		require.Equal(t, "m", string(c.Metadata))
		require.False(t, c.Time.Before(before.Add(-time.Second)))
		require.Equal(t, []Committed{c}, l.Positions("billing")[:1])
		require.Len(t, l.Positions("billing"), 2)
		require.Equal(t, int64(60), l.Durable(ledgerTopic(1), 1))
		require.Equal(t, int64(0), l.Durable(ledgerTopic(1), 0), "it only began there")
		require.NoError(t, l.Err())
	}
	check(l)
	times := l.Positions("billing")
	l.close(t)
	l = openLedgerOn(t, m)
	check(l)
	require.Equal(t, times, l.Positions("billing"))

	require.NoError(t, l.DeleteTopic(ledgerContext, ledgerTopic(1)))
	require.Len(t, l.Positions("billing"), 1)
	require.Empty(t, l.Positions("other"))
	require.NoError(t, l.DeleteGroup(ledgerContext, "other"))
	require.ErrorIs(t, l.DeleteGroup(ledgerContext, "other"), ErrGroupNotFound)
	l.close(t)
	l = openLedgerOn(t, m)
	require.Equal(t, []string{"billing"}, l.Groups())
	require.Equal(t, []Committed{at(2, 0, 7)}, timeless(l.Positions("billing")))
	l.close(t)
}

// Committed 1500 and 2300, processed to 1550 and 2350, and then the power goes.
func TestLedgerResumesAtWhatWasCommitted(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m)
	require.NoError(t, l.Commit(ledgerContext, "workers", []Committed{at(1, 0, 1500), at(1, 1, 2300)}))
	crashed := []*fs.Mem{m.Kill(), m.Crash(func() bool { return false }), m.Crash(func() bool { return true })}
	l.close(t) // what it had in memory, 1550 and 2350, was never committed
	for _, m := range crashed {
		l := openLedgerOn(t, m)
		require.Equal(t, []Committed{at(1, 0, 1500), at(1, 1, 2300)}, timeless(l.Positions("workers")))
		l.close(t)
	}
}

func TestLedgerThatIsNotUsedHasNoFiles(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m)
	require.NoError(t, l.Commit(ledgerContext, "g", nil))
	require.NoError(t, l.Begin(ledgerContext, "g", nil))
	require.NoError(t, l.DeleteTopic(ledgerContext, ledgerTopic(1)))
	require.ErrorIs(t, l.DeleteGroup(ledgerContext, "g"), ErrGroupNotFound)
	names, err := l.dir.List(".")
	require.NoError(t, err)
	require.Empty(t, names)
	l.close(t)
}

func TestLedgerRefuses(t *testing.T) {
	l := openLedgerOn(t, fs.NewMem(), large)
	require.NoError(t, l.Commit(ledgerContext, "Billing", []Committed{at(1, 0, 1)}))
	want := l.view()
	end := l.p.End()
	with := func(change func(c *Committed)) []Committed {
		c := at(1, 1, 5)
		change(&c)
		return []Committed{at(1, 0, 9), c}
	}
	for _, row := range []struct {
		name  string
		group string
		c     []Committed
		is    error
	}{
		{"no group", "", with(func(*Committed) {}), partition.ErrInvalid},
		{"a group that is no name", "a/b", with(func(*Committed) {}), partition.ErrInvalid},
		{"a group that differs in case", "billing", with(func(*Committed) {}), partition.ErrInvalid},
		{"no topic", "g", with(func(c *Committed) { c.Topic = "" }), partition.ErrInvalid},
		{"no topic id", "g", with(func(c *Committed) { c.TopicID = TopicID{} }), partition.ErrInvalid},
		{"a negative partition", "g", with(func(c *Committed) { c.Partition = -1 }), partition.ErrInvalid},
		{"a negative offset", "g", with(func(c *Committed) { c.Offset = -1 }), partition.ErrInvalid},
		{"a partition twice", "g", with(func(c *Committed) { c.Partition = 0 }), partition.ErrInvalid},
		{"much metadata", "g", with(func(c *Committed) { c.Metadata = make([]byte, MaxMetadataBytes+1) }), partition.ErrTooLarge},
		{"too much of all", "g", many(300, make([]byte, MaxMetadataBytes)), partition.ErrTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.ErrorIs(t, l.Commit(ledgerContext, row.group, row.c), row.is)
			require.ErrorIs(t, l.CommitAsync(row.group, row.c, func(error) { t.Error("called") }), row.is)
			if row.c[len(row.c)-1].Metadata == nil {
				require.ErrorIs(t, l.Begin(ledgerContext, row.group, row.c), row.is)
			}
		})
	}
	require.ErrorIs(t, l.Begin(ledgerContext, "g", many(1, []byte("m"))), partition.ErrInvalid)
	for name, s := range map[string]Spec{
		"unsorted":         {Topics: []string{"b", "a"}},
		"twice":            {Topics: []string{"a", "a"}},
		"no name":          {Topics: []string{""}},
		"a start":          {Start: StoredStart{Kind: 9}},
		"a needless time":  {Start: StoredStart{Time: time.Now()}},
		"a time too late":  {Start: StoredStart{StartAt, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"a time too early": {Start: StoredStart{Kind: StartAt}},
	} {
		require.ErrorIs(t, l.SetSpec(ledgerContext, "g", s), partition.ErrInvalid, name)
	}
	require.ErrorIs(t, l.SetSpec(ledgerContext, "g", Spec{Pattern: strings.Repeat("x", maxPatternBytes+1)}), partition.ErrTooLarge)
	over, cancel := context.WithCancel(ledgerContext)
	cancel()
	require.ErrorIs(t, l.Commit(over, "g", []Committed{at(1, 0, 5)}), context.Canceled)
	require.ErrorIs(t, l.Commit(over, "g", nil), context.Canceled)
	var none context.Context
	require.ErrorIs(t, l.Commit(none, "g", nil), partition.ErrInvalid)
	require.Equal(t, want, l.view())
	require.Equal(t, end, l.p.End())
	require.NoError(t, l.Err())
	l.close(t)
	require.ErrorIs(t, l.Commit(ledgerContext, "g", []Committed{at(1, 0, 5)}), partition.ErrClosed)
	require.ErrorIs(t, l.CommitAsync("g", nil, nil), partition.ErrClosed)
	require.ErrorIs(t, l.Close(), partition.ErrClosed)
	require.Equal(t, want, l.view(), "what is known stays")
}

// many returns positions in n partitions.
func many(n int, metadata []byte) []Committed {
	all := make([]Committed, n)
	for i := range all {
		all[i] = at(1, i, int64(i))
		all[i].Metadata = metadata
	}
	return all
}

func TestLedgerCallsBackInOrderAndSurvivesPanics(t *testing.T) {
	l := openLedgerOn(t, fs.NewMem())
	var mu sync.Mutex
	var got []int
	for i := range 50 {
		c := []Committed{at(1, 0, int64(i))}
		if i%7 == 3 {
			c = nil
		}
		require.NoError(t, l.CommitAsync("g", c, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, i)
			if i%7 != 3 && err == nil {
				_, kind := l.Position("g", ledgerTopic(1), 0)
				require.Equal(t, PositionCommitted, kind)
			}
			if i == 20 {
				panic("it is the user's")
			}
		}))
	}
	require.NoError(t, l.CommitAsync("g", []Committed{at(1, 0, 77)}, nil))
	l.close(t)
	require.Len(t, got, 50)
	var async []int
	for _, i := range got {
		if i%7 != 3 { // those without anything to write wait for nothing
			async = append(async, i)
		}
	}
	require.IsIncreasing(t, async)
	require.ErrorContains(t, <-l.trouble, "it is the user's")
	c, _ := l.Position("g", ledgerTopic(1), 0)
	require.Equal(t, int64(77), c.Offset)
}

// A callback that blocks keeps nobody else's commit waiting.
func TestLedgerCallbackThatBlocks(t *testing.T) {
	l := openLedgerOn(t, fs.NewMem())
	release := make(chan struct{})
	require.NoError(t, l.CommitAsync("g", []Committed{at(1, 0, 1)}, func(error) { <-release }))
	for i := range 100 {
		require.NoError(t, l.Commit(ledgerContext, "g", []Committed{at(1, 0, int64(i))}))
	}
	close(release)
	l.close(t)
}

// A ledger keeps its size, loses nothing by it, and commits go on meanwhile.
func TestLedgerStaysSmall(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m, func(o *partition.Options, _ *LedgerOptions) { o.SegmentBytes = 4 << 10 })
	const members, commits = 16, 300
	var wg sync.WaitGroup
	for g := range members {
		wg.Go(func() {
			name := fmt.Sprintf("group-%d", g%3)
			for i := range commits {
				c := at(1, g, int64(i))
				c.Metadata = []byte(strings.Repeat("x", i%30))
				if err := l.Commit(ledgerContext, name, []Committed{c}); err != nil {
					t.Error(err)
					return
				}
				if got, _ := l.Position(name, ledgerTopic(1), g); got.Offset != int64(i) {
					t.Errorf("committed %d, and it is %d", i, got.Offset)
				}
			}
		})
	}
	wg.Wait()
	l.idle()
	require.Positive(t, l.p.Start(), "nothing was trimmed")
	require.Less(t, l.p.Bytes(), int64(40<<10), "%d bytes were written", members*commits*100)
	require.Equal(t, int64(members*commits), l.Stats().Commits)
	want := l.view()
	killed := m.Kill()
	l.close(t)
	require.Empty(t, l.trouble)
	for _, m := range []*fs.Mem{m, killed} {
		l := openLedgerOn(t, m)
		require.NoError(t, l.Err())
		require.Equal(t, want, l.view())
		for g := range members {
			c, _ := l.Position(fmt.Sprintf("group-%d", g%3), ledgerTopic(1), g)
			require.Equal(t, int64(commits-1), c.Offset)
		}
		l.close(t)
	}
}

// A snapshot of many parts keeps everything: groups that were only opened,
// groups that only began, metadata, times, and what was deleted is not back.
func TestLedgerSnapshotHasEverything(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m, large)
	for g := range 60 {
		name := fmt.Sprintf("group-%02d", g)
		topics := make([]string, g)
		for i := range topics {
			topics[i] = fmt.Sprintf("a-rather-long-name-of-a-topic-%04d", i)
		}
		require.NoError(t, l.SetSpec(ledgerContext, name, Spec{Topics: topics, Pattern: name, Start: StoredStart{Kind: StartKind(g % 2)}}))
		if g%3 > 0 {
			require.NoError(t, l.Begin(ledgerContext, name, many(g*10, nil)))
		}
		if g%3 > 1 {
			require.NoError(t, l.Commit(ledgerContext, name, many(g*5, make([]byte, g*10))))
		}
	}
	require.NoError(t, l.DeleteGroup(ledgerContext, "group-33"))
	require.NoError(t, l.Commit(ledgerContext, "group-35", []Committed{at(2, 5, 9)}))
	want, times := l.view(), l.Positions("group-35")
	require.NoError(t, l.takeUpkeep(ledgerContext))
	require.NoError(t, l.snapshot(ledgerContext))
	l.letUpkeep()
	require.Equal(t, want, l.view())
	parts := l.state.parts(0, maxPartBytes)
	require.Greater(t, len(parts), 2)
	for _, p := range parts {
		require.LessOrEqual(t, len(p.encode()), maxPartBytes+slackBytes)
	}
	l.close(t)
	l = openLedgerOn(t, m, large)
	require.NoError(t, l.Err())
	require.Equal(t, want, l.view())
	require.Equal(t, times, l.Positions("group-35"))
	require.Positive(t, l.snapshotBytes)
	l.close(t)
}

func TestLedgerIsFollowed(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m, func(o *partition.Options, _ *LedgerOptions) { o.SegmentBytes = 4 << 10 })
	reading := fs.OnlyReading(m)
	follow := func(o *partition.Options, lo *LedgerOptions) { o.ReadOnly, lo.ReadOnly = true, true }
	f := openLedgerOn(t, reading, follow)
	require.Empty(t, f.Groups())
	require.NoError(t, f.Err())
	seen := make([]int64, 5)
	for i := range 400 {
		require.NoError(t, l.Commit(ledgerContext, "g", []Committed{at(1, i%5, int64(i))}))
		if i%10 == 9 {
			// It comes to all but the last commit, of which the next one tells
			// that it is durable, whatever is trimmed meanwhile.
			require.Eventually(t, func() bool {
				require.NoError(t, f.Err(), "commit %d", i)
				c, _ := f.Position("g", ledgerTopic(1), (i-1)%5)
				require.GreaterOrEqual(t, c.Offset, seen[(i-1)%5], "commit %d: it went back", i)
				seen[(i-1)%5] = c.Offset
				return c.Offset >= int64(i-1)
			}, 10*time.Second, time.Millisecond)
		}
	}
	l.idle()
	require.Positive(t, l.p.Start())
	late := openLedgerOn(t, reading, follow)
	require.NoError(t, late.Err())
	require.Equal(t, []string{"g"}, late.Groups())
	require.ErrorIs(t, f.Commit(ledgerContext, "g", []Committed{at(1, 0, 1)}), partition.ErrReadOnly)
	require.ErrorIs(t, f.Commit(ledgerContext, "g", nil), partition.ErrReadOnly)
	require.ErrorIs(t, f.CommitAsync("g", nil, nil), partition.ErrReadOnly)
	require.ErrorIs(t, f.SetSpec(ledgerContext, "g", Spec{}), partition.ErrReadOnly)
	require.ErrorIs(t, f.Begin(ledgerContext, "g", nil), partition.ErrReadOnly)
	require.ErrorIs(t, f.DeleteGroup(ledgerContext, "g"), partition.ErrReadOnly)
	require.ErrorIs(t, f.DeleteTopic(ledgerContext, ledgerTopic(1)), partition.ErrReadOnly)
	_, err := f.Repair(ledgerContext)
	require.ErrorIs(t, err, partition.ErrReadOnly)
	l.close(t)
	want := l.view()
	require.Equal(t, want, f.view())
	require.Equal(t, want, late.view())
	f.close(t)
	late.close(t)
	require.Equal(t, want, f.view(), "what is known stays")
}

// A context that ends while a commit waits leaves it in doubt, and memory says
// what the log does.
func TestLedgerContextEndsWhileACommitWaits(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m)
	require.NoError(t, l.Commit(ledgerContext, "g", []Committed{at(1, 0, 1)}))
	stop, stopped := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync {
			once.Do(func() { close(stopped); <-stop })
		}
		return nil
	})
	require.NoError(t, l.CommitAsync("g", []Committed{at(1, 0, 2)}, nil))
	<-stopped // its sync is under way: who comes now waits for the next
	ctx, cancel := context.WithCancel(ledgerContext)
	r, err := positionsOf(ledgerCommit, "g", []Committed{at(1, 0, 3)})
	require.NoError(t, err)
	w, err := l.submit(ctx, &ledgerWrite{record: r})
	require.NoError(t, err)
	cancel()
	err = w.wait(ctx)
	require.ErrorIs(t, err, partition.ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.Canceled)
	c, _ := l.Position("g", ledgerTopic(1), 0)
	require.Equal(t, int64(1), c.Offset, "it is not durable yet")
	close(stop)
	m.OnOp(nil)
	require.NoError(t, l.Commit(ledgerContext, "h", []Committed{at(1, 0, 9)}))
	c, _ = l.Position("g", ledgerTopic(1), 0)
	require.Equal(t, int64(3), c.Offset)
	require.NoError(t, l.Err(), "a context is no failure")
	want := l.view()
	l.close(t)
	l = openLedgerOn(t, m)
	require.Equal(t, want, l.view())
	l.close(t)
}

package braidlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// joined is a new member of a group of topic "orders".
func joined(t testing.TB, s *Store, name string, c consumergroup.Config, of consumergroup.MemberConfig) *consumergroup.Member {
	t.Helper()
	if c.Pattern == "" && len(c.Topics) == 0 {
		c.Topics = []string{"orders"}
	}
	g, err := s.Group(name, c)
	require.NoError(t, err)
	m, err := g.Join(bg, of)
	require.NoError(t, err)
	return m
}

// Committed 1500 and 2300, processed to 1550 and 2350, crash: on from 1500 and
// 2300.
func TestMemberGoesOnWhereItCommitted(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, smallGroups)
	topic := ensure(t, s, TopicConfig{Partitions: 2, SegmentBytes: 16 << 10})
	for i := range 4000 {
		require.NoError(t, topic.AppendAsync(bg, Record{Value: fmt.Append(nil, i)}, nil))
	}
	require.NoError(t, topic.Sync(bg))
	for n := range 2 {
		appendTo(t, topic, n, int(2500-topic.Partition(n).End()))
	}
	member := joined(t, s, "billing", consumergroup.Config{}, consumergroup.MemberConfig{})
	next := map[int]int64{}
	for next[0] < 1550 || next[1] < 2350 {
		recs, err := member.Poll(bg, 50)
		require.NoError(t, err)
		for _, r := range recs {
			require.Equal(t, next[r.Partition], r.Offset)
			next[r.Partition]++
			if r.Partition == 0 && r.Offset == 1499 || r.Partition == 1 && r.Offset == 2299 {
				require.NoError(t, member.CommitRecords(bg, r))
			}
		}
	}
	lives := map[string]*fs.Mem{"kill": m.Kill(), "power": m.Crash(func() bool { return false }), "other power": m.Crash(alternating())}
	require.NoError(t, s.Close())
	lives["close"] = m
	for how, left := range lives {
		s = openMem(t, left, smallGroups)
		member = joined(t, s, "billing", consumergroup.Config{}, consumergroup.MemberConfig{})
		first := map[int]int64{}
		for len(first) < 2 {
			recs, err := member.Poll(bg, 0)
			require.NoError(t, err)
			for _, r := range recs {
				if _, ok := first[r.Partition]; !ok {
					first[r.Partition] = r.Offset
				}
			}
		}
		require.Equal(t, map[int]int64{0: 1500, 1: 2300}, first, how)
		require.NoError(t, s.Close())
	}
}

// After Open nobody waits for static members that are gone.
func TestNobodyWaitsForStaticMembersAfterOpen(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	ensure(t, s, TopicConfig{Partitions: 2})
	a := joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{InstanceID: "a"})
	b := joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{InstanceID: "b"})
	pollSome(t, a)
	pollSome(t, b)
	require.NoError(t, a.Close(bg))
	require.NoError(t, s.Close())
	s = openMem(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	b = joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{InstanceID: "b"})
	appendTo(t, topic, 0, 1)
	appendTo(t, topic, 1, 1)
	require.Len(t, pollSome(t, b), 2)
	require.NoError(t, s.Close())
}

// A partition of a topic that is made later begins at its first record, and so
// it does after the store was opened again.
func TestALaterTopicBeginsAtItsFirstRecord(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	appendTo(t, ensure(t, s, TopicConfig{Partitions: 1}), 0, 3)
	c := consumergroup.Config{Pattern: "orders.*", Start: consumergroup.Latest()}
	require.Empty(t, pollSome(t, joined(t, s, "g", c, consumergroup.MemberConfig{})), "latest")
	require.NoError(t, s.Close())
	s = openMem(t, m)
	appendTo(t, ensureNamed(t, s, "orders-2"), 0, 4)
	require.NoError(t, s.Close())
	s = openMem(t, m)
	recs := pollSome(t, joined(t, s, "g", c, consumergroup.MemberConfig{}))
	require.Len(t, recs, 4)
	require.Equal(t, "orders-2", recs[0].Topic)
	_, err := s.Group("g", consumergroup.Config{Topics: []string{"orders-2"}})
	require.EqualError(t, err, `open group g: topics: it has topics [] and pattern "orders.*", not topics [orders-2]`)
	require.NoError(t, s.Close())
	s = openMem(t, m)
	_, err = s.Group("g", consumergroup.Config{Topics: []string{"orders-2"}})
	require.ErrorContains(t, err, `it has topics [] and pattern "orders.*", not topics [orders-2]`)
	require.NoError(t, s.Close())
}

// A call that is not to happen leaves the group open, and while a group is
// being deleted nobody opens it: what they store would go with it.
func TestDeleteGroupIsWholeOrNothing(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	appendTo(t, ensure(t, s, TopicConfig{Partitions: 1}), 0, 3)
	member := joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{})
	ended, cancel := context.WithCancel(bg)
	cancel()
	require.ErrorIs(t, s.DeleteGroup(ended, "g"), context.Canceled)
	require.Len(t, pollSome(t, member), 3)
	require.NoError(t, member.Commit(bg))

	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync {
			entered <- struct{}{}
			<-gate
		}
		return nil
	})
	deleted := make(chan error, 1)
	go func() { deleted <- s.DeleteGroup(bg, "g") }()
	<-entered
	_, err := s.Group("g", consumergroup.Config{Topics: []string{"orders"}})
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorContains(t, err, "being deleted")
	m.OnOp(nil)
	close(gate)
	require.NoError(t, <-deleted)
	member = joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{})
	require.Len(t, pollSome(t, member), 3, "it is new")
	require.NoError(t, s.Close())
}

// allowed are the errors of calls that race with the end of what they need.
func allowed(err error, sentinels ...error) bool {
	for _, s := range append(sentinels, context.Canceled, context.DeadlineExceeded) {
		if errors.Is(err, s) {
			return true
		}
	}
	return err == nil
}

// Whoever opens, joins, polls and commits while the group is deleted again and
// again gets an error or a group that is whole.
func TestDeleteGroupAgainstEverything(t *testing.T) {
	s := openMem(t, fs.NewMem(), smallGroups)
	topic := ensure(t, s, TopicConfig{Partitions: 4})
	for n := range 4 {
		appendTo(t, topic, n, 20)
	}
	ctx, cancel := context.WithCancel(bg)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				err := liveOnce(ctx, s)
				if !allowed(err, ErrClosed, consumergroup.ErrFenced) {
					t.Errorf("member: %v", err)
				}
			}
		})
	}
	for range 60 {
		if err := s.DeleteGroup(bg, "g"); !allowed(err, ErrGroupNotFound) {
			t.Errorf("delete: %v", err)
		}
	}
	cancel()
	all.Wait()
	require.NoError(t, s.ledger.Err())
	if len(s.Groups()) > 0 {
		_, ok := s.ledger.Spec("g")
		require.True(t, ok, "a group that exists knows what it reads")
	}
	require.NoError(t, s.Close())
}

// liveOnce opens the group, joins, polls, commits and closes.
func liveOnce(ctx context.Context, s *Store) error {
	g, err := s.Group("g", consumergroup.Config{Topics: []string{"orders"}})
	if err != nil {
		return err
	}
	m, err := g.Join(ctx, consumergroup.MemberConfig{})
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = m.Poll(short, 10)
	return errors.Join(err, m.Commit(ctx), m.Close(ctx))
}

// Close of the store ends whatever waits, and leaves nobody behind: TestMain
// looks for goroutines.
func TestCloseAgainstEverything(t *testing.T) {
	for round := range 10 {
		s := openMem(t, fs.NewMem(), smallGroups)
		topic := ensure(t, s, TopicConfig{Partitions: 4})
		appendTo(t, topic, 0, 20)
		g, err := topic.Group("g", consumergroup.Config{Commit: consumergroup.CommitPolicy{Interval: time.Millisecond}})
		require.NoError(t, err)
		var all sync.WaitGroup
		try := func(what string, f func() error) {
			all.Go(func() {
				if err := f(); !errors.Is(err, ErrClosed) {
					t.Errorf("round %d: %s: %v", round, what, err)
				}
			})
		}
		until := func(f func() error) func() error {
			return func() error {
				for {
					if err := f(); !allowed(err, consumergroup.ErrFenced, ErrGroupNotFound) {
						return err
					}
				}
			}
		}
		for i := range 3 {
			try("poll", func() error {
				m, err := g.Join(bg, consumergroup.MemberConfig{InstanceID: fmt.Sprint(i)})
				if err != nil {
					return err
				}
				return until(func() error {
					_, err := m.Poll(bg, 3)
					return errors.Join(err, m.Commit(bg))
				})()
			})
		}
		try("run", func() error {
			return g.Run(bg, consumergroup.RunConfig{Workers: 2}, func(ctx context.Context, r Record) error { return nil })
		})
		try("blocked run", func() error {
			return g.Run(bg, consumergroup.RunConfig{Workers: 2}, func(ctx context.Context, r Record) error {
				<-ctx.Done()
				return ctx.Err()
			})
		})
		try("reset", until(func() error { return g.Reset(bg, partition.First()) }))
		try("join and close", until(func() error {
			m, err := g.Join(bg, consumergroup.MemberConfig{})
			if err != nil {
				return err
			}
			return m.Close(bg)
		}))
		try("delete another group", until(func() error {
			if _, err := topic.Group("other", consumergroup.Config{}); err != nil {
				return err
			}
			return s.DeleteGroup(bg, "other")
		}))
		var appended atomic.Int64
		busy := make(chan struct{}) // closed when there was something going on, more in each round
		try("append", until(func() error {
			_, err := topic.AppendTo(bg, round%4, Record{Value: []byte("x")})
			if err == nil && appended.Add(1) == int64(1+10*round) {
				close(busy)
			}
			return err
		}))
		try("lag", until(func() error {
			g.Describe()
			_, err := g.Lag(bg)
			return err
		}))
		select {
		case <-busy:
		case <-time.After(20 * time.Second):
			require.Fail(t, "appends hang")
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			require.NoError(t, err)
		case <-time.After(20 * time.Second):
			require.Fail(t, "Close hangs")
		}
		all.Wait()
	}
}

// A topic that a member reads is deleted and made again under its hands.
func TestDeleteTopicWhilePolling(t *testing.T) {
	s := openMem(t, fs.NewMem(), smallGroups)
	ensure(t, s, TopicConfig{Partitions: 2})
	g, err := s.Group("g", consumergroup.Config{Pattern: "o.*", Commit: consumergroup.CommitPolicy{Exhausted: true}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(bg)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 3 {
		all.Go(func() {
			m, err := g.Join(bg, consumergroup.MemberConfig{OnLost: func(context.Context, *consumergroup.Member, []consumergroup.TopicPartition) {
				_, _ = s.Topic("orders")
			}})
			require.NoError(t, err)
			for ctx.Err() == nil {
				recs, err := m.Poll(ctx, 0)
				if !allowed(err) {
					t.Errorf("poll: %v", err)
					return
				}
				mu.Lock()
				for _, r := range recs {
					seen[string(r.Value)] = true
				}
				mu.Unlock()
			}
		})
	}
	for round := range 20 {
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		for i := range 20 {
			_, err = topic.AppendTo(bg, i%2, Record{Value: fmt.Append(nil, round, i)})
			require.NoError(t, err)
		}
		require.NoError(t, s.DeleteTopic(bg, "orders"))
		ensure(t, s, TopicConfig{Partitions: 2})
	}
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	appendTo(t, topic, 1, 1)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[string(rec("key", 0).Value)]
	}, 10*time.Second, time.Millisecond, "who reads goes on")
	cancel()
	all.Wait()
	require.NoError(t, s.Close())
}

// A hundred members join at once, and leave at once, and everything is read.
func TestAHundredMembersAtOnce(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{Partitions: 50})
	for n := range 50 {
		appendTo(t, topic, n, 4)
	}
	g, err := topic.Group("g", consumergroup.Config{})
	require.NoError(t, err)
	var mu sync.Mutex
	next := map[int]int64{}
	for range 2 {
		ctx, cancel := context.WithCancel(bg)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				m, err := g.Join(bg, consumergroup.MemberConfig{})
				require.NoError(t, err)
				for ctx.Err() == nil {
					recs, err := m.Poll(ctx, 1)
					if !allowed(err) {
						t.Errorf("poll: %v", err)
						return
					}
					mu.Lock()
					for _, r := range recs {
						if next[r.Partition] != r.Offset {
							t.Errorf("partition %d: %d, want %d", r.Partition, r.Offset, next[r.Partition])
						}
						next[r.Partition]++
					}
					mu.Unlock()
					require.NoError(t, m.Commit(bg))
				}
				require.NoError(t, m.Close(bg))
			})
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			for n := range 50 {
				if next[n] < topic.Partition(n).End() {
					return false
				}
			}
			return true
		}, 20*time.Second, time.Millisecond)
		cancel()
		all.Wait()
		require.True(t, g.Describe().Empty)
		for n := range 50 {
			appendTo(t, topic, n, 4)
		}
	}
	require.NoError(t, s.Close())
}

// A memory is what was promised to a group until the power went.
type memory struct {
	sync.Mutex
	acked, offered map[int]int64
	begun          bool
}

// Before every operation on a file of a member's life, from making the group to
// closing the store, the power goes or the process ends.
func TestMembersSurviveACrashAtEveryOperation(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, smallGroups, func(o *Options) { o.idle = true })
	topic := ensure(t, s, TopicConfig{Partitions: 2, SegmentBytes: 4 << 10})
	for n := range 2 {
		appendTo(t, topic, n, 5)
	}
	mem := &memory{acked: map[int]int64{}, offered: map[int]int64{}}
	type moment struct {
		at             string
		m              *fs.Mem
		acked, offered map[int]int64
		begun          bool
	}
	var all []moment
	m.OnOp(func(op fs.Op) error {
		mem.Lock()
		defer mem.Unlock()
		if !changes(op) {
			return nil
		}
		for how, left := range map[string]*fs.Mem{
			"killed": m.Kill(), "nothing kept": m.Crash(func() bool { return false }), "every 2nd kept": m.Crash(alternating()),
		} {
			all = append(all, moment{fmt.Sprintf("before operation %d, %v, %s", op.N, op, how), left, maps.Clone(mem.acked), maps.Clone(mem.offered), mem.begun})
		}
		return nil
	})
	mem.live(t, s, topic)
	require.NoError(t, s.Close())
	m.OnOp(nil)
	require.Greater(t, len(all), 60)
	for _, i := range all {
		s := openMem(t, i.m, smallGroups, func(o *Options) { o.idle = true })
		require.NoError(t, s.ledger.Err(), i.at)
		member := joined(t, s, "g", consumergroup.Config{Start: consumergroup.Latest()}, consumergroup.MemberConfig{})
		pollFor(t, member, time.Millisecond)
		topic, err := s.Topic("orders")
		require.NoError(t, err, i.at)
		for n := range 2 {
			c := max(0, committed(s, "g", topic, n))
			require.GreaterOrEqual(t, c, i.acked[n], i.at)
			require.LessOrEqual(t, c, max(i.offered[n], i.acked[n]), i.at)
			require.Empty(t, topic.Recovery()[n].Lost, i.at)
			if i.begun {
				at, kind := s.ledger.Position("g", topic.id, n)
				require.NotEqual(t, consumergroup.PositionNone, kind, i.at)
				require.GreaterOrEqual(t, at.Offset, min(int64(5), max(i.acked[n], 1)), i.at)
			}
		}
		require.NoError(t, s.Close(), i.at)
	}
}

// live has a group begin at the end, process, hand over, reset and close.
func (mem *memory) live(t *testing.T, s *Store, topic *Topic) {
	a := joined(t, s, "g", consumergroup.Config{Start: consumergroup.Latest()}, consumergroup.MemberConfig{})
	mem.Lock()
	mem.begun = true
	mem.Unlock()
	members := []*consumergroup.Member{a}
	for round := range 4 {
		for n := range 2 {
			appendTo(t, topic, n, 3)
		}
		for range 2 {
			for _, m := range members {
				mem.step(t, m)
			}
		}
		if round == 1 {
			members = append(members, joined(t, s, "g", consumergroup.Config{}, consumergroup.MemberConfig{}))
		}
	}
	for _, m := range members {
		require.NoError(t, m.Close(bg))
	}
}

func (mem *memory) step(t *testing.T, m *consumergroup.Member) {
	recs := pollFor(t, m, 5*time.Millisecond)
	mem.Lock()
	for _, r := range recs {
		mem.offered[r.Partition] = r.Offset + 1
	}
	mem.Unlock()
	require.NoError(t, m.Commit(bg))
	mem.Lock()
	for _, r := range recs {
		mem.acked[r.Partition] = max(mem.acked[r.Partition], r.Offset+1)
	}
	mem.Unlock()
}

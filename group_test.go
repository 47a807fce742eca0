package braidlog

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partitioner"
)

// pollSome polls for what is there.
func pollSome(t *testing.T, m *consumergroup.Member) []Record {
	t.Helper()
	return pollFor(t, m, 50*time.Millisecond)
}

// pollFor polls for so long; nothing is no error.
func pollFor(t *testing.T, m *consumergroup.Member, d time.Duration) []Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	recs, err := m.Poll(ctx, 0)
	if err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	return recs
}

func TestGroupGoesOnAfterOpen(t *testing.T) {
	ctx := context.Background()
	m := fs.NewMem()
	o := Options{fs: m, idle: true}
	s, err := Open("/store", o)
	require.NoError(t, err)
	topic, err := s.EnsureTopic(ctx, "orders", TopicConfig{Partitions: 3})
	require.NoError(t, err)
	for i := range 30 {
		_, err = topic.AppendTo(ctx, i%3, Record{Value: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	g, err := topic.Group("billing", consumergroup.Config{})
	require.NoError(t, err)
	same, err := s.Group("billing", consumergroup.Config{})
	require.NoError(t, err)
	require.Same(t, g, same)
	member, err := g.Join(ctx, consumergroup.MemberConfig{})
	require.NoError(t, err)
	require.Len(t, pollSome(t, member), 30)
	require.NoError(t, member.Commit(ctx))
	for i := range 30 {
		_, err = topic.AppendTo(ctx, i%3, Record{})
		require.NoError(t, err)
	}
	require.Len(t, pollSome(t, member), 30, "and not committed")
	require.NoError(t, s.Close())
	_, err = member.Poll(ctx, 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = topic.Group("billing", consumergroup.Config{})
	require.ErrorIs(t, err, ErrClosed)

	for name, left := range map[string]*fs.Mem{"close": m, "power": m.Crash(func() bool { return false }), "kill": m.Kill()} {
		t.Run(name, func(t *testing.T) {
			s, err := Open("/store", Options{fs: left, idle: true})
			require.NoError(t, err)
			require.Equal(t, []string{"billing"}, s.Groups())
			_, err = s.Group("billing", consumergroup.Config{Topics: []string{"orders"}, Pattern: "x"})
			require.ErrorIs(t, err, consumergroup.ErrMismatch)
			g, err := s.Group("billing", consumergroup.Config{})
			require.NoError(t, err)
			lags, err := g.Lag(ctx)
			require.NoError(t, err)
			require.Equal(t, int64(10), lags[1].Records)
			member, err := g.Join(ctx, consumergroup.MemberConfig{})
			require.NoError(t, err)
			recs := pollSome(t, member)
			require.Len(t, recs, 30)
			require.Equal(t, int64(10), recs[0].Offset)
			require.NoError(t, s.DeleteGroup(ctx, "billing"))
			_, err = member.Poll(ctx, 0)
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, s.DeleteGroup(ctx, "billing"), ErrGroupNotFound)
			_, err = s.Group("billing", consumergroup.Config{})
			require.ErrorIs(t, err, ErrInvalid, "there is none of which to take the topics")
			require.NoError(t, s.Close())
		})
	}
}

func TestGroupIsRefused(t *testing.T) {
	ctx := context.Background()
	m := fs.NewMem()
	s, err := Open("/store", Options{fs: m, idle: true})
	require.NoError(t, err)
	topic, err := s.EnsureTopic(ctx, "orders", TopicConfig{})
	require.NoError(t, err)
	_, err = s.Group("g", consumergroup.Config{Topics: []string{"orders", "refunds"}})
	require.ErrorIs(t, err, ErrTopicNotFound)
	_, err = topic.Group("g", consumergroup.Config{Pattern: "o.*"})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = topic.Group("g", consumergroup.Config{PollInterval: -1})
	require.ErrorIs(t, err, ErrInvalid)
	require.Empty(t, s.Groups())
	g, err := topic.Group("g", consumergroup.Config{})
	require.NoError(t, err)
	require.ErrorIs(t, g.Run(ctx, consumergroup.RunConfig{DeadLetter: "dead"}, func(context.Context, Record) error { return nil }), ErrTopicNotFound)
	require.NoError(t, s.Close())
	s, err = Open("/store", Options{fs: m, ReadOnly: true})
	require.NoError(t, err)
	_, err = s.Group("g", consumergroup.Config{})
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, s.Close())
}

// Topics that a pattern matches are read as soon as they are made, and no
// longer when they are deleted.
func TestGroupFollowsTopics(t *testing.T) {
	ctx := context.Background()
	s, err := Open("/store", Options{fs: fs.NewMem(), idle: true})
	require.NoError(t, err)
	g, err := s.Group("audit", consumergroup.Config{Pattern: "audit-.*"})
	require.NoError(t, err)
	member, err := g.Join(ctx, consumergroup.MemberConfig{OnLost: func(ctx context.Context, _ *consumergroup.Member, tps []consumergroup.TopicPartition) {
		_, err := s.Topic(tps[0].Topic) // it may ask the store
		require.ErrorIs(t, err, ErrTopicNotFound)
	}})
	require.NoError(t, err)
	var waits sync.WaitGroup
	waits.Go(func() {
		recs, err := member.Poll(ctx, 0)
		require.NoError(t, err)
		require.Equal(t, "audit-1", recs[0].Topic)
	})
	for _, name := range []string{"audit-1", "other"} {
		topic, err := s.CreateTopic(ctx, name, TopicConfig{Partitions: 1})
		require.NoError(t, err)
		_, err = topic.Append(ctx, Record{})
		require.NoError(t, err)
	}
	waits.Wait()
	require.NoError(t, s.DeleteTopic(ctx, "audit-1"))
	require.Empty(t, pollSome(t, member))
	require.Empty(t, member.Assignment())
	require.NoError(t, s.Close())
}

func TestRetentionHoldsForGroups(t *testing.T) {
	ctx := context.Background()
	m := fs.NewMem()
	s, err := Open("/store", Options{fs: m, idle: true})
	require.NoError(t, err)
	topic, err := s.EnsureTopic(ctx, "orders", TopicConfig{
		Partitions: 1, SegmentBytes: 4 << 10, Durability: OS,
		Retention: Retention{PartitionBytes: 8 << 10, Groups: HoldForGroups},
	})
	require.NoError(t, err)
	fill := func() {
		for range 200 {
			_, err := topic.Append(ctx, Record{Value: make([]byte, 100)})
			require.NoError(t, err)
		}
	}
	slow, err := topic.Group("slow", consumergroup.Config{})
	require.NoError(t, err)
	member, err := slow.Join(ctx, consumergroup.MemberConfig{})
	require.NoError(t, err)
	fast, err := topic.Group("fast", consumergroup.Config{Start: consumergroup.Latest()})
	require.NoError(t, err)
	_, err = fast.Join(ctx, consumergroup.MemberConfig{})
	require.NoError(t, err)
	fill()
	p := topic.Partition(0)
	require.NoError(t, topic.Enforce(ctx))
	require.Zero(t, p.Start(), "slow has processed nothing, and fast nothing that came later")
	pollSome(t, member)
	require.NoError(t, member.CommitOffsets(ctx, consumergroup.Offset{TopicPartition: consumergroup.TopicPartition{Topic: "orders"}, Offset: 90}))
	require.NoError(t, s.Close())

	s, err = Open("/store", Options{fs: m, idle: true})
	require.NoError(t, err)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, HoldForGroups, topic.Config().Retention.Groups, "it is stored")
	p = topic.Partition(0)
	require.NoError(t, topic.Enforce(ctx))
	require.Zero(t, p.Start(), "fast began with the first record to come")
	require.NoError(t, s.DeleteGroup(ctx, "fast"))
	require.NoError(t, topic.Enforce(ctx))
	require.Greater(t, p.Start(), int64(0))
	require.LessOrEqual(t, p.Start(), int64(90))
	require.NoError(t, topic.SetConfig(ctx, TopicConfig{Retention: Retention{Groups: IgnoreGroups}}))
	require.NoError(t, topic.Enforce(ctx))
	require.Greater(t, p.Start(), int64(100))
	require.ErrorIs(t, topic.SetConfig(ctx, TopicConfig{Retention: Retention{Groups: 7}}), ErrInvalid)
	require.NoError(t, s.Close())
}

// A partitioner that looks at loads sees how far the slowest group is behind.
func TestPartitionersSeeLag(t *testing.T) {
	ctx := context.Background()
	s, err := Open("/store", Options{fs: fs.NewMem(), idle: true})
	require.NoError(t, err)
	seen := &lagged{}
	topic, err := s.EnsureTopic(ctx, "orders", TopicConfig{Partitions: 2, Partitioner: seen})
	require.NoError(t, err)
	for range 10 {
		_, err = topic.AppendTo(ctx, 1, Record{})
		require.NoError(t, err)
	}
	lag := func() []int64 {
		topic.behind.Store(nil) // as if lagAge had passed
		_, err := topic.Route(Record{})
		require.NoError(t, err)
		return seen.lag
	}
	require.Equal(t, []int64{0, 0}, lag(), "nobody reads it")
	g, err := topic.Group("g", consumergroup.Config{})
	require.NoError(t, err)
	member, err := g.Join(ctx, consumergroup.MemberConfig{})
	require.NoError(t, err)
	require.Equal(t, []int64{0, 10}, lag())
	require.Len(t, pollSome(t, member), 10)
	require.NoError(t, member.Commit(ctx))
	require.Equal(t, []int64{0, 0}, lag())
	require.NoError(t, s.Close())
}

type lagged struct{ lag []int64 }

func (*lagged) Partition(Record, int) (int, error) { return 0, nil }
func (l *lagged) PartitionLoad(_ Record, load []partitioner.Load) (int, error) {
	l.lag = nil
	for _, p := range load {
		l.lag = append(l.lag, p.Lag)
	}
	return 0, nil
}

package consumergroup

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLag(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		lags, err := g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, int64(-1), lags[0].Committed, "nobody joined yet")
		require.False(t, g.Describe().Committed)
		require.True(t, g.Describe().Empty)

		m := join(t, g)
		pollAll(t, m)
		require.NoError(t, m.CommitOffsets(bg, Offset{first, 4, []byte("x")}))
		at := time.Now().UTC()
		time.Sleep(time.Minute)
		add(t, topic.Partitions[0], 1)
		lags, err = g.Lag(bg)
		require.NoError(t, err)
		require.Len(t, lags, 2)
		for i := range lags {
			require.Positive(t, lags[i].Bytes)
			lags[i].Bytes = 0
			require.InDelta(t, time.Minute, lags[i].Age, float64(time.Second))
			lags[i].Age = 0
		}
		require.WithinDuration(t, at, lags[0].Time, time.Second)
		lags[0].Time = time.Time{}
		require.Equal(t, []Lag{
			{TopicPartition: first, Committed: 4, Kind: PositionCommitted, Metadata: []byte("x"), End: 11, Records: 7, Owner: m.id},
			{TopicPartition: TopicPartition{"orders", 1}, Kind: PositionStarted, End: 10, Records: 10, Owner: m.id},
		}, lags)

		pollAll(t, m)
		require.NoError(t, m.Commit(bg))
		lags, err = g.Lag(bg)
		require.NoError(t, err)
		for _, l := range lags {
			require.Zero(t, l.Records+l.Bytes+int64(l.Age))
		}
		ended, cancel := context.WithCancel(bg)
		cancel()
		_, err = g.Lag(ended)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestDescribe(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 4), 1)
		g := w.group("g", Config{Topics: []string{"orders"}, Pattern: "o.*", Assignor: Sticky()})
		a, s := join(t, g), join(t, g, MemberConfig{InstanceID: "s"})
		settle(t, g, a, s)
		at := time.Now()
		time.Sleep(time.Second)
		require.NoError(t, a.Heartbeat())
		d := g.Describe()
		require.Equal(t, at.Add(time.Second), d.Members[1].Progress)
		d.Members[0].Progress, d.Members[1].Progress = time.Time{}, time.Time{}
		require.Equal(t, Description{
			Group: "g", Topics: []string{"orders"}, Pattern: "o.*", Assignor: "sticky", Generation: d.Generation,
			Members: []MemberDescription{
				{ID: s.id, InstanceID: "s", Owned: s.Assignment(), Target: s.Assignment()},
				{ID: a.id, Owned: a.Assignment(), Target: a.Assignment()},
			},
			Committed: true,
		}, d)
		require.NoError(t, s.Close(bg))
		d = g.Describe()
		require.True(t, d.Members[0].Gone)
		require.Empty(t, d.Members[0].Owned)
		require.False(t, d.Empty)
		join(t, g)
		require.NotEmpty(t, g.Describe().Handovers[0].Waits)
	})
}

// A topic that is being deleted is closed before the group is told. That is no
// reason to say nothing of the others, or that the group is closed.
func TestLagWhileATopicIsDeleted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 1), 5)
		going := w.topic("refunds", 1)
		addAll(t, going, 5)
		g := w.group("g", Config{Pattern: ".*"})
		join(t, g)
		w.broken = true // it is closed twice
		require.NoError(t, going.Partitions[0].Close())
		lags, err := g.Lag(bg)
		require.NoError(t, err)
		require.Len(t, lags, 1)
		require.Equal(t, first, lags[0].TopicPartition)
	})
}

package consumergroup

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

func TestOpenRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.topic("orders", 1)
		w.topic("refunds", 1)
		orders := []string{"orders"}
		for _, test := range []struct {
			name   string
			config Config
			want   error
			says   string
		}{
			{"g", Config{}, ErrInvalid, "neither Topics nor Pattern"},
			{"", Config{Topics: orders}, ErrInvalid, "name"},
			{"a/b", Config{Topics: orders}, ErrInvalid, "name"},
			{"g", Config{Topics: []string{"nothing"}}, errNoTopic, "nothing"},
			{"g", Config{Pattern: "a(b"}, ErrInvalid, "Pattern"},
			{"g", Config{Pattern: "a)(b"}, ErrInvalid, "Pattern"},
			{"g", Config{Topics: orders, PollInterval: -time.Second}, ErrInvalid, "PollInterval is -1s"},
			{"g", Config{Topics: orders, SessionTimeout: -time.Second}, ErrInvalid, "SessionTimeout"},
			{"g", Config{Topics: orders, Commit: CommitPolicy{Interval: time.Microsecond}}, ErrInvalid, "Commit.Interval"},
			{"g", Config{Topics: orders, Commit: CommitPolicy{Records: -1}}, ErrInvalid, "Commit.Records"},
			{"g", Config{Topics: orders, Start: StartPolicy{Kind: 9}}, ErrInvalid, "Start"},
			{"g", Config{Topics: orders, Trimmed: StartPolicy{Kind: StartAt}}, ErrInvalid, "Trimmed"},
		} {
			_, err := Open(test.name, w, w.ledger, test.config)
			require.ErrorIs(t, err, test.want, "%+v", test)
			require.ErrorContains(t, err, test.says)
		}
		require.Empty(t, w.ledger.Groups(), "no change of state")
	})
}

func TestOpenAgainWithOtherTopics(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.topic("orders", 1)
		w.topic("refunds", 1)
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		g := w.group("g", Config{Topics: []string{"refunds", "orders"}, Pattern: "audit-.*", Trimmed: Since(at)})
		join(t, g)
		_, err := Open("g", w, w.ledger, Config{Topics: []string{"orders"}})
		require.ErrorIs(t, err, ErrMismatch)
		require.EqualError(t, err, `open group g: topics: it has topics [orders refunds] and pattern "audit-.*", not topics [orders]`)
		require.ErrorIs(t, g.Matches(Config{Pattern: "audit-.*"}), ErrMismatch)
		for _, same := range []Config{
			{}, {Topics: []string{"orders", "refunds"}, Pattern: "audit-.*"}, {PollInterval: DefaultPollInterval, Assignor: Range()},
			{Trimmed: Since(at.In(time.FixedZone("elsewhere", 3600)))},
		} {
			require.NoError(t, g.Matches(same))
		}
		for _, other := range []Config{
			{PollInterval: time.Second}, {SessionTimeout: time.Second}, {Assignor: Sticky()}, {Commit: CommitPolicy{Records: 1}}, {Trimmed: Latest()},
		} {
			require.ErrorIs(t, g.Matches(other), ErrMismatch)
		}
		require.ErrorIs(t, g.Matches(Config{PollInterval: -1}), ErrInvalid)
	})
}

func TestMembersRefuse(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{})
		ended, cancel := context.WithCancel(bg)
		cancel()
		_, err := g.Join(bg, MemberConfig{InstanceID: strings.Repeat("x", 256)})
		require.ErrorIs(t, err, ErrInvalid)
		_, err = g.Join(ended, MemberConfig{})
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, g.Describe().Members, 1)
		_, err = m.Poll(bg, -1)
		require.ErrorIs(t, err, ErrInvalid)
		var none context.Context
		_, err = m.Poll(none, 0)
		require.ErrorIs(t, err, ErrInvalid)
		_, err = m.Poll(ended, 0)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, m.CommitOffsets(bg, Offset{first, 0, nil}), ErrInvalid, "it was not told of it yet")

		recs := pollNow(t, m, 0)
		require.Len(t, recs, 10, "a poll that was refused took nothing")
		require.ErrorIs(t, m.Commit(ended), context.Canceled)
		other := record.Record{Topic: "orders", Partition: 3}
		require.ErrorIs(t, m.CommitRecords(bg, recs[5], other), ErrInvalid)
		require.ErrorIs(t, m.CommitOffsets(bg, Offset{first, 5, nil}, Offset{first, 11, nil}), partition.ErrOffsetOutOfRange)
		require.ErrorIs(t, m.CommitOffsets(bg, Offset{first, -1, nil}), partition.ErrOffsetOutOfRange)
		require.Equal(t, int64(-1), w.committed(g, first), "no change of state")

		for says, err := range map[string]error{
			"pause member-000001: invalid partition: member-000001 does not have orders/3":                m.Pause(first, TopicPartition{"orders", 3}),
			"resume member-000001: invalid partition: member-000001 does not have orders/3":               m.Resume(TopicPartition{"orders", 3}),
			"seek member-000001 to first: invalid partition: member-000001 does not have orders/3":        m.Seek(TopicPartition{"orders", 3}, partition.First()),
			"commit of member-000001 in group g: commit orders/0: offset 11 is out of range [0, 11)":      m.CommitOffsets(bg, Offset{first, 11, nil}),
			"commit of member-000001 in group g: metadata of orders/0 of 5000 bytes is larger than 4096":  m.CommitOffsets(bg, Offset{first, 1, make([]byte, 5000)}),
			"reset group g to first: invalid partition: the group does not read orders/3":                 g.Reset(bg, partition.First(), TopicPartition{"orders", 3}),
			"poll member-000001 of group g: invalid number of records: -1":                                second(m.Poll(bg, -1)),
			"commit of member-000001 in group g: invalid partition: member-000001 does not have orders/3": m.CommitRecords(bg, other),
		} {
			require.EqualError(t, err, says)
		}

		polling := make(chan error)
		go func() {
			_, err := m.Poll(bg, 0)
			polling <- err
		}()
		synctest.Wait()
		_, err = m.Poll(bg, 0)
		require.ErrorIs(t, err, ErrPolling)
		require.NoError(t, m.Close(bg))
		require.ErrorIs(t, <-polling, ErrClosed, "the poll that waits ends with Close")
		for _, err := range []error{
			second(m.Poll(bg, 0)), m.Commit(bg), m.CommitRecords(bg, recs...), m.Close(bg), m.Heartbeat(),
			m.Seek(first, partition.First()), m.Pause(first), second(m.Position(first)),
		} {
			require.ErrorIs(t, err, ErrClosed)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestGroupThatIsClosed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 0, Config{})
		polling := make(chan error)
		go func() {
			_, err := m.Poll(bg, 0)
			polling <- err
		}()
		synctest.Wait()
		w.groups = nil
		require.NoError(t, g.Close())
		require.ErrorIs(t, <-polling, ErrClosed)
		for _, err := range []error{
			g.Close(), m.Close(bg), m.Commit(bg), second(g.Join(bg, MemberConfig{})), g.Reset(bg, partition.First()),
			second(g.Lag(bg)), g.Run(bg, RunConfig{}, func(context.Context, record.Record) error { return nil }),
		} {
			require.ErrorIs(t, err, ErrClosed)
		}
		require.True(t, g.Describe().Empty)
	})
}

func TestCallbacksThatPanic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 1)
		g := w.group("g", Config{Topics: []string{"orders"}})
		boom := func(context.Context, *Member, []TopicPartition) { panic("boom") }
		a := join(t, g, MemberConfig{OnAssigned: boom, OnRevoked: boom, OnLost: boom})
		_, err := a.Poll(bg, 0)
		require.ErrorIs(t, err, ErrCallback)
		require.ErrorContains(t, err, "OnAssigned")
		require.Len(t, pollNow(t, a, 0), 2)
		require.NoError(t, a.Commit(bg))
		addAll(t, topic, 1)
		b := join(t, g)
		_, err = a.Poll(bg, 0)
		require.ErrorContains(t, err, "OnRevoked")
		require.Len(t, pollNow(t, b, 0), 1, "it let go all the same")
		go func() {
			time.Sleep(DefaultPollInterval - time.Second)
			require.NoError(t, b.Heartbeat())
		}()
		time.Sleep(DefaultPollInterval + time.Second)
		synctest.Wait()
		reports := w.reported()
		require.Len(t, reports, 1)
		require.ErrorIs(t, reports[0], ErrCallback)
		require.Len(t, pollNow(t, b, 0), 1)
	})
}

// A ledger that fails fails the group, and is never taken for an empty one.
func TestLedgerThatFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{Commit: CommitPolicy{Exhausted: true}})
		require.Len(t, pollNow(t, m, 5), 5)
		w.mem.FailFrom(1, errDisk)
		_, err := m.Poll(bg, 0)
		require.ErrorIs(t, err, errDisk)
		w.mem.OnOp(nil)
		for _, err := range []error{
			second(m.Poll(bg, 0)), m.Commit(bg), second(g.Join(bg, MemberConfig{})), g.Reset(bg, partition.First()),
		} {
			require.ErrorIs(t, err, errDisk)
		}
		w.broken = true
	})
}

package consumergroup

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// stall has syncs of the disk wait, one of them in a commit of another group,
// until go on is called.
func (w *world) stall() (goOn func()) {
	gate, entered, done := make(chan struct{}), make(chan struct{}, 100), make(chan error)
	w.mem.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync {
			entered <- struct{}{}
			<-gate
		}
		return nil
	})
	go func() {
		done <- w.ledger.Commit(bg, "other", []Committed{{Topic: "x", TopicID: TopicID{9}, Offset: 1}})
	}()
	<-entered
	return func() {
		w.mem.OnOp(nil)
		close(gate)
		require.NoError(w.t, <-done)
	}
}

// Whatever waits ends with its context, and what it waited for goes on.
func TestEveryWaitEndsWithItsContext(t *testing.T) {
	reset := func(ctx context.Context, g *Group, _ *Member) error { return g.Reset(ctx, partition.First()) }
	commit := func(ctx context.Context, _ *Group, m *Member) error { return m.Commit(ctx) }
	poll := func(ctx context.Context, _ *Group, m *Member) error { return second(m.Poll(ctx, 0)) }
	for _, test := range []struct {
		name   string
		config Config
		before func(g *Group, m *Member) // what makes it wait; the disk is slow already
		wait   func(ctx context.Context, g *Group, m *Member) error
	}{
		{"commit, for the disk", Config{}, nil, commit},
		{"commit, for another one", Config{}, func(_ *Group, m *Member) {
			go m.Commit(bg) //nolint:errcheck // the disk is all it waits for
			synctest.Wait()
		}, commit},
		{"poll, for its commit", Config{Commit: CommitPolicy{Exhausted: true}}, nil, poll},
		{"poll, to hand out", Config{Commit: CommitPolicy{BeforeHandOut: true}}, func(_ *Group, m *Member) {
			require.NoError(t, m.Seek(first, partition.Offset(2)))
		}, poll},
		{"reset, for a member", Config{}, nil, reset},
		{"reset, for another one", Config{}, func(g *Group, _ *Member) {
			go g.Reset(bg, partition.First()) //nolint:errcheck // it waits for the member
			synctest.Wait()
		}, reset},
		{"close, for a commit", Config{Commit: CommitPolicy{Records: 100}}, func(_ *Group, m *Member) {
			pollNow(t, m, 2) // what was polled is processed
		}, func(ctx context.Context, _ *Group, m *Member) error { return m.Close(ctx) }},
		{"run, for the disk", Config{Commit: CommitPolicy{Exhausted: true}}, func(_ *Group, m *Member) {
			require.NoError(t, m.Close(bg))
		}, func(ctx context.Context, g *Group, _ *Member) error {
			done := make(chan error)
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() { done <- g.Run(inner, RunConfig{}, func(context.Context, record.Record) error { return nil }) }()
			synctest.Wait()
			cancel()
			synctest.Wait()
			return <-done
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				g, m := one(t, w, 10, test.config)
				require.NotEmpty(t, pollNow(t, m, 5))
				goOn := w.stall()
				if test.before != nil {
					test.before(g, m)
				}
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				began := time.Now()
				wait := make(chan error, 1)
				go func() { wait <- test.wait(ctx, g, m) }()
				time.Sleep(2 * time.Second)
				if test.name == "run, for the disk" { // it does not end before what it processed is stored
					goOn()
					require.ErrorIs(t, <-wait, context.Canceled)
					require.Equal(t, int64(10), w.committed(g, first))
					return
				}
				require.Len(t, wait, 1, "it goes on waiting")
				require.Error(t, <-wait)
				require.Less(t, time.Since(began), DefaultPollInterval)
				goOn()
				for range 3 {
					pollOnce(m) //nolint:errcheck // it may be closed
				}
				synctest.Wait()
				n := join(t, g)
				m.Close(bg) //nolint:errcheck // it may be closed
				settle(t, g, n)
				require.Equal(t, []TopicPartition{first}, n.Assignment())
			})
		})
	}
}

// The first Join waits for the disk, and for another one that does.
func TestJoinEndsWithItsContext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		add(t, w.topic("orders", 1).Partitions[0], 3)
		g := w.group("g", Config{Topics: []string{"orders"}})
		goOn := w.stall()
		slow := make(chan error, 1)
		go func() { slow <- second(g.Join(bg, MemberConfig{})) }()
		synctest.Wait()
		for range 2 {
			ctx, cancel := context.WithTimeout(bg, time.Second)
			require.ErrorIs(t, second(g.Join(ctx, MemberConfig{})), context.DeadlineExceeded)
			cancel()
		}
		require.Empty(t, g.Describe().Members)
		goOn()
		require.NoError(t, <-slow)
		require.Len(t, g.Describe().Members, 1)
	})
}

// Callbacks may use the member and the group.
func TestCallbacksUseTheMember(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		look := func(ctx context.Context, m *Member) {
			g.Describe()
			m.Assignment()
			for _, err := range []error{second(g.Lag(ctx)), m.Heartbeat()} {
				require.NoError(t, err)
			}
			_, err := m.Poll(ctx, 0)
			require.ErrorIs(t, err, ErrPolling)
		}
		var calls []string
		var joined *Member
		c := MemberConfig{
			OnAssigned: func(ctx context.Context, m *Member, tps []TopicPartition) {
				calls = append(calls, "assigned")
				look(ctx, m)
				require.NoError(t, m.Pause(tps...))
				require.NoError(t, m.Resume(tps...))
				require.NoError(t, m.Seek(tps[0], partition.Offset(4)))
				require.NoError(t, m.Commit(ctx))
			},
			OnRevoked: func(ctx context.Context, m *Member, tps []TopicPartition) {
				calls = append(calls, "revoked")
				look(ctx, m)
				n, err := m.Position(tps[0])
				require.NoError(t, err)
				require.NoError(t, m.CommitOffsets(ctx, Offset{tps[0], n, []byte("bye")}))
			},
			OnLost: func(ctx context.Context, m *Member, tps []TopicPartition) {
				calls = append(calls, "lost")
				g.Describe()
				require.ErrorIs(t, m.Commit(ctx), ErrFenced)
				require.ErrorIs(t, m.Close(ctx), ErrFenced)
				joined = join(t, g)
			},
		}
		a := join(t, g, c)
		require.Len(t, pollNow(t, a, 0), 16)
		require.Equal(t, int64(4), w.committed(g, first))
		b := join(t, g)
		require.Empty(t, pollNow(t, a, 0))
		require.Empty(t, pollNow(t, b, 0), "OnRevoked committed everything")
		require.Equal(t, of("orders", 1), b.Assignment())
		go func() {
			time.Sleep(DefaultPollInterval - time.Second)
			require.NoError(t, b.Heartbeat())
		}()
		time.Sleep(DefaultPollInterval + time.Second)
		synctest.Wait()
		require.Equal(t, []string{"assigned", "revoked", "lost"}, calls)
		require.Len(t, pollNow(t, b, 0), 6, "it was not committed")
		require.NoError(t, joined.Close(bg))
	})
}

// A handler that does not heed its context keeps Run until it returns, and is
// not stuck while others of its member go on.
func TestSlowHandlers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		add(t, w.topic("orders", 1).Partitions[0], 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		ctx, cancel := context.WithCancel(bg)
		began := time.Now()
		done := running(ctx, g, RunConfig{Workers: 1}, func(context.Context, record.Record) error {
			time.Sleep(DefaultPollInterval - time.Second)
			return nil
		})
		time.Sleep(2*DefaultPollInterval + time.Minute)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, 3*(DefaultPollInterval-time.Second), time.Since(began).Round(time.Second))
		require.Equal(t, int64(3), w.committed(g, first), "each took less than PollInterval")
	})
}

// What gaps and trims leave out is no lag, and damage is.
func TestLagOfWhatIsNotThere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		log := w.topic("orders", 1).Partitions[0]
		add(t, log, 500)
		require.NoError(t, log.Sync(bg))
		w.damage("orders", 1)
		g := w.group("g", Config{Topics: []string{"orders"}})
		m := join(t, g)
		pollNow(t, m, 1)
		require.NoError(t, m.Commit(bg))
		lags, err := g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, int64(499), lags[0].Records)
		report, err := log.Repair(bg, partition.KeepIntact)
		require.NoError(t, err)
		gone := report.GivenUp[0].To - report.GivenUp[0].From
		require.Positive(t, gone)
		lags, err = g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, 499-gone, lags[0].Records)
		require.NoError(t, m.CommitOffsets(bg, Offset{first, report.GivenUp[0].From + 1, nil}), "in the middle of the gap")
		lags, err = g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, 500-report.GivenUp[0].To, lags[0].Records)
		require.NoError(t, log.Trim(bg, 480))
		lags, err = g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, 500-log.Start(), lags[0].Records)
		require.Less(t, lags[0].Committed, log.Start())
	})
}

// A static member that was fenced keeps no place, and one whose InstanceID is
// used anew goes on from what was committed.
func TestSecondStaticMemberGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		add(t, w.topic("orders", 1).Partitions[0], 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g, MemberConfig{InstanceID: "i"})
		recs := pollNow(t, a, 6)
		require.NoError(t, a.CommitRecords(bg, recs[2]))
		b := join(t, g, MemberConfig{InstanceID: "i"})
		require.ErrorIs(t, a.CommitRecords(bg, recs...), ErrFenced)
		require.Equal(t, int64(3), w.committed(g, first))
		require.Equal(t, int64(3), pollNow(t, b, 1)[0].Offset)
		require.Len(t, g.Describe().Members, 1)
		require.ErrorContains(t, a.Heartbeat(), b.ID()+` joined with its instance id, "i"`)
	})
}

// A member that appends wake is closed while its group is: who comes second finds
// it closed. The race detector looks.
func TestCloseWhileTheGroupCloses(t *testing.T) {
	for range 100 {
		inWorld(t, func(t *testing.T, w *world) {
			w.topic("orders", 1)
			g := w.group("g", Config{Topics: []string{"orders"}})
			closed := make(chan error, 1)
			m := join(t, g, MemberConfig{OnRevoked: func(context.Context, *Member, []TopicPartition) {
				go func() { closed <- g.Close() }()
			}})
			require.Empty(t, pollNow(t, m, 1))
			require.NotNil(t, m.watched)
			if err := m.Close(bg); err != nil {
				require.ErrorIs(t, err, ErrClosed)
			}
			require.NoError(t, <-closed)
			w.groups = nil
			require.Nil(t, m.watched)
			require.ErrorIs(t, second(m.Poll(bg, 1)), ErrClosed)
		})
	}
}

package consumergroup

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

var first = TopicPartition{"orders", 0}

// one is a group of one partition of n records, and a member of it.
func one(t *testing.T, w *world, n int, c Config) (*Group, *Member) {
	t.Helper()
	add(t, w.topic("orders", 1).Partitions[0], n)
	c.Topics = []string{"orders"}
	g := w.group("g", c)
	return g, join(t, g)
}

func TestCommitModes(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy CommitPolicy
		polls  []int // how many each poll may return
		wait   time.Duration
		want   []int64 // what is committed after each
	}{
		{"manual", CommitPolicy{}, []int{10, 10, 10}, time.Hour, []int64{-1, -1, -1}},
		{"interval", CommitPolicy{Interval: time.Minute}, []int{10, 10, 10, 10}, 40 * time.Second, []int64{-1, 10, 10, 30}},
		{"every 15", CommitPolicy{Records: 15}, []int{10, 10, 10, 10}, 0, []int64{-1, -1, 15, 15}},
		{"each", CommitPolicy{Records: 1}, []int{10, 10, 10}, 0, []int64{-1, 1, 2}},
		{"exhausted", CommitPolicy{Exhausted: true}, []int{10, 20, 10}, 0, []int64{-1, 10, 30}},
		{"before", CommitPolicy{BeforeHandOut: true}, []int{10, 20, 10}, 0, []int64{10, 30, 40}},
		{"first of two", CommitPolicy{Interval: time.Minute, Records: 25}, []int{10, 10, 10, 10}, 0, []int64{-1, -1, -1, 25}},
		{"the other of two", CommitPolicy{Interval: time.Minute, Records: 25}, []int{10, 10, 10}, time.Minute, []int64{-1, 10, 20}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				g, m := one(t, w, 100, Config{Commit: test.policy, PollInterval: 24 * time.Hour})
				next := int64(0)
				var got []int64
				for _, n := range test.polls {
					time.Sleep(test.wait)
					recs := pollNow(t, m, n)
					require.NotEmpty(t, recs)
					require.Equal(t, next, recs[0].Offset)
					next += int64(len(recs))
					got = append(got, w.committed(g, first))
				}
				require.Equal(t, test.want, got)
				require.NoError(t, m.Close(bg))
				if (test.policy == CommitPolicy{}) {
					require.Equal(t, int64(-1), w.committed(g, first))
				} else {
					require.LessOrEqual(t, w.committed(g, first), next)
				}
			})
		})
	}
}

// A member that waits at the end commits by time all the same.
func TestIntervalCommitsWhileWaiting(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{Commit: CommitPolicy{Interval: time.Minute}})
		require.Len(t, pollNow(t, m, 0), 10)
		ctx, cancel := context.WithTimeout(bg, 61*time.Second)
		defer cancel()
		_, err := m.Poll(ctx, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(10), w.committed(g, first))
	})
}

func TestCommitNeverGoesBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 100, Config{})
		recs := pollNow(t, m, 50)
		require.NoError(t, m.CommitRecords(bg, recs[39], recs[10]))
		require.Equal(t, int64(40), w.committed(g, first))
		require.NoError(t, m.CommitRecords(bg, recs[10]))
		require.Equal(t, int64(40), w.committed(g, first))
		require.NoError(t, m.CommitOffsets(bg, Offset{first, 40, []byte("so far")}), "metadata alone")
		require.NoError(t, m.Seek(first, partition.Offset(5)))
		require.Equal(t, int64(40), w.committed(g, first), "not before it is committed")
		require.NoError(t, m.Commit(bg))
		require.Equal(t, int64(5), w.committed(g, first))
		require.Equal(t, int64(5), pollNow(t, m, 1)[0].Offset)
		require.NoError(t, m.Commit(bg))
		require.NoError(t, m.CommitOffsets(bg, Offset{first, 2, nil}))
		require.Equal(t, int64(6), w.committed(g, first), "and not again by itself")
		n, err := m.Position(first)
		require.NoError(t, err)
		require.Equal(t, int64(6), n)
	})
}

func TestMetadata(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{})
		pollNow(t, m, 0)
		err := m.CommitOffsets(bg, Offset{first, 4, make([]byte, MaxMetadataBytes+1)})
		require.ErrorIs(t, err, partition.ErrTooLarge)
		require.Equal(t, int64(-1), w.committed(g, first))
		meta := bytes.Repeat([]byte("m"), MaxMetadataBytes)
		require.NoError(t, m.CommitOffsets(bg, Offset{first, 4, meta}))
		clear(meta)
		lags, err := g.Lag(bg)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("m", MaxMetadataBytes), string(lags[0].Metadata))
	})
}

// What is trimmed may still be committed, and what is behind it is gone on with.
func TestTrimOvertakesAMember(t *testing.T) {
	for _, test := range []struct {
		policy StartPolicy
		next   int64 // -1: an error
	}{{Earliest(), 950}, {Latest(), 1000}, {Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), 950}, {Fail(), -1}} {
		t.Run(test.policy.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				g, m := one(t, w, 1000, Config{Trimmed: test.policy})
				recs := pollNow(t, m, 50)
				log := w.topics["orders"].Partitions[0]
				require.NoError(t, log.Trim(bg, 950))
				require.NoError(t, m.CommitRecords(bg, recs...), "retention does not fail a commit")
				require.Equal(t, int64(50), w.committed(g, first))
				last, err := int64(49), error(nil)
				for recs = nil; err == nil && (len(recs) == 0 || recs[0].Offset == last+1); {
					if len(recs) > 0 {
						last = recs[len(recs)-1].Offset // what was in memory
					}
					add(t, log, 1)
					recs, err = m.Poll(bg, 10)
				}
				require.Less(t, last, int64(200))
				if test.next < 0 {
					require.ErrorIs(t, err, ErrNoPosition)
					_, err = m.Poll(bg, 0)
					require.ErrorIs(t, err, ErrNoPosition)
					require.ErrorIs(t, err, partition.ErrOffsetOutOfRange)
					done := make(chan error)
					go func() { done <- g.Reset(bg, partition.First()) }()
					synctest.Wait()
					require.Equal(t, int64(950), pollNow(t, m, 1)[0].Offset)
					require.NoError(t, <-done)
					return
				}
				require.NoError(t, err)
				require.GreaterOrEqual(t, recs[0].Offset, test.next)
				to := recs[0].Offset
				require.Equal(t, []error{&TrimmedError{"g", first, last + 1, to}}, w.reported())
				require.Equal(t, []Skipped{{first, to - last - 1}}, g.Describe().Skipped)
			})
		})
	}
}

func TestSeekPauseResume(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		m := join(t, g, MemberConfig{OnAssigned: func(_ context.Context, m *Member, tps []TopicPartition) {
			require.NoError(t, m.Seek(tps[0], partition.Offset(8)))
		}})
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 2, {"orders", 1}: 10}, pollAll(t, m))
		require.NoError(t, m.Pause(first))
		require.NoError(t, m.Seek(first, partition.First()))
		require.Empty(t, pollAll(t, m))
		require.Equal(t, of("orders", 0), g.Describe().Members[0].Paused)
		require.NoError(t, m.Resume(first))
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 10}, pollAll(t, m))
		for start, next := range map[partition.Start]int64{
			partition.Last(3): 7, partition.End(): 10, partition.After(4): 5, partition.At(time.Now().Add(time.Hour)): 10,
		} {
			require.NoError(t, m.Seek(first, start))
			n, err := m.Position(first)
			require.NoError(t, err)
			require.Equal(t, next, n, "%v", start)
		}
		for _, bad := range []error{
			m.Seek(first, partition.Offset(11)), m.Seek(first, partition.Last(-1)), m.Seek(TopicPartition{"orders", 2}, partition.First()),
			m.Pause(first, TopicPartition{"orders", 7}),
		} {
			require.Error(t, bad)
		}
		require.Empty(t, g.Describe().Members[0].Paused)
	})
}

func TestReset(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		var calls []string
		note := func(what string) Callback {
			return func(_ context.Context, m *Member, tps []TopicPartition) { calls = append(calls, what) }
		}
		a := join(t, g, MemberConfig{OnAssigned: note("assigned"), OnRevoked: note("revoked")})
		b := join(t, g)
		settle(t, g, a, b)
		pollAll(t, a)
		pollAll(t, b)
		require.NoError(t, a.Commit(bg))
		done := make(chan error, 1)
		go func() { done <- g.Reset(bg, partition.Offset(3)) }()
		synctest.Wait()
		got := pollAll(t, a)
		require.Empty(t, got, "b did not let go yet")
		got = pollAll(t, b)
		require.NoError(t, <-done)
		require.Equal(t, 7, pollAll(t, a)[first])
		require.Equal(t, 7, got[TopicPartition{"orders", 1}]+pollAll(t, b)[TopicPartition{"orders", 1}])
		require.Equal(t, []string{"assigned", "revoked", "assigned"}, calls)
		require.Equal(t, int64(3), w.committed(g, first))

		require.ErrorIs(t, g.Reset(bg, partition.Offset(11)), partition.ErrOffsetOutOfRange)
		require.ErrorIs(t, g.Reset(bg, partition.First(), TopicPartition{"orders", 9}), ErrInvalid)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		require.ErrorIs(t, g.Reset(ctx, partition.First()), context.DeadlineExceeded)
		require.Equal(t, int64(3), w.committed(g, first), "nothing is changed")
		addAll(t, w.topics["orders"], 1)
		require.Equal(t, 1, pollAll(t, a)[first], "and it goes on")
	})
}

// A group that is told not to guess begins where Reset says.
func TestStartFail(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}, Start: Fail()})
		_, err := g.Join(bg, MemberConfig{})
		require.ErrorIs(t, err, ErrNoPosition)
		_, ok := w.ledger.Spec("g")
		require.False(t, ok, "no change of state")
		require.NoError(t, g.Reset(bg, partition.Last(2)))
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 2, {"orders", 1}: 2}, pollAll(t, join(t, g)))
	})
}

// Where a group begins is decided once.
func TestStartIsStored(t *testing.T) {
	for _, test := range []struct {
		policy StartPolicy
		want   int
	}{{Earliest(), 15}, {Latest(), 5}, {Since(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)), 10}} {
		t.Run(test.policy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				add(t, w.topic("orders", 1).Partitions[0], 5)
				time.Sleep(2 * time.Hour)
				add(t, w.topics["orders"].Partitions[0], 5)
				join(t, w.group("g", Config{Topics: []string{"orders"}, Start: test.policy}))
				w.close()
				w = openWorld(t, w.mem.Crash(func() bool { return true }))
				add(t, w.topic("orders", 1).Partitions[0], 5)
				m := join(t, w.group("g", Config{Topics: []string{"orders"}, Start: Fail()}))
				require.Equal(t, test.want, pollAll(t, m)[first])
				w.close()
			})
		})
	}
}

// A commit whose context ends may be stored: until that is known nobody else
// gets the partition, and what it finds then is never less.
func TestCommitWhoseOutcomeIsUnknown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, a := one(t, w, 10, Config{})
		pollNow(t, a, 5)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 1, nil}))
		gate, entered := make(chan struct{}), make(chan struct{}, 10)
		w.mem.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync {
				entered <- struct{}{}
				<-gate
			}
			return nil
		})
		blocker := make(chan error, 1)
		go func() {
			blocker <- w.ledger.Commit(bg, "other", []Committed{{Topic: "x", TopicID: TopicID{9}, Offset: 1}})
		}()
		<-entered
		ctx, cancel := context.WithCancel(bg)
		done := make(chan error)
		go func() { done <- a.Commit(ctx) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, partition.ErrOutcomeUnknown)
		joined := make(chan *Member)
		go func() { joined <- join(t, g, MemberConfig{InstanceID: "0"}) }() // sorted first: it gets the partition
		b := <-joined
		require.Equal(t, 1, len(g.Describe().Handovers))
		go a.Close(bg) //nolint:errcheck // it waits for the gate, and nothing is left to commit
		synctest.Wait()
		require.Empty(t, b.Assignment())
		w.mem.OnOp(nil)
		close(gate)
		require.NoError(t, <-blocker)
		synctest.Wait()
		require.Equal(t, int64(5), w.committed(g, first))
		require.Equal(t, int64(5), pollNow(t, b, 1)[0].Offset)
	})
}

func TestLateCommits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		old := pollNow(t, a, 0)
		b := join(t, g)
		require.Empty(t, pollNow(t, b, 0))
		for range 5 { // until orders/1 is taken from a
			require.Empty(t, pollNow(t, a, 0))
			require.NoError(t, b.Heartbeat())
			time.Sleep(DefaultPollInterval / 4)
		}
		require.Equal(t, 10, pollAll(t, b)[TopicPartition{"orders", 1}])
		var fenced *FencedError
		require.ErrorAs(t, a.CommitRecords(bg, old...), &fenced)
		require.Equal(t, of("orders", 1), fenced.Partitions)
		require.Equal(t, int64(10), w.committed(g, first), "the rest is written")
		require.Equal(t, int64(-1), w.committed(g, TopicPartition{"orders", 1}))
		require.NoError(t, b.CommitOffsets(bg, Offset{TopicPartition{"orders", 1}, 4, nil}))
		require.NoError(t, b.Close(bg))
		require.Equal(t, int64(4), pollNow(t, a, 1)[0].Offset, "it has it again")
		require.ErrorAs(t, a.CommitRecords(bg, old...), &fenced, "and what it polled then does not count")
		require.Equal(t, int64(4), w.committed(g, TopicPartition{"orders", 1}))
	})
}

// A commit that names what was lost wrote the rest, so it lets go like any other.
func TestFencedCommitLetsGo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 3), 1)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g, MemberConfig{InstanceID: "0"})
		require.Len(t, pollNow(t, a, 0), 3)
		b := join(t, g, MemberConfig{InstanceID: "1"})
		for range 5 { // until orders/2 is taken from a
			require.NoError(t, a.Heartbeat())
			require.NoError(t, b.Heartbeat())
			time.Sleep(DefaultPollInterval / 4)
		}
		require.Equal(t, append(of("orders", 0), of("orders", 1)...), a.Assignment())
		for n := range 2 {
			require.NoError(t, a.CommitOffsets(bg, Offset{TopicPartition{"orders", n}, 1, nil}))
		}
		join(t, g, MemberConfig{InstanceID: "2"})
		require.Len(t, told(a.claims), 2, "orders/1 is to go")
		var fenced *FencedError
		require.ErrorAs(t, a.Commit(bg), &fenced)
		require.Equal(t, of("orders", 2), fenced.Partitions)
		require.Len(t, told(a.claims), 1)
	})
}

func TestPollGoesOnBehindDamage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		log := w.topic("orders", 1).Partitions[0]
		add(t, log, 500)
		require.NoError(t, log.Sync(bg))
		seg := log.Stats()
		require.Greater(t, seg.Segments, 2)
		w.damage("orders", 1)
		m := join(t, w.group("g", Config{Topics: []string{"orders"}}))
		var damage *partition.CorruptError
		next := int64(0)
		for errs := 0; next < 500; {
			recs, err := m.Poll(bg, 0)
			if err != nil {
				require.ErrorAs(t, err, &damage)
				require.Equal(t, next, damage.FromOffset)
				next = damage.ToOffset
				errs++
				require.Equal(t, 1, errs)
				continue
			}
			require.Equal(t, next, recs[0].Offset)
			next = recs[len(recs)-1].Offset + 1
		}
		require.NotNil(t, damage)
		require.NoError(t, m.Commit(bg))
	})
}

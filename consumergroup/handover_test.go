package consumergroup

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A member that has not committed anything yet is waited for like any other.
func TestHandoverWaitsForTheFirstCommit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		require.Len(t, pollNow(t, a, 0), 20)
		b := join(t, g)
		require.Empty(t, pollNow(t, a, 0))
		require.Empty(t, pollNow(t, b, 0), "a did not commit what it was given")
		require.NoError(t, a.Commit(bg))
		require.Empty(t, pollNow(t, b, 0), "and nothing is repeated")
		require.Equal(t, of("orders", 1), b.Assignment())
	})
}

// Who commits while another goroutine waits in Poll lets go as well.
func TestACommitDuringPollLetsGo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		var lost, revoked []TopicPartition
		a := join(t, g, MemberConfig{
			OnLost:    func(_ context.Context, _ *Member, tps []TopicPartition) { lost = tps },
			OnRevoked: func(_ context.Context, _ *Member, tps []TopicPartition) { revoked = tps },
		})
		require.Len(t, pollNow(t, a, 0), 20)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 5, nil}))
		ctx, cancel := context.WithCancel(bg)
		polled := make(chan error)
		go func() {
			_, err := a.Poll(ctx, 0)
			polled <- err
		}()
		b := join(t, g)
		synctest.Wait()
		require.NoError(t, a.Commit(bg))
		synctest.Wait()
		require.Equal(t, of("orders", 1), revoked)
		require.Equal(t, of("orders", 1), b.Assignment())
		require.Empty(t, g.Describe().Handovers)
		require.Empty(t, lost)
		cancel()
		require.ErrorIs(t, <-polled, context.Canceled)
	})
}

// What a member is given while it is being closed goes on to others.
func TestWhatAClosingMemberIsGivenGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.topic("audit-1", 2)
		g := w.group("g", Config{Pattern: "audit-.*"})
		a := join(t, g, MemberConfig{OnRevoked: func(context.Context, *Member, []TopicPartition) {
			w.topic("audit-2", 2)
		}})
		b := join(t, g)
		settle(t, g, a, b)
		require.NoError(t, a.Close(bg))
		settle(t, g, b)
		require.Len(t, b.Assignment(), 4)
	})
}

// A book takes note of what a member was told that it has.
type book struct {
	mu    sync.Mutex
	has   map[TopicPartition]bool
	wrong []string
}

func (b *book) note(what string, now bool) Callback {
	return func(_ context.Context, m *Member, tps []TopicPartition) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, tp := range tps {
			if b.has[tp] == now {
				b.wrong = append(b.wrong, fmt.Sprintf("%s: %s of %v", m.id, what, tp))
			}
			b.has[tp] = now
		}
	}
}

// Each partition is revoked or lost once, and only if it was assigned.
func TestCallbacksComeInPairs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 6), 10)
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{Exhausted: true}})
		var books []*book
		with := func() *Member {
			b := &book{has: map[TopicPartition]bool{}}
			books = append(books, b)
			return join(t, g, MemberConfig{OnAssigned: b.note("assigned", true), OnRevoked: b.note("revoked", false), OnLost: b.note("lost", false)})
		}
		a := with()
		require.NoError(t, a.Close(bg), "it never polled: it has nothing")
		a = with()
		pollNow(t, a, 0)
		b := with()
		pollNow(t, a, 0)
		stuck := with() // it never polls
		pollNow(t, a, 0)
		pollNow(t, b, 0)
		for range 8 {
			time.Sleep(DefaultPollInterval / 4)
			require.NoError(t, a.Heartbeat())
			require.NoError(t, b.Heartbeat())
		}
		require.ErrorIs(t, stuck.Heartbeat(), ErrFenced)
		pollNow(t, a, 0)
		pollNow(t, b, 0)
		require.NoError(t, a.Close(bg))
		pollNow(t, b, 0)
		require.NoError(t, b.Close(bg))
		for i, b := range books {
			require.Empty(t, b.wrong, "member %d", i)
			for tp, has := range b.has {
				require.False(t, has, "member %d was not told that %v is gone", i, tp)
			}
		}
	})
}

// A claim that was revoked and is still being committed is told of once.
func TestCloseTellsOfWhatIsLeft(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		var told [][]TopicPartition
		a := join(t, g, MemberConfig{OnRevoked: func(_ context.Context, _ *Member, tps []TopicPartition) { told = append(told, tps) }})
		pollNow(t, a, 0)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 5, nil}))
		join(t, g)
		pollNow(t, a, 0)
		require.NoError(t, a.Close(bg))
		require.Equal(t, [][]TopicPartition{of("orders", 1), of("orders", 0)}, told)
	})
}

// A callback that hangs in Poll is no progress.
func TestStuckCallbackIsFenced(t *testing.T) {
	for _, name := range []string{"OnAssigned", "OnRevoked"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				addAll(t, w.topic("orders", 2), 10)
				g := w.group("g", Config{Topics: []string{"orders"}})
				free := make(chan struct{})
				hang := func(context.Context, *Member, []TopicPartition) { <-free }
				c := MemberConfig{OnAssigned: hang}
				if name == "OnRevoked" {
					c = MemberConfig{OnRevoked: hang}
				}
				a := join(t, g, c)
				if name == "OnRevoked" {
					pollNow(t, a, 1)
				}
				b := join(t, g)
				polled := make(chan error)
				go func() {
					_, err := a.Poll(bg, 0)
					polled <- err
				}()
				time.Sleep(DefaultPollInterval - time.Second)
				require.NoError(t, b.Heartbeat())
				time.Sleep(2 * time.Second)
				require.Len(t, pollAll(t, b), 2)
				close(free)
				require.ErrorIs(t, <-polled, ErrFenced)
			})
		})
	}
}

// At most once: what Seek or damage moved keeps nothing from moving.
func TestHandoverBeforeHandOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		second := TopicPartition{"orders", 1}
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{BeforeHandOut: true}})
		a := join(t, g)
		require.Len(t, pollNow(t, a, 0), 20)
		require.NoError(t, a.Seek(second, partition.Offset(7)))
		b := join(t, g)
		require.Empty(t, pollNow(t, a, 0))
		require.Equal(t, []int64{7, 8, 9}, offsets(pollNow(t, b, 0)), "it goes on where Seek said")
		require.NoError(t, b.CommitOffsets(bg, Offset{second, 8, nil}))
		require.Equal(t, int64(10), w.committed(g, second), "a commit does not go back")
		require.NoError(t, a.Seek(first, partition.Offset(2)))
		require.Len(t, pollNow(t, a, 4), 4)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 3, nil}))
		require.Equal(t, int64(6), w.committed(g, first), "nor after a Seek and a commit behind that")
	})
}

// While the outcome of a commit is unknown another one cannot go behind it.
func TestCommitBehindAnUnknownOneDoesNotGoBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, a := one(t, w, 10, Config{})
		recs := pollNow(t, a, 0)
		require.NoError(t, a.CommitRecords(bg, recs[0]))
		gate, entered := make(chan struct{}), make(chan struct{}, 10)
		w.mem.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync {
				entered <- struct{}{}
				<-gate
			}
			return nil
		})
		done := make(chan error, 2)
		go func() {
			done <- w.ledger.Commit(bg, "other", []Committed{{Topic: "x", TopicID: TopicID{9}, Offset: 1}})
		}()
		<-entered
		ctx, cancel := context.WithCancel(bg)
		go func() { done <- a.CommitRecords(ctx, recs...) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, partition.ErrOutcomeUnknown)
		go func() { done <- a.CommitRecords(bg, recs[4]) }()
		synctest.Wait()
		ended, stop := context.WithTimeout(bg, time.Second)
		defer stop()
		require.Error(t, a.CommitRecords(ended, recs[3]), "the wait ends with the context")
		w.mem.OnOp(nil)
		close(gate)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.Equal(t, int64(10), w.committed(g, first))
	})
}

// What Seek skipped can be committed, and so can what was not polled.
func TestCommitOfWhatWasNotPolled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, a := one(t, w, 10, Config{})
		require.Len(t, pollNow(t, a, 2), 2)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 4, nil}))
		require.NoError(t, a.Commit(bg))
		require.Equal(t, int64(4), w.committed(g, first), "what was polled is less")
		require.Empty(t, g.Describe().Handovers)
		b := join(t, g, MemberConfig{InstanceID: "0"}) // sorted first: it gets the partition
		require.Empty(t, pollNow(t, a, 0), "which nothing keeps")
		require.Equal(t, int64(4), pollNow(t, b, 1)[0].Offset)
		require.NoError(t, b.Close(bg))
		time.Sleep(DefaultSessionTimeout + time.Second)
		require.Equal(t, int64(4), pollNow(t, a, 1)[0].Offset)
		require.NoError(t, a.Seek(first, partition.Offset(8)))
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 8, nil}))
		require.Equal(t, int64(8), w.committed(g, first))
	})
}

// A Poll that is to commit every n records is not cut short behind a commit.
func TestPollsOfARecordsPolicyAreWhole(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, a := one(t, w, 40, Config{Commit: CommitPolicy{Records: 10}})
		for range 4 {
			require.Len(t, pollNow(t, a, 0), 10)
		}
	})
}

// Describe says that Reset is what a partition waits for.
func TestDescribeDuringReset(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a, b := join(t, g), join(t, g)
		settle(t, g, a, b)
		done := make(chan error)
		go func() { done <- g.Reset(bg, partition.First()) }()
		synctest.Wait()
		pollNow(t, a, 0)
		d := g.Describe()
		require.Len(t, d.Handovers, 2)
		require.Equal(t, "Reset", d.Handovers[0].Waits)
		require.Equal(t, b.id+" to poll, commit or close", d.Handovers[1].Waits)
		pollNow(t, b, 0)
		require.NoError(t, <-done)
	})
}

// Whoever looks at a group while Run joins finds it whole. For -race.
func TestDescribeWhileRunsJoin(t *testing.T) {
	w := newWorld(t)
	addAll(t, w.topic("orders", 4), 10)
	g := w.group("g", Config{Topics: []string{"orders"}})
	ctx, cancel := context.WithCancel(bg)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			err := g.Run(ctx, RunConfig{Workers: 1}, func(context.Context, record.Record) error { return nil })
			require.ErrorIs(t, err, context.Canceled)
		})
		g.Describe()
	}
	for range 200 {
		g.Describe()
	}
	cancel()
	all.Wait()
	w.close()
}

// Group.Close waits for OnLost, whoever calls it.
func TestCloseWaitsForOnLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.topic("orders", 1)
		g := w.group("g", Config{Topics: []string{"orders"}})
		gate := make(chan struct{})
		lost := MemberConfig{InstanceID: "i", OnLost: func(context.Context, *Member, []TopicPartition) { <-gate }}
		settle(t, g, join(t, g, lost))
		joined := make(chan error)
		go func() {
			_, err := g.Join(bg, lost)
			joined <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		w.groups = nil
		go func() { closed <- g.Close() }()
		synctest.Wait()
		require.Empty(t, closed, "OnLost is being called")
		close(gate)
		require.NoError(t, <-closed)
		require.NoError(t, <-joined)
	})
}

// A group that exists opens although one of its topics was deleted meanwhile,
// and reads the rest.
func TestOpenAgainWithoutATopic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 1), 5)
		w.topic("refunds", 1)
		both := Config{Topics: []string{"orders", "refunds"}}
		g := w.group("g", both)
		a := join(t, g)
		require.Len(t, pollNow(t, a, 0), 5)
		require.NoError(t, a.CommitOffsets(bg, Offset{first, 3, nil}))
		require.NoError(t, g.Close())
		w.groups = nil
		w.deleteTopic("refunds")
		for _, c := range []Config{{}, both} {
			g = w.group("g", c)
			require.Equal(t, []int64{3, 4}, offsets(pollNow(t, join(t, g), 0)))
			require.NoError(t, g.Close())
			w.groups = nil
		}
		g = w.group("g", Config{})
		a = join(t, g)
		addAll(t, w.topic("refunds", 1), 2)
		require.Equal(t, 2, pollAll(t, a)[TopicPartition{"refunds", 0}], "and one of that name later")
	})
}

// At most once by Run loses nothing without a crash when partitions move.
func TestRunBeforeHandOutHandsOverWhole(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 100)
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{BeforeHandOut: true}})
		seen := newWitness()
		ctx, cancel := context.WithCancel(bg)
		handle := func(ctx context.Context, r record.Record) error {
			seen.enter(r)
			defer seen.leave(r)
			time.Sleep(time.Second)
			return nil
		}
		done := []chan error{running(ctx, g, RunConfig{Workers: 4}, handle)}
		time.Sleep(5 * time.Second)
		done = append(done, running(ctx, g, RunConfig{Workers: 4}, handle))
		time.Sleep(10 * time.Minute)
		require.Equal(t, 200, seen.count())
		require.Zero(t, seen.repeats())
		require.Empty(t, seen.wrong)
		require.Len(t, g.Describe().Members[1].Owned, 1)
		cancel()
		for _, d := range done {
			require.ErrorIs(t, <-d, context.Canceled)
		}
	})
}

// A partition that was taken from a member while it was told to let it go is
// not committed by it any more.
func TestWhatIsLostInOnRevokedIsNotCommitted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		second := TopicPartition{"orders", 1}
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{Records: 1000}})
		a := join(t, g, MemberConfig{OnRevoked: func(_ context.Context, m *Member, tps []TopicPartition) {
			for range 3 {
				time.Sleep(DefaultPollInterval / 2)
				require.NoError(t, m.Heartbeat())
			}
		}})
		require.Len(t, pollNow(t, a, 0), 20)
		b := join(t, g)
		polled := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(bg, 2*DefaultPollInterval)
			defer cancel()
			_, err := a.Poll(ctx, 0)
			polled <- err
		}()
		var recs []record.Record
		for len(recs) == 0 {
			recs = pollNow(t, b, 3)
			time.Sleep(time.Minute)
		}
		require.NoError(t, b.CommitRecords(bg, recs...))
		require.Equal(t, int64(3), w.committed(g, second))
		for done := false; !done; {
			select {
			case err := <-polled:
				require.ErrorIs(t, err, context.DeadlineExceeded)
				done = true
			case <-time.After(time.Minute):
				require.NoError(t, b.Heartbeat())
			}
		}
		require.Equal(t, int64(3), w.committed(g, second), "a came too late")
		require.ErrorIs(t, a.Commit(bg), ErrFenced)
		require.Equal(t, int64(10), w.committed(g, first))
	})
}

// What the last Poll returned is not committed by itself, not by Close either.
func TestCloseDoesNotCommitWhatWasJustPolled(t *testing.T) {
	for _, p := range []CommitPolicy{{Exhausted: true}, {Records: 100}, {Interval: time.Hour}} {
		inWorld(t, func(t *testing.T, w *world) {
			g, m := one(t, w, 20, Config{Commit: p})
			require.Len(t, pollNow(t, m, 4), 4)
			require.Len(t, pollNow(t, m, 3), 3)
			require.NoError(t, m.Close(bg))
			require.Equal(t, int64(4), w.committed(g, first))
		})
	}
}

// What could not be committed before it is handed out is not handed out, and
// comes with the next Poll.
func TestWhatIsNotHandedOutComesAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{Commit: CommitPolicy{BeforeHandOut: true}})
		require.Len(t, pollNow(t, m, 2), 2)
		w.mem.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpWriteAt || op.Kind == fs.OpAllocate {
				return fs.ENOSPC
			}
			return nil
		})
		recs, err := m.Poll(bg, 3)
		require.ErrorIs(t, err, fs.ENOSPC)
		require.Empty(t, recs)
		w.mem.OnOp(nil)
		require.Equal(t, int64(2), w.committed(g, first))
		require.Equal(t, []int64{2, 3, 4}, offsets(pollNow(t, m, 3)))
		require.Equal(t, int64(5), w.committed(g, first))
	})
}

// Who waits in Poll is woken by what comes in a partition that it got meanwhile.
func TestWhatCameDuringPollWakes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a, b := join(t, g), join(t, g)
		settle(t, g, a, b)
		polled := make(chan []record.Record)
		go func() {
			recs, err := a.Poll(bg, 0)
			require.NoError(t, err)
			polled <- recs
		}()
		synctest.Wait()
		require.NoError(t, b.Close(bg))
		synctest.Wait()
		require.Equal(t, of("orders", 0, 1), a.Assignment())
		add(t, topic.Partitions[1], 1)
		require.Equal(t, 1, (<-polled)[0].Partition)
	})
}

// To commit is to make progress, and so is Heartbeat.
func TestCommitIsProgress(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := one(t, w, 10, Config{})
		recs := pollNow(t, m, 0)
		for _, r := range recs {
			time.Sleep(DefaultPollInterval - time.Second)
			require.NoError(t, m.CommitRecords(bg, r))
		}
		time.Sleep(DefaultPollInterval - time.Second)
		require.NoError(t, m.Heartbeat())
		time.Sleep(DefaultPollInterval - time.Second)
		require.NoError(t, m.Commit(bg))
	})
}

// What is committed by itself heeds Seek.
func TestSeekIsWhatCloseCommits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 10, Config{Commit: CommitPolicy{Records: 100}})
		require.Len(t, pollNow(t, m, 0), 10)
		require.Empty(t, pollNow(t, m, 0))
		require.NoError(t, m.Seek(first, partition.Offset(2)))
		require.NoError(t, m.Close(bg))
		require.Equal(t, int64(2), w.committed(g, first))
	})
}

// A partition is let go in the owner's next commit, even if there is nothing left to
// be written.
func TestACommitOfNothingLetsGo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 5)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		pollNow(t, a, 0)
		require.NoError(t, a.Commit(bg))
		b := join(t, g)
		require.Len(t, g.Describe().Handovers, 1)
		require.NoError(t, a.Commit(bg))
		require.Equal(t, of("orders", 1), b.Assignment())
	})
}

// With BeforeHandOut all is committed that a member is at: only Commit says that it
// is done with everything.
func TestACommitOfSomeRecordsKeepsTheOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 5)
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{BeforeHandOut: true}})
		a := join(t, g)
		recs := pollNow(t, a, 0)
		b := join(t, g)
		require.NoError(t, a.CommitRecords(bg, recs[:5]...))
		require.Empty(t, b.Assignment())
		require.NoError(t, a.Commit(bg))
		require.Equal(t, of("orders", 1), b.Assignment())
	})
}

// Who commits in OnRevoked may have more to do there.
func TestCloseLetsGoBehindOnRevoked(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 5)
		g := w.group("g", Config{Topics: []string{"orders"}})
		var b *Member
		a := join(t, g, MemberConfig{OnRevoked: func(ctx context.Context, m *Member, tps []TopicPartition) {
			require.NoError(t, m.Commit(ctx))
			require.Empty(t, b.Assignment(), "not before OnRevoked returned")
		}})
		pollNow(t, a, 0)
		b = join(t, g)
		require.NoError(t, a.Close(bg))
		require.Len(t, b.Assignment(), 2, "now it has everything")
	})
}

// A Seek while a Poll commits what it has read before is not undone by that: what is
// read from there on is committed, backwards.
func TestSeekWhileRecordsAreCommittedBeforeHandOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 100, Config{Commit: CommitPolicy{BeforeHandOut: true}})
		pollNow(t, m, 10)
		goOn := w.stall()
		go m.CommitOffsets(bg, Offset{first, 10, []byte("slow")}) //nolint:errcheck // it has the next commit wait
		synctest.Wait()
		polled := make(chan []record.Record)
		go func() {
			recs, err := m.Poll(bg, 10)
			require.NoError(t, err)
			polled <- recs
		}()
		synctest.Wait()
		require.NoError(t, m.Seek(first, partition.Offset(3)))
		goOn()
		require.Equal(t, int64(10), (<-polled)[0].Offset)
		require.Equal(t, int64(20), w.committed(g, first))
		require.Equal(t, int64(3), pollNow(t, m, 2)[0].Offset)
		require.Equal(t, int64(5), w.committed(g, first))
	})
}

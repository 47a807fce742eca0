package consumergroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

func TestOneMemberReadsEverythingInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 3)
		addAll(t, topic, 700)
		g := w.group("g", Config{Topics: []string{"orders"}})
		m := join(t, g)
		next := [3]int64{}
		for range 3 * 700 / 500 * 2 {
			recs := pollNow(t, m, 0)
			require.LessOrEqual(t, len(recs), DefaultPollRecords)
			seen := map[int]bool{}
			for i, r := range recs {
				require.Equal(t, next[r.Partition], r.Offset)
				next[r.Partition]++
				if i > 0 && recs[i-1].Partition != r.Partition {
					require.False(t, seen[r.Partition], "records of a partition stand together")
				}
				seen[r.Partition] = true
			}
		}
		require.Equal(t, [3]int64{700, 700, 700}, next)
		require.Equal(t, of("orders", 0, 1, 2), m.Assignment())
	})
}

func TestPollKeepsRecords(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 1)
		add(t, topic.Partitions[0], 300)
		_, err := topic.Partitions[0].Append(bg, record.Record{Headers: []record.Header{{Key: "h", Value: []byte("v")}}})
		require.NoError(t, err)
		add(t, topic.Partitions[0], 1)
		m := join(t, w.group("g", Config{Topics: []string{"orders"}}))
		var all []record.Record
		for len(all) < 302 {
			all = append(all, pollNow(t, m, 7)...)
		}
		want := make([]record.Record, 0, 302)
		for rec, err := range topic.Partitions[0].Records(bg, partition.First()) {
			require.NoError(t, err)
			want = append(want, rec)
		}
		require.Equal(t, want, all)
	})
}

// With Reuse a poll has the memory of the one before, and what it returns is
// whole until the next.
func TestPollReusesMemory(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 3)
		addAll(t, topic, 400)
		m := join(t, w.group("g", Config{Topics: []string{"orders"}}), MemberConfig{Reuse: true})
		got := map[int][]record.Record{}
		var place *record.Record
		for n := 0; n < 1200; {
			recs := pollNow(t, m, 70)
			require.NotEmpty(t, recs)
			if place == nil {
				place = &recs[0]
			}
			require.Same(t, place, &recs[0])
			for i := range recs {
				p := recs[i].Partition
				got[p] = append(got[p], recs[i].Clone())
			}
			n += len(recs)
		}
		for i, p := range topic.Partitions {
			for rec, err := range p.Records(bg, partition.First()) {
				require.NoError(t, err)
				require.Equal(t, rec, got[i][rec.Offset].Clone())
			}
			require.Len(t, got[i], 400)
		}
	})
}

// Nobody starves behind a partition that has much.
func TestPollTurnsToEachPartition(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 3)
		add(t, topic.Partitions[0], 5000)
		add(t, topic.Partitions[1], 1)
		add(t, topic.Partitions[2], 1)
		m := join(t, w.group("g", Config{Topics: []string{"orders"}}))
		seen := map[int]bool{}
		for range 3 {
			for _, r := range pollNow(t, m, 100) {
				seen[r.Partition] = true
			}
		}
		require.Len(t, seen, 3)
	})
}

func TestPollWaitsForARecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 6)
		m := join(t, w.group("g", Config{Topics: []string{"orders"}}))
		for i := range 20 {
			go func() {
				time.Sleep(time.Hour) // of the bubble: longer than PollInterval
				add(t, topic.Partitions[i%6], 1)
			}()
			recs, err := m.Poll(bg, 0)
			require.NoError(t, err)
			require.Len(t, recs, 1)
			require.Equal(t, i%6, recs[0].Partition)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err := m.Poll(ctx, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = m.Poll(ctx, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Committed 1500 and 2300, processed to 1550 and 2350, crash: on from 1500 and
// 2300.
func TestGoesOnWhereItCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		topic := w.topic("orders", 2)
		add(t, topic.Partitions[0], 2500)
		add(t, topic.Partitions[1], 2500)
		g := w.group("g", Config{Topics: []string{"orders"}})
		m := join(t, g)
		next := map[int]int64{}
		for next[0] < 1550 || next[1] < 2350 {
			for _, r := range pollNow(t, m, 50) {
				next[r.Partition] = r.Offset + 1
				if r.Partition == 0 && r.Offset == 1499 || r.Partition == 1 && r.Offset == 2299 {
					require.NoError(t, m.CommitRecords(bg, r))
				}
			}
		}
		require.NoError(t, topic.Partitions[0].Sync(bg))
		require.NoError(t, topic.Partitions[1].Sync(bg))
		crashed := w.mem.Crash(func() bool { return false })
		w.close()

		w = openWorld(t, crashed)
		w.topic("orders", 2)
		m = join(t, w.group("g", Config{}))
		first := map[int]int64{}
		for len(first) < 2 {
			for _, r := range pollNow(t, m, 0) {
				if _, ok := first[r.Partition]; !ok {
					first[r.Partition] = r.Offset
				}
			}
		}
		require.Equal(t, map[int]int64{0: 1500, 1: 2300}, first)
		w.close()
	})
}

func TestPartitionsAreSharedAndMove(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 6)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		settle(t, g, a)
		require.Equal(t, []string{"[orders/0 orders/1 orders/2 orders/3 orders/4 orders/5]"}, owned(a))
		b := join(t, g)
		settle(t, g, a, b)
		require.Equal(t, []string{"[orders/0 orders/1 orders/2]", "[orders/3 orders/4 orders/5]"}, owned(a, b))
		rest := []*Member{join(t, g), join(t, g), join(t, g), join(t, g), join(t, g), join(t, g)}
		settle(t, g, append(rest, a, b)...)
		require.Equal(t, []string{"[orders/0]", "[orders/1]"}, owned(a, b))
		require.Equal(t, []string{"[]", "[]"}, owned(rest[4:]...))
		require.NoError(t, a.Close(bg))
		settle(t, g, append(rest, b)...)
		require.Equal(t, []string{"[orders/0]", "[orders/5]", "[]"}, owned(b, rest[4], rest[5]), "who was idle takes over")
		addAll(t, topic, 1)
		total := 0
		for _, m := range append(rest, b) {
			for _, n := range pollAll(t, m) {
				total += n
			}
		}
		require.Equal(t, 6, total)
	})
}

// What does not move is not interrupted, and what moves is not read by its new
// owner before the old one committed.
func TestHandoverWaitsForTheCommit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		require.NoError(t, a.Commit(bg))
		require.Len(t, pollNow(t, a, 4), 4)
		require.NoError(t, a.Commit(bg)) // it is one that commits
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 6, {"orders", 1}: 10}, pollAll(t, a))
		b := join(t, g)
		require.Empty(t, pollNow(t, b, 0))
		add(t, topic.Partitions[0], 1)
		add(t, topic.Partitions[1], 1)
		recs := pollNow(t, a, 0)
		require.Len(t, recs, 1, "only of what stays")
		require.Equal(t, 0, recs[0].Partition)
		require.Empty(t, pollNow(t, b, 0))
		d := g.Describe()
		require.Len(t, d.Handovers, 1)
		require.Equal(t, Handover{
			TopicPartition: TopicPartition{"orders", 1}, From: a.id, To: b.id, Since: d.Handovers[0].Since,
			Waits: a.id + ": records up to 10 were polled, and committed up to 0",
		}, d.Handovers[0])
		require.NoError(t, a.Commit(bg))
		require.Equal(t, []int64{10}, offsets(pollNow(t, b, 0)), "nothing is repeated")
		require.Empty(t, g.Describe().Handovers)
	})
}

// A member that polls and does not commit has PollInterval to do so.
func TestHandoverDoesNotWaitForEver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		lost := make(chan []TopicPartition, 1)
		a := join(t, g, MemberConfig{OnLost: func(_ context.Context, _ *Member, tps []TopicPartition) { lost <- tps }})
		pollNow(t, a, 1)
		require.NoError(t, a.Commit(bg))
		pollAll(t, a)
		b := join(t, g)
		began := time.Now()
		for len(lost) == 0 {
			pollNow(t, a, 0)
			require.NoError(t, a.Heartbeat())
			require.NoError(t, b.Heartbeat())
			time.Sleep(time.Second)
			require.Less(t, time.Since(began), 2*DefaultPollInterval)
		}
		require.InDelta(t, DefaultPollInterval, time.Since(began), float64(2*time.Second))
		require.Equal(t, of("orders", 1), <-lost)
		require.Len(t, pollNow(t, b, 0), 10)
		err := a.Commit(bg)
		var fenced *FencedError
		require.ErrorAs(t, err, &fenced)
		require.Equal(t, of("orders", 1), fenced.Partitions)
		require.Equal(t, int64(10), w.committed(g, TopicPartition{"orders", 0}), "what is still owned is written")
		require.NoError(t, a.Commit(bg), "and that is told once")
	})
}

func TestStuckMemberIsFenced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		g := w.group("g", Config{Topics: []string{"orders"}})
		var lost []TopicPartition
		a := join(t, g, MemberConfig{OnLost: func(_ context.Context, _ *Member, tps []TopicPartition) { lost = tps }})
		b := join(t, g)
		require.Empty(t, pollNow(t, b, 0))
		go func() {
			time.Sleep(time.Second)
			addAll(t, topic, 10)
		}()
		recs, err := a.Poll(bg, 0)
		require.NoError(t, err)
		require.NotEmpty(t, recs)
		require.NotNil(t, a.watched)
		require.NoError(t, b.Heartbeat())
		go func() {
			time.Sleep(DefaultPollInterval - time.Second)
			require.NoError(t, b.Heartbeat())
		}()
		time.Sleep(DefaultPollInterval + time.Second)
		synctest.Wait()
		require.Equal(t, of("orders", 0), lost)
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 10, {"orders", 1}: 10}, pollAll(t, b))
		_, err = a.Poll(bg, 0)
		require.ErrorIs(t, err, ErrFenced)
		require.ErrorIs(t, a.Commit(bg), ErrFenced)
		require.ErrorIs(t, a.CommitRecords(bg, recs...), ErrFenced)
		require.ErrorIs(t, a.Heartbeat(), ErrFenced)
		require.ErrorIs(t, a.Close(bg), ErrFenced)
		require.Empty(t, a.Assignment())
		require.Equal(t, int64(-1), w.committed(g, TopicPartition{"orders", 0}))
		require.Nil(t, a.watched, "appends no longer wake it")
	})
}

func TestStaticMembers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.topic("orders", 4)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g, MemberConfig{InstanceID: "a"})
		b := join(t, g, MemberConfig{InstanceID: "b"})
		settle(t, g, a, b)
		generation := g.Describe().Generation
		require.NoError(t, a.Close(bg))
		require.ErrorIs(t, a.Close(bg), ErrClosed)
		time.Sleep(DefaultSessionTimeout - time.Second)
		settleButFor := g.Describe()
		require.Len(t, settleButFor.Handovers, 2)
		require.Contains(t, settleButFor.Handovers[0].Waits, `"a"`)
		a = join(t, g, MemberConfig{InstanceID: "a"})
		settle(t, g, a, b)
		require.Equal(t, []string{"[orders/0 orders/1]", "[orders/2 orders/3]"}, owned(a, b))
		require.Equal(t, generation, g.Describe().Generation, "no rebalance")

		require.NoError(t, a.Close(bg))
		time.Sleep(DefaultSessionTimeout + time.Second)
		settle(t, g, b)
		require.Equal(t, []string{"[orders/0 orders/1 orders/2 orders/3]"}, owned(b), "its place was kept long enough")

		var lost []TopicPartition
		c := join(t, g, MemberConfig{InstanceID: "c", OnLost: func(_ context.Context, _ *Member, tps []TopicPartition) { lost = tps }})
		settle(t, g, b, c)
		second := join(t, g, MemberConfig{InstanceID: "c"})
		require.Equal(t, of("orders", 2, 3), lost)
		_, err := c.Poll(bg, 0)
		require.ErrorIs(t, err, ErrFenced)
		require.ErrorContains(t, err, `joined with its instance id, "c"`)
		settle(t, g, b, second)
		require.Equal(t, []string{"[orders/0 orders/1]", "[orders/2 orders/3]"}, owned(b, second))
	})
}

func TestTopicsComeAndGo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("audit-a", 2), 5)
		w.topic("other", 1)
		g := w.group("g", Config{Pattern: "audit-.*", Start: Latest()})
		var lost []TopicPartition
		m := join(t, g, MemberConfig{OnLost: func(_ context.Context, _ *Member, tps []TopicPartition) { lost = tps }})
		settle(t, g, m)
		require.Equal(t, sorted(of("audit-a", 0, 1)), m.Assignment())
		require.Empty(t, pollAll(t, m), "latest")

		addAll(t, w.topic("audit-b", 1), 3)
		w.topic("my-audit-c", 1)
		require.Equal(t, map[TopicPartition]int{{"audit-b", 0}: 3}, pollAll(t, m), "what came later begins at its first record")
		require.NoError(t, m.Commit(bg))
		w.deleteTopic("audit-b")
		require.Equal(t, of("audit-b", 0), lost)
		require.Empty(t, pollAll(t, m))
		addAll(t, w.topic("audit-b", 2), 4)
		require.Equal(t, map[TopicPartition]int{{"audit-b", 0}: 4, {"audit-b", 1}: 4}, pollAll(t, m), "another topic of that name")
	})
}

func TestAssignorThatFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		fail := errors.New("no idea")
		assign := &scripted{}
		g := w.group("g", Config{Topics: []string{"orders"}, Assignor: assign})
		a := join(t, g)
		settle(t, g, a)
		assign.err = fail
		b := join(t, g)
		addAll(t, topic, 1)
		for _, m := range []*Member{a, b} {
			_, err := m.Poll(bg, 0)
			require.ErrorIs(t, err, ErrAssignor)
			require.ErrorIs(t, err, fail)
		}
		require.Equal(t, map[TopicPartition]int{{"orders", 0}: 1, {"orders", 1}: 1}, pollAll(t, a), "it keeps what it has")
		require.ErrorIs(t, g.Describe().Err, fail)
		assign.err, assign.panics = nil, true
		c := join(t, g)
		_, err := c.Poll(bg, 0)
		require.ErrorIs(t, err, ErrCallback)
		assign.panics = false
		require.NoError(t, c.Close(bg))
		require.NoError(t, g.Describe().Err)
	})
}

// A scripted assignor is Range until it is told to fail.
type scripted struct {
	err    error
	panics bool
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Assign(members []Subscription, topics map[string]int) (map[string][]TopicPartition, error) {
	if s.panics {
		panic("at the assignor")
	}
	if s.err != nil {
		return nil, s.err
	}
	return Range().Assign(members, topics)
}

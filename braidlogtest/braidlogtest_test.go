package braidlogtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/braidlogtest"
	"github.com/braidlog/braidlog/partition"
)

var ctx = context.Background()

// topic returns the topic of a test, of one partition.
func topic(t testing.TB, s *braidlogtest.Store, c braidlog.TopicConfig) *braidlog.Topic {
	t.Helper()
	c.Partitions = 1
	topic, err := s.EnsureTopic(ctx, "orders", c)
	require.NoError(t, err)
	return topic
}

func appendTo(t testing.TB, topic *braidlog.Topic, values ...string) {
	t.Helper()
	for _, v := range values {
		_, err := topic.Append(ctx, braidlog.Record{Value: []byte(v)})
		require.NoError(t, err)
	}
}

// values returns what is in the topic.
func values(t testing.TB, s *braidlogtest.Store) (all []string) {
	t.Helper()
	topic, err := s.Topic("orders")
	if errors.Is(err, braidlog.ErrTopicNotFound) {
		return nil
	}
	require.NoError(t, err)
	for rec, err := range topic.Records(ctx, partition.First()) {
		require.NoError(t, err)
		all = append(all, string(rec.Value))
	}
	return all
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	s := braidlogtest.Open(t)
	orders := topic(t, s, braidlog.TopicConfig{Durability: braidlog.OS})
	appendTo(t, orders, "a", "b")
	require.NoError(t, orders.Sync(ctx))
	appendTo(t, orders, "c")
	s.Kill()
	require.Equal(t, []string{"a", "b", "c"}, values(t, s), "a process that ends loses nothing")
	_, err := orders.Append(ctx, braidlog.Record{})
	require.ErrorIs(t, err, braidlog.ErrClosed, "the topic of the store that was killed")
	s.Crash()
	require.Equal(t, []string{"a", "b"}, values(t, s), "a machine loses what it did not sync")
	appendTo(t, topic(t, s, braidlog.TopicConfig{Durability: braidlog.Sync}), "d")
	s.Crash()
	require.Equal(t, []string{"a", "b", "d"}, values(t, s))
	appendTo(t, topic(t, s, braidlog.TopicConfig{Durability: braidlog.OS}), "e")
	s.Reopen() // Close syncs
	s.Crash()
	require.Equal(t, []string{"a", "b", "d", "e"}, values(t, s))
}

// What a crash keeps of what was not synced is for the caller to say, and is
// always a beginning.
func TestCrashKeeping(t *testing.T) {
	lengths := map[int]bool{}
	for seed := range uint64(40) {
		s := braidlogtest.Open(t)
		orders := topic(t, s, braidlog.TopicConfig{Durability: braidlog.OS})
		var want []string
		for i := range 9 {
			want = append(want, fmt.Sprintf("%d %0600d", i, i))
		}
		appendTo(t, orders, want...)
		rng := rand.New(rand.NewPCG(seed, 0))
		s.CrashKeeping(func() bool { return rng.IntN(4) > 0 })
		got := values(t, s)
		require.Equal(t, want[:len(got)], append([]string{}, got...), "seed %d", seed)
		lengths[len(got)] = true
	}
	require.Greater(t, len(lengths), 3, "%v", lengths)
}

func TestFailNext(t *testing.T) {
	s := braidlogtest.Open(t)
	orders := topic(t, s, braidlog.TopicConfig{})
	appendTo(t, orders, "a")

	s.FailNext(braidlogtest.Write, syscall.ENOSPC)
	_, err := orders.Append(ctx, braidlog.Record{Value: []byte("b")})
	require.ErrorIs(t, err, braidlog.ErrDiskFull)
	require.NotErrorIs(t, err, braidlog.ErrOutcomeUnknown)
	appendTo(t, orders, "c")

	s.FailNext(braidlogtest.Sync, syscall.EIO)
	_, err = orders.Append(ctx, braidlog.Record{Value: []byte("d")})
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, err, braidlog.ErrOutcomeUnknown)
	_, err = orders.Append(ctx, braidlog.Record{Value: []byte("e")})
	require.ErrorIs(t, err, braidlog.ErrFailed)
	s.Crash()
	require.Equal(t, []string{"a", "c"}, values(t, s))

	s.FailNext(braidlogtest.Any, syscall.EIO)
	s.FailNext(braidlogtest.Any, syscall.EMFILE)
	_, err = s.CreateTopic(ctx, "refunds", braidlog.TopicConfig{})
	require.ErrorIs(t, err, syscall.EIO)
	s.Crash() // what has not failed by now is forgotten
	_, err = s.CreateTopic(ctx, "refunds", braidlog.TopicConfig{})
	require.NoError(t, err)
}

// Each kind of operation can be failed, and is what its name says.
func TestEveryOpFails(t *testing.T) {
	fails := map[braidlogtest.Op]func(s *braidlogtest.Store) error{
		braidlogtest.Read: reads, braidlogtest.OpenFile: backs,
		braidlogtest.CloseFile: deletes, braidlogtest.Rename: deletes, braidlogtest.SyncDir: deletes,
		braidlogtest.Mkdir: creates, braidlogtest.Create: creates, braidlogtest.Sync: creates, braidlogtest.Write: creates,
		braidlogtest.Link: backs, braidlogtest.List: backs,
	}
	for op := braidlogtest.Any; op <= braidlogtest.SyncDir; op++ {
		do := fails[op]
		if do == nil {
			continue
		}
		t.Run(op.String(), func(t *testing.T) {
			s := braidlogtest.Open(t)
			orders := topic(t, s, braidlog.TopicConfig{SegmentBytes: 4 << 10})
			for range 9 {
				appendTo(t, orders, fmt.Sprintf("%01000d", 1))
			}
			s.Reopen()
			s.FailNext(op, syscall.EIO)
			if op == braidlogtest.CloseFile { // nobody is told: nothing was written
				require.NoError(t, do(s))
				return
			}
			require.ErrorIs(t, do(s), syscall.EIO)
			require.NotEqual(t, syscall.EIO, do(s), "once")
		})
	}
	require.Equal(t, "any", braidlogtest.Any.String())
	require.Equal(t, "Op(200)", braidlogtest.Op(200).String())
}

func reads(s *braidlogtest.Store) error {
	orders, err := s.Topic("orders")
	if err != nil {
		return err
	}
	_, err = orders.Partition(0).Record(ctx, 2)
	return err
}

func deletes(s *braidlogtest.Store) error { return s.DeleteTopic(ctx, "orders") }

func creates(s *braidlogtest.Store) error {
	_, err := s.CreateTopic(ctx, "refunds", braidlog.TopicConfig{})
	return err
}

func backs(s *braidlogtest.Store) error { return s.Backup(ctx, "/backup") }

func TestPowerOffAfter(t *testing.T) {
	s := braidlogtest.Open(t)
	orders := topic(t, s, braidlog.TopicConfig{})
	s.PowerOffAfter(20)
	acknowledged := []string{}
	var err error
	for i := 0; err == nil; i++ {
		require.False(t, s.PowerIsOff())
		v := fmt.Sprint(i)
		if _, err = orders.Append(ctx, braidlog.Record{Value: []byte(v)}); err == nil {
			acknowledged = append(acknowledged, v)
		}
	}
	require.ErrorIs(t, err, braidlogtest.ErrPowerOff)
	require.True(t, s.PowerIsOff())
	require.NotEmpty(t, acknowledged)
	s.Crash()
	require.False(t, s.PowerIsOff())
	require.Equal(t, acknowledged, values(t, s))
}

// Appends that are under way when the power goes off were in time, or fail.
func TestCrashWhileAppending(t *testing.T) {
	for range 20 {
		s := braidlogtest.Open(t)
		orders := topic(t, s, braidlog.TopicConfig{})
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		var writers sync.WaitGroup
		first := make(chan struct{}, 4)
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					v := fmt.Sprint(w, i)
					if _, err := orders.Append(ctx, braidlog.Record{Value: []byte(v)}); err != nil {
						return
					}
					mu.Lock()
					acknowledged[v] = true
					mu.Unlock()
					if i == 3 {
						first <- struct{}{}
					}
				}
			})
		}
		for range 4 {
			<-first
		}
		s.Crash()
		writers.Wait()
		for _, v := range values(t, s) {
			delete(acknowledged, v)
		}
		require.Empty(t, acknowledged, "lost")
	}
}

// A reporter is a test that may fail.
type reporter struct {
	testing.TB
	failed  bool
	said    string
	cleanup []func()
}

func (r *reporter) Helper()                        {}
func (r *reporter) Cleanup(f func())               { r.cleanup = append(r.cleanup, f) }
func (r *reporter) Failed() bool                   { return r.failed }
func (r *reporter) Logf(format string, a ...any)   { r.said += fmt.Sprintf(format, a...) + "\n" }
func (r *reporter) Errorf(format string, a ...any) { r.failed = true; r.Logf(format, a...) }

func (r *reporter) Fatalf(format string, a ...any) {
	r.Errorf(format, a...)
	runtime.Goexit()
}

// tries runs a test that may fail to its end.
func tries(t *testing.T, test func(r *reporter)) *reporter {
	r := &reporter{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			for _, f := range r.cleanup {
				f()
			}
		}()
		test(r)
	})
	wg.Wait()
	return r
}

// eager is a program that believes in an append before it is durable.
func TestEachCrashFindsWhatIsLost(t *testing.T) {
	for level, lost := range map[braidlog.Durability]bool{braidlog.Sync: false, braidlog.OS: true} {
		var promised []string
		runs := 0
		r := tries(t, func(r *reporter) {
			braidlogtest.EachCrash(r, func(s *braidlogtest.Store) {
				promised = nil
				runs++
				orders, err := s.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1, Durability: level})
				for i := 0; err == nil && i < 3; i++ {
					v := fmt.Sprint(i)
					if _, err = orders.Append(ctx, braidlog.Record{Value: []byte(v)}); err == nil {
						promised = append(promised, v)
					}
				}
			}, func(s *braidlogtest.Store) {
				if got := values(r, s); len(got) < len(promised) {
					r.Errorf("lost: promised %v, found %v", promised, got)
				}
			})
		})
		require.Equal(t, lost, r.failed, "%v: %s", level, r.said)
		if lost {
			require.Regexp(t, `the power went off after \d+ operations on files, before: \w+`, r.said)
		} else {
			require.Greater(t, runs, 15)
		}
	}
}

func TestLeaksAreReported(t *testing.T) {
	stay := make(chan struct{})
	var left sync.WaitGroup
	cases := []struct {
		name, want string
		test       func(s *braidlogtest.Store)
	}{
		{"nothing", "", func(*braidlogtest.Store) {}},
		{"closed before", "", func(s *braidlogtest.Store) { require.NoError(t, s.Close()) }},
		{"a goroutine", "goroutines were left behind", func(*braidlogtest.Store) { left.Go(func() { <-stay }) }},
		{"without power", "", func(s *braidlogtest.Store) {
			appendTo(t, topic(t, s, braidlog.TopicConfig{Durability: braidlog.OS}), "a")
			s.PowerOffAfter(0)
		}},
		{"a reader", "", func(s *braidlogtest.Store) {
			orders := topic(t, s, braidlog.TopicConfig{})
			appendTo(t, orders, "a")
			_, err := orders.Partition(0).NewReader(partition.First()).Next(ctx)
			require.NoError(t, err)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := tries(t, func(r *reporter) { c.test(braidlogtest.Open(r)) })
			if c.want == "" {
				require.False(t, r.failed, r.said)
				return
			}
			require.True(t, r.failed)
			require.Contains(t, r.said, c.want)
		})
	}
	close(stay)
	left.Wait()
}

func TestMisuseIsReported(t *testing.T) {
	for want, misuse := range map[string]func(r *reporter){
		"MaxOpenFiles":          func(r *reporter) { braidlogtest.Open(r, braidlogtest.With(braidlog.Options{MaxOpenFiles: 1})) },
		"FailNext(sync, <nil>)": func(r *reporter) { braidlogtest.Open(r).FailNext(braidlogtest.Sync, nil) },
		"FailNext(Op(99), EIO)": func(r *reporter) { braidlogtest.Open(r).FailNext(99, errors.New("EIO")) },
		"close store: closed": func(r *reporter) {
			s := braidlogtest.Open(r)
			require.NoError(t, s.Close())
			s.Reopen()
		},
	} {
		r := tries(t, misuse)
		require.True(t, r.failed, want)
		require.Contains(t, r.said, want)
	}
	require.Panics(t, func() { braidlogtest.Open(t).Clock.Advance(-1) })
}

// Everything that waits in a store is durably blocked, so that time in a bubble
// goes on, and ends at Close. Nothing is carried from one bubble to the next.
func TestInABubble(t *testing.T) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			s := braidlogtest.Open(t)
			orders := topic(t, s, braidlog.TopicConfig{
				Durability: braidlog.Interval, SegmentBytes: 4 << 10, SegmentAge: time.Hour,
				Retention: braidlog.Retention{Age: 24 * time.Hour},
			})
			appendTo(t, orders, "a")
			p := orders.Partition(0)
			require.Zero(t, p.Durable())
			time.Sleep(2 * time.Second)
			require.EqualValues(t, 1, p.Durable(), "an interval sync")
			s.Crash()
			require.Equal(t, []string{"a"}, values(t, s))

			appendTo(t, topic(t, s, braidlog.TopicConfig{}), "b")
			time.Sleep(30 * time.Hour)
			require.Empty(t, values(t, s), "retention")

			ended := make(chan error, 1)
			tailing := topic(t, s, braidlog.TopicConfig{})
			go func() {
				var last error
				for _, err := range tailing.Tail(ctx, partition.End()) {
					last = err
				}
				ended <- last
			}()
			synctest.Wait()
			s.Reopen()
			require.ErrorIs(t, <-ended, braidlog.ErrClosed)
		})
	}
}

// Many appenders share syncs, in one bubble after the other.
func TestGroupCommitInBubbles(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			s := braidlogtest.Open(t)
			orders := topic(t, s, braidlog.TopicConfig{})
			var writers sync.WaitGroup
			for range 16 {
				writers.Go(func() {
					for range 20 {
						if _, err := orders.Append(ctx, braidlog.Record{Value: []byte("x")}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			writers.Wait()
			s.Crash()
			require.Len(t, values(t, s), 16*20)
		})
	}
}

func TestClockStandsStill(t *testing.T) {
	start := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	synctest.Test(t, func(t *testing.T) { // to see that it does not go by the bubble's
		s := braidlogtest.Open(t, braidlogtest.At(start))
		orders := topic(t, s, braidlog.TopicConfig{Durability: braidlog.Interval})
		appendTo(t, orders, "a")
		time.Sleep(time.Hour)
		require.Equal(t, start, s.Clock.Now())
		require.Zero(t, orders.Partition(0).Durable())

		s.Clock.Advance(time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, orders.Partition(0).Durable())
		s.Crash()
		require.Equal(t, start.Add(time.Second), s.Clock.Now())
		appendTo(t, topic(t, s, braidlog.TopicConfig{}), "b")
		orders = topic(t, s, braidlog.TopicConfig{})
		var times []time.Time
		for rec, err := range orders.Records(ctx, partition.First()) {
			require.NoError(t, err)
			times = append(times, rec.Timestamp)
		}
		require.Equal(t, []time.Time{start, start.Add(time.Second)}, times)
	})
}

func TestClockGoesOn(t *testing.T) {
	s := braidlogtest.Open(t)
	require.InDelta(t, time.Now().UnixNano(), s.Clock.Now().UnixNano(), float64(time.Hour))
	orders := topic(t, s, braidlog.TopicConfig{SegmentBytes: 4 << 10, Retention: braidlog.Retention{Age: time.Hour}})
	appendTo(t, orders, "a")
	s.Clock.Advance(2 * time.Hour)
	require.NoError(t, orders.Enforce(ctx))
	require.Empty(t, values(t, s))
}

// Stores of tests that run side by side know nothing of each other.
func TestSideBySide(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 10 {
				s := braidlogtest.Open(t)
				appendTo(t, topic(t, s, braidlog.TopicConfig{}), fmt.Sprint(i))
				s.Crash()
				require.Equal(t, []string{fmt.Sprint(i)}, values(t, s))
			}
		})
	}
}

package consumergroup

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// Benchmarks of a group have their floors in the same run: work and floor take
// turns, round by round, and medians are told.

// onDisk is a world on the real file system.
func onDisk(b *testing.B) *world {
	b.Helper()
	w := &world{t: b, topics: map[string]Topic{}}
	var err error
	w.shared, err = partition.NewShared(partition.SharedOptions{})
	require.NoError(b, err)
	w.dir, err = fs.OS{}.OpenDir(b.TempDir(), true)
	require.NoError(b, err)
	p, err := partition.OpenIn(w.dir, "groups", partition.Options{Config: LedgerConfig(), Topic: LedgerName, TopicID: LedgerID, Shared: w.shared})
	require.NoError(b, err)
	w.ledger = OpenLedger(p, LedgerOptions{})
	b.Cleanup(w.close)
	return w
}

func roomy(o *partition.Options) { o.SegmentBytes = 128 << 20 }

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkWake: from an append to the return of a Poll that waits for it,
// against a hand-off through a channel. A hand-off to somebody who minds a context
// too, as Poll does, is told beside it.
func BenchmarkWake(b *testing.B) {
	w := onDisk(b)
	topic := w.topic("orders", 6, roomy)
	g := w.group("g", Config{Topics: []string{"orders"}})
	m, err := g.Join(bg, MemberConfig{})
	require.NoError(b, err)
	ctx, stop := context.WithCancel(bg)
	rec := record.Record{Value: make([]byte, 128)}
	ping, mind := make(chan struct{}), make(chan struct{}, 1)
	turns := []struct {
		begin func(i int) error // by who is awake
		wait  func() error      // by who is parked
		took  []time.Duration
		woken chan time.Time
	}{
		{begin: func(i int) error {
			_, err := topic.Partitions[i%6].Append(bg, rec)
			return err
		}, wait: func() error {
			_, err := m.Poll(ctx, 0)
			return err
		}},
		{begin: func(int) error { ping <- struct{}{}; return nil }, wait: func() error {
			if _, ok := <-ping; !ok {
				return context.Canceled
			}
			return nil
		}},
		{begin: func(int) error { mind <- struct{}{}; return nil }, wait: func() error {
			select {
			case <-mind:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
	}
	var parked sync.WaitGroup
	for i := range turns {
		t := &turns[i]
		t.woken = make(chan time.Time)
		parked.Go(func() {
			for t.wait() == nil {
				t.woken <- time.Now()
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		for j := range turns {
			t := &turns[j]
			park()
			began := time.Now()
			err := t.begin(i)
			t.took = append(t.took, (<-t.woken).Sub(began))
			require.NoError(b, err)
		}
	}
	close(ping)
	stop()
	parked.Wait()
	floor := median(turns[1].took)
	b.ReportMetric(float64(median(turns[0].took)), "p50-ns")
	b.ReportMetric(float64(floor), "floor-p50-ns")
	b.ReportMetric(float64(median(turns[2].took)), "select-p50-ns")
	b.ReportMetric(float64(median(turns[0].took))/float64(floor), "of-floor's-time")
}

// park lets the other side go to sleep, and stays awake.
func park() {
	for range 100 {
		runtime.Gosched()
	}
}

// pause lets the other side go to sleep.
func pause() { <-time.After(20 * time.Microsecond) }

// BenchmarkRebalance: 1,000 partitions, from the join of the 100th member to its
// first record, while the others wait in Poll.
func BenchmarkRebalance(b *testing.B) {
	for _, assignor := range []Assignor{Range(), Sticky()} {
		b.Run(assignor.Name(), func(b *testing.B) {
			w := newWorld(b)
			b.Cleanup(w.close)
			topic := w.topic("orders", 1000)
			g := w.group("g", Config{Topics: []string{"orders"}, Assignor: assignor})
			ctx, stop := context.WithCancel(bg)
			var polling sync.WaitGroup
			for range 99 {
				m, err := g.Join(bg, MemberConfig{})
				require.NoError(b, err)
				polling.Go(func() {
					for {
						if _, err := m.Poll(ctx, 0); err != nil || m.Commit(ctx) != nil {
							return
						}
					}
				})
			}
			addAll(b, topic, 1)
			var took []time.Duration
			for b.Loop() {
				quiet(g)
				began := time.Now()
				m, err := g.Join(bg, MemberConfig{OnAssigned: func(_ context.Context, _ *Member, tps []TopicPartition) {
					add(b, topic.Partitions[tps[0].Partition], 1) // nobody else gets it
				}})
				require.NoError(b, err)
				_, err = m.Poll(bg, 0)
				require.NoError(b, err)
				took = append(took, time.Since(began))
				require.NoError(b, m.Close(bg))
			}
			stop()
			polling.Wait()
			b.ReportMetric(float64(median(took))/1e6, "p50-ms")
		})
	}
}

// quiet waits until everybody waits and nothing moves.
func quiet(g *Group) {
	for {
		d := g.Describe()
		idle := len(d.Handovers) == 0
		for _, m := range d.Members {
			idle = idle && m.Waiting
		}
		if idle {
			return
		}
		pause()
	}
}

// BenchmarkCommits: 64 members that commit as often as they can.
func BenchmarkCommits(b *testing.B) {
	w := onDisk(b)
	topic := w.topic("orders", 64)
	addAll(b, topic, 2000)
	g := w.group("g", Config{Topics: []string{"orders"}})
	members := make([]*Member, 64)
	for i := range members {
		m, err := g.Join(bg, MemberConfig{})
		require.NoError(b, err)
		members[i] = m
	}
	syncs := w.ledger.Partition().Stats().Syncs
	began := time.Now()
	commits := 0
	for b.Loop() {
		var all sync.WaitGroup
		for _, m := range members {
			all.Go(func() {
				for range 20 {
					recs, err := m.Poll(bg, 1)
					require.NoError(b, err)
					require.NoError(b, m.CommitRecords(bg, recs...))
				}
			})
		}
		all.Wait()
		commits += 64 * 20
	}
	took := time.Since(began)
	syncs = w.ledger.Partition().Stats().Syncs - syncs
	b.ReportMetric(float64(commits)/took.Seconds(), "commits/s")
	b.ReportMetric(float64(commits)/float64(syncs), "commits/sync")
}

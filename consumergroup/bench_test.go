package consumergroup

import (
	"context"
	"fmt"
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

// BenchmarkPoll: one member of 6 partitions against six readers in turn.
func BenchmarkPoll(b *testing.B) {
	const each = 50_000
	w := onDisk(b)
	topic := w.topic("orders", 6, roomy)
	recs := make([]record.Record, 100)
	for i := range recs {
		recs[i] = record.Record{Key: fmt.Appendf(nil, "key-%08d", i), Value: make([]byte, 128)}
	}
	for _, p := range topic.Partitions {
		for range each / len(recs) {
			for i := range recs {
				_, err := p.Append(bg, recs[i])
				require.NoError(b, err)
			}
		}
	}
	g := w.group("g", Config{Topics: []string{"orders"}})
	m, err := g.Join(bg, MemberConfig{})
	require.NoError(b, err)
	var polls, reads []time.Duration
	for b.Loop() {
		began := time.Now()
		for n := 0; n < 6*each; {
			recs, err := m.Poll(bg, 500)
			require.NoError(b, err)
			n += len(recs)
		}
		polls = append(polls, time.Since(began))
		for i := range topic.Partitions {
			require.NoError(b, m.Seek(TopicPartition{"orders", i}, partition.First()))
		}
		reads = append(reads, readAll(b, topic))
	}
	perPoll, perRead := median(polls)/(6*each), median(reads)/(6*each)
	b.ReportMetric(float64(perPoll), "ns/record")
	b.ReportMetric(float64(perRead), "floor-ns/record")
	b.ReportMetric(float64(median(reads))/float64(median(polls)), "of-floor's-rate")
}

func readAll(b *testing.B, topic Topic) time.Duration {
	began := time.Now()
	n := 0
	for _, p := range topic.Partitions {
		r := p.NewReader(partition.First())
		for {
			_, err := r.TryNext()
			if err != nil {
				require.Equal(b, partition.ErrEnd, err)
				break
			}
			n++
		}
		require.NoError(b, r.Close())
	}
	require.NotZero(b, n)
	return time.Since(began)
}

// BenchmarkWake: from an append to the return of a Poll that waits for it,
// against a hand-off through a channel.
func BenchmarkWake(b *testing.B) {
	w := onDisk(b)
	topic := w.topic("orders", 6, roomy)
	g := w.group("g", Config{Topics: []string{"orders"}})
	m, err := g.Join(bg, MemberConfig{})
	require.NoError(b, err)
	woken := make(chan time.Time)
	var polling sync.WaitGroup
	ctx, stop := context.WithCancel(bg)
	polling.Go(func() {
		for {
			if _, err := m.Poll(ctx, 0); err != nil {
				return
			}
			woken <- time.Now()
		}
	})
	ping, pong := make(chan struct{}), make(chan time.Time)
	polling.Go(func() {
		for range ping {
			pong <- time.Now()
		}
	})
	var wakes, hands []time.Duration
	i := 0
	for b.Loop() {
		i++
		park()
		began := time.Now()
		_, err := topic.Partitions[i%6].Append(bg, record.Record{Value: make([]byte, 128)})
		require.NoError(b, err)
		wakes = append(wakes, (<-woken).Sub(began))
		park()
		began = time.Now()
		ping <- struct{}{}
		hands = append(hands, (<-pong).Sub(began))
	}
	close(ping)
	stop()
	polling.Wait()
	b.ReportMetric(float64(median(wakes)), "p50-ns")
	b.ReportMetric(float64(median(hands)), "floor-p50-ns")
	b.ReportMetric(float64(median(wakes))/float64(median(hands)), "of-floor's-time")
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
						if _, err := m.Poll(ctx, 0); err != nil {
							return
						}
					}
				})
			}
			addAll(b, topic, 1)
			var took []time.Duration
			for b.Loop() {
				quiet(g)
				for _, p := range topic.Partitions { // what the new owner is to get
					_, err := p.Append(bg, record.Record{})
					require.NoError(b, err)
				}
				quiet(g)
				began := time.Now()
				m, err := g.Join(bg, MemberConfig{})
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

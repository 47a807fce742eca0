package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A witness takes note of what handlers see.
type witness struct {
	mu    sync.Mutex
	times map[string]int   // how often each record
	last  map[string]int64 // per partition and key
	busy  map[string]bool  // lanes being processed
	most  int              // lanes processed at a time
	wrong []string
}

func newWitness() *witness {
	return &witness{times: map[string]int{}, last: map[string]int64{}, busy: map[string]bool{}}
}

func laneOf(r record.Record) string { return fmt.Sprintf("%s/%d %s", r.Topic, r.Partition, r.Key) }

// enter notes that a record is being processed. Repeats are legal, and begin a
// key anew.
func (w *witness) enter(r record.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := laneOf(r)
	if w.busy[l] {
		w.wrong = append(w.wrong, "two at a time in "+l)
	}
	w.busy[l] = true
	w.most = max(w.most, len(w.busy))
	id := fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset)
	if last, ok := w.last[l]; ok && r.Offset < last && w.times[id] == 0 {
		w.wrong = append(w.wrong, fmt.Sprintf("%s behind %d in %s", id, last, l))
	}
	w.last[l] = r.Offset
	w.times[id]++
}

func (w *witness) leave(r record.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, laneOf(r))
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.times)
}

func (w *witness) repeats() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.times {
		n += t - 1
	}
	return n
}

// handler takes some time for each record.
func (w *witness) handler(rng *rand.Rand) Handler {
	var mu sync.Mutex
	return func(ctx context.Context, r record.Record) error {
		w.enter(r)
		defer w.leave(r)
		mu.Lock()
		d := time.Duration(rng.IntN(1000)) * time.Millisecond
		mu.Unlock()
		time.Sleep(d)
		return nil
	}
}

// running is Run in the background.
func running(ctx context.Context, g *Group, c RunConfig, h Handler) chan error {
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, c, h) }()
	return done
}

func TestRunProcessesKeysSideBySideAndInOrder(t *testing.T) {
	for _, lanes := range []Lanes{ByKey, ByPartition} {
		t.Run(lanes.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				addAll(t, w.topic("orders", 2), 200)
				g := w.group("g", Config{Topics: []string{"orders"}})
				seen := newWitness()
				ctx, cancel := context.WithCancel(bg)
				done := running(ctx, g, RunConfig{Workers: 8, Lanes: lanes}, seen.handler(rand.New(rand.NewPCG(1, 2))))
				time.Sleep(10 * time.Minute)
				require.Equal(t, 400, seen.count())
				require.Zero(t, seen.repeats())
				require.Empty(t, seen.wrong)
				require.Equal(t, map[Lanes]int{ByKey: 8, ByPartition: 2}[lanes], seen.most)
				require.Equal(t, int64(200), w.committed(g, first))
				cancel()
				require.ErrorIs(t, <-done, context.Canceled)
				require.True(t, g.Describe().Empty)
			})
		})
	}
}

// Handlers have records while others are polled, so Reuse is not for them.
func TestRunKeepsRecords(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 400)
		g := w.group("g", Config{Topics: []string{"orders"}})
		ctx, cancel := context.WithCancel(bg)
		var mu sync.Mutex
		var all []record.Record
		done := running(ctx, g, RunConfig{Member: MemberConfig{Reuse: true}}, func(_ context.Context, r record.Record) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
			return nil
		})
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Len(t, all, 800)
		for _, r := range all {
			require.Equal(t, fmt.Sprint(r.Offset), string(r.Value))
		}
	})
}

// A run that is stopped in the middle commits what is done without a gap.
func TestRunCommitsThePrefix(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		log := w.topic("orders", 1).Partitions[0]
		add(t, log, 20)
		g := w.group("g", Config{Topics: []string{"orders"}})
		ctx, cancel := context.WithCancel(bg)
		done := running(ctx, g, RunConfig{Workers: 5}, func(ctx context.Context, r record.Record) error {
			if r.Offset == 3 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		time.Sleep(DefaultRunInterval + time.Second)
		require.Equal(t, int64(3), w.committed(g, first))
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, int64(3), w.committed(g, first))
		require.Equal(t, int64(3), pollNow(t, join(t, g), 1)[0].Offset)
	})
}

func TestRunRetriesAndBuries(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		log := w.topic("orders", 1).Partitions[0]
		dead := w.topic("orders.dead", 1).Partitions[0]
		add(t, log, 20)
		g := w.group("g", Config{Topics: []string{"orders"}, Commit: CommitPolicy{Exhausted: true}})
		var tries atomic.Int64
		ctx, cancel := context.WithCancel(bg)
		done := running(ctx, g, RunConfig{Workers: 3, DeadLetter: "orders.dead", Attempts: 4}, func(_ context.Context, r record.Record) error {
			switch r.Offset {
			case 7:
				if tries.Add(1) < 4 {
					return errors.New("not yet")
				}
			case 9:
				panic("never")
			}
			return nil
		})
		time.Sleep(time.Hour)
		require.Equal(t, int64(4), tries.Load())
		require.Equal(t, int64(20), w.committed(g, first))
		require.Equal(t, int64(1), dead.End())
		letter, err := dead.Record(bg, 0)
		require.NoError(t, err)
		require.Equal(t, "9", string(letter.Value))
		require.Equal(t, "k4", string(letter.Key))
		require.Equal(t, []record.Header{
			{Key: HeaderGroup, Value: []byte("g")}, {Key: HeaderTopic, Value: []byte("orders")},
			{Key: HeaderPartition, Value: []byte("0")}, {Key: HeaderOffset, Value: []byte("9")},
			{Key: HeaderAttempts, Value: []byte("4")}, {Key: HeaderError, Value: []byte("handler: it panicked: never")},
		}, letter.Headers)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// What is added to a dead letter has the room that is told.
func TestDeadLettersAreLittleLarger(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		name := strings.Repeat("n", 200)
		p := w.topic(name, 1).Partitions[0]
		most := p.Config().MaxRecordBytes
		_, err := p.Append(bg, record.Record{Value: make([]byte, most)})
		require.NoError(t, err)
		small := w.topic("small", 1)
		dead := w.topic("dead", 1, func(o *partition.Options) { o.MaxRecordBytes, o.SegmentBytes = most+2<<10, 0 })
		g := w.group(name, Config{Topics: []string{name}})
		ctx, cancel := context.WithCancel(bg)
		fails := func(context.Context, record.Record) error { return errors.New(strings.Repeat("e", 1<<20)) }
		require.ErrorIs(t, g.Run(ctx, RunConfig{DeadLetter: "small"}, fails), partition.ErrTooLarge)
		require.Zero(t, small.Partitions[0].End())
		done := running(ctx, g, RunConfig{DeadLetter: "dead"}, fails)
		time.Sleep(time.Minute)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, int64(1), dead.Partitions[0].End(), "it comes again, and is taken here")
	})
}

func TestRunEndsWithWhatNobodyTakes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		add(t, w.topic("orders", 1).Partitions[0], 20)
		g := w.group("g", Config{Topics: []string{"orders"}})
		fail := errors.New("no")
		err := g.Run(bg, RunConfig{Workers: 3}, func(_ context.Context, r record.Record) error {
			if r.Offset == 9 {
				return fail
			}
			return nil
		})
		var failed *HandlerError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, &HandlerError{first, 9, 3, fail}, failed)
		require.Equal(t, int64(9), w.committed(g, first))
	})
}

func TestRunRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 1, Config{})
		nothing := func(context.Context, record.Record) error { return nil }
		for _, c := range []RunConfig{{Workers: -1}, {Lanes: 7}, {Attempts: -1}, {Backoff: -1}, {Pending: -1}} {
			require.ErrorIs(t, g.Run(bg, c, nothing), ErrInvalid, "%+v", c)
		}
		require.ErrorIs(t, g.Run(bg, RunConfig{}, nil), ErrInvalid)
		require.ErrorIs(t, g.Run(bg, RunConfig{DeadLetter: "nowhere"}, nothing), errNoTopic)
		w.topic("orders.dead", 1)
		all := w.group("all", Config{Topics: []string{"orders"}, Pattern: "orders[.].*"})
		for _, own := range []string{"orders", "orders.dead"} {
			err := all.Run(bg, RunConfig{DeadLetter: own}, nothing)
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, "DeadLetter is "+own+", which the group reads")
		}
		require.True(t, all.Describe().Empty)
		require.Len(t, g.Describe().Members, 1)
		require.NoError(t, m.Close(bg))
	})
}

// Members that run come and go, and nothing is repeated.
func TestRunsShareAndHandOver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 6)
		addAll(t, topic, 300)
		g := w.group("g", Config{Topics: []string{"orders"}})
		seen := newWitness()
		handle := seen.handler(rand.New(rand.NewPCG(3, 4)))
		type run struct {
			stop context.CancelFunc
			done chan error
		}
		var runs []run
		for i := range 6 {
			ctx, cancel := context.WithCancel(bg)
			runs = append(runs, run{cancel, running(ctx, g, RunConfig{Workers: 4}, handle)})
			time.Sleep(time.Duration(i) * 3 * time.Second)
		}
		time.Sleep(time.Hour)
		require.Equal(t, 1800, seen.count())
		require.Zero(t, seen.repeats(), "handing over repeats nothing")
		require.Empty(t, seen.wrong)
		for _, r := range runs {
			r.stop()
			require.ErrorIs(t, <-r.done, context.Canceled)
		}
	})
}

// A handler that hangs stops its partition, and after PollInterval its member.
func TestRunThatIsStuckIsFenced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		add(t, w.topic("orders", 1).Partitions[0], 5)
		g := w.group("g", Config{Topics: []string{"orders"}})
		err := g.Run(bg, RunConfig{Workers: 2}, func(ctx context.Context, r record.Record) error {
			<-ctx.Done()
			return nil
		})
		require.ErrorIs(t, err, ErrFenced)
		synctest.Wait()
		require.Equal(t, int64(-1), w.committed(g, first))
	})
}

// A record that is tried again and again is progress, also if no other is
// processed meanwhile, and however long it rests in between.
func TestRunIsAliveBetweenAttempts(t *testing.T) {
	for _, backoff := range []time.Duration{time.Second, 11 * time.Minute} {
		t.Run(backoff.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				add(t, w.topic("orders", 1).Partitions[0], 1)
				g := w.group("g", Config{Topics: []string{"orders"}})
				ctx, cancel := context.WithCancel(bg)
				began, attempts := time.Now(), 0
				done := running(ctx, g, RunConfig{Attempts: 20, Backoff: backoff}, func(context.Context, record.Record) error {
					if attempts++; attempts == 20 {
						cancel()
						return nil
					}
					return errors.New("down")
				})
				require.ErrorIs(t, <-done, context.Canceled)
				require.Equal(t, int64(1), w.committed(g, first))
				want := 19 * backoff
				if backoff < maxBackoff {
					want = 63*time.Second + 13*maxBackoff // 1, 2, 4, 8, 16, 32 s, then a minute each
				}
				require.Equal(t, want, time.Since(began))
			})
		})
	}
}

// A record that fails is not tried any more once its partition was taken away: it
// is somebody else's. The others of the member are gone on with.
func TestRunGivesUpWhatItLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		topic := w.topic("orders", 2)
		addAll(t, topic, 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		ctx, cancel := context.WithCancel(bg)
		var lost atomic.Bool
		var late atomic.Int64
		config := RunConfig{Attempts: 20, Member: MemberConfig{OnLost: func(context.Context, *Member, []TopicPartition) { lost.Store(true) }}}
		done := running(ctx, g, config, func(_ context.Context, r record.Record) error {
			if r.Partition == 0 {
				return nil
			}
			if lost.Load() {
				late.Add(1)
			}
			return errors.New("no")
		})
		synctest.Wait()
		b := join(t, g)
		for !lost.Load() {
			pollNow(t, b, 0)
			time.Sleep(time.Second)
		}
		require.Len(t, pollNow(t, b, 0), 10)
		add(t, topic.Partitions[0], 1)
		time.Sleep(DefaultPollInterval - time.Minute) // b is alive, and there would be several attempts
		require.Zero(t, late.Load())
		require.Equal(t, int64(11), w.committed(g, first))
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

// A Seek while records are being processed waits for those, not for the ones
// behind them: still one of a key at a time.
func TestRunSeeks(t *testing.T) {
	for _, to := range []partition.Start{partition.First(), partition.Offset(15), partition.Offset(40)} {
		t.Run(to.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				add(t, w.topic("orders", 1).Partitions[0], 50)
				g := w.group("g", Config{Topics: []string{"orders"}})
				members := make(chan *Member, 1)
				seen := newWitness()
				ctx, cancel := context.WithCancel(bg)
				done := running(ctx, g, RunConfig{Workers: 4, Pending: 30, Member: MemberConfig{
					OnAssigned: func(_ context.Context, m *Member, _ []TopicPartition) { members <- m },
				}}, seen.handler(rand.New(rand.NewPCG(1, 2))))
				time.Sleep(3 * time.Second)
				require.NoError(t, (<-members).Seek(first, to))
				time.Sleep(time.Hour)
				cancel()
				require.ErrorIs(t, <-done, context.Canceled)
				require.Empty(t, seen.wrong)
				require.Equal(t, int64(50), w.committed(g, first))
				require.Equal(t, to != partition.Offset(40), seen.count() == 50, "what is between is left out")
				require.Equal(t, to != partition.Offset(40), seen.repeats() > 0)
			})
		})
	}
}

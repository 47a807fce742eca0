package consumergroup

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
)

// Where a member goes on behind what was trimmed away is decided once, for whoever
// gets the partition: what came since was handed out, and not processed for
// certain.
func TestTrimmedIsDecidedOnce(t *testing.T) {
	for _, policy := range []StartPolicy{Earliest(), Latest(), Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))} {
		t.Run(policy.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				g, a := one(t, w, 1000, Config{Trimmed: policy})
				log := w.topics["orders"].Partitions[0]
				require.NoError(t, log.Trim(bg, 950))
				pollNow(t, a, 1)
				add(t, log, 10)
				recs := pollNow(t, a, 1)
				require.NotEmpty(t, recs)
				lags, err := g.Lag(bg)
				require.NoError(t, err)
				require.GreaterOrEqual(t, lags[0].Committed, log.Start())
				time.Sleep(DefaultPollInterval + time.Second) // a is fenced, and nothing it was given is committed
				add(t, log, 10)
				again := pollNow(t, join(t, g), 0)
				require.NotEmpty(t, again)
				require.LessOrEqual(t, again[0].Offset, recs[0].Offset)
				require.Len(t, w.reported(), 1, "it was decided by the first member")
			})
		})
	}
}

// A partition that lost its end, to somebody who put back an old copy of it: what
// comes next was not processed, whatever was committed.
func TestEndThatWasLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, a := one(t, w, 10, Config{})
		require.NoError(t, w.ledger.Commit(bg, "g", []Committed{{Topic: "orders", TopicID: w.topics["orders"].ID, Offset: 100}}))
		require.Empty(t, pollNow(t, a, 0))
		log := w.topics["orders"].Partitions[0]
		add(t, log, 5)
		require.Equal(t, []int64{10, 11, 12, 13, 14}, offsets(pollNow(t, a, 0)))
		require.NoError(t, a.Commit(bg))
		require.Equal(t, int64(15), w.committed(g, first))
		require.Equal(t, []error{&TrimmedError{"g", first, 100, 10}}, w.reported())
	})
}

// A decision that cannot be stored is none: nothing is handed out, and the next
// poll tries again.
func TestTrimmedIsStoredBeforeItIsHandedOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 1000, Config{Trimmed: Latest()})
		log := w.topics["orders"].Partitions[0]
		require.NoError(t, log.Trim(bg, 950))
		goOn := w.stall()
		for range 3 {
			require.Empty(t, pollNow(t, m, 0))
			add(t, log, 1)
		}
		require.Empty(t, w.reported())
		goOn()
		require.Equal(t, []int64{1000, 1001, 1002}, offsets(pollNow(t, m, 0)), "behind what there was when it was noticed")
		require.Equal(t, int64(1000), w.committed(g, first))
	})
}

// What was stored stays where to go on, also if what was read from there on could
// not be handed out.
func TestTrimmedStaysDecided(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, m := one(t, w, 1000, Config{Trimmed: Latest(), Commit: CommitPolicy{BeforeHandOut: true}})
		log := w.topics["orders"].Partitions[0]
		require.NoError(t, log.Trim(bg, 950))
		require.Empty(t, pollNow(t, m, 0))
		require.Equal(t, int64(1000), w.committed(g, first))
		add(t, log, 3)
		goOn := w.stall()
		require.Empty(t, pollNow(t, m, 0))
		goOn()
		require.Equal(t, []int64{1000, 1001, 1002}, offsets(pollNow(t, m, 0)))
		require.Len(t, w.reported(), 1)
		require.NoError(t, m.Seek(first, partition.Offset(960)))
		require.Equal(t, int64(960), pollNow(t, m, 1)[0].Offset, "there is no way back but Seek")
	})
}

// Run processes what it has in memory, whatever is trimmed meanwhile, and goes on
// behind the trim.
func TestTrimOvertakesRun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		log := w.topic("orders", 1).Partitions[0]
		add(t, log, 1000)
		g := w.group("g", Config{Topics: []string{"orders"}, Trimmed: Latest()})
		seen := newWitness()
		ctx, cancel := context.WithCancel(bg)
		done := running(ctx, g, RunConfig{Workers: 2, Pending: 20}, seen.handler(rand.New(rand.NewPCG(1, 1))))
		time.Sleep(2 * time.Second)
		require.NoError(t, log.Trim(bg, 950))
		time.Sleep(time.Hour)
		add(t, log, 30)
		time.Sleep(time.Hour)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Empty(t, seen.wrong)
		require.Zero(t, seen.repeats())
		require.Equal(t, log.End(), w.committed(g, first))
		var trimmed *TrimmedError
		reports := w.reported()
		require.Len(t, reports, 1)
		require.ErrorAs(t, reports[0], &trimmed)
		require.Equal(t, trimmed.From+log.End()-trimmed.To, int64(seen.count()), "everything but what is told of")
	})
}

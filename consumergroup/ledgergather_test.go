package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// Who commits now and then, or alone, is not kept waiting.
func TestLedgerDoesNotKeepASingleCommitWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLedgerOn(t, fs.NewMem(), large)
		for i := range 100 {
			began := time.Now()
			require.NoError(t, l.Commit(ledgerContext, "g", []Committed{at(1, 0, int64(i))}))
			require.Equal(t, began, time.Now(), "commit %d", i)
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		for i := range 1000 { // as fast as it can
			require.NoError(t, l.Commit(ledgerContext, "g", []Committed{at(1, 0, int64(i))}))
		}
		require.Equal(t, gatherVain*gatherTime, time.Since(began), "it was in vain, and not tried again")
		l.close(t)
	})
}

// 10,000 commits a second from 64 members share syncs, each of at least 16 but
// for the first few.
func TestLedgerGathersCommitsThatComeOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLedgerOn(t, fs.NewMem(), large)
		const members, commits, pace = 64, 100, 64 * time.Second / 10_000
		var wg sync.WaitGroup
		for g := range members {
			wg.Go(func() {
				time.Sleep(pace * time.Duration(g) / members)
				for i := range commits {
					if err := l.Commit(ledgerContext, "g", []Committed{at(1, g, int64(i))}); err != nil {
						t.Error(err)
					}
					time.Sleep(pace)
				}
			})
		}
		wg.Wait()
		s := l.Stats()
		require.Equal(t, int64(members*commits), s.Commits)
		require.LessOrEqual(t, s.Syncs, s.Commits/gatherCommits+gatherOften+2)
		l.close(t)
	})
}

// A commit whose context ends while it waits for others did not happen; all
// others did. One of which that is not known may be in force later.
func TestLedgerContextEndsWhileACommitWaitsForOthers(t *testing.T) {
	l := openLedgerOn(t, fs.NewMem(), large)
	var wg sync.WaitGroup
	for g := range gatherCommits - 4 { // too few to fill a crowd: it waits
		wg.Go(func() {
			refused := map[int64]bool{}
			inForce := func() int64 {
				pos, _ := l.Position(fmt.Sprint("group-", g), ledgerTopic(1), 0)
				if refused[pos.Offset] {
					t.Errorf("commit %d was not made, and is in force", pos.Offset)
				}
				return pos.Offset
			}
			for i := int64(1); i <= 200; i++ {
				ctx, cancel := context.WithTimeout(ledgerContext, time.Duration(i%5)*time.Millisecond)
				err := l.Commit(ctx, fmt.Sprint("group-", g), []Committed{at(1, 0, i)})
				cancel()
				switch {
				case err != nil && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				case err != nil && !isUnknown(err):
					refused[i] = true
				}
				if now := inForce(); err == nil && now != i {
					t.Errorf("commit %d is not in force, but %d", i, now)
				}
			}
			if err := l.Commit(ledgerContext, fmt.Sprint("group-", g), []Committed{at(1, 0, 1000)}); err != nil {
				t.Error(err)
			}
			if now := inForce(); now != 1000 {
				t.Errorf("the last commit is not in force, but %d", now)
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Err())
	l.close(t)
}

func isUnknown(err error) bool { return errors.Is(err, partition.ErrOutcomeUnknown) }

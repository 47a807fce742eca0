package consumergroup

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// A commit that waits for the disk while its partition is taken away, since it was
// to move for too long, is written all the same: it is not lost, and nobody is told
// so.
func TestCommitOfAPartitionThatGoesMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		addAll(t, w.topic("orders", 2), 10)
		g := w.group("g", Config{Topics: []string{"orders"}})
		a := join(t, g)
		require.NoError(t, a.Commit(bg))
		pollNow(t, a, 1)
		require.NoError(t, a.Commit(bg)) // it is one that commits
		pollAll(t, a)
		gate, entered := make(chan struct{}), make(chan struct{}, 10)
		w.mem.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpSync {
				entered <- struct{}{}
				<-gate
			}
			return nil
		})
		done := make(chan error)
		go func() { done <- a.Commit(bg) }()
		<-entered
		b := join(t, g)
		time.Sleep(DefaultPollInterval / 2)
		require.NoError(t, a.Heartbeat())
		require.NoError(t, b.Heartbeat())
		time.Sleep(DefaultPollInterval/2 + time.Second)
		synctest.Wait()
		require.Equal(t, of("orders", 0), a.Assignment())
		require.Empty(t, b.Assignment(), "the commit comes first")
		w.mem.OnOp(nil)
		close(gate)
		require.NoError(t, <-done)
		require.Equal(t, int64(10), w.committed(g, TopicPartition{"orders", 1}))
		require.Empty(t, pollNow(t, b, 0))
		require.NoError(t, a.Commit(bg), "nothing was lost")
	})
}

// What a Poll has read of a partition that is taken away before it returns, it does
// not return: else a commit would have to tell, and somebody else has it already.
func TestPollOfAPartitionThatGoesMeanwhile(t *testing.T) {
	for name, policy := range map[string]CommitPolicy{"manual": {}, "exhausted": {Exhausted: true}, "before hand-out": {BeforeHandOut: true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				topic := w.topic("orders", 3, synced) // it is read from the file
				g := w.group("g", Config{Topics: []string{"orders"}, Commit: policy})
				a := join(t, g)
				require.Empty(t, pollNow(t, a, 0))
				for _, p := range topic.Partitions {
					add(t, p, 200) // several segments
				}
				var b *Member
				w.mem.OnOp(func(op fs.Op) error { // when the others were read
					if op.Kind != fs.OpReadAt || !strings.Contains(op.Name, "/orders-1-0/") {
						return nil
					}
					w.mem.OnOp(nil)
					b = join(t, g)
					time.Sleep(DefaultPollInterval / 2)
					require.NoError(t, b.Heartbeat())
					time.Sleep(DefaultPollInterval/2 + time.Second)
					synctest.Wait()
					return nil
				})
				a.turn = 1
				recs, err := a.Poll(bg, 1000)
				require.NoError(t, err)
				seen := map[int]int{}
				for _, rec := range recs {
					seen[rec.Partition]++
				}
				require.Equal(t, map[int]int{0: 200, 1: 200}, seen, "orders/2 went to %s", b.ID())
				require.NoError(t, a.Commit(bg))
				require.Equal(t, map[TopicPartition]int{{"orders", 2}: 200}, pollAll(t, b))
			})
		})
	}
}

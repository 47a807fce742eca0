package consumergroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A journey is a group's life until the disk fails, and what was acknowledged.
type journey struct {
	began     bool
	attempted map[TopicPartition]int64 // of the last commit
	acked     map[TopicPartition]int64
}

var value = record.Record{Value: []byte("value")}

func synced(o *partition.Options) { o.Durability = partition.Sync }

// travel has a group begin, process, commit and hand over, until something
// fails. It reports whether nothing did.
func (j *journey) travel(w *world) bool {
	topic := w.topics["orders"]
	g := w.group("g", Config{Topics: []string{"orders"}, Start: Latest()})
	a, err := g.Join(bg, MemberConfig{})
	if err != nil {
		return false
	}
	j.began = true
	members := []*Member{a}
	for round := range 4 {
		for _, p := range topic.Partitions {
			for range 3 {
				if _, err := p.Append(bg, value); err != nil {
					return false
				}
			}
		}
		for _, m := range members {
			if !j.step(m) {
				return false
			}
		}
		if round == 1 { // a handover
			b, err := g.Join(bg, MemberConfig{})
			if err != nil {
				return false
			}
			members = append(members, b)
		}
	}
	return a.Close(bg) == nil
}

// pollOnce polls for what there is; nothing is no error.
func pollOnce(m *Member) ([]record.Record, error) {
	ctx, cancel := context.WithTimeout(bg, time.Millisecond)
	defer cancel()
	recs, err := m.Poll(ctx, 0)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return recs, err
}

// step polls once and commits what came.
func (j *journey) step(m *Member) bool {
	recs, err := pollOnce(m)
	if err != nil {
		return false
	}
	for _, r := range recs {
		j.attempted[TopicPartition{r.Topic, r.Partition}] = r.Offset + 1
	}
	if m.Commit(bg) != nil {
		return false
	}
	for tp, n := range j.attempted {
		j.acked[tp] = n
	}
	return true
}

// A crash at any operation of a group loses no commit that was acknowledged and
// invents none, and where it began stays decided.
func TestCrashAtEveryStep(t *testing.T) {
	for _, keep := range []bool{false, true} {
		n, over := int64(1), false
		for ; !over; n++ {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				addAll(t, w.topic("orders", 2, synced), 10)
				w.broken = true
				w.mem.FailFrom(n, errDisk)
				j := &journey{attempted: map[TopicPartition]int64{}, acked: map[TopicPartition]int64{}}
				over = j.travel(w)
				left := w.mem.Crash(func() bool { return keep })
				w.close()
				j.arrive(t, left, n)
			})
		}
		require.Greater(t, n, int64(15))
	}
}

// arrive opens what a crash left.
func (j *journey) arrive(t *testing.T, left *fs.Mem, n int64) {
	w := openWorld(t, left)
	w.topic("orders", 2, synced)
	g, err := Open("g", w, w.ledger, Config{Topics: []string{"orders"}, Start: Latest()})
	require.NoError(t, err, "operation %d", n)
	w.groups = append(w.groups, g)
	m, err := g.Join(bg, MemberConfig{})
	require.NoError(t, err, "operation %d", n)
	pollNow(t, m, 0)
	for _, tp := range of("orders", 0, 1) {
		at := w.committed(g, tp)
		require.LessOrEqual(t, at, j.attempted[tp], "operation %d", n)
		if acked, ok := j.acked[tp]; ok {
			require.GreaterOrEqual(t, at, acked, "operation %d", n)
		}
		c, kind := w.ledger.Position("g", w.topics["orders"].ID, tp.Partition)
		require.NotEqual(t, PositionNone, kind)
		require.GreaterOrEqual(t, c.Offset, int64(10), "operation %d: what was there before is never read", n)
		if j.began && kind == PositionStarted {
			require.Equal(t, int64(10), c.Offset, "operation %d: it began once", n)
		}
	}
	w.close()
}

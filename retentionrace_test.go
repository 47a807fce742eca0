package braidlog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
)

// What somebody trims while retention is at work is not trimmed twice over.
func TestTrimBesideRetention(t *testing.T) {
	var k *keptTopic
	hold := func(n int) int64 {
		if n == 1 { // partition 0 was decided about
			require.NoError(t, k.Partition(0).Trim(bg, 6))
		}
		return Unlimited
	}
	archive := func(context.Context, *ArchiveSegment) error { return nil }
	for _, to := range []Archiver{nil, archive} {
		k = newKept(t, TopicConfig{
			Partitions: 2, Retention: Retention{PartitionBytes: 16 << 10}, HoldBack: hold, Archive: Archive{To: to},
		})
		k.add(0, 30)
		k.enforce()
		require.Greater(t, k.Partition(0).Bytes(), int64(12<<10))
		require.LessOrEqual(t, k.Partition(0).Bytes(), int64(16<<10))
		require.NoError(t, k.s.Close())
	}
}

// That a segment is trimmed, or its topic deleted, while it is archived is no
// failure of the archive: nothing waits, and nobody is told of trouble.
func TestTrimWhileArchiving(t *testing.T) {
	var k *keptTopic
	trim := func() error { return k.Partition(0).Trim(bg, 7) }
	remove := func() error { return k.s.DeleteTopic(bg, "logs") }
	for name, do := range map[string]func() error{"trim": trim, "delete": remove} {
		for _, config := range []Archive{{Dir: "/archive"}, {To: func(_ context.Context, s *ArchiveSegment) error {
			if s.From > 0 {
				return nil
			}
			return errors.Join(do(), errors.New("no tape"))
		}}} {
			k = newKept(t, TopicConfig{Partitions: 1, Retention: Retention{PartitionBytes: 8 << 10}, Archive: config})
			k.add(0, 30)
			done := false
			k.m.OnOp(func(op fs.Op) error {
				if op.Kind != fs.OpLink || done {
					return nil
				}
				done = true
				return do()
			})
			_, err := k.Topic.enforce(bg, true)
			require.NoError(t, err, name)
			st := k.Stats()
			require.Zero(t, st.ArchiveFailures, name)
			require.Empty(t, st.ArchiveError, name)
			if name == "trim" {
				require.Positive(t, st.Archived)
				require.LessOrEqual(t, st.Bytes, int64(8<<10), "it went on with what was left")
			}
			require.NoError(t, k.s.Close())
		}
	}
}

// Limits in bytes are kept though a segment cannot be read.
func TestRetentionOfWhatCannotBeRead(t *testing.T) {
	for _, r := range []Retention{{PartitionBytes: 12 << 10}, {TopicBytes: 24 << 10}} {
		k := newKept(t, TopicConfig{Partitions: 2, Retention: r})
		k.add(0, 30)
		k.reopen(k.c)
		k.m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpReadAt && strings.HasSuffix(op.Name, "/00000000000000000000.log") {
				return fs.EIO
			}
			return nil
		})
		require.ErrorIs(t, k.Enforce(bg), fs.EIO)
		require.LessOrEqual(t, k.Partition(0).Bytes(), int64(24<<10))
		k.m.OnOp(nil)
		k.enforce()
		requireWhole(t, k.Topic)
		require.NoError(t, k.s.Close())
	}
}

// Retention finishes a trim that a crash or an error interrupted.
func TestRetentionFinishesTrims(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{Age: time.Hour}})
		k.add(0, 30)
		k.m.OnOp(func(op fs.Op) error {
			if (op.Kind == fs.OpRemove || op.Kind == fs.OpCreate) && strings.HasSuffix(op.Name, ".log") {
				return fs.EIO
			}
			return nil
		})
		require.ErrorIs(t, k.Purge(bg), fs.EIO)
		k.m.OnOp(nil)
		if reopen {
			k.reopen(k.c)
		}
		k.enforce()
		dir, err := k.m.OpenDir("/store/topics/logs/partitions/0", false)
		require.NoError(t, err)
		all, err := dir.List(".")
		require.NoError(t, err)
		var bytes int64
		for _, e := range all {
			bytes += e.Size
		}
		require.Less(t, bytes, int64(4<<10), "%v", all)
		require.Equal(t, []int64{30}, k.starts())
		require.NoError(t, k.s.Close())
	}
}

// Retention that cannot be enforced says so.
func TestEnforceWhatIsClosed(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{PartitionBytes: 8 << 10}})
	k.add(0, 30)
	require.NoError(t, k.s.DeleteTopic(bg, "logs"))
	require.ErrorIs(t, k.Enforce(bg), ErrClosed)
	require.NoError(t, k.s.Close())
}

// A topic that is deleted while a segment of it is archived leaves nothing of
// one that has its name since in the archive.
func TestDeleteWhileArchiving(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{Dir: "/archive"}})
	k.add(0, 12)
	done := false
	k.m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpLink && !done {
			done = true
			if err := k.s.DeleteTopic(bg, "logs"); err != nil {
				return err
			}
			again, err := k.s.CreateTopic(bg, "logs", TopicConfig{Partitions: 1})
			if err != nil {
				return err
			}
			_, err = again.Append(bg, Record{Value: []byte("of another topic")})
			return err
		}
		return nil
	})
	require.Error(t, k.Enforce(bg))
	k.m.OnOp(nil)
	require.True(t, done)
	dir, err := k.m.OpenDir("/archive/topics/logs/partitions/0", false)
	require.NoError(t, err)
	_, err = dir.Open("00000000000000000000.log", false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, k.s.Close())
}

// A Close while an archiver waits ends it, and so does one while it fails.
func TestCloseEndsArchiving(t *testing.T) {
	m := fs.NewMem()
	s, err := Open("/store", Options{fs: m, clock: clock.Start()})
	require.NoError(t, err)
	began := make(chan bool, 100)
	to := func(ctx context.Context, _ *ArchiveSegment) error {
		began <- true
		<-ctx.Done()
		return errors.New("no tape")
	}
	topic, err := s.EnsureTopic(bg, "logs", TopicConfig{
		Partitions: 1, SegmentBytes: 4 << 10, Retention: Retention{PartitionBytes: 4 << 10}, Archive: Archive{To: to},
	})
	require.NoError(t, err)
	for range 12 {
		_, err = topic.Append(bg, Record{Value: make([]byte, 900)})
		require.NoError(t, err)
	}
	<-began
	require.NoError(t, s.Close())
	require.Zero(t, topic.Partition(0).Start())
}

package braidlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/fs"
)

// smallGroups has the groups log roll and be shortened all the time.
func smallGroups(o *Options) { o.groupsSegment, o.groupsSnapshot = 4<<10, 900 }

// commitTo commits an offset of one partition.
func commitTo(s *Store, group string, topic *Topic, number int, offset int64) error {
	return s.ledger.Commit(bg, group, []consumergroup.Committed{{Topic: topic.name, TopicID: topic.id, Partition: number, Offset: offset}})
}

// committed returns what a group committed in a partition, -1 if nothing.
func committed(s *Store, group string, topic *Topic, number int) int64 {
	c, kind := s.ledger.Position(group, topic.id, number)
	if kind != consumergroup.PositionCommitted {
		return -1
	}
	return c.Offset
}

// appendTo appends n records to a partition.
func appendTo(t testing.TB, topic *Topic, number, n int) {
	t.Helper()
	for i := range n {
		_, err := topic.AppendTo(bg, number, rec("key", i))
		require.NoError(t, err)
	}
}

func TestGroupsLogIsMadeByTheFirstCommit(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 2})
	appendTo(t, topic, 0, 3)
	require.Empty(t, s.Groups())
	require.ErrorIs(t, s.DeleteGroup(bg, "workers"), ErrGroupNotFound)
	require.NoError(t, s.DeleteTopic(bg, "orders"))
	require.NoError(t, s.Close())
	require.NotContains(t, namesIn(t, m, "/store"), groupsDir)
	s = openMem(t, m)
	topic = ensure(t, s, TopicConfig{Partitions: 2})
	appendTo(t, topic, 1, 9)
	require.NoError(t, commitTo(s, "workers", topic, 1, 5))
	require.Contains(t, namesIn(t, m, "/store"), groupsDir)
	require.Equal(t, []string{"workers"}, s.Groups())
	require.NoError(t, s.Close())

	s = openMem(t, m)
	require.True(t, s.Recovery().Groups.Vouched, "it was closed well")
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, int64(5), committed(s, "workers", topic, 1))
	r, err := s.Verify(bg)
	require.NoError(t, err)
	require.Equal(t, 3, r.Partitions)
	require.NoError(t, s.DeleteGroup(bg, "workers"))
	require.Empty(t, s.Groups())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.DeleteGroup(bg, "workers"), ErrClosed)
	s = openMem(t, m)
	require.Empty(t, s.Groups())
	require.NoError(t, s.Close())
}

// A topic that is deleted and made again inherits no commit.
func TestGroupsForgetATopicThatIsDeleted(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic, kept := ensure(t, s, TopicConfig{Partitions: 1}), ensureNamed(t, s, "kept")
	appendTo(t, topic, 0, 5)
	appendTo(t, kept, 0, 5)
	require.NoError(t, commitTo(s, "workers", topic, 0, 5))
	require.NoError(t, commitTo(s, "workers", kept, 0, 4))
	require.NoError(t, s.DeleteTopic(bg, "orders"))
	again := ensure(t, s, TopicConfig{Partitions: 1})
	for range 2 {
		require.Len(t, s.ledger.Positions("workers"), 1)
		require.Equal(t, int64(-1), committed(s, "workers", again, 0))
		require.Equal(t, int64(4), committed(s, "workers", kept, 0))
		require.Empty(t, again.Recovery()[0].Lost)
		require.NoError(t, s.Close())
		s = openMem(t, m)
		again, kept = ensure(t, s, TopicConfig{Partitions: 1}), ensureNamed(t, s, "kept")
	}
	require.NoError(t, s.Close())
}

func ensureNamed(t testing.TB, s *Store, name string) *Topic {
	t.Helper()
	topic, err := s.EnsureTopic(bg, name, TopicConfig{Partitions: 1})
	require.NoError(t, err)
	return topic
}

// What a group committed was durable at level Sync: if the file has less, that
// is damage and no torn tail. At the others, and without the commit, it is torn.
func TestACommitTellsDamageFromATornTail(t *testing.T) {
	for _, row := range []struct {
		name    string
		level   Durability
		commit  int64
		corrupt bool
	}{
		{"all committed", Sync, 3, true},
		{"all but the last", Sync, 2, false},
		{"none", Sync, 0, false},
		{"level os", OS, 3, false},
	} {
		for how, damage := range map[string]func(b []byte) []byte{
			"cut off": func(b []byte) []byte { return b[:len(b)-100] },
			"zeros":   func(b []byte) []byte { clear(b[len(b)-100:]); return b },
		} {
			t.Run(row.name+", "+how, func(t *testing.T) {
				m := fs.NewMem()
				s := openMem(t, m, func(o *Options) { o.idle = true })
				topic := ensure(t, s, TopicConfig{Partitions: 1, Durability: row.level})
				for i := range 3 {
					_, err := topic.Append(bg, Record{Value: []byte(strings.Repeat(fmt.Sprint(i), 400))})
					require.NoError(t, err)
				}
				if row.commit > 0 {
					require.NoError(t, commitTo(s, "workers", topic, 0, row.commit))
				}
				killed := m.Kill()
				require.NoError(t, s.Close())
				change(t, killed, "/store/topics/orders/partitions/0/00000000000000000000.log", func(b []byte) []byte {
					return damage([]byte(strings.TrimRight(string(b), "\x00")))
				})
				s = openMem(t, killed)
				topic, err := s.Topic("orders")
				require.NoError(t, err)
				r := topic.Recovery()[0]
				if row.corrupt {
					require.Len(t, r.Lost, 1)
					require.Equal(t, [2]int64{2, 3}, [2]int64{r.Lost[0].FromOffset, r.Lost[0].ToOffset})
					_, err = topic.Partition(0).Record(bg, 2)
					require.ErrorIs(t, err, ErrCorrupt)
				} else {
					require.Empty(t, r.Lost)
				}
				require.Nil(t, s.Recovery().Groups.Err)
				require.NoError(t, s.Close())
			})
		}
	}
}

// With a groups log that is damaged the store opens and topics work; groups
// fail with what is wrong, and are never taken for new, until it is repaired.
func TestADamagedGroupsLog(t *testing.T) {
	for name, row := range map[string]struct {
		do         func(b []byte) []byte
		repairable bool
		is         error
	}{
		"a bit":           {func(b []byte) []byte { b[1024+60] ^= 1; return b }, true, ErrCorrupt},
		"the last commit": {func(b []byte) []byte { b[len(b)-markerBytes-10] ^= 1; return b }, true, ErrCorrupt},
		"cut short":       {func(b []byte) []byte { return b[:len(b)-markerBytes-10] }, true, ErrCorrupt},
		"both headers":    {func(b []byte) []byte { clear(b[:1024]); return b }, true, ErrCorrupt},
		"a newer segment": {newerSegment, false, ErrNewerFormat},
	} {
		t.Run(name, func(t *testing.T) {
			m := fs.NewMem()
			s := openMem(t, m)
			topic := ensure(t, s, TopicConfig{Partitions: 1})
			appendTo(t, topic, 0, 9)
			for i := range 5 {
				require.NoError(t, commitTo(s, "workers", topic, 0, int64(i)))
			}
			require.NoError(t, s.Close())
			change(t, m, "/store/groups/00000000000000000000.log", row.do)
			for range 2 {
				s = openMem(t, m, func(o *Options) { o.Validate = ValidateFull })
				topic, err := s.Topic("orders")
				require.NoError(t, err)
				appendTo(t, topic, 0, 1)
				require.ErrorIs(t, known(s.ledger.Err()), row.is)
				require.ErrorIs(t, s.Recovery().Groups.Err, row.is)
				require.ErrorIs(t, known(commitTo(s, "workers", topic, 0, 1)), row.is)
				require.ErrorIs(t, known(commitTo(s, "new", topic, 0, 1)), row.is)
				require.ErrorIs(t, s.DeleteGroup(bg, "workers"), row.is)
				require.NoError(t, ignoreDamage(s.Close()))
			}
			s = openMem(t, m, func(o *Options) { o.Validate = ValidateFull })
			_, err := s.RepairGroups(bg)
			if !row.repairable {
				require.ErrorIs(t, err, row.is)
				require.NoError(t, ignoreDamage(s.Close()))
				return
			}
			require.NoError(t, err)
			topic, err = s.Topic("orders")
			require.NoError(t, err)
			require.Less(t, committed(s, "workers", topic, 0), int64(5))
			require.NoError(t, commitTo(s, "workers", topic, 0, 4))
			_, err = s.RepairGroups(bg)
			require.ErrorIs(t, err, ErrNotDamaged)
			require.NoError(t, s.Close())
			s = openMem(t, m, func(o *Options) { o.Validate = ValidateFull })
			require.NoError(t, s.ledger.Err())
			require.NoError(t, s.Recovery().Groups.Err)
			require.Equal(t, int64(4), committed(s, "workers", topic, 0))
			require.NoError(t, s.Close())
		})
	}
}

// markerBytes is how long the marker is that a log ends with when it was closed.
const markerBytes = 48

// ignoreDamage drops the error of closing what could not be opened.
func ignoreDamage(err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewerFormat) {
		return nil
	}
	return err
}

// Damage that comes while the store is open costs nothing: memory knows better.
func TestAGroupsLogThatIsDamagedWhileOpen(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 1})
	appendTo(t, topic, 0, 9)
	for i := range 6 {
		require.NoError(t, commitTo(s, "workers", topic, 0, int64(i)))
	}
	_, err := s.RepairGroups(bg)
	require.ErrorIs(t, err, ErrNotDamaged)
	f, err := s.dir.Open(groupsDir+"/00000000000000000000.log", true)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 1024+60)
	require.NoError(t, errors.Join(err, f.Close()))
	r, err := s.Verify(bg)
	require.NoError(t, err)
	require.Len(t, r.Damaged, 1)
	require.Equal(t, consumergroup.LedgerName, r.Damaged[0].Topic)
	_, err = s.RepairGroups(bg)
	require.NoError(t, err)
	r, err = s.Verify(bg)
	require.NoError(t, err)
	require.Empty(t, r.Damaged)
	require.NoError(t, s.Close())
	s = openMem(t, m)
	require.NoError(t, s.ledger.Err())
	require.Equal(t, int64(5), committed(s, "workers", topic, 0))
	require.NoError(t, s.Close())
}

func TestGroupsOfAStoreThatIsReadOnly(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, smallGroups)
	topic := ensure(t, s, TopicConfig{Partitions: 1})
	appendTo(t, topic, 0, 1)
	r := openMem(t, m, func(o *Options) { o.ReadOnly = true })
	require.Empty(t, r.Groups())
	for i := range 100 {
		require.NoError(t, commitTo(s, "workers", topic, 0, int64(i)))
	}
	require.NoError(t, s.Close())
	// It may take a second to notice that there is a groups log now.
	require.Eventually(t, func() bool { return len(r.Groups()) > 0 }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"workers"}, r.Groups())
	require.Equal(t, int64(99), committed(r, "workers", topic, 0))
	require.ErrorIs(t, r.DeleteGroup(bg, "workers"), ErrReadOnly)
	_, err := r.RepairGroups(bg)
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, r.Close())
}

// A backup has what was committed, and never a commit of a record that it does
// not have, whatever is appended, committed and trimmed meanwhile.
func TestBackupHasTheGroups(t *testing.T) {
	for _, level := range []Durability{Sync, OS} {
		m := fs.NewMem()
		s := openMem(t, m, smallGroups)
		topic := ensure(t, s, TopicConfig{Partitions: 2, Durability: level})
		appendTo(t, topic, 0, 5)
		require.NoError(t, commitTo(s, "first", topic, 0, 5))
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for n := range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					pos, err := topic.AppendTo(bg, n, rec("k", 1))
					if err == nil {
						err = commitTo(s, fmt.Sprint("group-", n), topic, n, pos.Offset+1)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for i := 0; i < 20 || s.ledger.Partition().Start() == 0; i++ {
			require.Less(t, i, 5000, "the log was never shortened")
			path := fmt.Sprint("/backup-", i)
			least := [2]int64{committed(s, "group-0", topic, 0), committed(s, "group-1", topic, 1)}
			require.NoError(t, s.Backup(bg, path))
			b := openBackup(t, m, path, false)
			require.NoError(t, b.ledger.Err())
			requireVouched(t, b)
			require.True(t, b.Recovery().Groups.Vouched)
			require.Equal(t, int64(5), committed(b, "first", topic, 0))
			copied, err := b.Topic("orders")
			require.NoError(t, err)
			for n := range 2 {
				c := committed(b, fmt.Sprint("group-", n), copied, n)
				require.GreaterOrEqual(t, c, least[n])
				require.LessOrEqual(t, c, copied.Partition(n).End(), "it is ahead of its topic")
			}
			require.NoError(t, b.Close())
		}
		cancel()
		wg.Wait()
		require.NoError(t, s.Close())
	}
}

// Before every operation on a file the process ends or the power goes. The
// store opens, no topic misses anything, and what groups know is between what
// was acknowledged and what was offered, and of records that are there.
func TestStoreWithGroupsSurvivesACrashAtEveryOperation(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, smallGroups, func(o *Options) { o.idle = true })
	type known struct{ acked, offered map[string]int64 } // by topic's life and group
	var mu sync.Mutex
	now := known{map[string]int64{}, map[string]int64{}}
	type moment struct {
		at string
		m  *fs.Mem
		known
	}
	var all []moment
	capture := func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !changes(op) {
			return nil
		}
		for how, left := range map[string]*fs.Mem{
			"killed":         m.Kill(),
			"all kept":       m.Crash(func() bool { return true }),
			"nothing kept":   m.Crash(func() bool { return false }),
			"every 2nd kept": m.Crash(alternating()),
		} {
			all = append(all, moment{fmt.Sprintf("before operation %d, %v, %s", op.N, op, how), left, known{maps.Clone(now.acked), maps.Clone(now.offered)}})
		}
		return nil
	}
	m.OnOp(capture)
	for life := range 3 {
		topic := ensure(t, s, TopicConfig{Partitions: 2, SegmentBytes: 4 << 10})
		for i := range 12 {
			n := i % 2
			pos, err := topic.AppendTo(bg, n, Record{Value: make([]byte, 300)})
			require.NoError(t, err)
			key := fmt.Sprintf("%x/%d", topic.id, n)
			mu.Lock()
			now.offered[key] = pos.Offset + 1
			mu.Unlock()
			require.NoError(t, commitTo(s, "workers", topic, n, pos.Offset+1))
			mu.Lock()
			now.acked[key] = pos.Offset + 1
			mu.Unlock()
			if i == 6 && life == 1 {
				require.NoError(t, s.Close())
				s = openMem(t, m, smallGroups, func(o *Options) { o.idle = true })
				topic, err = s.Topic("orders")
				require.NoError(t, err)
			}
		}
		mu.Lock()
		clear(now.acked)
		mu.Unlock()
		require.NoError(t, s.DeleteTopic(bg, "orders"))
	}
	require.NoError(t, s.Close())
	m.OnOp(nil)
	for _, i := range all {
		s, err := Open("/store", Options{fs: i.m, idle: true})
		require.NoError(t, err, i.at)
		require.NoError(t, s.ledger.Err(), i.at)
		for _, name := range s.Topics() {
			topic, err := s.Topic(name)
			require.NoError(t, err, i.at)
			for n, r := range topic.Recovery() {
				require.Empty(t, r.Lost, i.at)
				key := fmt.Sprintf("%x/%d", topic.id, n)
				c := max(0, committed(s, "workers", topic, n))
				require.GreaterOrEqual(t, c, i.acked[key], i.at)
				require.LessOrEqual(t, c, i.offered[key], i.at)
				require.LessOrEqual(t, c, topic.Partition(n).End(), i.at)
			}
		}
		before := s.ledger.Positions("workers")
		require.NoError(t, s.Close(), i.at)
		s, err = Open("/store", Options{fs: i.m, idle: true})
		require.NoError(t, err, i.at)
		require.Equal(t, before, s.ledger.Positions("workers"), i.at)
		require.NoError(t, s.Close(), i.at)
	}
	require.Greater(t, len(slices.Collect(maps.Keys(now.offered))), 4, "three topics were used")
}

func alternating() func() bool {
	keep := false
	return func() bool {
		keep = !keep
		return keep
	}
}

// Deleting a group or a topic on a disk that is full.
func TestGroupsOnAFullDisk(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 1})
	appendTo(t, topic, 0, 2)
	require.NoError(t, commitTo(s, "workers", topic, 0, 1))
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt || op.Kind == fs.OpAllocate {
			return fs.ENOSPC
		}
		return nil
	})
	require.ErrorIs(t, s.DeleteGroup(bg, "workers"), ErrDiskFull)
	require.ErrorIs(t, commitTo(s, "workers", topic, 0, 2), ErrDiskFull)
	require.NoError(t, s.DeleteTopic(bg, "orders"), "it is gone, whatever groups know of it")
	require.NoError(t, s.ledger.Err())
	m.OnOp(nil)
	require.Equal(t, int64(1), committed(s, "workers", topic, 0))
	require.NoError(t, s.DeleteGroup(bg, "workers"))
	require.NoError(t, s.Close())
}

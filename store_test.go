package braidlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

var bg = context.Background()

func openMem(t testing.TB, m *fs.Mem, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{fs: m}
	for _, c := range change {
		c(&o)
	}
	s, err := Open("/store", o)
	require.NoError(t, err)
	return s
}

func ensure(t testing.TB, s *Store, c TopicConfig) *Topic {
	t.Helper()
	topic, err := s.EnsureTopic(bg, "orders", c)
	require.NoError(t, err)
	return topic
}

func rec(key string, i int) Record {
	return Record{Key: []byte(key), Value: fmt.Appendf(nil, "%s %d", key, i)}
}

// values returns what a loop over records yields.
func values(t testing.TB, seq func(func(Record, error) bool)) (all []string) {
	t.Helper()
	for r, err := range seq {
		require.NoError(t, err)
		all = append(all, string(r.Value))
	}
	return all
}

func TestKeysStayInOrder(t *testing.T) {
	for _, level := range []Durability{Sync, Interval, OS} {
		t.Run(level.String(), func(t *testing.T) {
			m := fs.NewMem()
			s := openMem(t, m)
			topic := ensure(t, s, TopicConfig{Durability: level})
			var want []string
			for i := range 200 {
				pos, err := topic.Append(bg, rec(fmt.Sprint("key", i%9), i))
				require.NoError(t, err)
				n, err := topic.Route(rec(fmt.Sprint("key", i%9), i))
				require.NoError(t, err)
				require.Equal(t, n, pos.Partition)
				if i%9 == 4 {
					want = append(want, fmt.Sprintf("key4 %d", i))
				}
			}
			require.Equal(t, want, values(t, topic.Key(bg, []byte("key4"))))
			require.NoError(t, s.Close())

			s = openMem(t, m)
			topic, err := s.Topic("orders")
			require.NoError(t, err)
			require.Equal(t, level, topic.Config().Durability)
			for _, r := range topic.Recovery() {
				require.True(t, r.Vouched || topic.Stats().Records == 0 || r.ReadBytes == 0)
			}
			require.Equal(t, want, values(t, topic.Key(bg, []byte("key4"))))
			require.Len(t, values(t, topic.Records(bg, partition.First())), 200)
			require.NoError(t, s.Close())
		})
	}
}

func TestStoreHasOneWriter(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	_, err := Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrLocked)
	var l *LockedError
	require.ErrorAs(t, err, &l)
	require.Contains(t, l.Holder, "pid ")
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Close(), ErrClosed)
	require.NoError(t, openMem(t, m).Close())
}

func TestTopicsAreMadeAndFound(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	_, err := s.Topic("orders")
	require.ErrorIs(t, err, ErrTopicNotFound)
	ensure(t, s, TopicConfig{Partitions: 3})
	_, err = s.CreateTopic(bg, "orders", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	_, err = s.CreateTopic(bg, "Orders", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	_, err = s.EnsureTopic(bg, "ORDERS", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	_, err = s.CreateTopic(bg, "refunds", TopicConfig{})
	require.NoError(t, err)
	require.Equal(t, []string{"orders", "refunds"}, s.Topics())
	require.NoError(t, s.Close())

	s = openMem(t, m)
	require.Equal(t, []string{"orders", "refunds"}, s.Topics())
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, 3, topic.NumPartitions())
	require.NotNil(t, topic.Partition(2))
	require.Nil(t, topic.Partition(3))
	require.NoError(t, s.DeleteTopic(bg, "orders"))
	require.ErrorIs(t, s.DeleteTopic(bg, "orders"), ErrTopicNotFound)
	require.Equal(t, []string{"refunds"}, s.Topics())
	_, err = topic.Append(bg, rec("a", 1))
	require.ErrorIs(t, err, ErrClosed)
	topic = ensure(t, s, TopicConfig{})
	require.Zero(t, topic.Stats().Records)
	require.NoError(t, s.Close())
}

func TestTopicNames(t *testing.T) {
	s := openMem(t, fs.NewMem())
	for _, name := range []string{"", ".", "..", "-a", ".a", "a/b", "a b", "é", "a\x00", strings.Repeat("a", 201), "con", "NUL.txt", "lpt1", "Com9.x.y"} {
		_, err := s.CreateTopic(bg, name, TopicConfig{})
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	for _, name := range []string{"a", "_", "0", "a.b-c_d", strings.Repeat("a", 200), "console", "com10", "com0", "COM"} {
		_, err := s.CreateTopic(bg, name, TopicConfig{Partitions: 1})
		require.NoError(t, err, name)
	}
	require.NoError(t, s.Close())
}

func FuzzTopicName(f *testing.F) {
	f.Add("orders")
	f.Add("con.txt")
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		require.Regexp(t, `^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$`, name)
	})
}

func TestBadConfigurationChangesNothing(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	for _, c := range []TopicConfig{
		{Partitions: -1}, {Partitions: 100_001}, {SegmentBytes: 100}, {SegmentBytes: 2 << 30}, {MaxRecordBytes: -1},
		{MaxRecordBytes: 64 << 20}, {MaxKeyBytes: 2 << 20}, {Durability: 9}, {IndexCache: 9}, {SegmentAge: -1},
		{SyncEvery: SyncEvery{Records: -1}},
	} {
		_, err := s.CreateTopic(bg, "orders", c)
		require.ErrorIs(t, err, ErrInvalid, "%+v", c)
	}
	require.Empty(t, s.Topics())
	//lint:ignore SA1012 a nil context is what is tested
	_, err := s.CreateTopic(nil, "orders", TopicConfig{})
	require.ErrorIs(t, err, ErrInvalid)
	ensure(t, s, TopicConfig{Partitions: 3})
	_, err = s.EnsureTopic(bg, "orders", TopicConfig{Partitions: 4})
	var mismatch *MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, MismatchError{"orders", "partitions", "3", "4"}, *mismatch)
	_, err = s.EnsureTopic(bg, "orders", TopicConfig{Partitioner: partitioner.Kafka()})
	require.ErrorIs(t, err, ErrConfigMismatch)
	require.EqualError(t, err, `open topic orders: placement is "key", not "kafka"`)
	require.NoError(t, s.Close())
}

func TestSettingsChange(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{})
	appended := 0
	more := func() {
		for range 50 {
			_, err := topic.Append(bg, rec("k", appended))
			require.NoError(t, err)
			appended++
		}
	}
	more()
	for _, level := range []Durability{OS, Interval, Sync, OS, Sync} {
		require.NoError(t, topic.SetConfig(bg, TopicConfig{Durability: level}))
		require.Equal(t, level, topic.Config().Durability)
		if level == Sync {
			for _, p := range topic.Stats().Partitions {
				require.Equal(t, p.End, p.Durable)
			}
		}
		more()
	}
	require.Len(t, values(t, topic.Key(bg, []byte("k"))), appended)
	require.NoError(t, topic.SetConfig(bg, TopicConfig{MaxKeyBytes: 1000}))
	require.Equal(t, 1000, topic.Config().MaxKeyBytes)
	require.NoError(t, s.Close())
	s = openMem(t, m)
	topic = ensure(t, s, TopicConfig{})
	require.Equal(t, 1000, topic.Config().MaxKeyBytes)
	require.Equal(t, Sync, topic.Config().Durability)
	require.Len(t, values(t, topic.Key(bg, []byte("k"))), appended)
	require.NoError(t, s.Close())
}

func TestPartitionersThatMisbehave(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	answer := 7
	mine := partitioner.Func("mine-1", func(r Record, n int) (int, error) {
		switch string(r.Key) {
		case "panic":
			panic("oh no")
		case "error":
			return 0, errors.New("no such region")
		}
		return answer, nil
	})
	topic := ensure(t, s, TopicConfig{Partitions: 6, Partitioner: mine})
	_, err := topic.Append(bg, rec("a", 1))
	require.ErrorIs(t, err, ErrPartitioner)
	require.ErrorContains(t, err, `"func:mine-1" returned partition 7 of 6`)
	_, err = topic.Append(bg, rec("panic", 1))
	require.ErrorContains(t, err, `"func:mine-1": it panicked: oh no`)
	answer = 5
	err = topic.AppendBatch(bg, []Record{rec("b", 1), rec("error", 1)})
	require.ErrorContains(t, err, "no such region")
	require.Zero(t, topic.Stats().Records)
	pos, err := topic.Append(bg, rec("a", 1))
	require.NoError(t, err)
	require.Equal(t, Position{Partition: 5}, pos)
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	_, err = topic.Append(bg, rec("a", 2))
	require.ErrorIs(t, err, ErrPartitionerUnknown)
	_, err = topic.AppendTo(bg, 5, rec("a", 2))
	require.NoError(t, err)
	require.Equal(t, []string{"a 1", "a 2"}, values(t, topic.Key(bg, []byte("a"))))
	topic = ensure(t, s, TopicConfig{Partitioner: mine})
	_, err = topic.Append(bg, rec("a", 3))
	require.NoError(t, err)
	_, err = topic.AppendTo(bg, 6, rec("a", 2))
	require.ErrorIs(t, err, ErrInvalid)
	require.NoError(t, s.Close())
}

func TestBatchIsFilledIn(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	recs := make([]Record, 300)
	for i := range recs {
		recs[i] = rec(fmt.Sprint("k", i%20), i)
	}
	require.NoError(t, topic.AppendBatch(bg, recs))
	next := make([]int64, 6)
	for i, r := range recs {
		n, err := topic.Route(r)
		require.NoError(t, err)
		require.Equal(t, "orders", r.Topic)
		require.Equal(t, n, r.Partition)
		require.Equal(t, next[n], r.Offset, "record %d", i)
		require.False(t, r.Timestamp.IsZero())
		next[n]++
		got, err := topic.Partition(n).Record(bg, r.Offset)
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	require.NoError(t, topic.AppendBatch(bg, nil))
	recs[7].Key = make([]byte, 300)
	err := topic.AppendBatch(bg, recs)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "record 7")
	require.Equal(t, int64(300), topic.Stats().Records)
	require.NoError(t, s.Close())
}

func TestFailedBatchTellsOfEachRecord(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 2, Partitioner: partitioner.RoundRobin()})
	require.NoError(t, topic.AppendBatch(bg, []Record{rec("a", 0), rec("b", 0)}))
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt && strings.Contains(op.Name, "partitions/1/") {
			return fs.ENOSPC
		}
		return nil
	})
	recs := []Record{rec("a", 1), rec("b", 1), rec("a", 2), rec("b", 2)}
	err := topic.AppendBatch(bg, recs)
	var b *BatchError
	require.ErrorAs(t, err, &b)
	require.ErrorIs(t, err, ErrDiskFull)
	require.Equal(t, []Outcome{Appended, NotAppended, Appended, NotAppended}, b.Outcomes)
	require.Equal(t, []int64{1, -1, 2, -1}, []int64{recs[0].Offset, recs[1].Offset, recs[2].Offset, recs[3].Offset})
	m.OnOp(nil)
	require.NoError(t, topic.AppendBatch(bg, recs[1:2]), "space came back")
	require.NoError(t, s.Close())
}

func TestCursorGoesOnElsewhere(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{})
	for i := range 1000 {
		_, err := topic.Append(bg, rec(fmt.Sprint("k", i%50), i))
		require.NoError(t, err)
	}
	seen := map[string]int{}
	c := topic.NewCursor(partition.First())
	for range 400 {
		r, err := c.Next(bg)
		require.NoError(t, err)
		seen[string(r.Value)]++
	}
	text, err := c.MarshalText()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic = ensure(t, s, TopicConfig{})
	c = topic.NewCursor(partition.End())
	require.NoError(t, c.UnmarshalText(text))
	for {
		r, err := c.TryNext()
		if err == ErrEnd {
			break
		}
		require.NoError(t, err)
		seen[string(r.Value)]++
	}
	require.Len(t, seen, 1000)
	for v, n := range seen {
		require.Equal(t, 1, n, v)
	}
	for _, bad := range []string{"", "x", "braidlog-cursor-1:00:1", strings.Replace(string(text), ",", ";", 1), string(text) + "x",
		string(text[:18]) + strings.Repeat("0", 32) + string(text[50:])} {
		require.ErrorIs(t, c.UnmarshalText([]byte(bad)), ErrInvalid, bad)
	}
	require.NoError(t, s.Close())
	_, err = c.Next(bg)
	require.ErrorIs(t, err, ErrClosed)
}

func TestTopicTailFollowsAllPartitions(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{Durability: OS})
	ctx, cancel := context.WithCancel(bg)
	got := make(chan string)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(got)
		for r, err := range topic.Tail(ctx, partition.First()) {
			if err != nil {
				return
			}
			got <- string(r.Value)
		}
	})
	for i := range 100 {
		r := rec(fmt.Sprint("k", i), i)
		_, err := topic.Append(bg, r)
		require.NoError(t, err)
		require.Equal(t, string(r.Value), <-got)
	}
	cancel()
	wg.Wait()
	require.NoError(t, s.Close())
}

func TestStoreIsRefused(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	ensure(t, s, TopicConfig{})
	require.NoError(t, s.Close())
	d, err := m.OpenDir("/store", false)
	require.NoError(t, err)
	good, err := fs.ReadFile(d, storeFile, 1<<20)
	require.NoError(t, err)
	require.NoError(t, fs.Replace(d, storeFile, good[:len(good)/2]))
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, d.Remove(storeFile))
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, fs.Replace(d, storeFile, good))
	require.NoError(t, openMem(t, m).Close())
	_, err = Open("/store", Options{fs: m, MaxOpenFiles: 1})
	require.ErrorIs(t, err, ErrInvalid)
}

// An append that got past the check of a partition that is closed then must not
// write store.json behind Close: by then the directory may be another store's.
// Found by schedule "49:1 67:1" of repeat+close/sync-cold.
func TestNothingIsBegunAfterClose(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	ensure(t, s, TopicConfig{})
	require.NoError(t, s.Close())
	s = openMem(t, m)
	require.NoError(t, s.Close())
	before := m.Ops()
	_, err := s.begin()
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, before, m.Ops())
}

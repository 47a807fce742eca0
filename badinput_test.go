package braidlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// made returns a Mem with a store that was closed: a topic "orders" of three
// partitions with ten records each, and a topic "refunds".
func made(t *testing.T, level Durability) *fs.Mem {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 3, Durability: level, Partitioner: partitioner.RoundRobin()})
	for i := range 30 {
		_, err := topic.Append(bg, rec("k", i))
		require.NoError(t, err)
	}
	_, err := s.CreateTopic(bg, "refunds", TopicConfig{Partitions: 1})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return m
}

// change rewrites a file of a Mem.
func change(t *testing.T, m *fs.Mem, name string, f func(b []byte) []byte) {
	t.Helper()
	d, err := m.OpenDir(filepath.Dir(name), false)
	require.NoError(t, err)
	b, err := fs.ReadFile(d, filepath.Base(name), 1<<20)
	require.NoError(t, err)
	require.NoError(t, fs.Replace(d, filepath.Base(name), f(b)))
	require.NoError(t, d.Close())
}

// withFormat makes a metadata file say that it has another format.
func withFormat(t *testing.T, format int) func(b []byte) []byte {
	return func(b []byte) []byte {
		var data map[string]any
		_, rest, ok := bytes.Cut(b, []byte(`"data":`))
		require.True(t, ok)
		require.NoError(t, json.Unmarshal(bytes.TrimSuffix(rest, []byte("}\n")), &data))
		data["format"] = format
		b, err := meta.Encode(data)
		require.NoError(t, err)
		return b
	}
}

func TestDirectoryThatCannotBeOne(t *testing.T) {
	_, err := Open("", Options{})
	require.ErrorIs(t, err, ErrInvalid)

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("not a store"), 0o600))
	_, err = Open(file, Options{})
	require.ErrorContains(t, err, "open store "+file)
	_, err = Open(filepath.Join(file, "below"), Options{})
	require.ErrorContains(t, err, "open store "+file)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "not a store", string(b))

	m := fs.NewMem()
	m.OnOp(func(op fs.Op) error {
		switch op.Kind {
		case fs.OpMkdir, fs.OpCreate, fs.OpLock:
			return syscall.EACCES
		}
		return nil
	})
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, syscall.EACCES)
	require.ErrorContains(t, err, "open store /store: ")
	m.OnOp(nil)
	require.NoError(t, openMem(t, m).Close(), "it can be tried again")
}

func TestSecondOpenNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	_, err = Open(dir, Options{})
	var l *LockedError
	require.ErrorAs(t, err, &l)
	require.ErrorIs(t, err, ErrLocked)
	require.Equal(t, fmt.Sprint("pid ", os.Getpid()), l.Holder)
	require.ErrorContains(t, err, "open store "+dir+": ")
	topic := ensure(t, s, TopicConfig{Partitions: 1})
	_, err = topic.Append(bg, rec("k", 1))
	require.NoError(t, err, "the first is not disturbed")
	require.NoError(t, s.Close())
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestNewerFormats(t *testing.T) {
	for _, name := range []string{storeFile, checkpointFile} {
		m := made(t, Sync)
		change(t, m, "/store/"+name, withFormat(t, 2))
		_, err := Open("/store", Options{fs: m})
		require.ErrorIs(t, err, ErrNewerFormat, name)
		require.EqualError(t, err, "open store /store: "+name+" has format 2, newer than 1, the newest known here")
		change(t, m, "/store/"+name, withFormat(t, 1))
		s := openMem(t, m)
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		require.EqualValues(t, 30, topic.Stats().Records, "nothing was changed")
		require.NoError(t, s.Close())
	}
	const segment = "/store/topics/orders/partitions/1/00000000000000000000.log"
	for name, newer := range map[string]func([]byte) []byte{
		"/store/topics/orders/topic.json": withFormat(t, 2),
		segment:                           newerSegment,
	} {
		m := made(t, Sync)
		change(t, m, name, newer)
		s := openMem(t, m)
		require.Zero(t, s.shared.OpenFiles(), "what was opened of the topic is closed")
		requireBroken(t, s, ErrNewerFormat)
		require.NoError(t, s.Close())
	}
}

// newerSegment makes a segment say that it has another version.
func newerSegment(b []byte) []byte {
	for at := 0; at < 1024; at += 512 {
		b[at+8] = 2
		sum := crc32.Checksum(b[at:at+508], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(b[at+508:], sum)
	}
	return b
}

// requireBroken requires that topic orders cannot be opened and keeps its
// name, and that all else works.
func requireBroken(t *testing.T, s *Store, cause error) {
	t.Helper()
	_, err := s.Topic("orders")
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, "open topic orders: ")
	_, err = s.EnsureTopic(bg, "orders", TopicConfig{})
	require.ErrorIs(t, err, cause)
	_, err = s.CreateTopic(bg, "orders", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	_, err = s.CreateTopic(bg, "ORDERS", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	require.Equal(t, []string{"orders", "refunds"}, s.Topics())
	topic, err := s.Topic("refunds")
	require.NoError(t, err)
	_, err = topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
}

func TestDamagedTopicFile(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":       func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func(b []byte) []byte { return nil },
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"no topic":  func([]byte) []byte { return encode(t, map[string]any{"format": 1}) },
		"bad level": func(b []byte) []byte { return edit(t, b, func(m *topicMeta) { m.Config.Durability = "never" }) },
		"bad size":  func(b []byte) []byte { return edit(t, b, func(m *topicMeta) { m.Config.SegmentBytes = 5 }) },
		"other":     func(b []byte) []byte { return edit(t, b, func(m *topicMeta) { m.Name = "others" }) },
		"many":      func(b []byte) []byte { return edit(t, b, func(m *topicMeta) { m.Generations[0].Partitions = 1 << 30 }) },
	} {
		t.Run(name, func(t *testing.T) {
			m := made(t, Sync)
			var good []byte
			change(t, m, "/store/topics/orders/topic.json", func(b []byte) []byte {
				good = append(good, b...)
				return damage(b)
			})
			s := openMem(t, m)
			requireBroken(t, s, ErrCorrupt)
			require.NoError(t, s.Close())
			change(t, m, "/store/topics/orders/topic.json", func([]byte) []byte { return good })
			s = openMem(t, m)
			topic, err := s.Topic("orders")
			require.NoError(t, err)
			require.EqualValues(t, 30, topic.Stats().Records)
			require.NoError(t, s.Close())
		})
	}
}

func encode(t *testing.T, v any) []byte {
	b, err := meta.Encode(v)
	require.NoError(t, err)
	return b
}

func edit(t *testing.T, b []byte, f func(m *topicMeta)) []byte {
	var m topicMeta
	require.NoError(t, meta.Decode(topicFile, b, &m))
	f(&m)
	return encode(t, &m)
}

func TestMissingTopicFile(t *testing.T) {
	m := made(t, Sync)
	d, err := m.OpenDir("/store/topics/orders", false)
	require.NoError(t, err)
	require.NoError(t, d.Remove(topicFile))
	s := openMem(t, m)
	requireBroken(t, s, ErrCorrupt)
	require.NoError(t, s.DeleteTopic(bg, "orders"), "it can be removed")
	ensure(t, s, TopicConfig{})
	require.NoError(t, s.Close())
}

// A checkpoint can be damaged, of an older close, or gone: the records are
// found without it.
func TestCheckpointThatCannotBeBelieved(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, m *fs.Mem){
		"flipped": func(t *testing.T, m *fs.Mem) {
			change(t, m, "/store/checkpoint", func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"empty": func(t *testing.T, m *fs.Mem) {
			change(t, m, "/store/checkpoint", func(b []byte) []byte { return nil })
		},
		"gone": func(t *testing.T, m *fs.Mem) {
			d, err := m.OpenDir("/store", false)
			require.NoError(t, err)
			require.NoError(t, d.Remove(checkpointFile))
		},
		"beyond the end": func(t *testing.T, m *fs.Mem) {
			changeCheckpoint(t, m, func(l *checkpointLine) { l.Position += 1 << 20 })
		},
		"no position":   func(t *testing.T, m *fs.Mem) { changeCheckpoint(t, m, func(l *checkpointLine) { l.Position = -5 }) },
		"other segment": func(t *testing.T, m *fs.Mem) { changeCheckpoint(t, m, func(l *checkpointLine) { l.Segment = 7 }) },
		"other topic": func(t *testing.T, m *fs.Mem) {
			changeCheckpoint(t, m, func(l *checkpointLine) { l.Topic = meta.ID{1} })
		},
	} {
		for _, level := range []Durability{Sync, OS} {
			t.Run(name+", "+level.String(), func(t *testing.T) {
				m := made(t, level)
				spoil(t, m)
				for range 2 {
					s := openMem(t, m)
					topic, err := s.Topic("orders")
					require.NoError(t, err)
					require.Len(t, values(t, topic.Records(bg, partition.First())), 30)
					require.NoError(t, s.Close())
				}
			})
		}
	}
	t.Run("stale", func(t *testing.T) {
		m := made(t, Sync)
		var old []byte
		change(t, m, "/store/checkpoint", func(b []byte) []byte { old = append(old, b...); return b })
		s := openMem(t, m)
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		for i := range 30 {
			_, err = topic.AppendTo(bg, i%3, rec("k", 30+i))
			require.NoError(t, err)
		}
		require.NoError(t, s.Close())
		change(t, m, "/store/checkpoint", func([]byte) []byte { return old })
		s = openMem(t, m)
		topic, err = s.Topic("orders")
		require.NoError(t, err)
		require.Len(t, values(t, topic.Records(bg, partition.First())), 60)
		require.False(t, topic.Recovery()[0].Vouched)
		require.NoError(t, s.Close())
	})
}

func changeCheckpoint(t *testing.T, m *fs.Mem, f func(l *checkpointLine)) {
	change(t, m, "/store/checkpoint", func(b []byte) []byte {
		var c checkpointMeta
		require.NoError(t, meta.Decode(checkpointFile, b, &c))
		for i := range c.Partitions {
			f(&c.Partitions[i])
		}
		return encode(t, &c)
	})
}

func TestSymbolicLinksAreRefused(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	topic := ensure(t, s, TopicConfig{Partitions: 2})
	_, err = s.CreateTopic(bg, "refunds", TopicConfig{})
	require.NoError(t, err)
	for n := range 2 {
		_, err = topic.AppendTo(bg, n, rec("k", 1))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())

	segment := filepath.Join(dir, "topics/orders/partitions/0/00000000000000000000.log")
	require.NoError(t, os.Rename(segment, filepath.Join(elsewhere, "x.log")))
	if err = os.Symlink(filepath.Join(elsewhere, "x.log"), segment); err != nil {
		t.Logf("links cannot be made here: %v", err)
		return
	}
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	_, err = topic.AppendTo(bg, 0, rec("k", 2))
	require.ErrorIs(t, err, fs.ErrNotRegular)
	_, err = topic.AppendTo(bg, 1, rec("k", 2))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	orders := filepath.Join(dir, "topics/orders")
	require.NoError(t, os.Rename(orders, filepath.Join(elsewhere, "orders")))
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "orders"), orders))
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	requireBroken(t, s, fs.ErrNotRegular)
	require.NoError(t, s.DeleteTopic(bg, "orders"), "the link goes, what it leads to stays")
	require.NoError(t, s.Close())
	require.FileExists(t, filepath.Join(elsewhere, "orders/topic.json"))
	require.FileExists(t, filepath.Join(elsewhere, "x.log"))
}

func TestPartitionWhoseDiskFails(t *testing.T) {
	m := made(t, Sync)
	m.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/orders/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	s := openMem(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	require.False(t, topic.Stats().Partitions[1].Writable)
	for range 6 {
		pos, err := topic.Append(bg, Record{Value: []byte("no key")})
		require.NoError(t, err)
		require.NotEqual(t, 1, pos.Partition)
	}
	failed := 0
	for i := range 3 {
		if _, err := topic.Append(bg, rec("k", i)); err != nil {
			require.ErrorIs(t, err, fs.EIO)
			failed++
		}
	}
	require.Equal(t, 1, failed)
	var b *BatchError
	err = topic.AppendBatch(bg, []Record{rec("k", 1), rec("k", 2), rec("k", 3)})
	require.ErrorAs(t, err, &b)
	require.ErrorIs(t, err, fs.EIO)
	for _, n := range []int{0, 2} {
		_, err = topic.AppendTo(bg, n, rec("k", 1))
		require.NoError(t, err)
		require.NotEmpty(t, values(t, topic.Partition(n).Records(bg, partition.First())))
	}
	_, err = topic.Partition(1).Record(bg, 0)
	require.ErrorIs(t, err, fs.EIO)
	for _, err = range topic.Records(bg, partition.First()) {
	}
	require.ErrorIs(t, err, fs.EIO, "a part does not look like the whole")
	require.ErrorIs(t, topic.Sync(bg), fs.EIO)
	require.NoError(t, s.Close())

	m.OnOp(nil)
	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Len(t, values(t, topic.Partition(1).Records(bg, partition.First())), 10)
	require.NoError(t, s.Close())
}

// A power cut takes records at level OS; a partition whose disk fails at the
// next open must not give out their offsets at the one after.
func TestPowerCutIsRememberedUntilAllIsRecovered(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{Partitions: 3, Durability: OS})
	for i := range 30 {
		_, err := topic.AppendTo(bg, i%3, rec("k", i))
		require.NoError(t, err)
	}
	after := m.Crash(func() bool { return false })
	require.NoError(t, s.Close())
	after.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/orders/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	s = openMem(t, after)
	again := after.Kill()
	require.NoError(t, s.Close())
	s = openMem(t, again)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	for i, p := range topic.Stats().Partitions {
		require.GreaterOrEqual(t, p.End, int64(10), "partition %d", i)
	}
	require.NoError(t, s.Close())
}

func TestDirectoryThatCannotBeListedIsNotEmpty(t *testing.T) {
	m := made(t, Sync)
	d, err := m.OpenDir("/store", false)
	require.NoError(t, err)
	require.NoError(t, d.Remove(storeFile))
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpList {
			return fs.EIO
		}
		return nil
	})
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, fs.EIO)
	m.OnOp(nil)
	_, err = Open("/store", Options{fs: m})
	require.ErrorIs(t, err, ErrCorrupt)
}

// A change of settings that fails leaves the lesser promise standing.
func TestSettingsThatCannotBeChanged(t *testing.T) {
	for _, change := range [][2]Durability{{OS, Sync}, {Sync, OS}, {Interval, Sync}} {
		for _, failing := range []string{"topic.json", "partitions/1"} {
			t.Run(fmt.Sprint(change, failing), func(t *testing.T) {
				m := fs.NewMem()
				s := openMem(t, m)
				topic := ensure(t, s, TopicConfig{Partitions: 2, Durability: change[0]})
				for i := range 20 {
					_, err := topic.AppendTo(bg, i%2, rec("k", i))
					require.NoError(t, err)
				}
				m.OnOp(func(op fs.Op) error {
					if strings.Contains(op.Name, failing) {
						return fs.EIO
					}
					return nil
				})
				ended, cancel := context.WithCancel(bg)
				cancel()
				require.ErrorIs(t, topic.SetConfig(ended, TopicConfig{Durability: change[1]}), context.Canceled)
				require.Equal(t, change[0], topic.Config().Durability)
				err := topic.SetConfig(bg, TopicConfig{Durability: change[1]})
				m.OnOp(nil)
				if err != nil {
					require.ErrorContains(t, err, "configure topic orders: ")
				}
				told := topic.Config().Durability
				acked := 0
				for i := range 10 {
					if _, err := topic.AppendTo(bg, i%2, rec("k", 20+i)); err == nil {
						acked++
					}
				}
				before := topic.Stats()
				after := m.Crash(func() bool { return false })
				_ = s.Close()
				s = openMem(t, after)
				topic, err = s.Topic("orders")
				require.NoError(t, err)
				stored := topic.Config().Durability
				require.Contains(t, change, stored)
				for i, p := range topic.Stats().Partitions {
					require.GreaterOrEqual(t, p.End, before.Partitions[i].End, "offsets seen are given out again")
				}
				if told == Sync && change[0] == Sync {
					require.Len(t, values(t, topic.Records(bg, partition.First())), 20+acked)
				}
				require.NoError(t, s.Close())
			})
		}
	}
}

// What is left of a deleted topic does not reach the next one of its name.
func TestHandleOfADeletedTopic(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	old := ensure(t, s, TopicConfig{Partitions: 2})
	require.NoError(t, s.DeleteTopic(bg, "orders"))
	topic := ensure(t, s, TopicConfig{Partitions: 3})
	require.ErrorIs(t, old.SetConfig(bg, TopicConfig{Durability: OS}), ErrClosed)
	_, err := topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	requireClosed(t, old)
	require.NoError(t, s.Close())
	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, 3, topic.NumPartitions())
	require.Equal(t, Sync, topic.Config().Durability)
	require.Equal(t, []string{"k 1"}, values(t, topic.Records(bg, partition.First())))
	require.NoError(t, s.Close())
}

// A topic whose name may not be durable cannot be used until that is known.
func TestTopicHalfMade(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSyncDir && op.Name == "/store/topics" {
			return fs.EIO
		}
		return nil
	})
	_, err := s.CreateTopic(bg, "orders", TopicConfig{})
	require.ErrorIs(t, err, fs.EIO)
	require.ErrorContains(t, err, "create topic orders: ")
	m.OnOp(nil)
	_, err = s.EnsureTopic(bg, "orders", TopicConfig{})
	require.ErrorContains(t, err, "half made")
	require.NoError(t, s.Close())
	s = openMem(t, m)
	ensure(t, s, TopicConfig{})
	require.NoError(t, s.Close())
}

func lastError(seq func(func(Record, error) bool)) (last error) {
	for _, last = range seq {
	}
	return last
}

func TestNilContexts(t *testing.T) {
	var none context.Context
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	_, err := topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	c := topic.NewCursor(partition.First())
	for name, call := range map[string]func() error{
		"EnsureTopic": func() error { _, err := s.EnsureTopic(none, "a", TopicConfig{}); return err },
		"CreateTopic": func() error { _, err := s.CreateTopic(none, "a", TopicConfig{}); return err },
		"DeleteTopic": func() error { return s.DeleteTopic(none, "orders") },
		"Append":      func() error { _, err := topic.Append(none, rec("k", 1)); return err },
		"AppendTo":    func() error { _, err := topic.AppendTo(none, 0, rec("k", 1)); return err },
		"AppendAsync": func() error { return topic.AppendAsync(none, rec("k", 1), nil) },
		"AppendBatch": func() error { return topic.AppendBatch(none, []Record{rec("k", 1)}) },
		"empty batch": func() error { return topic.AppendBatch(none, nil) },
		"SetConfig":   func() error { return topic.SetConfig(none, TopicConfig{Durability: OS}) },
		"Sync":        func() error { return topic.Sync(none) },
		"Records":     func() error { return lastError(topic.Records(none, partition.First())) },
		"Tail":        func() error { return lastError(topic.Tail(none, partition.First())) },
		"Key":         func() error { return lastError(topic.Key(none, []byte("k"))) },
		"Cursor.Next": func() error { _, err := c.Next(none); return err },
	} {
		err := call()
		require.ErrorIs(t, err, ErrInvalid, name)
		require.ErrorContains(t, err, "context: nil", name)
	}
	require.Equal(t, []string{"orders"}, s.Topics())
	require.EqualValues(t, 1, topic.Stats().Records)
	require.Equal(t, Sync, topic.Config().Durability)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
}

func TestUseAfterClose(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	for i := range 20 {
		_, err := topic.Append(bg, rec(fmt.Sprint(i), i))
		require.NoError(t, err)
	}
	started, finished, closed := topic.NewCursor(partition.First()), topic.NewCursor(partition.End()), topic.NewCursor(partition.First())
	_, err := started.TryNext()
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, err = closed.Next(bg)
	require.ErrorIs(t, err, ErrClosed)
	_, err = closed.TryNext()
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, s.Close())

	for name, call := range map[string]func() error{
		"Close":       s.Close,
		"Topic":       func() error { _, err := s.Topic("orders"); return err },
		"EnsureTopic": func() error { _, err := s.EnsureTopic(bg, "orders", TopicConfig{}); return err },
		"CreateTopic": func() error { _, err := s.CreateTopic(bg, "a", TopicConfig{}); return err },
		"DeleteTopic": func() error { return s.DeleteTopic(bg, "orders") },
		"SetConfig":   func() error { return topic.SetConfig(bg, TopicConfig{}) },
	} {
		require.ErrorIs(t, call(), ErrClosed, name)
	}
	require.Equal(t, []string{"orders"}, s.Topics())
	requireClosed(t, topic)
	for _, c := range []*Cursor{started, finished, closed} {
		_, err := c.Next(bg)
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.MarshalText()
		require.NoError(t, err)
		c.Offset(0)
		require.NoError(t, c.Close())
	}
}

// requireClosed calls everything there is of a topic that is closed.
func requireClosed(t *testing.T, topic *Topic) {
	for name, call := range map[string]func() error{
		"Append":      func() error { _, err := topic.Append(bg, rec("k", 1)); return err },
		"AppendTo":    func() error { _, err := topic.AppendTo(bg, 0, rec("k", 1)); return err },
		"AppendAsync": func() error { return topic.AppendAsync(bg, rec("k", 1), func(Position, error) { t.Error("called") }) },
		"AppendBatch": func() error { return topic.AppendBatch(bg, []Record{rec("k", 1)}) },
		"empty batch": func() error { return topic.AppendBatch(bg, nil) },
		"Sync":        func() error { return topic.Sync(bg) },
		"Records":     func() error { return lastError(topic.Records(bg, partition.First())) },
		"Tail":        func() error { return lastError(topic.Tail(bg, partition.First())) },
		"Key":         func() error { return lastError(topic.Key(bg, []byte("k"))) },
		"Cursor":      func() error { _, err := topic.NewCursor(partition.First()).Next(bg); return err },
		"TryNext":     func() error { _, err := topic.NewCursor(partition.End()).TryNext(); return err },
	} {
		require.ErrorIs(t, call(), ErrClosed, name)
	}
	// These have no error to give, or do not need the files.
	_, err := topic.Route(rec("k", 1))
	require.NoError(t, err)
	require.Equal(t, "orders", topic.Name())
	require.NotNil(t, topic.Partition(0))
	require.Len(t, topic.Recovery(), topic.NumPartitions())
	require.False(t, topic.Stats().Partitions[0].Writable)
	require.NotEmpty(t, topic.Placement())
	require.NotZero(t, topic.Config().Durability)
}

// A batchWatcher panics when it is told that a batch is complete.
type batchWatcher struct {
	partitioner.Partitioner
	panics bool
	told   int
}

func (b *batchWatcher) Placement() string { return "watcher" }

func (b *batchWatcher) BatchEnd(_, records, _ int) {
	b.told += records
	if b.panics {
		panic("oh no")
	}
}

func TestBatchEnd(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	w := &batchWatcher{Partitioner: partitioner.RoundRobin()}
	topic := ensure(t, s, TopicConfig{Partitions: 2, Partitioner: w})
	require.NoError(t, topic.AppendBatch(bg, []Record{rec("k", 1), rec("k", 2), rec("k", 3)}))
	require.Equal(t, 3, w.told)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt {
			return fs.ENOSPC
		}
		return nil
	})
	err := topic.AppendBatch(bg, []Record{rec("k", 4), rec("k", 5)})
	require.ErrorIs(t, err, ErrDiskFull)
	require.Equal(t, 3, w.told, "it is not told of a batch that failed")
	m.OnOp(nil)
	w.panics = true
	require.NoError(t, topic.AppendBatch(bg, []Record{rec("k", 6), rec("k", 7)}), "the records were appended all the same")
	w.panics = false
	require.NoError(t, topic.AppendBatch(bg, []Record{rec("k", 8)}))
	require.EqualValues(t, 6, topic.Stats().Records)
	require.NoError(t, s.Close())
}

// Whatever keeps a store from being opened, nothing of it stays open.
func TestFailedOpenGivesEverythingBack(t *testing.T) {
	m := made(t, OS)
	for n := int64(1); ; n++ {
		m := m.Kill()
		m.FailNth(n, fs.EIO)
		s, err := Open("/store", Options{fs: m})
		m.OnOp(nil)
		if err == nil {
			require.NoError(t, s.Close())
		} else {
			require.ErrorIs(t, err, fs.EIO)
			require.ErrorContains(t, err, "open store /store: ")
		}
		require.NoError(t, openMem(t, m).Close(), "operation %d failed before", n)
		if m.Ops() < n {
			break
		}
	}
}

// The mark of a partition that could not be opened outlives the session: what
// is missing at the next open was durable, and so is damage and no torn tail.
func TestMarkOfABrokenPartitionIsKept(t *testing.T) {
	m := made(t, Sync)
	m.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/orders/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	s := openMem(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	_, err = topic.AppendTo(bg, 0, rec("k", 1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	m.OnOp(nil)

	d, err := m.OpenDir("/store/topics/orders/partitions/1", false)
	require.NoError(t, err)
	f, err := d.Open("00000000000000000000.log", true)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1024)) // all its frames, and the marker that bore them witness
	require.NoError(t, f.Close())

	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	report := topic.Recovery()
	require.True(t, report[0].Vouched)
	require.Nil(t, report[1].Cut)
	require.Len(t, report[1].Lost, 1)
	require.Equal(t, [2]int64{0, 10}, [2]int64{report[1].Lost[0].FromOffset, report[1].Lost[0].ToOffset})
	require.NoError(t, s.Close())
}

// A file of another kind, or of another partition, has a checksum that is right
// and says nothing about this one: it is damage, and not an answer.
func TestFilesInEachOthersPlace(t *testing.T) {
	partitionMetaFile := func(n int) string { return fmt.Sprintf("/store/topics/orders/partitions/%d/partition.json", n) }
	lived := func() (*fs.Mem, map[string][]byte) {
		m := made(t, OS)
		s := openMem(t, m)
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		for n := range topic.NumPartitions() {
			require.NoError(t, topic.Partition(n).Trim(bg, int64(n+1)))
		}
		require.NoError(t, s.Close())
		all := map[string][]byte{}
		for _, name := range []string{"/store/store.json", "/store/checkpoint", "/store/topics/orders/topic.json", partitionMetaFile(0), partitionMetaFile(1)} {
			change(t, m, name, func(b []byte) []byte { all[name] = bytes.Clone(b); return b })
		}
		return m, all
	}
	_, all := lived()
	for name := range all {
		for other := range all {
			if name == other {
				continue
			}
			m, files := lived()
			change(t, m, name, func([]byte) []byte { return files[other] })
			s, err := Open("/store", Options{fs: m})
			if name == "/store/store.json" {
				require.ErrorIs(t, err, ErrCorrupt, "%s in the place of %s", other, name)
				continue
			}
			require.NoError(t, err)
			topic, err := s.Topic("orders")
			switch name {
			case "/store/checkpoint":
				require.NoError(t, err)
				require.NoError(t, topic.Recovery()[0].Err)
			case "/store/topics/orders/topic.json":
				require.ErrorIs(t, err, ErrCorrupt, "%s in the place of %s", other, name)
			case partitionMetaFile(0):
				require.ErrorIs(t, topic.Recovery()[0].Err, ErrCorrupt, "%s in the place of %s", other, name)
				require.NoError(t, topic.Recovery()[1].Err)
			}
			require.NoError(t, s.Close())
		}
	}
}

package braidlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// A keptTopic is a topic of small segments, without the background worker, on a
// clock that can be moved.
type keptTopic struct {
	*Topic
	t testing.TB
	s *Store
	m *fs.Mem
	c *clock.Clock
}

func openKept(t testing.TB, m *fs.Mem, c *clock.Clock) *Store {
	s, err := Open("/store", Options{fs: m, clock: c, idle: true})
	require.NoError(t, err)
	return s
}

func newKept(t testing.TB, config TopicConfig) *keptTopic {
	k := &keptTopic{t: t, m: fs.NewMem(), c: clock.Start()}
	k.s = openKept(t, k.m, k.c)
	config.SegmentBytes = 4 << 10
	var err error
	k.Topic, err = k.s.EnsureTopic(bg, "logs", config)
	require.NoError(t, err)
	return k
}

// reopen closes and opens the store.
func (k *keptTopic) reopen(c *clock.Clock) {
	require.NoError(k.t, k.s.Close())
	k.s = openKept(k.t, k.m, c)
	k.c = c
	var err error
	k.Topic, err = k.s.Topic("logs")
	require.NoError(k.t, err)
}

// add appends n records of about a third of a segment.
func (k *keptTopic) add(partition, n int) {
	for range n {
		_, err := k.AppendTo(bg, partition, Record{Value: make([]byte, 900)})
		require.NoError(k.t, err)
	}
}

func (k *keptTopic) enforce() { require.NoError(k.t, k.Enforce(bg)) }

func (k *keptTopic) starts() (all []int64) {
	for i := range k.NumPartitions() {
		all = append(all, k.Partition(i).Start())
	}
	return all
}

func TestRetentionByAge(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{Age: time.Hour}})
	k.add(0, 6)
	k.c.Skip(40 * time.Minute)
	k.add(0, 6)
	k.enforce()
	require.Equal(t, []int64{0}, k.starts())
	k.c.Skip(30 * time.Minute)
	k.enforce()
	require.Equal(t, []int64{6}, k.starts(), "only segments whose last record is too old")
	k.c.Skip(time.Hour)
	k.enforce()
	require.Equal(t, []int64{12}, k.starts(), "the active segment was ended and went")
	require.LessOrEqual(t, k.Partition(0).Bytes(), int64(2<<10))
	k.add(0, 1)
	require.NoError(t, k.s.Close())
}

// Times of the caller's own, and a clock that was wrong or jumps, neither keep
// records for ever nor remove fresh ones.
func TestRetentionByAgeAndClocks(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{Age: time.Hour}})
	_, err := k.Append(bg, Record{Value: make([]byte, 900), OriginTime: time.Now().AddDate(100, 0, 0)})
	require.NoError(t, err)
	k.add(0, 5)
	k.c.Skip(2 * time.Hour)
	_, err = k.Append(bg, Record{Value: make([]byte, 900), OriginTime: time.Unix(0, 0)})
	require.NoError(t, err)
	k.enforce()
	require.Equal(t, []int64{6}, k.starts(), "origin times decide nothing")

	ahead := clock.Start()
	ahead.Skip(1000 * time.Hour)
	k.reopen(ahead)
	k.add(0, 6) // times of these are 1,000 hours ahead
	k.reopen(clock.Start())
	k.add(0, 6) // and so are these
	k.enforce()
	require.Equal(t, []int64{6}, k.starts()[:1], "nothing is an hour old for sure")
	for _, rec := range k.Records(bg, partition.Last(1)) {
		require.NoError(t, rec)
	}
	k.c.Skip(61 * time.Minute)
	k.add(0, 1)
	k.enforce()
	require.Greater(t, k.starts()[0], int64(13), "a clock that was ahead pins nothing")
	require.Less(t, k.starts()[0], k.Partition(0).End())
	require.NoError(t, k.s.Close())
}

func TestRetentionByPartitionBytes(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 2, Retention: Retention{PartitionBytes: 9 << 10}})
	k.add(0, 20)
	k.add(1, 3)
	k.enforce()
	require.LessOrEqual(t, k.Partition(0).Bytes(), int64(9<<10))
	require.Greater(t, k.Partition(0).Bytes(), int64(4<<10), "no more than needed")
	require.Zero(t, k.Partition(1).Start())
	requireWhole(t, k.Topic)
	require.NoError(t, k.s.Close())
}

// requireWhole requires that every record from start to end is there.
func requireWhole(t testing.TB, topic *Topic) {
	for i := range topic.NumPartitions() {
		p := topic.Partition(i)
		n := p.Start()
		for rec, err := range p.Records(bg, partition.First()) {
			require.NoError(t, err)
			require.Equal(t, n, rec.Offset)
			n++
		}
		require.Equal(t, p.End(), n)
	}
}

// Of all partitions the oldest segment goes first.
func TestRetentionByTopicBytes(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 3, Retention: Retention{TopicBytes: 30 << 10}})
	for _, p := range []int{2, 0, 1, 2, 0, 1} { // in this order they go
		k.add(p, 9)
		k.c.Skip(time.Minute)
	}
	k.enforce()
	var total int64
	for i := range 3 {
		total += k.Partition(i).Bytes()
	}
	require.LessOrEqual(t, total, int64(30<<10))
	require.Greater(t, total, int64(26<<10))
	starts := k.starts()
	require.Equal(t, []int64{9, 9}, starts[:2])
	require.Greater(t, starts[2], int64(9), "its second records are the oldest that are left")
	require.Less(t, starts[2], int64(18))
	requireWhole(t, k.Topic)
	require.NoError(t, k.s.Close())
}

func TestRefuseWhenFull(t *testing.T) {
	for _, heap := range []bool{false, true} {
		for _, level := range []Durability{Sync, Interval, OS} {
			k := &keptTopic{t: t, m: fs.NewMem(), c: clock.Start()}
			var err error
			k.s, err = Open("/store", Options{fs: k.m, forceHeap: heap})
			require.NoError(t, err)
			k.Topic, err = k.s.EnsureTopic(bg, "logs", TopicConfig{Partitions: 2, SegmentBytes: 4 << 10, Durability: level, Retention: Retention{TopicBytes: 20 << 10, Full: Refuse}})
			require.NoError(t, err)
			var refused error
			n := 0
			for ; refused == nil; n++ {
				_, refused = k.AppendTo(bg, n%2, Record{Value: make([]byte, 900)})
			}
			require.ErrorIs(t, refused, ErrFull)
			require.ErrorContains(t, refused, "append logs/")
			require.LessOrEqual(t, k.quota.Used(), int64(20<<10))
			require.Greater(t, k.quota.Used(), int64(18<<10))
			recs := []Record{{Value: make([]byte, 900)}, {Value: make([]byte, 900)}}
			var partial *BatchError
			require.ErrorAs(t, k.AppendBatch(bg, recs), &partial)
			require.ErrorIs(t, partial, ErrFull)
			require.Equal(t, []int64{-1, -1}, []int64{recs[0].Offset, recs[1].Offset})
			requireWhole(t, k.Topic)
			require.Zero(t, k.Partition(0).Start(), "nothing is removed")
			require.NoError(t, k.Partition(0).Trim(bg, 6))
			k.add(0, 3)
			require.NoError(t, k.SetConfig(bg, TopicConfig{Retention: Retention{TopicBytes: 40 << 10}}))
			k.add(1, 5)
			require.NoError(t, k.s.Close())
			k.s, err = Open("/store", Options{fs: k.m, forceHeap: heap})
			require.NoError(t, err)
			k.Topic, err = k.s.Topic("logs")
			require.NoError(t, err)
			var bytes int64
			for i := range 2 {
				bytes += k.Partition(i).Bytes()
			}
			require.Equal(t, bytes, k.quota.Used())
			require.NoError(t, k.s.Close())
		}
	}
}

func TestHoldBack(t *testing.T) {
	var keep int64
	hold := func(n int) int64 {
		require.Zero(t, n)
		if keep < 0 {
			panic("who knows")
		}
		return keep
	}
	r := Retention{PartitionBytes: 8 << 10}
	k := newKept(t, TopicConfig{Partitions: 1, Retention: r, HoldBack: hold})
	k.add(0, 30)
	k.enforce()
	require.Equal(t, []int64{0}, k.starts())
	keep = 8
	k.enforce()
	require.Equal(t, []int64{6}, k.starts(), "whole segments below 8")
	keep = -1
	require.ErrorContains(t, k.Enforce(bg), "it panicked: who knows")
	require.Equal(t, []int64{6}, k.starts())

	keep = 8
	r.HoldBackBytes = 20 << 10
	require.NoError(t, k.SetConfig(bg, TopicConfig{Retention: r}))
	k.enforce()
	require.LessOrEqual(t, k.Partition(0).Bytes(), int64(20<<10))
	require.Greater(t, k.Partition(0).Bytes(), int64(14<<10))
	at := k.starts()[0]
	r.HoldBackBytes, r.HoldBackAge = Unlimited, time.Hour
	require.NoError(t, k.SetConfig(bg, TopicConfig{Retention: r}))
	k.enforce()
	require.Equal(t, at, k.starts()[0])
	k.c.Skip(2 * time.Hour)
	k.enforce()
	require.LessOrEqual(t, k.Partition(0).Bytes(), int64(8<<10))

	r.HoldBackAge = Unlimited
	require.NoError(t, k.SetConfig(bg, TopicConfig{Retention: r}))
	// After Open the function has to be given again; until then all is held.
	k.add(0, 20)
	k.reopen(k.c)
	at = k.starts()[0]
	k.enforce()
	require.Equal(t, at, k.starts()[0])
	require.NoError(t, k.SetConfig(bg, TopicConfig{HoldBack: HoldNothing}))
	k.enforce()
	require.Greater(t, k.starts()[0], at)
	require.NoError(t, k.s.Close())
}

// The worker enforces without being asked, when a segment was rolled.
func TestRetentionInTheBackground(t *testing.T) {
	m := fs.NewMem()
	s, err := Open("/store", Options{fs: m})
	require.NoError(t, err)
	topic, err := s.EnsureTopic(bg, "logs", TopicConfig{Partitions: 1, SegmentBytes: 4 << 10, Retention: Retention{PartitionBytes: 8 << 10}})
	require.NoError(t, err)
	p := topic.Partition(0)
	for deadline := time.Now().Add(30 * time.Second); p.Start() == 0; {
		_, err = topic.Append(bg, Record{Value: make([]byte, 900)})
		require.NoError(t, err)
		require.True(t, time.Now().Before(deadline))
	}
	require.NoError(t, s.Close())
}

// archived is a segment as an Archiver saw it.
type archived struct {
	ArchiveSegment
	bytes []byte
}

func TestArchiver(t *testing.T) {
	var all []archived
	var fail any // what the archiver does: an error, a panic, or nothing
	calls := 0
	to := func(ctx context.Context, s *ArchiveSegment) error {
		calls++
		switch f := fail.(type) {
		case error:
			return f
		case string:
			panic(f)
		}
		b, err := io.ReadAll(s.Reader)
		require.NoError(t, err)
		all = append(all, archived{*s, b})
		return nil
	}
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{To: to}})
	k.add(0, 12)
	want := map[string][]byte{}
	segs, _ := k.Partition(0).Sealed()
	for _, seg := range segs {
		f, done, err := seg.Open()
		require.NoError(t, err)
		b := make([]byte, seg.Bytes)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		done()
		want[seg.Name()] = b
	}
	for _, f := range []any{errors.New("no tape"), "broken"} {
		fail = f
		err := k.Enforce(bg)
		require.ErrorContains(t, err, "enforce retention of logs: archive segment 00000000000000000000.log of logs/0: ")
		require.ErrorContains(t, err, fmt.Sprint(f))
		require.Equal(t, []int64{0}, k.starts())
		require.Contains(t, k.Stats().ArchiveError, fmt.Sprint(f))
	}
	require.Equal(t, 2, calls)
	require.Equal(t, int64(2), k.Stats().ArchiveFailures)
	wait, err := k.Topic.enforce(bg, true)
	require.NoError(t, err)
	require.Equal(t, 2, calls, "in the background it waits")
	require.InDelta(t, 2*time.Second, wait, float64(time.Second), "twice as long after the second failure")
	k.c.Skip(time.Minute)
	_, err = k.Topic.enforce(bg, true)
	require.Error(t, err)
	require.Equal(t, 3, calls)
	require.NoError(t, k.SetConfig(bg, TopicConfig{Archive: Archive{To: to}}))
	fail = nil
	_, err = k.Topic.enforce(bg, true)
	require.NoError(t, err)
	require.Greater(t, calls, 3, "another one, perhaps: it is tried at once")
	next := int64(0)
	for _, a := range all {
		require.Equal(t, "logs", a.Topic)
		require.Equal(t, next, a.From)
		next = a.To
		require.True(t, bytes.Equal(want[a.Name], a.bytes), a.Name)
		require.Equal(t, int64(len(a.bytes)), a.Bytes)
		require.Equal(t, crc32.Checksum(a.bytes, castagnoli), a.CRC32C)
		require.False(t, a.First.IsZero())
		require.False(t, a.Last.Before(a.First))
	}
	require.Equal(t, []int64{next}, k.starts(), "what was archived went, and nothing else")
	st := k.Stats()
	require.Equal(t, int64(len(all)), st.Archived)
	require.Equal(t, int64(3), st.ArchiveFailures)
	require.Empty(t, st.ArchiveError)

	// Without the function nothing goes after the store was opened again.
	k.add(0, 12)
	k.reopen(k.c)
	require.ErrorIs(t, k.Enforce(bg), errNoArchiver)
	require.Equal(t, []int64{next}, k.starts())
	require.NoError(t, k.SetConfig(bg, TopicConfig{Archive: Archive{Off: true}}))
	k.enforce()
	require.Greater(t, k.starts()[0], next)
	k.reopen(k.c)
	k.enforce()
	require.NoError(t, k.s.Close())
}

func TestRetentionBadInput(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 2})
	stored := k.Config()
	for _, row := range []struct {
		config TopicConfig
		want   string
	}{
		{TopicConfig{Retention: Retention{Age: -time.Second}}, "Retention.Age is -1s, want 1ms or more"},
		{TopicConfig{Retention: Retention{Age: 5}}, "Retention.Age is 5ns, want 1ms or more"},
		{TopicConfig{Retention: Retention{PartitionBytes: -1}}, "Retention.PartitionBytes is -1, less than one segment"},
		{TopicConfig{Retention: Retention{PartitionBytes: 4095}}, "a partition would keep up to SegmentBytes, 4096, all the same"},
		{TopicConfig{Retention: Retention{TopicBytes: 5000}}, "less than one segment for each of 2 partitions"},
		{TopicConfig{Retention: Retention{TopicBytes: 5000}}, "the topic would keep up to 8192 all the same; make SegmentBytes at most 2500"},
		{TopicConfig{Retention: Retention{HoldBackBytes: -3}}, "Retention.HoldBackBytes is -3, want 1 or more"},
		{TopicConfig{Retention: Retention{HoldBackAge: -3}}, "Retention.HoldBackAge is -3ns"},
		{TopicConfig{Retention: Retention{Full: 7}}, "Retention.Full is full(7)"},
		{TopicConfig{Archive: Archive{Dir: "x", Off: true}}, "Archive has 2 of To, Dir and Off, want one"},
		{TopicConfig{Archive: Archive{Dir: "/tmp/\xff"}}, `Archive.Dir is "/tmp/\xff", want UTF-8`},
		{TopicConfig{Dedup: Dedup{Mode: 9}}, "Dedup.Mode is dedup(9)"},
		{TopicConfig{Dedup: Dedup{Entries: -1}}, "Dedup.Entries is -1, want 1 or more"},
		{TopicConfig{Dedup: Dedup{Entries: math.MaxInt32}}, "Dedup.Entries is 2147483647, want at most 16777216"},
		{TopicConfig{Dedup: Dedup{Window: -1}}, "Dedup.Window is -1ns, want 1ms or more"},
	} {
		err := k.SetConfig(bg, row.config)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "configure topic logs: invalid config: ")
		require.ErrorContains(t, err, row.want)
	}
	require.Equal(t, settingsOf(stored), settingsOf(k.Config()))
	gone, cancel := context.WithCancel(bg)
	cancel()
	require.ErrorIs(t, k.Enforce(gone), context.Canceled)
	require.ErrorIs(t, k.Purge(gone), context.Canceled)
	require.NoError(t, k.s.Close())
	require.ErrorIs(t, k.Purge(bg), ErrClosed)
}

// Every setting is as stored after Open, and Unlimited lifts a limit.
func TestRetentionIsStored(t *testing.T) {
	r := Retention{Age: time.Hour, PartitionBytes: 1 << 20, TopicBytes: 2 << 20, Full: Refuse, Groups: HoldForGroups, HoldBackBytes: 3 << 20, HoldBackAge: time.Minute}
	d := Dedup{Mode: DedupRequired, Entries: 7, Window: time.Hour}
	k := newKept(t, TopicConfig{Partitions: 2, Retention: r, Dedup: d, Archive: Archive{Dir: "/archive"}})
	k.reopen(k.c)
	require.Equal(t, r, k.Config().Retention)
	require.Equal(t, d, k.Config().Dedup)
	require.Equal(t, Archive{Dir: "/archive"}, k.Config().Archive)
	require.NoError(t, k.SetConfig(bg, TopicConfig{Retention: Retention{Age: Unlimited, TopicBytes: Unlimited, Full: DeleteOldest}}))
	k.reopen(k.c)
	want := r
	want.Age, want.TopicBytes, want.Full = Unlimited, Unlimited, DeleteOldest
	require.Equal(t, want, k.Config().Retention)
	require.NoError(t, k.s.Close())
}

func TestPurge(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 3})
	k.add(0, 9)
	k.add(2, 1)
	require.NoError(t, k.Purge(bg))
	require.Equal(t, []int64{9, 0, 1}, k.starts())
	for _, err := range k.Records(bg, partition.First()) {
		require.NoError(t, err)
		require.Fail(t, "a record was left")
	}
	k.add(0, 1)
	k.reopen(k.c)
	require.Equal(t, []int64{9, 0, 1}, k.starts())
	requireWhole(t, k.Topic)
	require.NoError(t, k.s.Close())
}

func TestVerifyStore(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 3})
	for i := range 3 {
		k.add(i, 12)
	}
	var last VerifyProgress
	r, err := k.s.Verify(bg, func(p VerifyProgress) {
		require.GreaterOrEqual(t, p.Bytes, last.Bytes)
		last = p
	})
	require.NoError(t, err)
	require.Empty(t, r.Damaged)
	require.Equal(t, 3, r.Partitions)
	require.Equal(t, VerifyProgress{r.Bytes, r.Bytes, 3, 3, 0}, last)
	spoil(t, k.m, "/store/topics/logs/partitions/1/00000000000000000003.log", 1500)
	r, err = k.s.Verify(bg)
	require.NoError(t, err)
	require.Len(t, r.Damaged, 1)
	d := r.Damaged[0]
	require.Equal(t, "logs 1 00000000000000000003.log", fmt.Sprint(d.Topic, " ", d.Partition, " ", d.File))
	require.Equal(t, []int64{3, 4}, []int64{d.FromOffset, d.ToOffset}, "one batch")
	require.LessOrEqual(t, d.FromByte, int64(1500))
	require.Greater(t, d.ToByte, int64(1500))
	gone, cancel := context.WithCancel(bg)
	cancel()
	_, err = k.s.Verify(gone)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, strings.HasPrefix(err.Error(), "verify store: "))
	require.NoError(t, k.s.Close())
	_, err = k.s.Verify(bg)
	require.ErrorIs(t, err, ErrClosed)
}

// A progress bar that divides by zero ends neither the program nor Verify.
func TestVerifyWhoseProgressPanics(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 3})
	for i := range 3 {
		k.add(i, 12)
	}
	var shown []int64
	calls := 0
	r, err := k.s.Verify(bg, func(p VerifyProgress) {
		calls++
		shown = append(shown, p.Bytes/int64(p.Damaged))
	})
	require.Empty(t, shown)
	require.EqualError(t, err, "verify store: show progress: it panicked: runtime error: integer divide by zero")
	require.Equal(t, 1, calls)
	require.Equal(t, 3, r.Partitions)
	require.Positive(t, r.Bytes)
	require.NoError(t, k.s.Close())
}

// spoil flips a bit of a file.
func spoil(t testing.TB, m *fs.Mem, path string, at int64) {
	d, err := m.OpenDir("/", false)
	require.NoError(t, err)
	f, err := d.Open(path[1:], true)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, at)
	require.NoError(t, errors.Join(err, f.Close()))
}

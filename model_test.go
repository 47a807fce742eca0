package braidlog

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/rig/witness"
	"github.com/braidlog/braidlog/partition"
)

// TestStoreAgainstSlices does what an application does, at random, and
// compares the store with plain slices.
func TestStoreAgainstSlices(t *testing.T) {
	runs, steps := 24, 250
	if racing {
		runs = 6
	}
	eachWindow(t, func(t *testing.T, heap bool) {
		for range runs {
			seed := rand.Uint64()
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), heap: heap, m: fs.NewMem(), topics: map[string]*modelTopic{}}
				m.open()
				for range steps {
					m.step()
				}
				m.compareAll()
				require.NoError(t, m.s.Close())
			})
		}
	})
}

// A model is a store and what should be in it.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	heap   bool
	m      *fs.Mem
	s      *Store
	topics map[string]*modelTopic
	count  int // records appended
}

type modelTopic struct {
	topic  *Topic
	parts  [][]Record
	place  []byte  // of a cursor, nil before the first
	placed []int64 // the offsets it stands for
}

func (m *model) open() {
	s, err := Open("/store", Options{fs: m.m, forceHeap: m.heap})
	require.NoError(m.t, err)
	m.s = s
	require.Equal(m.t, slices.Sorted(maps.Keys(m.topics)), slices.Sorted(slices.Values(s.Topics())))
	for name, mt := range m.topics {
		mt.topic, err = s.Topic(name)
		require.NoError(m.t, err)
	}
}

// pick returns some topic, nil if there is none.
func (m *model) pick() *modelTopic {
	names := slices.Sorted(maps.Keys(m.topics))
	if len(names) == 0 {
		return nil
	}
	return m.topics[names[m.rng.IntN(len(names))]]
}

func (m *model) step() {
	mt := m.pick()
	n := m.rng.IntN(100)
	switch {
	case mt == nil || n < 3:
		m.ensure()
	case n < 40:
		m.append(mt)
	case n < 50:
		m.appendBatch(mt)
	case n < 60:
		m.appendAsync(mt)
	case n < 66:
		m.compareKey(mt)
	case n < 70:
		m.compareRecords(mt)
	case n < 80:
		m.moveCursor(mt)
	case n < 85:
		m.configure(mt)
	case n < 88:
		require.NoError(m.t, mt.topic.Sync(bg))
	case n < 92:
		m.readOne(mt)
	case n < 95:
		require.NoError(m.t, m.s.Close())
		m.open()
	case n < 99:
		killed := m.m.Kill()
		require.NoError(m.t, m.s.Close())
		m.m = killed
		m.open()
	default:
		name := mt.topic.Name()
		require.NoError(m.t, m.s.DeleteTopic(bg, name))
		delete(m.topics, name)
	}
}

func (m *model) level() Durability { return []Durability{0, Sync, Interval, OS}[m.rng.IntN(4)] }

func (m *model) ensure() {
	name := fmt.Sprint("topic-", m.rng.IntN(3))
	t, err := m.s.EnsureTopic(bg, name, TopicConfig{Durability: m.level(), SegmentBytes: 16 << 10, SegmentAge: time.Hour})
	require.NoError(m.t, err)
	if m.topics[name] == nil {
		m.topics[name] = &modelTopic{topic: t, parts: make([][]Record, t.NumPartitions())}
	}
}

func (m *model) configure(mt *modelTopic) {
	c := TopicConfig{Durability: m.level(), SegmentBytes: int64(16+m.rng.IntN(2)*16) << 10}
	require.NoError(m.t, mt.topic.SetConfig(bg, c))
}

// record returns a record of any shape.
func (m *model) record() Record {
	m.count++
	r := Record{Value: fmt.Appendf(nil, "%d %s", m.count, make([]byte, m.rng.IntN(1500)))}
	switch m.rng.IntN(20) {
	case 0:
		r.Value = nil
	case 1:
		r.Value = []byte{}
	}
	switch m.rng.IntN(10) {
	case 0:
	case 1:
		r.Key = []byte{}
	default:
		r.Key = fmt.Appendf(nil, "key-%d", m.rng.IntN(12))
	}
	for range m.rng.IntN(3) {
		r.Headers = append(r.Headers, Header{Key: fmt.Sprint("h", m.rng.IntN(2)), Value: [][]byte{nil, {}, []byte("v")}[m.rng.IntN(3)]})
	}
	if m.rng.IntN(3) == 0 {
		r.ID = [16]byte{byte(m.count), 1}
		r.OriginTime = time.Unix(0, m.rng.Int64()).UTC()
	}
	return r
}

// took enters a record that was appended.
func (m *model) took(mt *modelTopic, r Record, pos Position) {
	require.EqualValues(m.t, len(mt.parts[pos.Partition]), pos.Offset)
	if r.Key != nil {
		n, err := mt.topic.Route(r)
		require.NoError(m.t, err)
		require.Equal(m.t, n, pos.Partition)
	}
	r = r.Clone()
	r.Topic, r.Partition, r.Offset = mt.topic.Name(), pos.Partition, pos.Offset
	mt.parts[pos.Partition] = append(mt.parts[pos.Partition], r)
}

func (m *model) append(mt *modelTopic) {
	r := m.record()
	pos, err := mt.topic.Append(bg, r)
	require.NoError(m.t, err)
	m.took(mt, r, pos)
}

func (m *model) appendBatch(mt *modelTopic) {
	recs := make([]Record, m.rng.IntN(20))
	for i := range recs {
		recs[i] = m.record()
	}
	require.NoError(m.t, mt.topic.AppendBatch(bg, recs))
	for _, r := range recs {
		m.took(mt, r, Position{Partition: r.Partition, Offset: r.Offset})
	}
}

func (m *model) appendAsync(mt *modelTopic) {
	var calls sync.WaitGroup
	places := make([]Position, 1+m.rng.IntN(10))
	recs := make([]Record, len(places))
	for i := range places {
		recs[i] = m.record()
		calls.Add(1)
		require.NoError(m.t, mt.topic.AppendAsync(bg, recs[i], func(pos Position, err error) {
			defer calls.Done()
			if err == nil {
				places[i] = pos
			} else {
				places[i] = noPosition
			}
		}))
	}
	if m.rng.IntN(2) == 0 {
		require.NoError(m.t, mt.topic.Sync(bg))
	}
	calls.Wait()
	for i, pos := range places {
		require.NotEqual(m.t, noPosition, pos)
		m.took(mt, recs[i], pos)
	}
}

// same compares a record that was read with one that was appended, but for the
// append time.
func (m *model) same(want, got Record) {
	require.False(m.t, got.Timestamp.IsZero())
	got.Timestamp, want.Timestamp = time.Time{}, time.Time{}
	if len(got.Headers) == 0 {
		got.Headers = nil // a reader's record keeps the memory of its headers
	}
	require.Equal(m.t, want, got)
}

func (m *model) compareKey(mt *modelTopic) {
	key := fmt.Appendf(nil, "key-%d", m.rng.IntN(13))
	n, err := mt.topic.Route(Record{Key: key})
	require.NoError(m.t, err)
	var want []Record
	for _, r := range mt.parts[n] {
		if string(r.Key) == string(key) {
			want = append(want, r)
		}
	}
	m.compare(want, mt.topic.Key(bg, key))
}

func (m *model) compare(want []Record, got func(func(Record, error) bool)) {
	for r, err := range got {
		require.NoError(m.t, err)
		require.NotEmpty(m.t, want)
		m.same(want[0], r)
		want = want[1:]
	}
	require.Empty(m.t, want)
}

func (m *model) compareRecords(mt *modelTopic) {
	last := m.rng.Int64N(50)
	if m.rng.IntN(2) == 0 {
		m.compare(slices.Concat(mt.parts...), mt.topic.Records(bg, partition.First()))
		return
	}
	var want []Record
	for _, p := range mt.parts {
		want = append(want, p[max(0, len(p)-int(last)):]...)
	}
	m.compare(want, mt.topic.Records(bg, partition.Last(last)))
}

func (m *model) compareAll() {
	for _, mt := range m.topics {
		m.compare(slices.Concat(mt.parts...), mt.topic.Records(bg, partition.First()))
	}
}

func (m *model) readOne(mt *modelTopic) {
	p := m.rng.IntN(len(mt.parts))
	offset := m.rng.Int64N(int64(len(mt.parts[p])) + 2)
	r, err := mt.topic.Partition(p).Record(bg, offset)
	if offset >= int64(len(mt.parts[p])) {
		require.ErrorIs(m.t, err, ErrOffsetOutOfRange)
		return
	}
	require.NoError(m.t, err)
	m.same(mt.parts[p][offset], r)
}

// moveCursor goes on where the last cursor stopped, reads some, and keeps the
// place as text.
func (m *model) moveCursor(mt *modelTopic) {
	c := mt.topic.NewCursor(partition.First())
	if mt.place != nil {
		require.NoError(m.t, c.UnmarshalText(mt.place))
	} else {
		mt.placed = make([]int64, len(mt.parts))
	}
	for range m.rng.IntN(600) {
		r, err := c.TryNext()
		if err == ErrEnd {
			for i, p := range mt.parts {
				require.EqualValues(m.t, len(p), mt.placed[i])
			}
			break
		}
		require.NoError(m.t, err)
		m.same(mt.parts[r.Partition][mt.placed[r.Partition]], r.Clone())
		mt.placed[r.Partition]++
	}
	var err error
	mt.place, err = c.MarshalText()
	require.NoError(m.t, err)
	for i, n := range mt.placed {
		require.Equal(m.t, n, c.Offset(i))
	}
	require.NoError(m.t, c.Close())
}

// Many goroutines do everything at once: for the race detector, and to see
// that nothing is lost, duplicated or out of order.
func TestStoreFromManyGoroutines(t *testing.T) {
	eachWindow(t, func(t *testing.T, heap bool) {
		m := fs.NewMem()
		s := openMem(t, m, func(o *Options) { o.forceHeap = heap })
		topic := ensure(t, s, TopicConfig{Partitions: 3, Durability: OS, SegmentBytes: 16 << 10})
		ctx, cancel := context.WithCancel(bg)
		const writers, each = 6, 150
		histories := make([]*witness.History, topic.NumPartitions())
		followed := make([]*witness.Reading, len(histories))
		for i := range histories {
			histories[i] = &witness.History{}
			followed[i] = histories[i].Read(0)
		}
		var writing, others sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					r := rec(fmt.Sprint("writer", w), i)
					n, err := topic.Route(r)
					if err != nil {
						t.Error(err)
						return
					}
					a := histories[n].Append(string(r.Value))
					pos, err := topic.Append(bg, r)
					if err != nil {
						t.Error(err)
						return
					}
					a.Done(pos.Offset)
				}
			})
		}
		others.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				level := []Durability{Sync, Interval, OS}[i%3]
				if err := topic.SetConfig(ctx, TopicConfig{Durability: level}); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		others.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprint("other-", i%2)
				if _, err := s.EnsureTopic(bg, name, TopicConfig{Partitions: 2}); err != nil {
					t.Error(err)
				}
				if err := s.DeleteTopic(bg, name); err != nil {
					t.Error(err)
				}
			}
		})
		seen := 0
		for r, err := range topic.Tail(bg, partition.First()) {
			require.NoError(t, err)
			followed[r.Partition].Saw(r.Offset, string(r.Value))
			if seen++; seen == writers*each {
				break
			}
		}
		writing.Wait()
		cancel()
		others.Wait()
		require.NoError(t, s.Close())
		s = openMem(t, m)
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		for i, h := range histories {
			followed[i].Stopped()
			h.Killed()
			r := h.Read(0)
			for rec, err := range topic.Partition(i).Records(bg, partition.First()) {
				require.NoError(t, err)
				r.Saw(rec.Offset, string(rec.Value))
			}
			r.Ended(topic.Partition(i).End())
			require.Empty(t, h.Check())
		}
		require.NoError(t, s.Close())
	})
}

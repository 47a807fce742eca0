package braidlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

func id(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	id[0] = 0xd
	return id
}

// idRec is a record with an id and no key: left to itself it goes somewhere
// else each time.
func idRec(n int) Record { return Record{Value: fmt.Appendf(nil, "record %d", n), ID: id(n)} }

// dedupConfig spreads records without a key over three partitions.
func dedupConfig(level Durability) TopicConfig {
	return TopicConfig{
		Partitions: 3, Partitioner: partitioner.RoundRobin(), Durability: level, SegmentBytes: 16 << 10,
		Dedup: Dedup{Mode: DedupOn},
	}
}

// eachLevel runs f with all levels and both windows.
func eachLevel(t *testing.T, f func(t *testing.T, level Durability, heap bool)) {
	eachWindow(t, func(t *testing.T, heap bool) {
		for _, level := range []Durability{Sync, Interval, OS} {
			t.Run(level.String(), func(t *testing.T) { f(t, level, heap) })
		}
	})
}

func heapIf(heap bool) func(*Options) { return func(o *Options) { o.forceHeap = heap } }

// copies returns how many records have each id.
func copies(t testing.TB, topic *Topic) map[[16]byte]int {
	t.Helper()
	n := map[[16]byte]int{}
	for r, err := range topic.Records(bg, partition.First()) {
		require.NoError(t, err)
		n[r.ID]++
	}
	return n
}

// requireOnce requires that ids [0, n) are there, once each, and nothing else.
func requireOnce(t testing.TB, topic *Topic, n int) {
	t.Helper()
	want := map[[16]byte]int{}
	for i := range n {
		want[id(i)] = 1
	}
	require.Equal(t, want, copies(t, topic))
}

// appendAsync waits for the callback.
func appendAsync(ctx context.Context, topic *Topic, r Record) (pos Position, err error) {
	told := make(chan struct{})
	if err := topic.AppendAsync(ctx, r, func(p Position, e error) {
		pos, err = p, e
		close(told)
	}); err != nil {
		return noPosition, err
	}
	<-told
	return pos, err
}

// everyWay are the ways to append a record.
var everyWay = map[string]func(ctx context.Context, topic *Topic, r Record) (Position, error){
	"Append": func(ctx context.Context, topic *Topic, r Record) (Position, error) { return topic.Append(ctx, r) },
	"AppendTo": func(ctx context.Context, topic *Topic, r Record) (Position, error) {
		return topic.AppendTo(ctx, topic.NumPartitions()-1, r)
	},
	"AppendAsync": appendAsync,
	"AppendBatch": func(ctx context.Context, topic *Topic, r Record) (Position, error) {
		recs := []Record{r}
		err := topic.AppendBatch(ctx, recs)
		return Position{recs[0].Partition, recs[0].Offset, recs[0].Duplicate}, err
	},
}

func TestRepeatIsWhereTheFirstIs(t *testing.T) {
	eachLevel(t, func(t *testing.T, level Durability, heap bool) {
		m := fs.NewMem()
		s := openMem(t, m, heapIf(heap))
		topic := ensure(t, s, dedupConfig(level))
		n := 0
		var places []Position
		for _, first := range everyWay {
			pos, err := first(bg, topic, idRec(n))
			require.NoError(t, err)
			require.False(t, pos.Duplicate)
			places = append(places, pos)
			n++
		}
		repeat := func() {
			t.Helper()
			for i, want := range places {
				want.Duplicate = true
				for name, again := range everyWay {
					// A repeat is not checked: the first one is in the log.
					pos, err := again(bg, topic, Record{Key: make([]byte, 300), ID: id(i)})
					require.NoError(t, err, name)
					require.Equal(t, want, pos, name)
				}
				require.NoError(t, topic.AppendAsync(bg, idRec(i), nil))
			}
			requireOnce(t, topic, n)
		}
		repeat()
		require.NoError(t, s.Close())
		s = openMem(t, m, heapIf(heap))
		topic, err := s.Topic("orders")
		require.NoError(t, err)
		repeat()
		require.NoError(t, s.Close())
		for name, again := range everyWay {
			_, err := again(bg, topic, idRec(0))
			require.ErrorIs(t, err, ErrClosed, name)
		}
		require.ErrorIs(t, topic.AppendAsync(bg, idRec(0), nil), ErrClosed)
	})
}

// Without dedup the same appends are all there.
func TestDedupIsOffByDefault(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	require.Equal(t, Dedup{DedupOff, 10_000, time.Minute}, topic.Config().Dedup)
	for _, again := range everyWay {
		pos, err := again(bg, topic, idRec(0))
		require.NoError(t, err)
		require.False(t, pos.Duplicate)
	}
	require.Equal(t, map[[16]byte]int{id(0): len(everyWay)}, copies(t, topic))
	recs := []Record{{Duplicate: true}}
	require.NoError(t, topic.AppendBatch(bg, recs))
	require.False(t, recs[0].Duplicate, "what the caller left there is overwritten")
	require.NoError(t, s.Close())
}

func TestRecordsWithoutIDAreNoRepeats(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, dedupConfig(OS))
	for _, again := range everyWay {
		for range 2 {
			pos, err := again(bg, topic, rec("k", 1))
			require.NoError(t, err)
			require.False(t, pos.Duplicate)
		}
	}
	require.NoError(t, topic.AppendBatch(bg, []Record{rec("k", 1), idRec(1), rec("k", 1), idRec(1)}))
	require.Equal(t, map[[16]byte]int{noID: 2*len(everyWay) + 2, id(1): 1}, copies(t, topic))
	require.NoError(t, s.Close())
}

func TestRequiredID(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.Dedup.Mode = DedupRequired
	topic := ensure(t, s, c)
	ops := m.Ops()
	for name, again := range everyWay {
		_, err := again(bg, topic, rec("k", 1))
		require.ErrorIs(t, err, ErrInvalid, name)
		require.ErrorContains(t, err, "append to orders: ", name)
		require.ErrorContains(t, err, "invalid id: all zeros, and the topic's Dedup.Mode is required", name)
	}
	recs := []Record{idRec(0), rec("k", 1), idRec(0)}
	require.ErrorContains(t, topic.AppendBatch(bg, recs), "append to orders: record 1 of the batch: invalid id")
	require.Equal(t, []Record{idRec(0), rec("k", 1), idRec(0)}, recs)
	require.Equal(t, ops, m.Ops(), "nothing was done")
	require.Empty(t, copies(t, topic))
	pos, err := topic.Append(bg, idRec(0))
	require.NoError(t, err)
	require.False(t, pos.Duplicate, "the refused batch claimed nothing")
	require.NoError(t, topic.SetConfig(bg, TopicConfig{Dedup: Dedup{Mode: DedupOn}}))
	_, err = topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// A counter counts how often it is asked, and takes the next answer that it is
// given before its own.
type counter struct {
	mu    sync.Mutex
	asked map[[16]byte]int // guarded by mu
	total int              // guarded by mu
	each  func(r Record) error
}

func (c *counter) Placement() string { return "counter" }

func (c *counter) Partition(r Record, n int) (int, error) {
	c.mu.Lock()
	c.total++
	p := c.total % n
	if c.asked == nil {
		c.asked = map[[16]byte]int{}
	}
	c.asked[r.ID]++
	each := c.each
	c.mu.Unlock()
	if each != nil {
		return p, each(r)
	}
	return p, nil
}

// The partitioner is asked once for a record that is appended, and never for a
// repeat.
func TestPartitionerIsNotAskedForRepeats(t *testing.T) {
	s := openMem(t, fs.NewMem())
	p := &counter{}
	c := dedupConfig(OS)
	c.Partitioner = p
	topic := ensure(t, s, c)
	for range 3 {
		for i := range 5 {
			_, err := topic.Append(bg, idRec(i))
			require.NoError(t, err)
			_, err = appendAsync(bg, topic, idRec(i+5))
			require.NoError(t, err)
		}
		require.NoError(t, topic.AppendBatch(bg, []Record{idRec(10), idRec(3), idRec(11), idRec(10), rec("", 1), idRec(7)}))
	}
	_, err := topic.AppendTo(bg, 1, idRec(12))
	require.NoError(t, err)
	for i := range 12 {
		require.Equal(t, 1, p.asked[id(i)], i)
	}
	require.Equal(t, 3, p.asked[noID])
	require.Equal(t, 12+3, p.total)
	require.NoError(t, s.Close())
}

func TestBatchWithRepeats(t *testing.T) {
	eachLevel(t, func(t *testing.T, level Durability, heap bool) {
		s := openMem(t, fs.NewMem(), heapIf(heap))
		topic := ensure(t, s, dedupConfig(level))
		known, err := topic.Append(bg, idRec(0))
		require.NoError(t, err)
		recs := []Record{idRec(1), idRec(0), idRec(2), idRec(1), idRec(3), idRec(0), idRec(1)}
		require.NoError(t, topic.AppendBatch(bg, recs))
		var repeats []bool
		for i, r := range recs {
			repeats = append(repeats, r.Duplicate)
			require.Equal(t, "orders", r.Topic)
			at, err := topic.Partition(r.Partition).Record(bg, r.Offset)
			require.NoError(t, err)
			require.Equal(t, r.ID, at.ID, i)
			require.Equal(t, at.Timestamp, r.Timestamp, i)
		}
		require.Equal(t, []bool{false, true, false, true, false, true, true}, repeats)
		require.Equal(t, known, Position{Partition: recs[1].Partition, Offset: recs[1].Offset})
		requireOnce(t, topic, 4)

		require.NoError(t, topic.AppendBatch(bg, recs), "all of them again")
		for i, r := range recs {
			require.True(t, r.Duplicate, i)
		}
		requireOnce(t, topic, 4)
		require.NoError(t, s.Close())
	})
}

// A batch that is refused appends nothing and leaves no id behind.
func TestRefusedBatchClaimsNothing(t *testing.T) {
	s := openMem(t, fs.NewMem())
	p := &counter{each: func(r Record) error {
		if string(r.Key) == "bad" {
			return errors.New("no such region")
		}
		return nil
	}}
	c := dedupConfig(Sync)
	c.Partitioner = p
	topic := ensure(t, s, c)
	long := idRec(1)
	long.Key = make([]byte, 300)
	require.ErrorIs(t, topic.AppendBatch(bg, []Record{idRec(0), long}), ErrTooLarge)
	require.Zero(t, p.total, "all are checked before the first is routed")
	bad := idRec(1)
	bad.Key = []byte("bad")
	require.ErrorContains(t, topic.AppendBatch(bg, []Record{idRec(0), bad, idRec(0)}), "record 1 of the batch: ")
	_, err := topic.Append(bg, bad)
	require.ErrorIs(t, err, ErrPartitioner)
	_, err = appendAsync(bg, topic, bad)
	require.ErrorIs(t, err, ErrPartitioner)
	_, err = topic.AppendTo(bg, 1, long)
	require.ErrorIs(t, err, ErrTooLarge)
	require.Empty(t, copies(t, topic))
	require.Empty(t, topic.ids.flights)
	for i := range 2 {
		pos, err := topic.Append(bg, idRec(i))
		require.NoError(t, err)
		require.False(t, pos.Duplicate)
	}
	requireOnce(t, topic, 2)
	require.NoError(t, s.Close())
}

// Many goroutines append the same ids in every way. Each id is there once, at
// the place that all were told, and one of them appended it.
func TestRepeatsFromManyGoroutines(t *testing.T) {
	eachLevel(t, func(t *testing.T, level Durability, heap bool) {
		s := openMem(t, fs.NewMem(), heapIf(heap))
		topic := ensure(t, s, dedupConfig(level))
		const ids, workers = 60, 8
		var mu sync.Mutex
		places, firsts := map[int]Position{}, map[int]int{}
		told := func(i int, pos Position, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			if !pos.Duplicate {
				firsts[i]++
			}
			pos.Duplicate = false
			if at, ok := places[i]; ok && at != pos {
				t.Errorf("record %d is at %v and %v", i, at, pos)
			}
			places[i] = pos
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range ids {
					switch (w + i) % 4 {
					case 0:
						pos, err := topic.Append(bg, idRec(i))
						told(i, pos, err)
					case 1:
						pos, err := topic.AppendTo(bg, w%3, idRec(i))
						told(i, pos, err)
					case 2:
						wg.Add(1)
						err := topic.AppendAsync(bg, idRec(i), func(pos Position, err error) {
							defer wg.Done()
							told(i, pos, err)
						})
						if err != nil {
							t.Error(err)
							wg.Done()
						}
					case 3: // up and down, so that batches repeat each other's records
						recs := []Record{idRec(i), idRec(ids - 1 - i), idRec(i)}
						if w%2 == 0 {
							recs[0], recs[1] = recs[1], recs[0]
						}
						err := topic.AppendBatch(bg, recs)
						for _, r := range recs {
							told(int(r.ID[15]), Position{r.Partition, r.Offset, r.Duplicate}, err)
						}
					}
				}
			})
		}
		wg.Wait()
		requireOnce(t, topic, ids)
		require.Len(t, firsts, ids)
		for i, n := range firsts {
			require.Equal(t, 1, n, "record %d was first more than once", i)
		}
		for i, pos := range places {
			r, err := topic.Partition(pos.Partition).Record(bg, pos.Offset)
			require.NoError(t, err)
			require.Equal(t, id(i), r.ID)
		}
		require.Empty(t, topic.ids.flights)
		require.NoError(t, s.Close())
	})
}

// Of a batch that failed in part each record has an outcome, repeats that of
// their first.
func TestOutcomesOfRepeatsInABatch(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, dedupConfig(Sync))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt && strings.Contains(op.Name, "partitions/1/") {
			return fs.ENOSPC
		}
		return nil
	})
	recs := []Record{idRec(3), idRec(4), idRec(4), idRec(1), idRec(3), idRec(5)}
	for i := range recs {
		recs[i].Duplicate = true // left there by whoever
	}
	var b *BatchError
	require.ErrorAs(t, topic.AppendBatch(bg, recs), &b)
	require.ErrorIs(t, b, ErrDiskFull)
	require.Equal(t, []Outcome{Appended, NotAppended, NotAppended, Appended, Appended, Appended}, b.Outcomes)
	var got []Position
	for _, r := range recs {
		got = append(got, Position{r.Partition, r.Offset, r.Duplicate})
	}
	require.Equal(t, []Position{{0, 1, false}, {1, -1, false}, {1, -1, false}, {1, 0, true}, {0, 1, true}, {2, 1, false}}, got)
	m.OnOp(nil)
	require.NoError(t, topic.AppendBatch(bg, recs), "space came back")
	for i, r := range recs {
		require.Equal(t, i != 1, r.Duplicate, i)
	}
	requireOnce(t, topic, 6)
	require.NoError(t, s.Close())
}

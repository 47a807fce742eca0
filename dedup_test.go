package braidlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
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

// A gate stops syncs of data files until it is opened.
type gate struct {
	entered chan struct{} // told of each sync that stands at the gate
	open    chan error    // each value lets one through, with that error
}

func shut(m *fs.Mem) *gate {
	g := &gate{entered: make(chan struct{}), open: make(chan error)}
	m.OnOp(func(op fs.Op) error {
		if op.Kind != fs.OpSync || !strings.Contains(op.Name, "/partitions/") {
			return nil
		}
		g.entered <- struct{}{}
		return <-g.open
	})
	return g
}

// A watched context tells when somebody begins to wait for its end.
type watched struct {
	context.Context
	waits chan struct{} // has room for one
}

func watch(ctx context.Context) watched { return watched{ctx, make(chan struct{}, 1)} }

func (w watched) Done() <-chan struct{} {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

type placed struct {
	pos Position
	err error
}

func appendSoon(ctx context.Context, topic *Topic, r Record) chan placed {
	ch := make(chan placed, 1)
	go func() {
		pos, err := topic.Append(ctx, r)
		ch <- placed{pos, err}
	}()
	return ch
}

// inFlight returns a topic of one partition where record 0 is in flight: its
// sync stands at the gate.
func inFlight(t *testing.T) (*fs.Mem, *Store, *Topic, *gate, chan placed) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.Partitions = 1
	topic := ensure(t, s, c)
	_, err := topic.Append(bg, idRec(1000))
	require.NoError(t, err)
	g := shut(m)
	first := appendSoon(bg, topic, idRec(0))
	<-g.entered
	return m, s, topic, g, first
}

// A repeat of a record in flight waits for its durability, in every way, and
// shares its success and its failure.
func TestRepeatWaitsForTheFirst(t *testing.T) {
	for _, fault := range []error{nil, fs.EIO} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			m, s, topic, g, first := inFlight(t)
			var repeats []chan placed
			for _, again := range everyWay {
				ch := make(chan placed, 1)
				repeats = append(repeats, ch)
				go func() {
					pos, err := again(bg, topic, idRec(0))
					ch <- placed{pos, err}
				}()
			}
			ctx := watch(bg)
			repeats = append(repeats, appendSoon(ctx, topic, idRec(0)))
			<-ctx.waits
			async := make(chan placed, 1)
			require.NoError(t, topic.AppendAsync(bg, idRec(0), func(pos Position, err error) { async <- placed{pos, err} }))
			repeats = append(repeats, async)
			for _, ch := range repeats {
				require.Empty(t, ch, "it did not wait")
			}
			require.EqualValues(t, 1, topic.Partition(0).End(), "the first is not durable")
			m.OnOp(nil)
			g.open <- fault
			f := <-first
			for _, ch := range repeats {
				r := <-ch
				if fault != nil {
					require.ErrorIs(t, r.err, ErrOutcomeUnknown)
					require.ErrorIs(t, r.err, fault)
					continue
				}
				require.NoError(t, f.err)
				require.NoError(t, r.err)
				require.Equal(t, Position{0, 1, true}, r.pos)
			}
			if fault == nil {
				require.Equal(t, map[[16]byte]int{id(0): 1, id(1000): 1}, copies(t, topic))
				require.NoError(t, s.Close())
				return
			}
			require.ErrorIs(t, f.err, ErrOutcomeUnknown)
			require.Error(t, s.Close())
		})
	}
}

// A first record that is certain not to be in the log leaves nothing behind: who
// waited is told, and the next append of the id is the first.
func TestRepeatOfAFailedFirst(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.Partitions = 1
	topic := ensure(t, s, c)
	_, err := topic.Append(bg, idRec(1000))
	require.NoError(t, err)
	g := shut(m)
	leader := appendSoon(bg, topic, idRec(1))
	<-g.entered
	ctx, cancel := context.WithCancel(bg)
	left := watch(ctx)
	first := appendSoon(left, topic, idRec(0))
	<-left.waits
	cancel()
	require.ErrorIs(t, (<-first).err, ErrOutcomeUnknown)
	again := watch(bg)
	repeat := appendSoon(again, topic, idRec(0))
	<-again.waits
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt {
			return fs.ENOSPC
		}
		return nil
	})
	g.open <- nil
	require.NoError(t, (<-leader).err)
	r := <-repeat
	require.ErrorIs(t, r.err, ErrDiskFull)
	require.False(t, errors.Is(r.err, ErrOutcomeUnknown))
	m.OnOp(nil)
	pos, err := topic.Append(bg, idRec(0))
	require.NoError(t, err)
	require.Equal(t, Position{0, 2, false}, pos)
	require.NoError(t, s.Close())
}

// The story of a retry: the context ends while the append waits, nobody knows
// whether the record is in the log, and the append is tried again. It is where
// it was all the time, once, whether the first is still in flight or not.
func TestRetryAfterTheContextEnded(t *testing.T) {
	for _, mode := range []DedupMode{DedupOn, DedupOff} {
		t.Run(mode.String(), func(t *testing.T) {
			m, s, topic, g, leader := inFlight(t)
			require.NotNil(t, topic)
			unknown := idRec(1)
			ctx, cancel := context.WithCancel(bg)
			waiting := watch(ctx)
			first := appendSoon(waiting, topic, unknown)
			<-waiting.waits
			cancel()
			require.ErrorIs(t, (<-first).err, ErrOutcomeUnknown)
			if mode == DedupOff { // as if it had never been on
				topic.setState(newTopicState(withDedup(topic.Config(), Dedup{DedupOff, 1, time.Second}), topic.Placement()))
			}

			ctx, cancel = context.WithCancel(bg)
			waiting = watch(ctx)
			second := appendSoon(waiting, topic, unknown)
			<-waiting.waits
			cancel()
			r := <-second
			require.ErrorIs(t, r.err, ErrOutcomeUnknown, "still in flight, and its context ended too")
			require.Equal(t, noPosition, r.pos)
			third := appendSoon(bg, topic, unknown)
			m.OnOp(nil)
			g.open <- nil
			require.NoError(t, (<-leader).err)
			r = <-third
			require.NoError(t, r.err)
			fourth, err := topic.Append(bg, unknown)
			require.NoError(t, err)
			if mode == DedupOff {
				require.Equal(t, 4, copies(t, topic)[id(1)], "without dedup each try is there")
			} else {
				require.Equal(t, Position{0, 2, true}, r.pos)
				require.Equal(t, r.pos, fourth)
				require.Equal(t, 1, copies(t, topic)[id(1)])
			}
			require.NoError(t, topic.Sync(bg))
			require.NoError(t, s.Close())
		})
	}
}

func withDedup(c TopicConfig, d Dedup) TopicConfig {
	c.Dedup = d
	return c
}

// After a failed sync nobody can tell until the store is opened again. Until
// then a repeat is told so, though another partition would take it; afterwards
// it is there once, whatever the disk kept.
func TestRetryAfterAFailedSync(t *testing.T) {
	for _, mode := range []DedupMode{DedupOn, DedupOff} {
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, kept %t", mode, kept), func(t *testing.T) {
				m := fs.NewMem()
				s := openMem(t, m)
				topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{Mode: mode}))
				for i := range 3 {
					_, err := topic.Append(bg, idRec(i))
					require.NoError(t, err)
				}
				failed := ""
				m.OnOp(func(op fs.Op) error {
					if op.Kind == fs.OpSync {
						failed = op.Name
						return fs.EIO
					}
					return nil
				})
				_, err := topic.Append(bg, idRec(3))
				require.ErrorIs(t, err, ErrOutcomeUnknown)
				require.NotEmpty(t, failed)
				m.OnOp(nil)
				if mode == DedupOn {
					for name, again := range everyWay {
						_, err := again(bg, topic, idRec(3))
						require.ErrorIs(t, err, ErrOutcomeUnknown, name)
						require.ErrorIs(t, err, fs.EIO, name)
					}
					recs := []Record{idRec(4), idRec(3), idRec(5), idRec(3), idRec(4)}
					var b *BatchError
					require.ErrorAs(t, topic.AppendBatch(bg, recs), &b)
					require.Equal(t, []Outcome{Appended, Unknown, Appended, Unknown, Appended}, b.Outcomes)
					require.ErrorIs(t, b, ErrOutcomeUnknown)
					require.True(t, recs[1].Duplicate && recs[3].Duplicate && recs[4].Duplicate)
				} else {
					_, err = topic.Append(bg, idRec(3))
					require.NoError(t, err, "another partition took it")
					require.NoError(t, topic.AppendBatch(bg, []Record{idRec(4), idRec(5)}))
				}
				require.ErrorIs(t, s.Close(), ErrFailed)
				s = openMem(t, m.Crash(func() bool { return kept }))
				topic, err = s.Topic("orders")
				require.NoError(t, err)
				pos, err := topic.Append(bg, idRec(3))
				require.NoError(t, err)
				n := copies(t, topic)[id(3)]
				switch {
				case mode == DedupOn:
					require.Equal(t, kept, pos.Duplicate, "it is as it was kept")
					requireOnce(t, topic, 6)
				case kept:
					require.Equal(t, 3, n, "the first, the second and the third try")
				default:
					require.Equal(t, 2, n)
				}
				require.NoError(t, s.Close())
			})
		}
	}
}

// Who waits no more does not have to come again: what becomes of the record is
// known when it is.
func TestOutcomeIsKnownThoughTheOwnerLeft(t *testing.T) {
	for _, way := range []string{"Append", "AppendBatch"} {
		m, s, topic, g, leader := inFlight(t)
		ctx, cancel := context.WithCancel(bg)
		waiting, left := watch(ctx), make(chan error)
		go func() {
			_, err := everyWay[way](waiting, topic, idRec(1))
			left <- err
		}()
		<-waiting.waits
		cancel()
		require.ErrorIs(t, <-left, ErrOutcomeUnknown)
		require.Len(t, topic.ids.flights, 2)
		m.OnOp(nil)
		g.open <- nil
		require.NoError(t, (<-leader).err)
		require.NoError(t, s.Close())
		require.Empty(t, topic.ids.flights)
		require.Len(t, topic.ids.window.firsts, 3)
	}
}

// Nor does it have to wait for callbacks that are due before: a retry hears of
// the failure, and the next one appends the record.
func TestOutcomeIsKnownThoughACallbackBlocks(t *testing.T) {
	m, s, topic, g, leader := inFlight(t)
	blocked, unblock := make(chan struct{}), make(chan struct{})
	require.NoError(t, topic.AppendAsync(bg, rec("k", 1), func(Position, error) {
		close(blocked)
		<-unblock
	}))
	ctx, cancel := context.WithCancel(bg)
	waiting := watch(ctx)
	first := appendSoon(waiting, topic, idRec(1))
	<-waiting.waits
	cancel()
	require.ErrorIs(t, (<-first).err, ErrOutcomeUnknown)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt {
			return fs.ENOSPC
		}
		return nil
	})
	g.open <- nil
	require.NoError(t, (<-leader).err)
	<-blocked
	m.OnOp(nil)
	_, err := topic.Append(bg, idRec(1))
	require.ErrorIs(t, err, ErrDiskFull, "that of the first")
	pos, err := topic.Append(bg, idRec(1))
	require.NoError(t, err)
	require.Equal(t, Position{0, 2, false}, pos)
	close(unblock)
	require.NoError(t, s.Close())
}

// A first that was refused before it got to the log is not in flight: who waited
// for it tries by itself, and hears nothing of the other's error or context.
func TestRepeatOfARefusedFirst(t *testing.T) {
	s := openMem(t, fs.NewMem())
	asked, answer := make(chan struct{}), make(chan error)
	c := dedupConfig(Sync)
	c.Partitioner = &counter{each: func(r Record) error {
		if r.ID == noID {
			return nil
		}
		asked <- struct{}{}
		return <-answer
	}}
	topic := ensure(t, s, c)
	_, err := topic.AppendTo(bg, 0, idRec(0))
	require.NoError(t, err)
	n := 1
	for name, again := range everyWay {
		for _, bad := range []error{errors.New("no such region"), nil} {
			ended, cancel := context.WithCancel(bg)
			first := appendSoon(ended, topic, idRec(n))
			<-asked
			ctx, repeat := watch(bg), make(chan placed, 1)
			go func() {
				pos, err := again(ctx, topic, idRec(n))
				repeat <- placed{pos, err}
			}()
			<-ctx.waits
			require.Empty(t, repeat)
			if bad == nil {
				cancel() // Submit sees that
			}
			answer <- bad
			if name != "AppendTo" {
				<-asked
				answer <- nil
			}
			f, r := <-first, <-repeat
			if bad != nil {
				require.ErrorIs(t, f.err, bad, name)
			} else {
				require.ErrorIs(t, f.err, context.Canceled, name)
			}
			require.False(t, errors.Is(f.err, ErrOutcomeUnknown), name)
			require.NoError(t, r.err, name)
			require.False(t, r.pos.Duplicate, name)
			cancel()
			n++
		}
	}
	requireOnce(t, topic, n)
	require.NoError(t, s.Close())
}

// A repeat whose context ends before the first is even submitted cannot know
// what will become of that.
func TestRepeatLeavesBeforeTheFirstIsSubmitted(t *testing.T) {
	s := openMem(t, fs.NewMem())
	asked, answer := make(chan struct{}), make(chan error)
	c := dedupConfig(Sync)
	c.Partitioner = &counter{each: func(Record) error {
		asked <- struct{}{}
		return <-answer
	}}
	topic := ensure(t, s, c)
	_, err := topic.AppendTo(bg, 0, idRec(0))
	require.NoError(t, err)
	first := appendSoon(bg, topic, idRec(1))
	<-asked
	for name, again := range everyWay {
		ctx, cancel := context.WithCancel(bg)
		waiting, repeat := watch(ctx), make(chan placed, 1)
		go func() {
			pos, err := again(waiting, topic, idRec(1))
			repeat <- placed{pos, err}
		}()
		<-waiting.waits
		cancel()
		r := <-repeat
		require.ErrorIs(t, r.err, ErrOutcomeUnknown, name)
		require.ErrorIs(t, r.err, context.Canceled, name)
		require.EqualValues(t, -1, r.pos.Offset, name)
		require.False(t, r.pos.Duplicate, name)
	}
	answer <- nil
	require.NoError(t, (<-first).err)
	requireOnce(t, topic, 2)
	require.NoError(t, s.Close())
}

// The callback of an append may append a repeat of the very next record, whose
// own callback stands behind it in the queue.
func TestCallbackMayAppendARepeat(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	c := dedupConfig(Sync)
	c.Partitions = 1
	topic := ensure(t, s, c)
	_, err := topic.Append(bg, idRec(0))
	require.NoError(t, err)
	g := shut(m)
	leader := appendSoon(bg, topic, idRec(1))
	<-g.entered
	told := make(chan placed, 2)
	require.NoError(t, topic.AppendAsync(bg, idRec(2), func(Position, error) {
		pos, err := topic.Append(bg, idRec(3))
		told <- placed{pos, err}
	}))
	require.NoError(t, topic.AppendAsync(bg, idRec(3), func(pos Position, err error) { told <- placed{pos, err} }))
	m.OnOp(nil)
	g.open <- nil
	require.NoError(t, (<-leader).err)
	require.Equal(t, placed{Position{0, 3, true}, nil}, <-told)
	require.Equal(t, placed{Position{0, 3, false}, nil}, <-told)
	requireOnce(t, topic, 4)
	require.NoError(t, s.Close())
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

// The window holds the latest Entries ids, each for as long as Window says.
func TestWindowForgets(t *testing.T) {
	clk := clock.Start()
	s := openMem(t, fs.NewMem(), func(o *Options) { o.clock = clk })
	topic := ensure(t, s, withDedup(dedupConfig(OS), Dedup{DedupOn, 3, time.Hour}))
	again := func(n int) bool {
		t.Helper()
		pos, err := topic.Append(bg, idRec(n))
		require.NoError(t, err)
		return pos.Duplicate
	}
	for i := range 4 {
		require.False(t, again(i))
	}
	require.True(t, again(3) && again(2) && again(1))
	require.False(t, again(0), "the oldest of four was forgotten")
	require.False(t, again(1), "and now that one")
	require.True(t, again(3))
	clk.Skip(50 * time.Minute)
	require.False(t, again(4))
	require.True(t, again(0) && again(1) && again(4))
	clk.Skip(50 * time.Minute)
	require.False(t, again(1) || again(0), "too old")
	require.True(t, again(4) && again(0), "a repeat does not make it younger")
	clk.Skip(50 * time.Minute)
	require.False(t, again(4))
	require.NoError(t, s.Close())
}

// An id in flight is never forgotten, however many come after it.
func TestWindowKeepsWhatIsInFlight(t *testing.T) {
	m := fs.NewMem()
	clk := clock.Start()
	s := openMem(t, m, func(o *Options) { o.clock = clk })
	topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{DedupOn, 1, time.Minute}))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	in0 := shut(m)
	first := make(chan placed, 1)
	go func() {
		pos, err := topic.AppendTo(bg, 0, idRec(3))
		first <- placed{pos, err}
	}()
	<-in0.entered
	m.OnOp(nil)
	clk.Skip(time.Hour)
	for i := range 5 {
		_, err := topic.AppendTo(bg, 1, idRec(10+i))
		require.NoError(t, err)
	}
	ctx := watch(bg)
	repeat := appendSoon(ctx, topic, idRec(3))
	<-ctx.waits
	in0.open <- nil
	f, r := <-first, <-repeat
	require.NoError(t, f.err)
	f.pos.Duplicate = true
	require.Equal(t, f, r)
	pos, err := topic.Append(bg, idRec(3))
	require.NoError(t, err)
	require.False(t, pos.Duplicate, "an hour is over since it was appended")
	require.NoError(t, s.Close())
}

func TestDedupIsSwitchedOnAndOff(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, withDedup(dedupConfig(OS), Dedup{}))
	set := func(d Dedup) {
		t.Helper()
		require.NoError(t, topic.SetConfig(bg, TopicConfig{Dedup: d}))
	}
	again := func(n int) bool {
		t.Helper()
		pos, err := topic.Append(bg, idRec(n))
		require.NoError(t, err)
		return pos.Duplicate
	}
	require.False(t, again(0) || again(0))
	set(Dedup{Mode: DedupOn})
	require.True(t, again(0), "appended before it was switched on")
	require.False(t, again(1))
	set(Dedup{Mode: DedupOff})
	require.Empty(t, topic.ids.window.firsts, "nothing is kept while it is off")
	windowOf(t, topic) // by an append that began before
	require.False(t, again(1) || again(2))
	_, err := ensureAgain(s, Dedup{Mode: DedupRequired})
	require.NoError(t, err)
	require.True(t, again(0) && again(1) && again(2), "appended while it was off")
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, Dedup{DedupRequired, DefaultDedupEntries, DefaultDedupWindow}, topic.Config().Dedup)
	require.True(t, again(0))
	set(Dedup{Entries: 2})
	require.Len(t, topic.ids.window.firsts, 2, "at once")
	require.False(t, again(0))
	set(Dedup{Entries: 10})
	for i := range 3 {
		require.True(t, again(i), "what is in the log is remembered when there is room again")
	}
	require.NoError(t, s.Close())
}

func ensureAgain(s *Store, d Dedup) (*Topic, error) {
	return s.EnsureTopic(bg, "orders", TopicConfig{Dedup: d})
}

// What is in flight while dedup is switched on is waited for.
func TestSwitchedOnWhileInFlight(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{}))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	g := shut(m)
	first := appendSoon(bg, topic, idRec(3))
	<-g.entered
	set := make(chan error)
	go func() { set <- topic.SetConfig(bg, TopicConfig{Dedup: Dedup{Mode: DedupOn}}) }()
	for topic.Config().Dedup.Mode != DedupOn {
		runtime.Gosched()
	}
	repeat := appendSoon(bg, topic, idRec(3))
	for range 1000 { // time enough to be appended elsewhere
		select {
		case <-g.entered:
			require.FailNow(t, "the repeat was appended")
		default:
			runtime.Gosched()
		}
	}
	m.OnOp(nil)
	g.open <- nil
	f, r := <-first, <-repeat
	require.NoError(t, f.err)
	require.NoError(t, <-set)
	f.pos.Duplicate = true
	require.Equal(t, f, r)
	requireOnce(t, topic, 4)
	require.NoError(t, s.Close())
}

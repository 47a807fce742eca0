package braidlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

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

package braidlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// An ear takes note of events.
type ear struct {
	mu  sync.Mutex
	all []Event // guarded by mu
}

func (e *ear) hear(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *ear) hears(o *Options) { o.OnEvent = e.hear }

// heard returns the events of a kind so far, of any if k is 0.
func (e *ear) heard(k EventKind) (events []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if k == 0 || event.Kind == k {
			events = append(events, event)
		}
	}
	return events
}

// calls sets Options.OnEvent.
func calls(f func(Event)) func(*Options) { return func(o *Options) { o.OnEvent = f } }

// logs sets Options.Logger to one that writes lines without a time, which are
// to be looked at when the store is closed.
func logs(lines *bytes.Buffer) func(*Options) {
	return func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
	}
}

// logged returns the lines.
func logged(b *bytes.Buffer) []string {
	if b.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n")
}

// small is a topic whose segments are full after a few records.
func small(level Durability) TopicConfig {
	return TopicConfig{Partitions: 1, Durability: level, SegmentBytes: 4 << 10}
}

// rolls appends until so many segments were begun behind the first.
func rolls(t testing.TB, topic *Topic, n int) {
	t.Helper()
	for topic.Stats().Segments <= n {
		_, err := topic.Append(bg, Record{Value: make([]byte, 900)})
		require.NoError(t, err)
	}
}

// Every roll is told and logged once, in order, by the time Close returns.
func TestRollsAreToldInOrder(t *testing.T) {
	for _, level := range []Durability{Sync, Interval, OS} {
		t.Run(level.String(), func(t *testing.T) {
			var e ear
			var lines bytes.Buffer
			s := openMem(t, fs.NewMem(), e.hears, logs(&lines))
			topic := ensure(t, s, small(level))
			rolls(t, topic, 20)
			require.NoError(t, s.Close())
			all := e.heard(0)
			require.Len(t, all, 20)
			at := int64(0)
			var want []string
			for _, event := range all {
				require.Equal(t, Rolled, event.Kind)
				require.Equal(t, "orders", event.Topic)
				require.Zero(t, event.Partition)
				require.Greater(t, event.From, at)
				require.Zero(t, event.Dropped)
				at = event.From
				want = append(want, fmt.Sprintf(`level=DEBUG msg="partition rolled" topic=orders partition=0 from=%d to=%d bytes=%d`, at, at, event.Bytes))
			}
			require.Equal(t, want, logged(&lines))
		})
	}
}

// While the callback stands still appends and rolls go on, and so does the log.
func TestASlowCallback(t *testing.T) {
	for _, level := range []Durability{Sync, OS} {
		t.Run(level.String(), func(t *testing.T) {
			var e ear
			began, goOn := make(chan struct{}, 100), make(chan struct{})
			written := make(chan struct{}, 100)
			s := openMem(t, fs.NewMem(), calls(func(event Event) {
				began <- struct{}{}
				<-goOn
				e.hear(event)
			}), func(o *Options) { o.Logger = slog.New(teller(written)) })
			topic := ensure(t, s, small(level))
			rolls(t, topic, 1)
			<-began
			rolls(t, topic, 30)
			for range 30 {
				<-written
			}
			require.Empty(t, e.heard(0))
			close(goOn)
			require.NoError(t, s.Close())
			require.Len(t, e.heard(Rolled), 30)
		})
	}
}

// A teller is a slog.Handler that tells of each line.
type teller chan struct{}

func (c teller) Enabled(_ context.Context, _ slog.Level) bool  { return true }
func (c teller) Handle(_ context.Context, _ slog.Record) error { c <- struct{}{}; return nil }
func (c teller) WithAttrs([]slog.Attr) slog.Handler            { return c }
func (c teller) WithGroup(string) slog.Handler                 { return c }

// What is too much for the callback is dropped, and counted.
func TestDroppedEventsAreCounted(t *testing.T) {
	var e ear
	began, goOn := make(chan struct{}), make(chan struct{})
	s := openMem(t, fs.NewMem(), calls(func(event Event) {
		e.hear(event)
		if event.From == 0 {
			close(began)
			<-goOn
		}
	}))
	s.notify(Event{Kind: Rolled})
	<-began
	for i := range maxEvents + 17 {
		s.notify(Event{Kind: Rolled, From: int64(i + 1)})
	}
	close(goOn)
	require.NoError(t, s.Close())
	all := e.heard(0)
	require.Len(t, all, 1+maxEvents)
	for i, event := range all {
		require.EqualValues(t, i, event.From)
		dropped := 0
		if i == 1 {
			dropped = 17
		}
		require.Equal(t, dropped, event.Dropped)
	}
}

// A callback that panics, or ends its goroutine, is called with the next event
// all the same. A panic is logged.
func TestACallbackThatFails(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oh no") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var e ear
			var lines bytes.Buffer
			s := openMem(t, fs.NewMem(), logs(&lines), calls(func(event Event) {
				e.hear(event)
				fail()
			}))
			topic := ensure(t, s, small(Sync))
			rolls(t, topic, 5)
			n := topic.Stats().Records
			require.NoError(t, s.Close())
			require.Len(t, e.heard(Rolled), 5)
			require.Len(t, e.heard(0), 5, "a panic is no event")
			panics := 0
			for _, line := range logged(&lines) {
				if line == `level=ERROR msg="OnEvent failed at an event" error="it panicked: oh no"` {
					panics++
				}
			}
			require.Equal(t, name == "panic", panics == 5, "%v", logged(&lines))
			require.Len(t, logged(&lines), 5+panics)
			require.EqualValues(t, n, topic.Stats().Records)
		})
	}
	// Without a logger there is nobody to tell.
	s := openMem(t, fs.NewMem(), calls(func(Event) { panic("oh no") }))
	rolls(t, ensure(t, s, small(OS)), 3)
	require.NoError(t, s.Close())
}

// The callback may do with the store as it likes, but close it.
func TestACallbackThatUsesTheStore(t *testing.T) {
	var s *Store
	ready := make(chan struct{})
	seen := make(chan Position, 10)
	s = openMem(t, fs.NewMem(), calls(func(event Event) {
		<-ready
		audit, err := s.EnsureTopic(bg, "audit", TopicConfig{Partitions: 1})
		require.NoError(t, err)
		pos, err := audit.Append(bg, Record{Value: fmt.Append(nil, event.From)})
		require.NoError(t, err)
		s.Stats()
		seen <- pos
	}))
	topic := ensure(t, s, small(OS))
	rolls(t, topic, 5)
	close(ready)
	for i := range int64(5) {
		require.Equal(t, Position{Offset: i}, <-seen)
	}
	audit, err := s.Topic("audit")
	require.NoError(t, err)
	require.Len(t, values(t, audit.Records(bg, partition.First())), 5)
	require.NoError(t, s.Close())
}

// Close tells what is queued, and waits for a callback that is at work, even
// one that asks for a topic meanwhile.
func TestCloseTellsWhatIsQueued(t *testing.T) {
	var e ear
	var s *Store
	began := make(chan struct{}, 10)
	s = openMem(t, fs.NewMem(), calls(func(event Event) {
		began <- struct{}{}
		for { // until Close is under way
			if _, err := s.Topic("orders"); err != nil {
				require.ErrorIs(t, err, ErrClosed)
				break
			}
			runtime.Gosched()
		}
		e.hear(event)
	}))
	topic := ensure(t, s, small(OS))
	rolls(t, topic, 5)
	<-began
	require.NoError(t, s.Close())
	require.Len(t, e.heard(Rolled), 5)
	s.notify(Event{Kind: Rolled})
	require.ErrorIs(t, s.Close(), ErrClosed)
	require.Len(t, e.heard(Rolled), 5, "nothing is told after Close")
}

// What goes wrong while a store is closed is told too.
func TestTroubleOfCloseIsTold(t *testing.T) {
	m := fs.NewMem()
	var e ear
	s := openMem(t, m, e.hears)
	topic := ensure(t, s, small(OS))
	_, err := topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync && strings.HasSuffix(op.Name, ".log") {
			return fs.EIO
		}
		return nil
	})
	require.ErrorIs(t, s.Close(), fs.EIO)
	require.Len(t, e.heard(Trouble), 1)
	require.Equal(t, "failed", e.heard(Trouble)[0].What)
}

// What Open finds is told once Open returned.
func TestEventsOfOpen(t *testing.T) {
	m := made(t, Sync)
	change(t, m, "/store/checkpoint", func(b []byte) []byte { return b[:len(b)/2] })
	change(t, m, "/store/topics/refunds/topic.json", func(b []byte) []byte { return b[:len(b)/2] })
	m.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/orders/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	var e ear
	var lines bytes.Buffer
	s := openMem(t, m, e.hears, logs(&lines))
	require.NoError(t, s.Close())
	told := map[string]Event{}
	for _, event := range e.heard(Trouble) {
		require.WithinDuration(t, time.Now(), event.Time, time.Hour)
		told[fmt.Sprintf("%s/%d %s", event.Topic, event.Partition, event.What)] = event
	}
	require.Len(t, e.heard(0), 3)
	require.ErrorIs(t, told["/-1 the checkpoint is damaged and not used"].Err, ErrCorrupt)
	require.ErrorIs(t, told["orders/1 could not be opened"].Err, fs.EIO)
	require.ErrorIs(t, told["refunds/-1 a topic could not be opened"].Err, ErrCorrupt)
	require.Len(t, logged(&lines), 3)
	for _, line := range logged(&lines) {
		require.Contains(t, line, "level=ERROR")
	}
}

// An Open that fails calls nobody back, and leaves nobody behind; the log has
// what it found.
func TestEventsOfAnOpenThatFails(t *testing.T) {
	m := made(t, Sync)
	change(t, m, "/store/checkpoint", func(b []byte) []byte { return b[:len(b)/2] })
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpList && op.Name == "/store/topics" {
			return fs.EIO
		}
		return nil
	})
	var e ear
	o := Options{fs: m}
	var lines bytes.Buffer
	logs(&lines)(&o)
	e.hears(&o)
	_, err := Open("/store", o)
	require.ErrorIs(t, err, fs.EIO)
	require.Empty(t, e.heard(0))
	require.Len(t, logged(&lines), 1)
}

// One operation that fails, whichever, is told of at most once, and logged
// when it is told.
func TestTroubleIsToldOnce(t *testing.T) {
	base := made(t, OS)
	for _, heap := range []bool{true, false} {
		told := map[string]bool{}
		for n := int64(1); ; n++ {
			m := base.Kill()
			fault := fmt.Errorf("operation %d: %w", n, fs.EIO)
			at := m.Ops() + n
			var failed atomic.Value
			m.OnOp(func(op fs.Op) error {
				if op.N != at {
					return nil
				}
				failed.Store(op.String())
				return fault
			})
			var e ear
			var lines bytes.Buffer
			o := Options{fs: m, forceHeap: heap, OnEvent: e.hear}
			logs(&lines)(&o)
			s, err := Open("/store", o)
			if err != nil {
				require.ErrorIs(t, err, fault)
				continue
			}
			live(s)
			came := m.Ops() >= at
			if err = s.Close(); err != nil {
				require.ErrorIs(t, err, fault)
			}
			require.LessOrEqual(t, len(e.heard(Trouble)), 1, "%v: %+v", failed.Load(), e.heard(Trouble))
			require.Len(t, logged(&lines), len(e.heard(0)), "%v", failed.Load())
			for _, event := range e.heard(Trouble) {
				if event.What != "what is left of a topic could not be removed" { // it may say that something is in the way
					require.ErrorIs(t, event.Err, fault, "%v", failed.Load())
				}
				told[event.What] = true
			}
			if !came {
				break
			}
		}
		require.Subset(t, keysOf(told), []string{
			"failed", "could not be opened", "a topic could not be opened", "what is left of a topic could not be removed",
			"could not write an index",
		})
	}
}

func keysOf(m map[string]bool) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// live does a bit of everything. Any of it may fail.
func live(s *Store) {
	topic, err := s.EnsureTopic(bg, "clicks", small(OS))
	if err == nil {
		for range 12 {
			topic.Append(bg, Record{Value: make([]byte, 900)}) //nolint:errcheck // it may fail
		}
		err = topic.SetConfig(bg, TopicConfig{Durability: Sync})
	}
	if err == nil {
		err = topic.AppendBatch(bg, []Record{rec("a", 1), rec("b", 2)})
	}
	if topic, e := s.Topic("orders"); e == nil { // with something to sync when it is closed
		_, e = topic.Append(bg, rec("k", 1))
		err = errors.Join(err, e)
	}
	_ = errors.Join(err, s.DeleteTopic(bg, "refunds"), s.DeleteTopic(bg, "orders"))
	if topic, err = s.EnsureTopic(bg, "refunds", small(OS)); err == nil {
		topic.Append(bg, rec("k", 1)) //nolint:errcheck // it may fail
	}
}

package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// An ear takes note of events.
type ear struct {
	mu  sync.Mutex
	all []Event // guarded by mu
}

func (e *ear) hears(o *Options) {
	o.OnEvent = func(event Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, event)
	}
}

// heard returns the events of a kind so far.
func (e *ear) heard(k EventKind) (events []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if event.Kind == k {
			events = append(events, event)
		}
	}
	return events
}

// A roll is told once, with where it was and how long the segment before is.
func TestRollsAreTold(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		var e ear
		p := open(t, fs.NewMem(), v, e.hears, func(o *Options) { o.Topic, o.Number = "orders", 3 })
		appendN(t, p, 0, 500)
		require.NoError(t, p.Close())
		rolls, list := e.heard(Rolled), p.all()
		require.Greater(t, len(list), 3)
		require.Len(t, rolls, len(list)-1)
		for i, roll := range rolls {
			require.Equal(t, Event{
				Kind: Rolled, Topic: "orders", Partition: 3, Time: roll.Time,
				From: list[i+1].Base, To: list[i+1].Base, Bytes: list[i].Readable(),
			}, roll)
			require.InDelta(t, time.Now().UnixNano(), roll.Time.UnixNano(), float64(time.Hour))
			require.Equal(t, time.UTC, roll.Time.Location())
		}
		require.Empty(t, e.heard(Trouble))
		require.Empty(t, e.heard(Recovered))
	})
}

// A segment that ends early, since all it has is trimmed, is a roll too, and
// told before the trim.
func TestAnEarlyRollIsTold(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		var e ear
		p := open(t, fs.NewMem(), v, e.hears)
		appendN(t, p, 0, 10)
		require.NoError(t, p.Trim(bg, 10))
		require.NoError(t, p.Close())
		require.Len(t, e.all, 2)
		require.Equal(t, [3]int64{int64(Rolled), 10, 10}, [3]int64{int64(e.all[0].Kind), e.all[0].From, e.all[0].To})
		require.Equal(t, [3]int64{int64(Trimmed), 0, 10}, [3]int64{int64(e.all[1].Kind), e.all[1].From, e.all[1].To})
		require.Positive(t, e.all[0].Bytes)
		require.Positive(t, e.all[1].Bytes)
	})
}

// findings returns what Recovered events have to say of a recovery.
func findings(r Recovery) (all []Event) {
	for _, lost := range r.Lost {
		all = append(all, Event{From: lost.FromOffset, To: lost.ToOffset, Err: lost})
	}
	if c := r.Cut; c != nil {
		all = append(all, Event{From: c.Offset, To: c.Offset, Bytes: c.ToByte - c.FromByte})
	}
	if r.Gap != nil {
		all = append(all, Event{From: r.Gap.From, To: r.Gap.To, Err: r.Gap})
	}
	return all
}

// Whatever recovery finds is told, one event for each.
func TestEachFindingOfRecoveryIsTold(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		for _, sameBoot := range []bool{true, false} {
			for _, row := range recoveryTable {
				d := newDisk(t)
				for _, l := range row.script {
					l(d)
				}
				d.seg = nil
				var e ear
				p := open(t, d.m.Crash(func() bool { return true }), v, e.hears, func(o *Options) {
					o.SegmentBytes, o.SameBoot, o.Committed = 4<<10, sameBoot, row.committed
					if row.checkpoint >= 0 {
						o.Checkpoint = &Checkpoint{End: row.checkpoint}
					}
				})
				want, got := findings(p.Recovery()), e.heard(Recovered)
				require.Len(t, got, len(want), row.name)
				for i := range got {
					require.Equal(t, want[i].From, got[i].From, row.name)
					require.Equal(t, want[i].To, got[i].To, row.name)
					require.Equal(t, want[i].Bytes, got[i].Bytes, row.name)
					require.NotEmpty(t, got[i].What, row.name)
					require.Error(t, got[i].Err, row.name)
					if want[i].Err != nil {
						require.Same(t, want[i].Err, got[i].Err, row.name)
					}
				}
				require.Empty(t, e.heard(Trouble), row.name)
				require.Empty(t, e.heard(Rolled), row.name)
				require.NoError(t, p.Close())
			}
		}
	}
}

func TestARecordAheadOfTheClockIsTold(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	p.mu.Lock()
	p.tail.time = p.shared.clock.Now() + int64(2*time.Hour)
	p.mu.Unlock()
	appendN(t, p, 0, 1)
	require.NoError(t, p.Close())
	var e ear
	p = open(t, m, variant{Sync, true}, e.hears)
	require.Len(t, e.heard(Recovered), 1)
	require.ErrorContains(t, e.heard(Recovered)[0].Err, "by 1h59m")
	require.NoError(t, p.Close())
}

// One operation that fails is told of at most once; a failure for good is told
// of exactly once, however many stumble over it.
func TestTroubleIsToldOnce(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		troubles := map[string]int{}
		for n := int64(1); ; n++ {
			var e ear
			w := newWorld(t, v, e.hears)
			fault := fmt.Errorf("operation %d: %w", n, fs.EIO)
			at := w.m.Ops() + n
			var op atomic.Value
			w.m.OnOp(func(o fs.Op) error {
				if o.N != at {
					return nil
				}
				op.Store(o.String())
				return fault
			})
			faultScript(w)
			quiet(w.p)
			came := w.m.Ops() >= at
			if err := w.p.Close(); err != nil {
				require.ErrorIs(t, err, fault)
			}
			told, failed := 0, 0
			for _, event := range e.heard(Trouble) {
				require.ErrorIs(t, event.Err, fault, "%v: %s", op.Load(), event.What)
				troubles[event.What]++
				told++
				if event.What == "failed" {
					failed++
				}
			}
			require.LessOrEqual(t, told, 1, "%v: %+v", op.Load(), e.heard(Trouble))
			require.Equal(t, w.p.failure() != nil, failed == 1, "%v", op.Load())
			if !came {
				break
			}
		}
		require.Positive(t, troubles["failed"])
		require.Positive(t, troubles["could not write an index"])
	})
}

// A disk that is full for long is not told of with each append.
func TestLastingTroubleIsNotToldWithEachAppend(t *testing.T) {
	for _, full := range []string{".index", ".log"} {
		t.Run(full, func(t *testing.T) {
			m := fs.NewMem()
			var e ear
			p := open(t, m, variant{OS, false}, e.hears, func(o *Options) { o.SegmentBytes = 8 << 20 })
			appendN(t, p, 0, 1)
			m.OnOp(func(op fs.Op) error {
				if strings.HasSuffix(op.Name, full) && (op.Kind == fs.OpAllocate || op.Kind == fs.OpCreate) {
					return fs.ENOSPC
				}
				return nil
			})
			for i := 1; i < 2000; i++ {
				if _, err := p.Append(bg, numbered(i, 100)); err != nil {
					require.ErrorIs(t, err, ErrDiskFull)
				}
				quiet(p)
			}
			told := e.heard(Trouble)
			require.NotEmpty(t, told)
			require.Less(t, len(told), 10)
			m.OnOp(nil)
			appendN(t, p, int(p.End()), 1)
			require.NoError(t, p.Close())
		})
	}
}

// A partition without a store writes what happens to its own logger.
func TestEventsAreLogged(t *testing.T) {
	m := fs.NewMem()
	var e ear
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	p := open(t, m, variant{Sync, true}, e.hears, func(o *Options) { o.Topic, o.Number, o.Logger = "orders", 3, log })
	appendN(t, p, 0, 200)
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpSync {
			return fs.EIO
		}
		return nil
	})
	_, err := p.Append(bg, value(0))
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.Error(t, p.Sync(bg))
	require.Error(t, p.Close())
	var want []string
	for _, roll := range e.heard(Rolled) {
		want = append(want, fmt.Sprintf(`level=DEBUG msg="partition rolled" topic=orders partition=3 from=%d to=%d bytes=%d`, roll.From, roll.To, roll.Bytes))
	}
	require.NotEmpty(t, want)
	require.Len(t, e.heard(Trouble), 1)
	want = append(want, fmt.Sprintf(`level=ERROR msg="partition failed" topic=orders partition=3 error=%q`, e.heard(Trouble)[0].Err))
	require.Equal(t, want, strings.Split(strings.TrimSpace(b.String()), "\n"))
}

// What each kind of event looks like in a log.
func TestLogLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, e := range map[string]Event{
		`level=DEBUG msg="partition rolled" topic=a partition=0 from=7 to=7 bytes=9`:    {Kind: Rolled, Topic: "a", From: 7, To: 7, Bytes: 9},
		`level=INFO msg="partition trimmed" topic=a partition=1 from=0 to=7 bytes=9`:    {Kind: Trimmed, Topic: "a", Partition: 1, To: 7, Bytes: 9},
		`level=INFO msg="segment archived" partition=0 from=3 to=7`:                     {Kind: Archived, From: 3, To: 7},
		`level=WARN msg="partition repaired" topic=a partition=0 from=3 to=7`:           {Kind: Repaired, Topic: "a", From: 3, To: 7},
		`level=WARN msg="partition had a torn end" partition=0 error="input/output err`: {Kind: Recovered, What: "had a torn end", Err: errors.New("input/output err")},
		`level=ERROR msg="the checkpoint is damaged" error=EOF dropped=3`:               {Kind: Trouble, Partition: -1, What: "the checkpoint is damaged", Err: io.EOF, Dropped: 3},
	} {
		var b bytes.Buffer
		e.Time = at
		e.Log(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
		require.Contains(t, b.String(), "time=2026-01-02T03:04:05.000Z "+want)
		b.Reset()
		e.Log(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelError + 1})))
		require.Empty(t, b.String())
	}
}

// A logger's handler that stands still, or panics, does not keep appends
// waiting.
func TestALoggerThatMisbehaves(t *testing.T) {
	for _, how := range []string{"waits", "panics"} {
		t.Run(how, func(t *testing.T) {
			goOn := make(chan struct{})
			h := handler(func() {
				if how == "panics" {
					panic("oh no")
				}
				<-goOn
			})
			p := open(t, fs.NewMem(), variant{OS, false}, func(o *Options) { o.Logger = slog.New(h) })
			appendN(t, p, 0, 500)
			require.Greater(t, len(p.all()), 3)
			close(goOn)
			require.NoError(t, p.Close())
		})
	}
}

// A handler is a slog.Handler that does something with each line.
type handler func()

func (h handler) Enabled(context.Context, slog.Level) bool  { return true }
func (h handler) Handle(context.Context, slog.Record) error { h(); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h handler) WithGroup(string) slog.Handler             { return h }

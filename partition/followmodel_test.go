package partition

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// A followModel is a writer that lives, dies and comes back, and those who
// follow it. Whatever a follower reads must be what is in the log in the end;
// at level Sync it must be durable when it is read.
type followModel struct {
	t    *testing.T
	v    variant
	rng  *rand.Rand
	seed uint64
	log  []string

	m     *fs.Mem
	dying *dyingFS
	w     *Partition
	level atomic.Int32
	ended atomic.Int64 // where the writer was last closed well
	n     int          // records offered

	p       *Partition
	readers []*Reader

	mu   sync.Mutex
	seen map[int64]string // guarded by mu; what followers have read, by offset
}

func (m *followModel) ok(err error) {
	m.t.Helper()
	require.NoError(m.t, err, "seed %d, after %v", m.seed, m.log[max(0, len(m.log)-30):])
}

// open begins the life of a writer.
func (m *followModel) open(sameBoot bool) {
	m.dying = &dyingFS{FS: m.m}
	m.dying.half.Store(m.rng.IntN(2) == 0)
	m.w = open(m.t, m.dying, m.v, func(o *Options) {
		o.SameBoot = sameBoot
		o.SegmentBytes = 4 << 10
		o.SyncEvery = SyncEvery{Records: 20}
	})
	require.Empty(m.t, m.w.Recovery().Lost, "seed %d", m.seed)
}

func (m *followModel) attach() {
	m.p = followOn(m.t, m.m, m.v, func(o *Options) {
		o.SegmentBytes = 4 << 10
		o.Outside = m.outside
	})
	m.readers = nil
	for range 3 {
		m.readers = append(m.readers, m.p.NewReader(First()))
	}
}

// outside is what a store tells: the level and the checkpoint.
func (m *followModel) outside() (Outside, error) {
	return Outside{Durability: Durability(m.level.Load()), Durable: m.ended.Load()}, nil
}

// close ends the life of a writer.
func (m *followModel) close() {
	m.ok(m.w.Close())
	if c, ok := m.w.Checkpoint(); ok {
		m.ended.Store(c.End)
	}
}

func (m *followModel) make() record.Record {
	m.n++
	return numbered(m.n, 20+m.rng.IntN(1<<m.rng.IntN(10)))
}

// read notes a record that somebody has read.
func (m *followModel) read(rec *record.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.seen[rec.Offset]; ok && old != string(rec.Value) {
		m.t.Errorf("seed %d: offset %d was %q, is %q", m.seed, rec.Offset, old, rec.Value)
	}
	m.seen[rec.Offset] = string(rec.Value)
}

var followOps = []struct {
	name  string
	often int
	do    func(m *followModel)
}{
	{"append", 30, func(m *followModel) {
		_, err := m.w.Append(bg, m.make())
		m.ok(err)
	}},
	{"batch", 10, func(m *followModel) {
		recs := make([]record.Record, m.rng.IntN(20))
		for i := range recs {
			recs[i] = m.make()
		}
		m.ok(m.w.AppendBatch(bg, recs))
	}},
	{"async", 10, func(m *followModel) {
		for range m.rng.IntN(10) {
			m.ok(m.w.AppendAsync(bg, m.make(), nil))
		}
	}},
	{"sync", 3, func(m *followModel) { m.ok(m.w.Sync(bg)) }},
	{"rest", 3, func(m *followModel) { rests(m.w, time.Duration(m.rng.IntN(2))*time.Minute) }},
	{"trim", 2, func(m *followModel) {
		if end := m.w.End(); end > m.w.Start() {
			m.ok(m.w.Trim(bg, m.w.Start()+m.rng.Int64N(end-m.w.Start()+1)))
		}
	}},
	{"read", 40, func(m *followModel) { m.readSome(m.readers[m.rng.IntN(3)], m.rng.IntN(40)) }},
	{"read one", 5, func(m *followModel) {
		end := m.p.End()
		start := m.p.Start()
		if start >= end {
			return
		}
		rec, err := m.p.Record(bg, start+m.rng.Int64N(end-start))
		var gap *GapError
		if errors.As(err, &gap) || errors.Is(err, ErrOffsetOutOfRange) {
			return
		}
		m.ok(err)
		m.read(&rec)
	}},
	{"look", 3, func(m *followModel) { m.ok(m.p.follow.refresh(true)) }},
	{"configure", 2, func(m *followModel) {
		c := m.w.Config()
		c.Durability = Durability(1 + m.rng.IntN(3))
		if c.Durability > m.v.level { // topic.json promises no more than is kept
			m.level.Store(int32(c.Durability))
		}
		m.ok(m.w.Configure(bg, c))
		m.v.level = c.Durability
		m.level.Store(int32(c.Durability))
	}},
	{"attach anew", 1, func(m *followModel) {
		m.ok(m.p.Close())
		m.attach()
	}},
	{"close and open", 2, func(m *followModel) {
		m.close()
		m.open(m.rng.IntN(3) > 0)
	}},
	{"kill and open", 4, func(m *followModel) {
		m.dying.left.Store(int64(1 + m.rng.IntN(8)))
		for i := 0; i < 30 && m.dying.left.Load() > 0; i++ {
			if m.w.AppendAsync(bg, m.make(), nil) != nil || m.w.Sync(bg) != nil {
				break
			}
			m.readSome(m.readers[m.rng.IntN(3)], 10)
		}
		m.dying.left.Store(-1)
		m.w.Close() //nolint:errcheck // it is dead
		m.readSome(m.readers[m.rng.IntN(3)], 100)
		m.requireDurable()
		m.open(m.rng.IntN(3) > 0)
	}},
	{"crash", 3, (*followModel).requireDurable},
}

// readSome has a follower read on. One that was trimmed away begins anew.
func (m *followModel) readSome(r *Reader, most int) {
	for range most {
		rec, err := r.TryNext()
		switch {
		case err == ErrEnd:
			return
		case errors.Is(err, ErrOffsetOutOfRange):
			*r = *m.p.NewReader(First())
		default:
			m.ok(err)
			m.read(rec)
		}
	}
}

// requireDurable requires, at level Sync, that what followers have read would
// be there if the power went now.
func (m *followModel) requireDurable() {
	if m.v.level != Sync {
		return
	}
	m.mu.Lock()
	seen := map[int64]string{}
	for o, v := range m.seen {
		seen[o] = v
	}
	m.mu.Unlock()
	p := open(m.t, m.m.Crash(func() bool { return false }), m.v)
	m.requireSeen(p, seen)
	m.ok(p.Close())
}

// requireSeen requires that the log has what was seen.
func (m *followModel) requireSeen(p *Partition, seen map[int64]string) {
	found := map[int64]string{}
	for rec, err := range p.Records(bg, First()) {
		m.ok(err)
		found[rec.Offset] = string(rec.Value)
	}
	start := p.Start()
	for o, v := range seen {
		if got, ok := found[o]; o >= start && (!ok || got != v) {
			require.Fail(m.t, "seen and not there", "seed %d: offset %d of [%d, %d): %q, not %q; after %v",
				m.seed, o, start, p.End(), got, v, m.log[max(0, len(m.log)-30):])
		}
	}
}

// tail follows in the background until ctx ends.
func (m *followModel) tail(ctx context.Context, p *Partition) {
	for ctx.Err() == nil {
		for rec, err := range p.Tail(ctx, First()) {
			switch {
			case err == nil:
				m.read(&rec)
				continue
			case errors.Is(err, context.Canceled), errors.Is(err, ErrOffsetOutOfRange):
			default:
				m.t.Errorf("seed %d: %v", m.seed, err)
			}
			break
		}
	}
}

func TestFollowModel(t *testing.T) {
	total := 0
	for _, op := range followOps {
		total += op.often
	}
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for seed := range uint64(12) {
			m := &followModel{t: t, v: v, seed: seed, rng: rand.New(rand.NewPCG(seed, 5)), m: fs.NewMem(), seen: map[int64]string{}}
			m.level.Store(int32(v.level))
			m.open(true)
			m.attach()
			background := followOn(t, m.m, v, func(o *Options) {
				o.Outside = m.outside
			})
			ctx, cancel := context.WithCancel(bg)
			var wg sync.WaitGroup
			wg.Go(func() { m.tail(ctx, background) })
			for range 150 {
				n := m.rng.IntN(total)
				for _, op := range followOps {
					if n -= op.often; n < 0 {
						m.log = append(m.log, op.name)
						op.do(m)
						break
					}
				}
				if t.Failed() {
					require.FailNow(t, fmt.Sprint("seed ", seed), "%v", m.log)
				}
			}
			m.finish(background)
			cancel()
			wg.Wait()
			m.ok(background.Close())
		}
	})
}

// finish closes the writer: in the end everybody has the same.
func (m *followModel) finish(background *Partition) {
	m.close()
	for _, p := range []*Partition{m.p, background} {
		m.ok(p.follow.refresh(true))
		require.Equal(m.t, m.w.End(), p.End(), "seed %d, after %v", m.seed, m.log)
		require.Empty(m.t, p.Recovery().Lost, "seed %d", m.seed)
	}
	for _, r := range m.readers {
		m.readSome(r, 1<<20)
	}
	w := open(m.t, m.m, m.v, func(o *Options) { o.SameBoot = true })
	m.mu.Lock()
	m.requireSeen(w, m.seen)
	m.mu.Unlock()
	n := 0
	for _, err := range w.Records(bg, First()) {
		m.ok(err)
		n++
	}
	got := 0
	for rec, err := range m.p.Records(bg, First()) {
		m.ok(err)
		m.read(&rec)
		got++
	}
	require.Equal(m.t, n, got, "seed %d", m.seed)
	m.ok(w.Close())
	m.ok(m.p.Close())
}

package partition

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// A model is what a partition should be: plain slices.
type model struct {
	t    *testing.T
	v    variant
	rng  *rand.Rand
	seed uint64
	log  []string // what was done, for the one who has to find out

	m       *fs.Mem
	p       *Partition
	cp      *Checkpoint
	recs    []record.Record // that were appended, by offset, rising
	durable int             // how many of recs are known to be durable
	next    int64           // offset of the next record
	number  int
}

func (m *model) failf(err error, format string, args ...any) {
	if err == nil {
		return
	}
	m.t.Helper()
	from := max(len(m.log)-40, 0)
	require.NoError(m.t, err, "seed %d, %s, after %v", m.seed, fmt.Sprintf(format, args...), m.log[from:])
}

func (m *model) require(ok bool, format string, args ...any) {
	m.t.Helper()
	if !ok {
		m.failf(errors.New("not so"), format, args...)
	}
}

func (m *model) open(clean, sameBoot bool) {
	shared, err := NewShared(SharedOptions{FS: m.m, ForceHeap: m.v.heap})
	m.failf(err, "shared")
	m.p, err = Open("/p", Options{
		Shared: shared, SameBoot: sameBoot, Checkpoint: m.cp, Clean: clean,
		Config: Config{
			Durability: m.v.level, SegmentBytes: 4 << 10,
			IndexCache: index.CacheMode(m.rng.IntN(4)),
			SyncEvery:  SyncEvery{Records: 20, Bytes: 8 << 10},
		},
	})
	m.failf(err, "open")
	m.p.own = true
	m.require(len(m.p.Recovery().Lost) == 0, "%v are lost", m.p.Recovery().Lost)
}

// make returns a record of any shape, and its number.
func (m *model) make() record.Record {
	m.number++
	r := record.Record{}
	if m.rng.IntN(4) > 0 {
		r.Key = fmt.Appendf(nil, "key %d", m.rng.IntN(5))[:m.rng.IntN(6)]
	}
	if m.rng.IntN(8) > 0 {
		r.Value = fmt.Appendf(nil, "value %d ", m.number)
		for range m.rng.IntN(1 << m.rng.IntN(10)) {
			r.Value = append(r.Value, byte(m.rng.Uint32()))
		}
	}
	for range m.rng.IntN(3) * m.rng.IntN(2) {
		h := record.Header{Key: fmt.Sprint(m.rng.IntN(3))}
		if m.rng.IntN(2) == 0 {
			h.Value = []byte{}
		}
		r.Headers = append(r.Headers, h)
	}
	if m.rng.IntN(5) == 0 {
		r.OriginTime = time.Unix(0, m.rng.Int64()).UTC()
		r.ID = [16]byte{byte(m.number), 1}
	}
	return r
}

func (m *model) appended(r record.Record, offset int64) {
	m.require(offset == m.next, "offset %d, want %d", offset, m.next)
	r.Offset = offset
	m.recs = append(m.recs, r)
	m.next++
	if m.v.level == Sync {
		m.durable = len(m.recs)
	}
}

// ops are what may happen, with how often it does.
var modelOps = []struct {
	name  string
	often int
	do    func(m *model)
}{
	{"append", 30, func(m *model) {
		r := m.make()
		offset, err := m.p.Append(bg, r)
		m.failf(err, "append")
		m.appended(r, offset)
	}},
	{"batch", 15, func(m *model) {
		recs := make([]record.Record, m.rng.IntN(20))
		for i := range recs {
			recs[i] = m.make()
		}
		m.failf(m.p.AppendBatch(bg, recs), "append batch")
		for _, r := range recs {
			m.appended(r, r.Offset)
		}
	}},
	{"async and sync", 5, func(m *model) {
		var recs []record.Record
		var offsets []int64
		for range m.rng.IntN(30) {
			r := m.make()
			recs = append(recs, r)
			m.failf(m.p.AppendAsync(bg, r, func(offset int64, err error) {
				if err == nil {
					offsets = append(offsets, offset)
				}
			}), "append")
		}
		m.failf(m.p.Sync(bg), "sync")
		m.p.callbacks.Wait()
		m.require(len(offsets) == len(recs), "%d of %d callbacks", len(offsets), len(recs))
		for i, r := range recs {
			m.appended(r, offsets[i])
		}
		m.durable = len(m.recs)
	}},
	{"sync", 3, func(m *model) {
		m.failf(m.p.Sync(bg), "sync")
		m.durable = len(m.recs)
	}},
	{"an ended context", 2, func(m *model) {
		ctx, cancel := context.WithCancel(bg)
		cancel()
		_, err := m.p.Append(ctx, m.make())
		m.require(errors.Is(err, context.Canceled), "%v", err)
	}},
	{"read", 10, func(m *model) { m.read(m.rng.IntN(len(m.recs)+1), 30) }},
	{"read all", 1, func(m *model) { m.read(0, len(m.recs)) }},
	{"one", 10, func(m *model) {
		if len(m.recs) == 0 {
			return
		}
		want := m.recs[m.rng.IntN(len(m.recs))]
		got, err := m.p.Record(bg, want.Offset)
		m.failf(err, "record %d", want.Offset)
		m.same(want, got)
	}},
	{"at", 5, func(m *model) {
		if len(m.recs) == 0 {
			return
		}
		i := m.rng.IntN(len(m.recs))
		rec, err := m.p.Record(bg, m.recs[i].Offset)
		m.failf(err, "record")
		n, err := m.p.Resolve(At(rec.Timestamp))
		m.failf(err, "resolve")
		first, err := m.p.Record(bg, n)
		m.failf(err, "record at")
		m.require(n <= rec.Offset && first.Timestamp.Equal(rec.Timestamp), "at %v: offset %d", rec.Timestamp, n)
	}},
	{"last", 3, func(m *model) {
		n := m.rng.Int64N(40)
		from, err := m.p.Resolve(Last(n))
		m.failf(err, "resolve")
		m.require(from == max(0, m.next-n), "last %d is %d", n, from)
	}},
	{"rest", 2, func(m *model) { rests(m.p, time.Hour) }},
	{"configure", 2, func(m *model) {
		c := m.p.Config()
		raised := Durability(1 + m.rng.IntN(3))
		c.Durability = raised
		m.failf(m.p.Configure(bg, c), "configure")
		if raised == Sync && m.v.level != Sync {
			m.durable = len(m.recs)
		}
		m.v.level = raised
	}},
	{"close and open", 2, func(m *model) {
		m.close()
		m.open(m.cp != nil && m.rng.IntN(2) == 0, m.rng.IntN(2) == 0)
		m.resume(len(m.recs))
	}},
	{"kill and open", 2, func(m *model) {
		killed := m.m.Kill()
		m.abandon()
		m.m = killed
		m.open(false, true)
		m.resume(len(m.recs))
	}},
	{"crash and open", 2, func(m *model) {
		odds := m.rng.IntN(3)
		crashed := m.m.Crash(func() bool { return m.rng.IntN(2) < odds })
		m.abandon()
		m.m = crashed
		m.open(false, false)
		m.resume(m.durable)
	}},
}

func (m *model) close() {
	m.failf(m.p.Close(), "close")
	m.require(m.p.shared.OpenFiles() == 0, "files are open")
	m.durable = len(m.recs)
	m.cp = nil
	if c, ok := m.p.Checkpoint(); ok {
		m.cp = &c
	}
}

// abandon closes the partition of a process that is gone.
func (m *model) abandon() { m.failf(m.p.Close(), "close") }

// resume finds out how many records are left, at least so many, and that an
// offset is never given out again.
func (m *model) resume(least int) {
	end := m.p.End()
	m.require(end >= m.next, "the end is %d, was %d", end, m.next)
	n := 0
	for rec, err := range m.p.Records(bg, First()) {
		m.failf(err, "read")
		m.require(n < len(m.recs), "a record from nowhere at %d", rec.Offset)
		m.same(m.recs[n], rec)
		n++
	}
	m.require(n >= least, "%d records are left of %d", n, least)
	m.recs, m.next = m.recs[:n], end
	m.durable = min(m.durable, n)
	if m.v.level == Sync {
		m.durable = n
	}
}

func (m *model) read(from, most int) {
	if from >= len(m.recs) {
		return
	}
	r := m.p.NewReader(Offset(m.recs[from].Offset))
	for _, want := range m.recs[from:min(from+most, len(m.recs))] {
		got, err := r.TryNext()
		m.failf(err, "read %d", want.Offset)
		m.same(want, *got)
	}
	if from+most >= len(m.recs) {
		_, err := r.TryNext()
		m.require(err == ErrEnd, "at the end: %v", err)
	}
	m.failf(r.Close(), "close")
}

func (m *model) same(want, got record.Record) {
	m.t.Helper()
	m.require(!got.Timestamp.IsZero(), "no time")
	got.Timestamp = time.Time{}
	if len(got.Headers) == 0 {
		got.Headers = nil
	}
	want.Timestamp, want.Topic, want.Partition = time.Time{}, "", 0
	if !same(want, got) {
		require.Equal(m.t, want, got, "seed %d, after %v", m.seed, m.log[max(0, len(m.log)-40):])
	}
}

// same is reflect.DeepEqual for records: nil and empty differ.
func same(a, b record.Record) bool {
	equal := func(a, b []byte) bool { return (a == nil) == (b == nil) && string(a) == string(b) }
	ok := a.Offset == b.Offset && equal(a.Key, b.Key) && equal(a.Value, b.Value) &&
		a.ID == b.ID && a.OriginTime.Equal(b.OriginTime) && len(a.Headers) == len(b.Headers)
	for i := 0; ok && i < len(a.Headers); i++ {
		ok = a.Headers[i].Key == b.Headers[i].Key && equal(a.Headers[i].Value, b.Headers[i].Value)
	}
	return ok
}

func TestModel(t *testing.T) {
	total := 0
	for _, op := range modelOps {
		total += op.often
	}
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for seed := range uint64(12) {
			m := &model{t: t, v: v, seed: seed, rng: rand.New(rand.NewPCG(seed, 3)), m: fs.NewMem()}
			m.open(false, true)
			for range 150 {
				n := m.rng.IntN(total)
				for _, op := range modelOps {
					if n -= op.often; n < 0 {
						m.log = append(m.log, op.name)
						op.do(m)
						break
					}
				}
				m.require(m.p.End() == m.next, "end is %d, want %d", m.p.End(), m.next)
			}
			m.read(0, len(m.recs))
			m.close()
		}
	})
}

package braidlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
)

// TestDedupAgainstAList does what an application does with ids, at random, and
// compares what is a repeat of what with two plain lists: the records in the log
// and those that are remembered.
func TestDedupAgainstAList(t *testing.T) {
	runs, steps := 40, 300
	if racing {
		runs = 8
	}
	eachWindow(t, func(t *testing.T, heap bool) {
		for range runs {
			seed := rand.Uint64()
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				m := &dedupModel{t: t, rng: rand.New(rand.NewPCG(seed, 3)), heap: heap, m: fs.NewMem(), clock: clock.Start()}
				m.open()
				for range steps {
					m.step()
				}
				require.NoError(t, m.s.Close())
			})
		}
	})
}

// A dedupModel is a topic and what should be known of its ids.
type dedupModel struct {
	t     *testing.T
	rng   *rand.Rand
	heap  bool
	clock *clock.Clock
	m     *fs.Mem
	s     *Store
	topic *Topic

	config Dedup
	log    []first // records with an id, as they were appended
	known  []first // those that are remembered
	whole  bool    // known is what the log says
}

func (m *dedupModel) open() {
	m.s = openMem(m.t, m.m, heapIf(m.heap), func(o *Options) { o.clock = m.clock })
	m.topic = ensure(m.t, m.s, withDedup(dedupConfig(0), Dedup{}))
	m.config, m.known, m.whole = m.topic.Config().Dedup, nil, false
}

func (m *dedupModel) step() {
	switch n := m.rng.IntN(100); {
	case n < 50:
		m.append()
	case n < 70:
		m.appendBatch()
	case n < 80:
		m.configure()
	case n < 92:
		// Sums of 25 minutes are never near a window, which is of whole hours.
		m.clock.Skip(25 * time.Minute)
	case n < 96:
		require.NoError(m.t, m.s.Close())
		m.open()
	default:
		killed := m.m.Kill()
		require.NoError(m.t, m.s.Close())
		m.m = killed
		m.open()
	}
}

func (m *dedupModel) configure() {
	d := Dedup{
		Mode:    DedupMode(m.rng.IntN(4)), // mostly as it is, or on
		Entries: []int{0, 1, 5, 20}[m.rng.IntN(4)],
		Window:  time.Duration(m.rng.IntN(3)) * time.Hour,
	}
	c := TopicConfig{Durability: []Durability{0, Sync, Interval, OS}[m.rng.IntN(4)], Dedup: d}
	require.NoError(m.t, m.topic.SetConfig(bg, c))
	was := m.config
	m.config = m.topic.Config().Dedup
	if m.config.Mode == DedupOff {
		m.known = nil
	}
	if m.config.Mode == DedupOff || was.Mode == DedupOff || m.config.Entries > was.Entries || m.config.Window > was.Window {
		m.whole = false
	}
	m.forget()
}

func (m *dedupModel) since() int64 { return m.clock.Now() - int64(m.config.Window) }

// forget drops what is too old, and all but the latest entries.
func (m *dedupModel) forget() {
	since := m.since()
	m.known = slices.DeleteFunc(m.known, func(f first) bool { return f.time < since })
	m.known = m.known[max(0, len(m.known)-m.config.Entries):]
}

// remember reads the log if it was not.
func (m *dedupModel) remember() {
	m.forget()
	if m.whole {
		return
	}
	m.whole = true
	since := m.since()
	all := slices.Clone(m.known)
	for _, f := range m.log[max(0, len(m.log)-m.config.Entries):] {
		if f.time >= since {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, byTime)
	m.known = nil
	for _, f := range all {
		if m.find(f.id) == nil {
			m.known = append(m.known, f)
		}
	}
	m.forget()
}

func (m *dedupModel) find(id [16]byte) *first {
	for i := range m.known {
		if m.known[i].id == id {
			return &m.known[i]
		}
	}
	return nil
}

// record returns one with one of a few ids, or with none if that is allowed.
func (m *dedupModel) record() Record {
	r := idRec(m.rng.IntN(30))
	if m.config.Mode != DedupRequired && m.rng.IntN(4) == 0 {
		r.ID = noID
	}
	return r
}

// took compares where a record is said to be with what is known, and enters it
// if it is new.
func (m *dedupModel) took(r Record, pos Position) {
	at, err := m.topic.Partition(pos.Partition).Record(bg, pos.Offset)
	require.NoError(m.t, err)
	require.Equal(m.t, r.ID, at.ID)
	if r.ID == noID {
		require.False(m.t, pos.Duplicate)
		return
	}
	f := first{r.ID, int32(pos.Partition), pos.Offset, at.Timestamp.UnixNano()}
	if m.config.Mode == DedupOff {
		require.False(m.t, pos.Duplicate)
		m.log = append(m.log, f)
		return
	}
	if was := m.find(r.ID); was != nil {
		require.True(m.t, pos.Duplicate, "%x is at %v already", r.ID, was)
		if *was != f { // while dedup was off it was appended twice: either will do
			require.True(m.t, m.mayKnow(f), "%v, not %v", f, was)
			*was = f
		}
		return
	}
	if pos.Duplicate && m.mayKnow(f) {
		m.known = append(m.known, f)
		slices.SortFunc(m.known, byTime)
		return
	}
	require.False(m.t, pos.Duplicate, "%x is not remembered", r.ID)
	m.log, m.known = append(m.log, f), append(m.known, f)
}

// mayKnow reports whether a record is in the log and young enough. One that was
// too old may still be remembered when the window is made longer.
func (m *dedupModel) mayKnow(f first) bool { return f.time >= m.since() && slices.Contains(m.log, f) }

func (m *dedupModel) append() {
	r := m.record()
	if r.ID != noID && m.config.Mode != DedupOff {
		m.remember()
	}
	names := []string{"Append", "AppendTo", "AppendAsync"}
	pos, err := everyWay[names[m.rng.IntN(len(names))]](bg, m.topic, r)
	require.NoError(m.t, err)
	m.took(r, pos)
	m.forget()
}

// appendBatch appends up to a dozen, which are looked up before the first of
// them is appended, and remembered partition by partition.
func (m *dedupModel) appendBatch() {
	recs := make([]Record, 1+m.rng.IntN(12))
	for i := range recs {
		recs[i] = m.record()
	}
	if m.config.Mode != DedupOff {
		m.remember()
	}
	require.NoError(m.t, m.topic.AppendBatch(bg, recs))
	slices.SortStableFunc(recs, func(a, b Record) int { return a.Partition - b.Partition })
	for _, repeats := range []bool{false, true} { // which may be of records of the batch
		for _, r := range recs {
			if r.Duplicate == repeats {
				m.took(r, Position{r.Partition, r.Offset, r.Duplicate})
			}
		}
	}
	m.forget()
}

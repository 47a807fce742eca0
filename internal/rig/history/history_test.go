package history

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

func TestParse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 50 {
		h := Random(rng)
		again, err := Parse(h.String())
		require.NoError(t, err)
		require.Equal(t, h, again)
	}
	for _, bad := range []string{"", "sync,heap,1", "sync,heap,9:a", "never,heap,1:a", "sync,heap,x:a", "sync,heap,1:?"} {
		_, err := Parse(bad)
		require.Error(t, err, bad)
	}
	require.Len(t, All("ab", 3), 8*len(Settings()))
}

// Without anything going wrong, every operation works, nobody hears of an
// error, and the same history leaves the same bytes.
func TestHistoriesAreTheSameEachTime(t *testing.T) {
	for _, h := range Settings() {
		for _, ops := range []string{Alphabet, Rare + "a", "abLzaldakr"} {
			h.Ops = ops
			var hashes []uint64
			for range 2 {
				w := NewWorld(h, nil)
				w.Play(nil)
				for _, err := range w.Errors() {
					var gap *partition.GapError // a power cut leaves it
					require.ErrorAs(t, err, &gap, h.String())
				}
				m := w.Capture()
				require.NotEmpty(t, m.Known.last().Parts)
				hashes = append(hashes, m.Mem.Hash())
				w.Close()
				w.End()
				x := Examiner{Heap: h.Heap}
				e := x.Examine(m.Mem)
				require.Nil(t, e.Violation, h.String())
				require.Nil(t, m.Known.Judge(e.Found, true), h.String())
			}
			require.Equal(t, hashes[0], hashes[1], h.String())
		}
	}
}

// known is of records 1 to 4 at offsets 10 to 13: 3 and 4 are a frame, and 4
// was not acknowledged.
func known(change func(p *Part)) *Known {
	p := Part{
		Offered: []Offered{
			{Number: 1, Frame: 1, Fate: Acknowledged, Offset: 10, Firm: true},
			{Number: 2, Frame: 2, Fate: Acknowledged, Offset: 11},
			{Number: 3, Frame: 3}, {Number: 4, Frame: 3},
		},
		Visible: 12, Start: 10, Asked: 10,
	}
	if change != nil {
		change(&p)
	}
	return &Known{Opened: true, Lives: []Life{{State: There, Parts: []Part{p}}}}
}

func TestJudge(t *testing.T) {
	all := []Entry{{10, 1}, {11, 2}, {12, 3}, {13, 4}}
	found := func(start, end int64, e ...Entry) FoundPart { return FoundPart{Start: start, End: end, Entries: e} }
	but := func(p FoundPart, change func(p *FoundPart)) FoundPart { change(&p); return p }
	first := func(p *Part) { p.Damaged, p.Offered[0].Damaged = []Span{{10, 11}}, true }
	named := func(p *FoundPart) { p.Lost = []Span{{10, 11}} }
	upTo := func(n int64) func(*FoundPart) { return func(p *FoundPart) { p.Committed = n } }
	once := func(p *Part) { p.Committed, p.Committing = 11, 11 }
	again := func(p *Part) { p.Committed, p.Committing = 11, 12 }
	cases := []struct {
		name   string
		change func(p *Part)
		found  FoundPart
		killed bool
		want   Kind
	}{
		{"everything", nil, found(10, 14, all...), true, ""},
		{"without what was under way", nil, found(10, 12, all[:2]...), true, ""},
		{"without what was not synced", nil, found(10, 12, all[:1]...), false, ""},
		{"the same, and the process was killed", nil, found(10, 12, all[:1]...), true, Lost},
		{"the same, and a sync was done", func(p *Part) { p.Durable = 12 }, found(10, 12, all[:1]...), false, Lost},
		{"the same, and a reader saw it at level Sync", func(p *Part) { p.Seen = 12 }, found(10, 12, all[:1]...), false, Lost},
		{"without what was acknowledged at level Sync", nil, found(10, 12), false, Lost},
		{"a part of a frame", nil, found(10, 13, all[:3]...), true, Reordered},
		{"one in between is missing", nil, found(10, 14, all[0], all[2], all[3]), false, Reordered},
		{"at another offset", nil, found(10, 14, Entry{10, 1}, Entry{12, 2}), false, Reordered},
		{"out of turn", nil, found(10, 14, all[1], all[0]), false, Lost},
		{"from nowhere", nil, found(10, 14, append(all[:4:4], Entry{14, 9})...), false, Invented},
		{"refused", func(p *Part) { p.Offered[3].Fate, p.Offered[2].Fate = Refused, Refused }, found(10, 14, all...), false, Invented},
		{"an offset that was seen is given again", nil, found(10, 11, all[0]), false, Reused},
		{"trimmed records are back", func(p *Part) { p.Start = 11 }, found(10, 14, all...), false, Invented},
		{"trimmed by nobody", nil, found(11, 14, all[1:]...), false, Lost},
		{"without what is damaged, by name", first, but(found(10, 14, all[1:]...), named), true, ""},
		{"without what is damaged, and not a word", first, found(10, 14, all[1:]...), true, FalseCorruption},
		{"said to be damaged", nil, but(found(10, 14, all...), named), true, FalseCorruption},
		{"damaged, and read", first, but(found(10, 14, all...), named), true, Invented},
		{"damaged, and trimmed", func(p *Part) { first(p); p.Start = 11 }, found(11, 14, all[1:]...), true, ""},
		{"committed", once, but(found(10, 14, all...), upTo(11)), true, ""},
		{"the commit is gone", once, found(10, 14, all...), true, Lost},
		{"of that nothing is known", once, but(found(10, 14, all...), upTo(notTold)), true, ""},
		{"a commit was under way", again, but(found(10, 14, all...), upTo(12)), true, ""},
		{"a commit of nobody", again, but(found(10, 14, all...), upTo(13)), true, Invented},
		{"trimmed as it was asked", func(p *Part) { p.Asked = 11 }, found(11, 14, all[1:]...), true, ""},
	}
	for _, c := range cases {
		v := known(c.change).Judge(&Found{Parts: []FoundPart{c.found}}, c.killed)
		if c.want == "" {
			require.Nil(t, v, c.name)
			continue
		}
		require.NotNil(t, v, c.name)
		require.Contains(t, []Kind{c.want, Lost}, v.Kind, c.name)
	}
}

// What histories do to a store is there to be judged.
func TestRepairsAndCommits(t *testing.T) {
	for _, c := range []struct {
		ops       string
		lost      []Span
		committed int64
	}{
		{"f", []Span{{0, 1}}, 0},
		{"bff", []Span{{0, 4}}, 0},
		{"of", []Span{{0, 1}}, 0},
		{"g", nil, 2},
		{"gag", nil, 4},
		{"gtf", []Span{{1, 2}}, 2},
		{"fg", []Span{{0, 1}}, 2},
	} {
		w := NewWorld(History{Level: braidlog.Sync, Heap: true, Partitions: 1, Ops: c.ops}, nil)
		w.Play(nil)
		require.Empty(t, w.Broken(), c.ops)
		now := w.Capture()
		w.End()
		x := Examiner{Heap: true}
		e := x.Examine(now.Mem)
		require.Nil(t, e.Violation, c.ops)
		require.Nil(t, now.Known.Judge(e.Found, true), c.ops)
		require.Equal(t, c.lost, merged(e.Found.Parts[0].Lost, 0), c.ops)
		require.Equal(t, c.committed, e.Found.Parts[0].Committed, c.ops)
	}
}

func TestJudgeTopics(t *testing.T) {
	none, one := &Found{}, &Found{Parts: []FoundPart{{}}}
	for state, want := range map[State][2]Kind{Making: {"", ""}, There: {Lost, ""}, Going: {"", ""}, Gone: {"", Invented}} {
		k := &Known{Lives: []Life{{State: state, Parts: make([]Part, 1)}}}
		for i, f := range []*Found{none, one} {
			v := k.Judge(f, false)
			require.Equal(t, want[i] == "", v == nil, "%v %v", state, f)
			require.True(t, v == nil || v.Kind == want[i])
		}
	}
}

// A record is known byte for byte.
func TestNumberOf(t *testing.T) {
	r := NewRecord(7, 60)
	n, err := numberOf(&r)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	for i := range r.Value {
		bad := r.Clone()
		bad.Value[i] ^= 1
		_, err = numberOf(&bad)
		require.Error(t, err, i)
	}
}

// What is damaged is not taken for what a crash leaves.
func TestExamineSeesDamage(t *testing.T) {
	w := NewWorld(History{Level: braidlog.Sync, Heap: true, Partitions: 1, Ops: "ab"}, nil)
	w.Play(nil)
	m := w.Capture()
	w.End()
	d, err := m.Mem.OpenDir(StorePath+"/topics/a/partitions/0", false)
	require.NoError(t, err)
	f, err := d.Open("00000000000000000000.log", true)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 1024+20)
	require.NoError(t, err)
	require.NoError(t, errors.Join(f.Sync(), f.Close(), d.Close()))
	x := Examiner{Heap: true}
	e := x.Examine(m.Mem)
	require.Nil(t, e.Violation)
	v := m.Known.Judge(e.Found, true)
	require.NotNil(t, v)
	require.Equal(t, FalseCorruption, v.Kind)
	require.Contains(t, v.Text, "[{0 1}]")
}

func TestNumberOfOperations(t *testing.T) {
	require.GreaterOrEqual(t, len(Alphabet), 12)
	for _, c := range Alphabet + Rare {
		require.NotNil(t, Operations[c], string(c))
	}
	require.Len(t, Operations, len(Alphabet+Rare))
}

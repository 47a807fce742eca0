package damage

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A small share of all ways to spoil a store. The rig does all of it.
func TestSweep(t *testing.T) {
	last := 0
	counts, err := Sweep(context.Background(), true, func(done, total int) {
		require.LessOrEqual(t, done, total)
		last = done
	})
	t.Logf("%+v", counts)
	require.NoError(t, err)
	require.Greater(t, counts.Variants, int64(400*211/share))
	require.NotZero(t, last)
	require.Equal(t, Counts{Variants: counts.Variants}, counts)
}

func TestSweepEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Sweep(ctx, false, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// What the sweep says of a store in which nothing is as it was written: each
// promise has a store that breaks it.
func TestJudgeSeesWhatIsWrong(t *testing.T) {
	unchanged := change{what: "nothing", files: map[string]entry{}}
	cases := []struct {
		name string
		want kind
		lie  func(f *fixture, p *part) change
	}{
		{"another value", invented, func(f *fixture, p *part) change {
			p.records[10].value = "another"
			return unchanged
		}},
		{"another time", invented, func(f *fixture, p *part) change {
			p.records[10].at = began
			return unchanged
		}},
		{"a record that was never there", lost, func(f *fixture, p *part) change {
			p.records = append(p.records, stored{value: "more"})
			return unchanged
		}},
		{"a record too many", undetected, func(f *fixture, p *part) change {
			p.records = p.records[:len(p.records)-1]
			return unchanged
		}},
		{"damage that is not expected", falseCorruption, func(f *fixture, p *part) change {
			s := *p.segments[1]
			b := append([]byte(nil), s.bytes...)
			b[s.batches[2].pos+50] ^= 1
			s.batches = s.batches[:2] // of which this one knows nothing
			p.segments[1] = &s
			return change{what: "flipped", files: map[string]entry{s.name: {bytes: b}}}
		}},
		{"damage that is not there", undetected, func(f *fixture, p *part) change {
			s := *p.segments[1]
			s.bytes = append([]byte(nil), s.bytes...)
			s.bytes[s.batches[1].pos+50] ^= 1 // as if it had been so, and is damaged now
			p.segments[1] = &s
			return unchanged
		}},
		{"a file that is gone", lost, func(f *fixture, p *part) change {
			f.paths = append(f.paths, p.dir+"/deleted")
			f.files[p.dir+"/deleted"] = []byte("x")
			return change{what: "nothing", files: map[string]entry{p.segments[0].name: {bytes: p.segments[0].bytes}}}
		}},
		{"other bytes in a file", lost, func(f *fixture, p *part) change {
			f.files["topics/orders/topic.json"] = []byte("as it was once")
			return unchanged
		}},
		{"a position further than it was committed", invented, func(f *fixture, p *part) change {
			f.note("billing", "orders/0", 20)
			return unchanged
		}},
		{"a position that went back", lost, func(f *fixture, p *part) change {
			f.note("billing", "orders/0", 35)
			return unchanged
		}},
		{"a position nobody committed", invented, func(f *fixture, p *part) change {
			for _, n := range f.written {
				delete(n, place{"shipping", "orders", 2})
			}
			return unchanged
		}},
		{"a groups log taken for empty", undetected, func(f *fixture, p *part) change {
			if err := f.apply(f.mem, change{files: map[string]entry{"checkpoint": {form: missing}}}); err != nil {
				panic(err) // of the file system in memory
			}
			return f.groupsGone() // which nothing tells now, but the judge believes that the checkpoint is there
		}},
		{"damage of the groups log that is not expected", falseCorruption, func(f *fixture, p *part) change {
			s := f.ledger.segments[0]
			b := append([]byte(nil), s.bytes...)
			b[s.batches[2].pos+50] ^= 1
			s.bytes = b // as if it had been so when it was sound
			return change{what: "flipped", files: map[string]entry{s.name: {bytes: b}}}
		}},
		{"damage of the groups log that is not there", undetected, func(f *fixture, p *part) change {
			s := f.ledger.segments[0]
			s.bytes = append([]byte(nil), s.bytes...)
			s.bytes[s.batches[2].pos+50] ^= 1
			return unchanged
		}},
		{"a file of the groups log that is gone", lost, func(f *fixture, p *part) change {
			f.paths = append(f.paths, "groups/deleted")
			f.files["groups/deleted"] = []byte("x")
			return change{what: "nothing", files: map[string]entry{f.ledger.last().name: {bytes: f.ledger.last().bytes}}}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := newFixture(true)
			require.NoError(t, err)
			require.NoError(t, f.judge(unchanged, 1), "without the lie")
			spoiled := c.lie(f, f.parts[1])
			var v *violation
			require.ErrorAs(t, f.judge(spoiled, 1), &v)
			require.Equal(t, c.want, v.kind, "%v", v)
		})
	}
}

// The fixtures are what the sweeps are said to be of.
func TestFixtures(t *testing.T) {
	all, err := fixtures()
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, f := range all {
		require.Len(t, f.parts, 2*partitions)
		_, there := f.files["checkpoint"]
		require.Equal(t, f.clean, there)
		for _, p := range f.parts {
			require.Len(t, p.segments, segments)
			require.Greater(t, p.end(), int64(25))
			_, durable := f.find(change{}, p, p.start)
			require.Equal(t, f.clean || p.String() == "orders/1", durable == p.end(), "%s: what was written last is not known to be durable if it was killed, unless it was committed", p)
		}
		_, durable := f.find(change{}, f.ledger, 0)
		require.Equal(t, f.clean, durable == f.ledger.end())
		bits := 0
		for v := range f.variants(1) {
			bits += v.count
		}
		require.Greater(t, bits, 100_000)
	}
}

// note has the last commit of a group in a partition say something else.
func (f *fixture) note(group, partition string, offset int64) {
	for _, n := range slices.Backward(f.written) {
		for at, pos := range n {
			if at.group == group && fmt.Sprintf("%s/%d", at.topic, at.number) == partition {
				pos.offset = offset
				n[at] = pos
				return
			}
		}
	}
}

// A groups log that is gone is missed as long as something says that there was
// one, however often the store is opened; else groups begin anew.
func TestGroupsLogThatIsGone(t *testing.T) {
	all, err := fixtures()
	require.NoError(t, err)
	for _, f := range all {
		x := f.expect(f.groupsGone(), f.ledger)
		require.Equal(t, f.clean, x.damaged(), f.name)
		require.Equal(t, !f.clean, x.torn, f.name)
		require.NoError(t, f.judge(f.groupsGone(), everyAll), f.name)
		require.NoError(t, f.judge(f.groupsGone(), everyReopen), f.name)
	}
}

// What is cut off the groups log leaves what was acknowledged before.
func TestTornGroupsLog(t *testing.T) {
	f, err := newFixture(false)
	require.NoError(t, err)
	s := f.ledger.last()
	last := s.batches[len(s.batches)-1]
	b := append([]byte(nil), s.bytes...)
	b[last.pos+50] ^= 1
	c := change{what: "flipped", files: map[string]entry{s.name: {bytes: b}}}
	x := f.expect(c, f.ledger)
	require.True(t, x.torn)
	require.Equal(t, last.from, x.end)
	require.True(t, f.leftover(c, f.ledger, x))
	require.NoError(t, f.judge(c, everyAll))
	f.written[x.end-1] = note{}
	var v *violation
	require.ErrorAs(t, f.judge(c, everyAll), &v)
	require.Equal(t, invented, v.kind)
}

// A groups log that is damaged is repaired: what its intact records say holds.
func TestRepairedGroupsLog(t *testing.T) {
	f, err := newFixture(true)
	require.NoError(t, err)
	s := f.ledger.segments[0]
	b := append([]byte(nil), s.bytes...)
	b[s.batches[6].pos+50] ^= 1 // a commit of billing
	c := change{what: "flipped", files: map[string]entry{s.name: {bytes: b}}}
	require.NoError(t, f.judge(c, everyAll))
	f.note("shipping", "orders/2", 9) // as if the last commit were not intact
	var v *violation
	require.ErrorAs(t, f.judge(c, everyAll), &v)
	require.Equal(t, invented, v.kind, "%v", v)
	require.Contains(t, v.what, "group shipping is at {offset:29")
}

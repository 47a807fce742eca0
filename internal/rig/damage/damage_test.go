package damage

import (
	"context"

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
			require.Equal(t, f.clean, durable == p.end(), "what was written last is not known to be durable if it was killed")
		}
		bits := 0
		for v := range f.variants(1) {
			bits += v.count
		}
		require.Greater(t, bits, 100_000)
	}
}

package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// TestRepair repairs every damaged disk of the recovery table, by either
// policy, and has the process end and the power go at every operation.
func TestRepair(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		for _, row := range recoveryTable {
			if row.committed > 0 && v.level != Sync {
				continue
			}
			for _, policy := range []RepairPolicy{KeepIntact, CutAtDamage} {
				t.Run(fmt.Sprintf("%v/%s/%v", v.level, row.name, policy), func(t *testing.T) {
					d := newDisk(t)
					for _, l := range row.script {
						l(d)
					}
					opts := func(o *Options) {
						o.Committed, o.SegmentBytes = row.committed, 4<<10
						if row.checkpoint >= 0 {
							o.Checkpoint = &Checkpoint{End: row.checkpoint}
						}
					}
					r := repairRow{t: t, v: v, opts: opts, policy: policy, intact: row.intact, lost: row.lost}
					r.run(d.m.Crash(func() bool { return true }))
				})
			}
		}
	}
}

type repairRow struct {
	t            *testing.T
	v            variant
	opts         func(*Options)
	policy       RepairPolicy
	intact, lost []span2
}

func (r *repairRow) run(m *fs.Mem) {
	t := r.t
	p := open(t, m, r.v, r.opts)
	end := p.End()
	before := contents(t, m)
	if len(r.lost) == 0 {
		copies, err := p.Verify(bg, nil) // of headers
		require.NoError(t, err)
		_, err = p.Repair(bg, r.policy)
		if len(copies) == 0 {
			require.ErrorIs(t, err, ErrNotDamaged)
			require.Contains(t, err.Error(), "repair partition 0")
		}
		r.requireRepaired(p, r.intact, nil)
		require.NoError(t, p.Close())
		return
	}
	keep, gone := r.expected(end)
	var report RepairReport
	images := crashesOf(m, func() {
		var err error
		report, err = p.Repair(bg, r.policy)
		require.NoError(t, err)
	})
	require.GreaterOrEqual(t, report.End, end, "an offset that was seen is never given again")
	r.requireRepaired(p, keep, gone)
	r.requireKept(m, before, report)
	_, err := p.Repair(bg, r.policy)
	require.ErrorIs(t, err, ErrNotDamaged)
	keep = r.append(p, keep)
	after := m.Crash(func() bool { return false })
	require.NoError(t, p.Close())
	for i, m := range append(images, m, after) {
		p := open(t, m, r.v, r.opts)
		if i >= len(images) {
			r.requireRepaired(p, keep, gone)
		} else {
			r.again(p, end)
		}
		require.NoError(t, p.Close(), "image %d", i)
	}
}

// expected returns what is read after the repair, and the gaps.
func (r *repairRow) expected(end int64) (keep, gone []span2) {
	if r.policy == KeepIntact {
		return r.intact, r.lost
	}
	cut := r.lost[0][0]
	for _, s := range r.intact {
		if s[0] < cut {
			keep = append(keep, s)
		}
	}
	return keep, []span2{{cut, end}}
}

// again finishes a repair that was interrupted.
func (r *repairRow) again(p *Partition, end int64) {
	t := r.t
	intact, _, _ := readSpans(t, p)
	keep, gone := r.expected(end)
	for _, s := range keep {
		require.True(t, slices.ContainsFunc(intact, func(i span2) bool { return i[0] <= s[0] && s[1] <= i[1] }), "%v is gone: %v", s, intact)
	}
	if _, err := p.Repair(bg, r.policy); err != nil {
		require.ErrorIs(t, err, ErrNotDamaged)
	}
	r.requireRepaired(p, keep, gone)
	r.append(p, keep)
}

func (r *repairRow) append(p *Partition, keep []span2) []span2 {
	end := p.End()
	offset, err := p.Append(bg, numbered(int(end), 40))
	require.NoError(r.t, err)
	require.Equal(r.t, end, offset)
	require.NoError(r.t, p.Sync(bg))
	return joined(append(slices.Clone(keep), span2{end, end + 1}))
}

// requireRepaired reads everything and requires exactly this.
func (r *repairRow) requireRepaired(p *Partition, keep, gone []span2) {
	t := r.t
	t.Helper()
	require.True(t, p.Writable())
	require.Empty(t, p.Recovery().Lost)
	intact, gaps, lost := readSpans(t, p)
	require.Empty(t, lost)
	require.Equal(t, keep, intact)
	require.Equal(t, gone, gaps)
	found, err := p.Verify(bg, nil)
	require.NoError(t, err)
	require.Empty(t, found)
}

// readSpans reads everything.
func readSpans(t *testing.T, p *Partition) (intact, gaps, lost []span2) {
	t.Helper()
	for rec, err := range p.Records(bg, First()) {
		var c *CorruptError
		var g *GapError
		switch {
		case errors.As(err, &c):
			lost = append(lost, span2{c.FromOffset, c.ToOffset})
		case errors.As(err, &g):
			gaps = append(gaps, span2{g.From, g.To})
		default:
			require.NoError(t, err)
			require.Equal(t, int(rec.Offset), number(t, &rec))
			intact = append(intact, span2{rec.Offset, rec.Offset + 1})
		}
	}
	return joined(intact), joined(gaps), joined(lost)
}

// requireKept requires that every byte that was in a segment still is in one,
// or in a file that the report names.
func (r *repairRow) requireKept(m *fs.Mem, before map[string]string, report RepairReport) {
	after := contents(r.t, m)
	require.Subset(r.t, slices.Collect(maps.Keys(after)), report.Aside)
	for name, was := range before {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		now := after[name]
		for _, side := range report.Aside {
			if strings.HasPrefix(side, sidePrefix+name) {
				now += after[side]
			}
		}
		// The marker that came before the repair may be at the end.
		require.True(r.t, strings.HasPrefix(now, strings.TrimRight(was, "\x00")), "bytes of %s are gone", name)
	}
}

// A header is mended from the other copy, or from what the open segment knows.
func TestRepairHeaders(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		for _, s := range []step{batch(3, 900), batch(3, 900), appends(2, 100), syncs()} {
			s(w)
		}
		quiet(w.p)
		for _, s := range w.p.all() {
			for _, copies := range [][]int64{{0}, {1}, {0, 1}} {
				require.NoError(t, w.p.giveBack(bg)) // not mapped, so that the file is what counts
				spoilHeader(t, w.m, s.Name(), copies)
				found, err := w.p.Verify(bg, nil)
				require.NoError(t, err)
				require.Len(t, found, 1)
				require.Equal(t, s.Name(), found[0].File)
				require.Equal(t, copies[0]*512, found[0].FromByte)
				require.Equal(t, len(copies) == 2, found[0].FromOffset < found[0].ToOffset)
				report, err := w.p.Repair(bg, KeepIntact)
				require.NoError(t, err)
				require.Empty(t, report.GivenUp)
				require.Len(t, report.Aside, 1)
				found, err = w.p.Verify(bg, nil)
				require.NoError(t, err)
				require.Empty(t, found)
			}
		}
		appends(2, 900)(w)
		reopens(false)(w)
		require.Len(t, readEntries(t, "", w.p), 10)
		require.NoError(t, w.p.Close())
	})
}

func spoilHeader(t *testing.T, m *fs.Mem, name string, copies []int64) {
	d, base := dirOf(t, m, "/s/0/"+name)
	f, err := d.Open(base, true)
	require.NoError(t, err)
	for _, c := range copies {
		_, err = f.WriteAt([]byte("garbage"), c*512)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// Verify names what is damaged while the partition is open, and appends go on.
func TestVerifyFindsDamage(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		for range 4 {
			batch(3, 900)(w)
		}
		syncs()(w)
		found, err := w.p.Verify(bg, nil)
		require.NoError(t, err)
		require.Empty(t, found)
		list := w.p.all()
		require.Greater(t, len(list), 3)
		edit(t, w.m, "/s/0/"+list[0].Name(), func(b []byte) []byte { b[segment.FirstFrame+100] ^= 1; return b })
		list[1].CloseFile()
		d, _ := dirOf(t, w.m, "/s/0/x")
		require.NoError(t, d.Remove(list[1].Name()))
		edit(t, w.m, "/s/0/"+list[2].Name(), func(b []byte) []byte { return b[:segment.FirstFrame+300] })
		var read atomic.Int64
		found, err = w.p.Verify(bg, func(n int64) { read.Add(n) })
		require.NoError(t, err)
		require.Positive(t, read.Load())
		var got []span2
		for _, e := range found {
			require.NotEmpty(t, e.File)
			require.Less(t, e.FromByte, e.ToByte)
			got = append(got, span2{e.FromOffset, e.ToOffset})
		}
		require.Equal(t, []span2{{0, 3}, {3, 6}, {6, 9}}, got)
		appends(1, 100)(w)
		report, err := w.p.Repair(bg, KeepIntact)
		require.NoError(t, err)
		require.Equal(t, []GapError{{"", 0, 0, 9}}, report.GivenUp)
		require.NoError(t, w.p.Close())
	})
}

// A segment that was repaired while Verify was about to read it is another one
// now: what was given up is no damage, what came since is.
func TestVerifyDuringRepair(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 300)
	require.Greater(t, len(p.all()), 3)
	old, behind := p.all()[1], p.all()[2]
	spoil := func(number int) {
		edit(t, m, "/p/"+old.Name(), func(b []byte) []byte {
			b[bytes.Index(b, value(number).Value)] ^= 1
			return b
		})
	}
	v := verifier{p, func(int64) {}}
	verify := func() (lost []span2) {
		found, err := v.segment(bg, old, old.Base)
		require.NoError(t, err)
		for _, e := range found {
			lost = append(lost, span2{e.FromOffset, e.ToOffset})
		}
		return lost
	}
	require.Empty(t, verify())
	first, second := old.Base, old.Base+1
	spoil(int(second))
	require.Equal(t, []span2{{second, second + 1}}, verify())
	report, err := p.Repair(bg, CutAtDamage)
	require.NoError(t, err)
	require.Equal(t, []GapError{{"", 0, second, 300}}, report.GivenUp)
	require.Empty(t, verify())
	spoil(int(first))
	require.Equal(t, []span2{{first, 300}}, verify(), "with what was given up behind it")
	found, err := v.segment(bg, behind, behind.Base)
	require.NoError(t, err)
	require.Empty(t, found)
	require.NoError(t, p.Close())
	_, err = v.segment(bg, old, old.Base)
	require.ErrorIs(t, err, ErrClosed)
}

// What cannot be repaired is refused, and nothing is changed.
func TestRepairRefuses(t *testing.T) {
	w := newWorld(t, variant{Sync, true})
	appends(2, 100)(w)
	before := contentsOf(t, w.m, "/s/0")
	_, err := w.p.Repair(bg, RepairPolicy(9))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "repair partition 0: invalid policy: repair(9)")
	gone, cancel := context.WithCancel(bg)
	cancel()
	_, err = w.p.Repair(gone, KeepIntact)
	require.ErrorIs(t, err, context.Canceled)
	_, err = w.p.Repair(bg, KeepIntact)
	require.ErrorIs(t, err, ErrNotDamaged)
	_, err = w.p.Repair(bg, CutAtDamage)
	require.ErrorIs(t, err, ErrNotDamaged)
	require.Equal(t, before, contentsOf(t, w.m, "/s/0"))
	require.NoError(t, w.p.Close())
	_, err = w.p.Repair(bg, KeepIntact)
	require.ErrorIs(t, err, ErrClosed)
}

package partition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// What a killed process wrote and did not sync has to be durable before a
// Close says so.
func TestCloseSyncsWhatRecoveryFound(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 10)
		killed := m.Kill()
		require.NoError(t, p.Close())
		p = open(t, killed, v)
		require.NoError(t, p.Close())
		c, ok := p.Checkpoint()
		require.True(t, ok)
		require.Equal(t, int64(10), c.End)
		p = open(t, killed.Crash(func() bool { return false }), v, func(o *Options) { o.Checkpoint = &c })
		readAll(t, p, 10)
		require.NoError(t, p.Close())
	})
}

// Before offsets are skipped everything that was found is made durable; nothing
// of that is left to be done when it has been trimmed.
func TestTrimBehindAGap(t *testing.T) {
	for _, v := range variants[1:] {
		t.Run(v.String(), func(t *testing.T) {
			m := fs.NewMem()
			p := open(t, m, v)
			appendN(t, p, 0, 300)
			killed := m.Kill()
			require.NoError(t, p.Close())
			p = open(t, killed, v, func(o *Options) { o.SameBoot = false })
			require.NotNil(t, p.Recovery().Gap)
			require.NoError(t, p.Trim(bg, p.End()))
			_, err := p.Append(bg, value(0))
			require.NoError(t, err)
			require.NoError(t, p.Sync(bg))
			require.NoError(t, p.Close())
		})
	}
}

// A disk is a partition's directory, written byte by byte. Record number i
// has offset i.
type disk struct {
	t     testing.TB
	m     *fs.Mem
	dir   fs.Dir
	files *segment.Files
	seg   *segment.Segment
	pos   int64 // behind the last frame of seg
	frame int64 // position of the last frame
	next  int64 // offset
	made  byte  // segments
}

func newDisk(t testing.TB) *disk {
	m := fs.NewMem()
	dir, err := m.OpenDir("/p", true)
	require.NoError(t, err)
	return &disk{t: t, m: m, dir: dir, files: segment.NewFiles(8, nil)}
}

// A line of a script writes something.
type line func(d *disk)

// seg begins a segment at the next offset.
func seg(durable int64) line {
	return func(d *disk) { d.begin(segment.Header{Base: d.next, Durable: durable}) }
}

// gap begins a segment at a later offset, as after a power cut.
func gap(base, durable int64) line {
	return func(d *disk) { d.begin(segment.Header{Base: base, Durable: durable}) }
}

// foreign begins a segment of another topic.
func foreign() line {
	return func(d *disk) { d.begin(segment.Header{Base: d.next, Topic: [16]byte{9}}) }
}

func (d *disk) begin(h segment.Header) {
	d.made++
	h.ID, h.PrevEnd = [16]byte{d.made}, d.next
	if d.seg != nil {
		h.PrevID = d.seg.ID
		d.seg.CloseFile()
	}
	d.seg = segment.Plan(segment.Place{Dir: d.dir, Files: d.files}, h)
	d.pos, d.next = segment.FirstFrame, h.Base
	_, err := d.seg.Create(segment.FirstFrame)
	require.NoError(d.t, err)
	d.seg.Release()
}

// recs writes a frame of n records, none for a marker.
func recs(n int, durable int64) line { return sized(n, 40, durable) }

// long is recs with other records than those.
func long(n int) line { return sized(n, 70, 0) }

func sized(n, size int, durable int64) line {
	return func(d *disk) {
		run := record.Run{}
		for i := range n {
			run.Records = append(run.Records, numbered(int(d.next)+i, size))
		}
		_, size := run.Fit(MaxFrameBytes, max(n, 1))
		b := make([]byte, size)
		run.Encode(b, n, record.Stamp{Salt: d.seg.Salt(), Position: d.pos, Base: d.next, Time: 1e18 + d.next, Durable: durable})
		d.write(b, d.pos)
		d.frame, d.pos, d.next = d.pos, d.pos+int64(size), d.next+int64(n)
	}
}

func (d *disk) write(b []byte, pos int64) {
	f, err := d.seg.Borrow()
	require.NoError(d.t, err)
	_, err = f.WriteAt(b, pos)
	require.NoError(d.t, err)
	d.seg.Release()
}

// spoil changes a byte in the middle of the last frame.
func spoil(d *disk) { d.write([]byte{0xff}, d.frame+20) }

// wipe makes the last frame zeros.
func wipe(d *disk) { d.write(make([]byte, d.pos-d.frame), d.frame) }

// raw writes n bytes that are no frame behind the last one.
func raw(b byte, n int) line {
	return func(d *disk) {
		d.write(slices.Repeat([]byte{b}, n), d.pos)
		d.pos += int64(n)
	}
}

// header spoils one copy of the segment's header, or both.
func header(copies ...int64) line {
	return func(d *disk) {
		for _, c := range copies {
			d.write([]byte("garbage"), c*512)
		}
	}
}

// lose removes the segment's file.
func lose(d *disk) {
	d.seg.CloseFile()
	require.NoError(d.t, d.dir.Remove(d.seg.Name()))
}

// begins writes partition.json.
func begins(start int64) line {
	return func(d *disk) {
		require.NoError(d.t, meta.Write(d.dir, partitionFile, partitionMeta{Format: 1, Start: start}))
	}
}

type span2 = [2]int64

// recoveryTable is the table of docs/DESIGN.md, row by row. D is the durable
// mark that the files tell of, or the checkpoint if there is one.
var recoveryTable = []struct {
	name       string
	script     []line
	checkpoint int64 // end of, -1 for none
	committed  int64

	intact    []span2 // offsets that are read
	lost      []span2 // offsets named by a CorruptError
	cut       int64   // offset of the cut, -1 for none
	aside     int     // segments set aside
	refuses   bool    // appends
	unchanged bool    // not a byte of any file
}{
	{name: "nothing", checkpoint: -1, cut: -1},
	{name: "a header and nothing else", script: []line{seg(0)}, checkpoint: -1, cut: -1},
	{name: "zeros to the end", script: []line{seg(0), recs(3, 0), recs(2, 3), raw(0, 200)}, checkpoint: -1, intact: []span2{{0, 5}}, cut: -1},
	{name: "fewer zeros than a frame has", script: []line{seg(0), recs(3, 0), recs(2, 3), raw(0, 30)}, checkpoint: -1, intact: []span2{{0, 5}}, cut: -1},
	{name: "zeros to the end of an earlier segment", script: []line{seg(0), recs(3, 0), raw(0, 200), seg(3), recs(2, 3)}, checkpoint: -1, intact: []span2{{0, 5}}, cut: -1},

	{name: "bytes that are no batch", script: []line{seg(0), recs(3, 0), recs(2, 3), raw('x', 40)}, checkpoint: -1, intact: []span2{{0, 5}}, cut: 5},
	{name: "one byte that is no batch", script: []line{seg(0), recs(3, 0), raw('x', 1)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3},
	{name: "zeros and then bytes", script: []line{seg(0), recs(3, 0), raw(0, 80), raw('x', 9), raw(0, 100)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3},
	{name: "a torn batch at D, valid ones behind it", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(2, 3), recs(1, 3)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3},
	{name: "a batch of zeros at D, valid ones behind it", script: []line{seg(0), recs(3, 0), recs(2, 3), wipe, recs(2, 3)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3},
	{name: "torn in an earlier segment, later ones intact", script: []line{seg(0), recs(3, 0), recs(2, 0), spoil, recs(1, 0), seg(0), recs(4, 0), seg(0), recs(1, 0)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3, aside: 2},
	{name: "an earlier segment ends early", script: []line{seg(0), recs(3, 0), recs(2, 0), wipe, seg(0), recs(4, 0)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3, aside: 1},
	{name: "torn at the first batch", script: []line{seg(0), recs(3, 0), spoil, recs(2, 0)}, checkpoint: -1, cut: 0},

	{name: "last header torn", script: []line{seg(0), recs(3, 0), seg(3), header(0, 1)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3, aside: 1},
	{name: "last header torn at D", script: []line{seg(0), recs(3, 0), recs(0, 3), seg(3), header(0, 1), recs(2, 3)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3, aside: 1},
	{name: "only header torn", script: []line{seg(0), header(0, 1)}, checkpoint: -1, cut: 0, aside: 1},
	{name: "one copy of the header torn", script: []line{seg(0), recs(3, 0), header(0), seg(3), recs(1, 3), header(1)}, checkpoint: -1, intact: []span2{{0, 4}}, cut: -1},

	{name: "corrupt in a sealed segment", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5), seg(9), recs(2, 9)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 11}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "corrupt in a sealed segment, torn in the last", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5), seg(9), recs(2, 9), raw('x', 100)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 11}}, lost: []span2{{3, 5}}, cut: 11},
	{name: "corrupt at the end of a sealed segment", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 7}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "corrupt header of a sealed segment", script: []line{seg(0), recs(3, 0), seg(3), recs(2, 3), header(0, 1), seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 7}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "a sealed segment of another topic", script: []line{seg(0), recs(3, 0), foreign(), recs(2, 3), seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 7}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "corrupt in two places of a sealed segment", script: []line{seg(0), recs(3, 0), spoil, recs(2, 3), recs(2, 3), wipe, recs(1, 7), seg(8), recs(2, 8)}, checkpoint: -1, intact: []span2{{3, 5}, {7, 10}}, lost: []span2{{0, 3}, {5, 7}}, cut: -1},
	{name: "corrupt in the active segment", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 9}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "corrupt and torn in the active segment", script: []line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5), raw('x', 70)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 9}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "corrupt header of the active segment", script: []line{seg(0), recs(3, 0), seg(3), recs(4, 3), header(0, 1)}, checkpoint: 7, intact: []span2{{0, 3}}, lost: []span2{{3, 7}}, cut: -1, refuses: true, unchanged: true},
	{name: "corrupt header of the only segment", script: []line{seg(0), recs(3, 0), header(0, 1)}, checkpoint: 3, lost: []span2{{0, 3}}, cut: -1, refuses: true, unchanged: true},
	{name: "bytes that are no batch below D", script: []line{seg(0), recs(3, 0), raw('x', 64)}, checkpoint: 5, intact: []span2{{0, 3}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "below what a consumer committed", script: []line{seg(0), recs(3, 0), raw('x', 64)}, checkpoint: -1, committed: 5, intact: []span2{{0, 3}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},

	{name: "zeros below D in a sealed segment", script: []line{seg(0), recs(3, 0), recs(2, 3), wipe, recs(4, 5), seg(9), recs(2, 9)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 11}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "zeros below D in the active segment", script: []line{seg(0), recs(3, 0), recs(2, 3), wipe, recs(4, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 9}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "zeros below D to the end", script: []line{seg(0), recs(3, 0), recs(2, 3), wipe}, checkpoint: 5, intact: []span2{{0, 3}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "the file ends below D", script: []line{seg(0), recs(3, 0)}, checkpoint: 5, intact: []span2{{0, 3}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},

	{name: "a segment missing below D", script: []line{seg(0), recs(3, 0), seg(3), recs(2, 3), lose, seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{0, 3}, {5, 7}}, lost: []span2{{3, 5}}, cut: -1},
	{name: "two segments missing below D", script: []line{seg(0), recs(3, 0), seg(3), recs(2, 3), lose, seg(5), recs(2, 5), lose, seg(7), recs(1, 7)}, checkpoint: -1, intact: []span2{{0, 3}, {7, 8}}, lost: []span2{{3, 7}}, cut: -1},
	{name: "the first segment missing below D", script: []line{seg(0), recs(3, 0), lose, seg(3), recs(2, 3)}, checkpoint: -1, intact: []span2{{3, 5}}, lost: []span2{{0, 3}}, cut: -1},
	{name: "the last segment missing below D", script: []line{seg(0), recs(3, 0), seg(3), recs(2, 3), lose}, checkpoint: 5, intact: []span2{{0, 3}}, lost: []span2{{3, 5}}, cut: -1, refuses: true, unchanged: true},
	{name: "all segments missing below D", script: []line{seg(0), recs(3, 0), lose}, checkpoint: 3, lost: []span2{{0, 3}}, cut: -1, refuses: true, unchanged: true},
	{name: "a segment missing at D", script: []line{seg(0), recs(3, 0), seg(0), recs(2, 0), lose, seg(0), recs(2, 0)}, checkpoint: -1, intact: []span2{{0, 3}}, cut: 3, aside: 1},
	{name: "the first segment missing at D", script: []line{seg(0), recs(3, 0), lose, seg(0), recs(2, 0)}, checkpoint: -1, cut: 0, aside: 1},

	{name: "segments below the start", script: []line{begins(5), seg(0), recs(3, 0), header(0, 1), seg(3), recs(2, 3), lose, seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{5, 7}}, cut: -1},
	{name: "a start inside a segment", script: []line{begins(4), seg(0), recs(3, 0), spoil, seg(3), recs(2, 3), seg(5), recs(2, 5)}, checkpoint: -1, intact: []span2{{4, 7}}, cut: -1},
	{name: "all segments below the start", script: []line{begins(5), seg(0), recs(3, 0), seg(3), recs(2, 3)}, checkpoint: -1, cut: -1},
	{name: "a lawful gap", script: []line{seg(0), recs(3, 0), gap(100, 3), recs(2, 100)}, checkpoint: -1, intact: []span2{{0, 3}, {100, 102}}, cut: -1},
}

func TestRecoveryTable(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for _, row := range recoveryTable {
			if row.committed > 0 && v.level != Sync {
				continue // commits are evidence at level Sync only
			}
			t.Run(row.name, func(t *testing.T) {
				d := newDisk(t)
				for _, l := range row.script {
					l(d)
				}
				d.seg = nil
				m := d.m.Crash(func() bool { return true }) // so that all of it is durable
				opts := func(o *Options) {
					o.Committed = row.committed
					o.SegmentBytes = 4 << 10
					if row.checkpoint >= 0 {
						o.Checkpoint = &Checkpoint{End: row.checkpoint}
					}
				}
				images := crashesOf(m, func() {
					before := contents(t, m)
					p := open(t, m, v, opts)
					r := p.Recovery()
					require.Equal(t, row.cut >= 0, r.Cut != nil, "%+v", r.Cut)
					if r.Cut != nil {
						require.Equal(t, row.cut, r.Cut.Offset)
						require.Len(t, r.Cut.Aside, row.aside)
						require.Subset(t, names(t, m), r.Cut.Aside)
					}
					requireFound(t, p, row.intact, row.lost, row.refuses)
					require.NoError(t, p.Close())
					if row.unchanged {
						require.Equal(t, before, contents(t, m))
					}
				})
				again := open(t, m, v, opts)
				require.Nil(t, again.Recovery().Cut)
				requireFound(t, again, row.intact, row.lost, row.refuses)
				if !row.refuses {
					appendBehind(t, m, v, again, opts, row.intact, row.lost)
				}
				require.NoError(t, again.Close())
				for _, m := range images {
					p := open(t, m, v, opts)
					requireFound(t, p, row.intact, row.lost, row.refuses)
					require.NoError(t, p.Close())
				}
			})
		}
	})
}

// appendBehind appends a record and has the power go.
func appendBehind(t *testing.T, m *fs.Mem, v variant, p *Partition, opts func(*Options), intact, lost []span2) {
	end := p.End()
	offset, err := p.Append(bg, numbered(int(end), 40))
	require.NoError(t, err)
	require.Equal(t, end, offset)
	require.NoError(t, p.Sync(bg))
	p = open(t, m.Crash(func() bool { return false }), v, opts)
	requireFound(t, p, joined(append(slices.Clone(intact), span2{end, end + 1})), lost, false)
	require.NoError(t, p.Close())
}

// crashesOf runs what and returns images of m as before each of its
// operations that changes something.
func crashesOf(m *fs.Mem, what func()) (images []*fs.Mem) {
	flip := false
	m.OnOp(func(op fs.Op) error {
		switch op.Kind {
		case fs.OpReadAt, fs.OpOpen, fs.OpList, fs.OpSize, fs.OpClose:
		default:
			images = append(images, m.Kill(), m.Crash(func() bool { flip = !flip; return flip }))
		}
		return nil
	})
	what()
	m.OnOp(nil)
	return images
}

// requireFound reads everything and requires exactly this.
func requireFound(t *testing.T, p *Partition, intact, lost []span2, refuses bool) {
	t.Helper()
	var gotIntact, gotLost []span2
	for rec, err := range p.Records(bg, First()) {
		var c *CorruptError
		switch {
		case errors.As(err, &c):
			gotLost = append(gotLost, span2{c.FromOffset, c.ToOffset})
		case err != nil:
			require.NoError(t, err)
		default:
			require.Equal(t, rec.Offset, int64(number(t, &rec)))
			gotIntact = append(gotIntact, span2{rec.Offset, rec.Offset + 1})
		}
	}
	require.Equal(t, intact, joined(gotIntact), "intact")
	require.Equal(t, lost, joined(gotLost), "lost, by reading")
	var reported []span2
	for _, c := range p.Recovery().Lost {
		reported = append(reported, span2{c.FromOffset, c.ToOffset})
		require.Less(t, c.FromOffset, c.ToOffset)
	}
	if len(reported) > 0 || refuses {
		require.Equal(t, lost, joined(reported), "lost, as reported")
	}
	require.Equal(t, !refuses, p.Writable())
	if refuses {
		_, err := p.Append(bg, value(0))
		require.ErrorIs(t, err, ErrCorrupt)
	}
	for _, s := range lost {
		for o := s[0]; o < s[1]; o++ {
			_, err := p.Record(bg, o)
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
}

// joined merges spans that touch.
func joined(spans []span2) (all []span2) {
	for _, s := range spans {
		if n := len(all); n > 0 && all[n-1][1] == s[0] {
			all[n-1][1] = s[1]
			continue
		}
		all = append(all, s)
	}
	return all
}

// contents returns every file of the partition in m.
func contents(t testing.TB, m *fs.Mem) map[string]string { return contentsOf(t, m, "/p") }

func contentsOf(t testing.TB, m *fs.Mem, path string) map[string]string {
	t.Helper()
	m = m.Kill()
	dir, err := m.OpenDir(path, true)
	require.NoError(t, err)
	entries, err := dir.List(".")
	require.NoError(t, err)
	all := map[string]string{}
	for _, e := range entries {
		b, err := fs.ReadFile(dir, e.Name, 1<<30)
		require.NoError(t, err)
		all[e.Name] = string(b)
	}
	return all
}

func names(t testing.TB, m *fs.Mem) []string {
	return slices.Sorted(maps.Keys(contents(t, m)))
}

// An error of the disk while opening is neither torn nor corrupt: nothing is
// changed, and the next open finds what this one would have.
func TestErrorsWhileOpening(t *testing.T) {
	for _, row := range recoveryTable {
		t.Run(row.name, func(t *testing.T) {
			d := newDisk(t)
			for _, l := range row.script {
				l(d)
			}
			opts := func(o *Options) {
				o.Committed = row.committed
				if row.checkpoint >= 0 {
					o.Checkpoint = &Checkpoint{End: row.checkpoint}
				}
			}
			for n := int64(1); ; n++ {
				m := d.m.Crash(func() bool { return true })
				before := contents(t, m)
				reading, failed := true, false
				m.OnOp(func(op fs.Op) error {
					failed = failed || op.N == n
					if op.N < n || op.N > n {
						return nil
					}
					switch op.Kind {
					case fs.OpReadAt, fs.OpOpen, fs.OpList, fs.OpSize:
					default:
						reading = false
					}
					return fs.EIO
				})
				p, err := tryOpen(m, variant{Sync, true}, opts)
				m.OnOp(nil)
				if err == nil {
					requireFound(t, p, row.intact, row.lost, row.refuses)
					require.NoError(t, p.Close())
				} else if errors.Is(err, fs.EIO) && reading && !changedSince(t, m, before) {
					require.False(t, errors.Is(err, ErrCorrupt))
				} else {
					require.False(t, reading && failed && len(row.lost) == 0 && row.cut < 0, fmt.Sprint(err))
				}
				if !failed {
					break
				}
				p = open(t, m, variant{Sync, true}, opts)
				requireFound(t, p, row.intact, row.lost, row.refuses)
				require.NoError(t, p.Close())
			}
		})
	}
}

func changedSince(t *testing.T, m *fs.Mem, before map[string]string) bool {
	return !maps.Equal(before, contents(t, m))
}

// What recovery found unsynced in a segment that has no room for the next
// record is synced when that is appended to another.
func TestRollFromWhatRecoveryFound(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		small := func(o *Options) { o.SegmentBytes = 4 << 10 }
		p := open(t, m, v, small)
		for i := range 3 {
			_, err := p.Append(bg, numbered(i, 900))
			require.NoError(t, err)
		}
		killed := m.Kill()
		require.NoError(t, p.Close())
		p = open(t, killed, v, small)
		for i := 3; i < 9; i++ {
			_, err := p.Append(bg, numbered(i, 900))
			require.NoError(t, err)
		}
		quiet(p)
		durable := p.Durable()
		require.GreaterOrEqual(t, durable, int64(3))
		crashed := killed.Crash(func() bool { return false })
		require.NoError(t, p.Close())
		p = open(t, crashed, v)
		require.Empty(t, p.Recovery().Lost)
		require.GreaterOrEqual(t, int64(len(readEntries(t, "", p))), durable)
		require.NoError(t, p.Close())
	})
}

package partition

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// reading returns a view of a file system on which nothing may even be tried
// to be changed.
func reading(t testing.TB, f fs.FS) fs.Reading {
	return fs.Reading{FS: f, OnChange: func(op fs.OpKind, name string) {
		t.Errorf("read-only, and yet: %v %s", op, name)
	}}
}

// followOn opens the partition that open writes on m, for reading.
func followOn(t testing.TB, m fs.FS, v variant, change ...func(*Options)) *Partition {
	t.Helper()
	change = append(change, func(o *Options) { o.ReadOnly = true })
	return open(t, reading(t, m), v, change...)
}

// read returns the values that a reader has before its end.
func readOn(t testing.TB, r *Reader) (all []string) {
	t.Helper()
	for {
		rec, err := r.TryNext()
		if err == ErrEnd {
			return all
		}
		require.NoError(t, err)
		all = append(all, string(rec.Value))
	}
}

// values returns what a partition has from offset on.
func values(t testing.TB, p *Partition, from int64) []string {
	t.Helper()
	return readOn(t, p.NewReader(Offset(from)))
}

func TestFollowAppends(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		appendN(t, w, 0, 1)
		p := followOn(t, m, v)
		r := p.NewReader(First())
		for i := range 500 {
			appendN(t, w, i+1, 1)
			rec, err := r.Next(bg)
			require.NoError(t, err)
			require.Equal(t, int64(i), rec.Offset)
			require.Equal(t, string(value(i).Value), string(rec.Value))
		}
		require.Greater(t, len(p.all()), 3, "segments rolled")
		require.NoError(t, w.Close())
		require.Equal(t, int64(501), p.End())
		require.Equal(t, int64(501), p.Durable())
		readAll(t, p, 501)
		require.NoError(t, p.Close())
		require.Zero(t, p.shared.OpenFiles())
	})
}

// Whoever attaches late, or looks after a long time, sees the same.
func TestAttachLate(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		w := open(t, m, v)
		early := followOn(t, m, v) // there is not even a directory of files
		require.Zero(t, early.End())
		_, err := early.NewReader(First()).TryNext()
		require.Equal(t, ErrEnd, err)
		appendN(t, w, 0, 400)
		require.NoError(t, w.Sync(bg))
		rests(w, time.Second) // the marker
		require.Greater(t, len(w.all()), 3)
		for _, p := range []*Partition{early, followOn(t, m, v)} {
			readAll(t, p, 400)
			require.Equal(t, int64(400), p.End())
			require.Zero(t, p.Start())
			require.NoError(t, p.Close())
		}
		require.NoError(t, w.Close())
	})
}

func TestFollowBatchesOfAnySize(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		big := func(o *Options) { o.SegmentBytes = 4 << 20 }
		w := open(t, m, v, big)
		p := followOn(t, m, v, big)
		r := p.NewReader(First())
		n := 0
		for _, records := range []int{1, 3000, 1, 40_000, 2, 0, 7} {
			recs := make([]record.Record, records)
			for i := range recs {
				recs[i] = value(n + i)
			}
			require.NoError(t, w.AppendBatch(bg, recs))
			require.NoError(t, w.Sync(bg))
			rests(w, time.Second)
			for i, v := range readOn(t, r) {
				require.Equal(t, string(value(n+i).Value), v)
			}
			n += records
			require.Equal(t, int64(n), r.Offset())
		}
		require.NoError(t, w.Close())
		require.NoError(t, p.Close())
	})
}

// A record that was written and not synced is not there for whoever looks from
// outside either, and then until something tells of the sync.
func TestFollowerAtSyncSeesWhatIsDurable(t *testing.T) {
	m := fs.NewMem()
	w := open(t, m, variant{Sync, true})
	appendN(t, w, 0, 3)
	p := followOn(t, m, variant{Sync, true})
	require.Equal(t, int64(2), p.End(), "one group behind")
	r := p.NewReader(End())
	g := newGate(m, fs.OpSync)
	done := appendSoon(bg, w, 3)
	<-g.entered // 3 is written, and says that 2 is durable
	for range 3 {
		require.NoError(t, p.follow.refresh(true))
		require.Equal(t, int64(3), p.End())
		require.Equal(t, int64(3), p.Durable())
	}
	require.Len(t, readOn(t, r), 1)
	_, err := p.Record(bg, 3)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	m.OnOp(nil)
	g.open <- nil
	require.Equal(t, result{3, nil}, <-done)
	require.Empty(t, readOn(t, r), "nothing tells of it yet")
	rests(w, time.Second)
	require.Len(t, readOn(t, r), 1, "the marker does")
	require.NoError(t, w.Close())
	require.NoError(t, p.Close())
}

// What fills a segment leaves no room for a marker. The header of the next one
// tells, and before there is one, what is known outside.
func TestFollowerWithoutAMarker(t *testing.T) {
	m := fs.NewMem()
	small := func(o *Options) { o.SegmentBytes = 4 << 10 }
	w := open(t, m, variant{Sync, true}, small)
	var known int64
	p := followOn(t, m, variant{Sync, true}, small, func(o *Options) {
		o.Outside = func() (Outside, error) { return Outside{Durable: known}, nil }
	})
	const frame = (4<<10 - segment.FirstFrame) / 4
	for i := range 4 {
		one := record.Run{Records: []record.Record{{Value: make([]byte, frame-record.HeaderBytes-8)}}}
		_, size := one.Fit(frame, 1)
		require.Equal(t, frame, size)
		_, err := w.Append(bg, one.Records[0])
		require.NoError(t, err)
		if i == 3 {
			rests(w, time.Second)
			require.Equal(t, int64(3), p.End())
			fresh := followOn(t, m, variant{Sync, true}, small)
			require.Equal(t, int64(3), fresh.End())
			known = 4
			require.NoError(t, p.follow.refresh(true))
			require.Equal(t, int64(4), p.End())
			_, err = w.Append(bg, record.Record{})
			require.NoError(t, err)
			require.Equal(t, int64(4), fresh.End(), "by the next header")
			require.NoError(t, fresh.Close())
		}
	}
	require.Equal(t, int64(4), p.End())
	require.Len(t, p.all(), 2)
	require.NoError(t, w.Close())
	require.NoError(t, p.Close())
}

// markOf returns the durable mark that the files of a partition tell of.
func markOf(t testing.TB, m *fs.Mem, path string) (mark int64) {
	d, err := m.OpenDir(path, true)
	require.NoError(t, err)
	place := segment.Place{Dir: d, Files: segment.NewFiles(8, nil)}
	for _, e := range list(t, m, path) {
		base, ok := segment.ParseName(e.Name)
		if !ok {
			continue
		}
		s, err := segment.Open(place, base)
		if err != nil {
			continue
		}
		defer s.Close()
		if s.Topic != ([16]byte{}) {
			continue
		}
		mark = max(mark, s.Durable)
		var sc segment.Scanner
		var b record.Batch
		sc.Start(s, segment.FirstFrame, base, e.Size)
		for more := true; more; {
			if err = sc.Next(&b); err == nil {
				mark = max(mark, b.Durable)
				continue
			}
			more, err = sc.Search(math.MaxInt64)
			require.NoError(t, err)
		}
	}
	return mark
}

// shownOf returns what of spans is below an offset.
func shownOf(spans []span2, offset int64) (all []span2) {
	for _, s := range spans {
		if s[0] < offset {
			all = append(all, span2{s[0], min(s[1], offset)})
		}
	}
	return all
}

// requireFollowed is requireFound for a partition that is not recovered.
func requireFollowed(t *testing.T, p *Partition, intact, lost []span2) {
	t.Helper()
	var gotIntact, gotLost []span2
	for rec, err := range p.Records(bg, First()) {
		var c *CorruptError
		if errors.As(err, &c) {
			gotLost = append(gotLost, span2{c.FromOffset, c.ToOffset})
			continue
		}
		require.NoError(t, err)
		require.Equal(t, rec.Offset, int64(number(t, &rec)))
		gotIntact = append(gotIntact, span2{rec.Offset, rec.Offset + 1})
	}
	require.Equal(t, intact, joined(gotIntact), "intact")
	require.Equal(t, lost, joined(gotLost), "lost, by reading")
	var reported []span2
	for _, c := range p.Recovery().Lost {
		reported = append(reported, span2{c.FromOffset, c.ToOffset})
	}
	if len(reported) > 0 { // sealed segments are not read
		require.Equal(t, lost, joined(reported), "lost, as reported")
	}
}

// Whoever attaches to what a crash or damage left sees what recovery would
// leave, at level Sync as far as it is known to be durable, and changes
// nothing. While the writer recovers and goes on it stays attached.
func TestFollowerOfEveryRowOfTheRecoveryTable(t *testing.T) {
	for _, level := range []Durability{Sync, OS} {
		for _, row := range recoveryTable {
			if row.committed > 0 {
				continue // a read-only partition is told of that as of a checkpoint
			}
			t.Run(level.String()+"/"+row.name, func(t *testing.T) {
				d := newDisk(t)
				for _, write := range row.script {
					write(d)
				}
				opts := func(o *Options) {
					if row.checkpoint >= 0 {
						o.Checkpoint = &Checkpoint{End: row.checkpoint}
					}
				}
				shown := int64(math.MaxInt64)
				if level == Sync {
					shown = max(markOf(t, d.m, "/p"), row.checkpoint)
				}
				before := contents(t, d.m)
				v := variant{level, true}
				p := followOn(t, d.m, v, opts)
				requireFollowed(t, p, shownOf(row.intact, shown), row.lost)
				require.NoError(t, p.follow.refresh(true))
				requireFollowed(t, p, shownOf(row.intact, shown), row.lost)
				require.Equal(t, before, contents(t, d.m), "not a byte")

				w := open(t, d.m, v, opts)
				intact := shownOf(row.intact, shown)
				if !row.refuses {
					end := w.End()
					for i := range 4 {
						_, err := w.Append(bg, numbered(int(end)+i, 40))
						require.NoError(t, err)
					}
					require.NoError(t, w.Sync(bg))
					rests(w, time.Second)
					intact = joined(append(append([]span2(nil), row.intact...), span2{end, end + 4}))
				}
				require.NoError(t, p.follow.refresh(true))
				requireFollowed(t, p, intact, row.lost)
				require.NoError(t, w.Close())
				require.NoError(t, p.Close())
			})
		}
	}
}

// Bytes that are no batch are not there yet. When the writer that left them is
// followed by one that cuts them off, what that one writes is shown.
func TestTornEndIsNotShown(t *testing.T) {
	for _, level := range []Durability{Sync, Interval, OS} {
		for name, torn := range map[string][]line{
			"garbage":                   {raw('x', 100)},
			"zeros and garbage":         {raw(0, 80), raw('x', 9)},
			"a spoiled batch":           {recs(2, 3), spoil},
			"a spoiled one, intact one": {recs(2, 3), spoil, recs(2, 3)},
			"a segment without header":  {seg(3), header(0, 1), recs(2, 3)},
			"a spoiled segment behind":  {recs(2, 3), spoil, seg(3), recs(2, 3)},
		} {
			t.Run(level.String()+"/"+name, func(t *testing.T) {
				d := newDisk(t)
				v := variant{level, true}
				for _, write := range []line{seg(0), recs(3, 0), recs(0, 3)} {
					write(d)
				}
				p := followOn(t, d.m, v)
				r := p.NewReader(First())
				require.Len(t, readOn(t, r), 3)
				for _, write := range torn {
					write(d)
				}
				for range 3 {
					require.NoError(t, p.follow.refresh(true))
					require.Empty(t, readOn(t, r))
				}
				w := open(t, d.m, v)
				require.NotNil(t, w.Recovery().Cut)
				for i := range 5 {
					offset, err := w.Append(bg, value(i))
					require.NoError(t, err)
					require.Equal(t, int64(3+i), offset)
				}
				require.NoError(t, w.Close())
				require.NoError(t, p.follow.refresh(true))
				got := readOn(t, r)
				require.Len(t, got, 5)
				for i, v := range got {
					require.Equal(t, string(value(i).Value), v)
				}
				require.NoError(t, p.Close())
			})
		}
	}
}

// A batch that was seen at level OS may be taken back: its write or the sync
// behind it failed. What comes in its place is shown, and is no damage.
func TestBatchesThatAreTakenBack(t *testing.T) {
	for name, replace := range map[string][]line{
		"by one of the same size":     {recs(2, 0)},
		"by a longer one":             {recs(9, 0)},
		"by shorter ones":             {recs(1, 0), recs(1, 0), recs(1, 0), recs(1, 0)},
		"by nothing":                  {},
		"by another segment":          {seg(0), recs(4, 0)},
		"by a segment behind a gap":   {gap(1000, 0), recs(4, 0)},
		"by less, and by nothing yet": {recs(1, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			for _, write := range []line{seg(0), recs(3, 0), recs(2, 0)} {
				write(d)
			}
			p := followOn(t, d.m, variant{OS, true})
			behind, inside := p.NewReader(First()), p.NewReader(Offset(3))
			require.Len(t, readOn(t, behind), 5)
			_, err := inside.TryNext()
			require.NoError(t, err)

			f, err := d.seg.Borrow()
			require.NoError(t, err)
			require.NoError(t, f.Truncate(d.frame))
			d.seg.Release()
			d.pos, d.next = d.frame, 3
			for _, write := range replace {
				write(d)
			}
			require.NoError(t, p.follow.refresh(true))
			require.Equal(t, d.next, p.End())
			require.Len(t, values(t, p, 0), len(values(t, p, 3))+3)
			for _, r := range []*Reader{behind, inside} {
				readOn(t, r)
				require.LessOrEqual(t, d.next, max(5, r.Offset()))
			}
			next := d.next
			long(7)(d)
			require.Equal(t, d.next, p.End())
			for _, r := range []*Reader{behind, inside} {
				for o := max(next, r.Offset()); o < d.next; o++ {
					rec, err := r.TryNext()
					require.NoError(t, err)
					require.Equal(t, o, rec.Offset)
					require.Equal(t, string(numbered(int(o), 70).Value), string(rec.Value), "and not what was taken back")
				}
			}
			require.NoError(t, p.Close())
		})
	}
}

// A roll that failed takes the new segment back, and the next one makes another
// of the same name.
func TestASegmentThatIsBegunAnew(t *testing.T) {
	d := newDisk(t)
	for _, write := range []line{seg(0), recs(3, 0)} {
		write(d)
	}
	before := d.seg
	seg(3)(d)
	p := followOn(t, d.m, variant{OS, true})
	require.Len(t, p.all(), 2)
	lose(d)
	d.seg = before
	for _, write := range []line{seg(3), recs(2, 3)} {
		write(d)
	}
	require.NoError(t, p.follow.refresh(true))
	require.Len(t, values(t, p, 0), 5)
	require.NoError(t, p.Close())

	// Or what follows still goes into the segment before.
	d = newDisk(t)
	for _, write := range []line{seg(0), recs(3, 0)} {
		write(d)
	}
	before, pos := d.seg, d.pos
	seg(0)(d)
	p = followOn(t, d.m, variant{OS, true})
	require.Len(t, p.all(), 2)
	lose(d)
	d.seg, d.pos = before, pos
	recs(2, 0)(d)
	require.NoError(t, p.follow.refresh(true))
	require.Len(t, p.all(), 1)
	require.Len(t, values(t, p, 0), 5)
	require.NoError(t, p.Close())
}

// At level Sync what is not durable may be any number of batches: they are read,
// and not shown.
func TestFollowPastManyBatches(t *testing.T) {
	d := newDisk(t)
	seg(0)(d)
	for range maxAhead {
		recs(1, 0)(d)
	}
	p := followOn(t, d.m, variant{Sync, true})
	require.Zero(t, p.End())
	recs(1, maxAhead)(d)
	require.Equal(t, int64(maxAhead), p.End())
	require.NoError(t, p.Close())
}

// What is shown is not taken away for a moment while everything is read anew.
func TestNothingVanishesWhileFollowersLookAgain(t *testing.T) {
	m := fs.NewMem()
	v := variant{OS, true}
	large := func(o *Options) { o.SegmentBytes = 16 << 20 }
	w := open(t, m, v, large)
	const n = 3*maxAhead + 10
	for i := range n {
		require.NoError(t, w.AppendAsync(bg, value(i), nil))
	}
	require.NoError(t, w.Sync(bg)) // which nothing tells of: the follower has to read it all
	var p *Partition
	least := int64(n)
	p = followOn(t, m, v, large, func(o *Options) {
		o.Outside = func() (Outside, error) {
			if p != nil {
				least = min(least, p.visible.Load())
			}
			return Outside{}, nil
		}
	})
	require.Equal(t, int64(n), p.End())
	p.follow.mu.Lock()
	require.NoError(t, p.follow.survey(false))
	p.follow.mu.Unlock()
	require.Equal(t, int64(n), least)
	require.Zero(t, p.follow.taken.Load())
	require.NoError(t, p.Close())
	require.NoError(t, w.Close())
}

// In an archive the first segment is where the partition starts, and one that is
// missing was not archived: what is behind it is read.
func TestFollowAnArchive(t *testing.T) {
	d := newDisk(t)
	for _, write := range []line{seg(0), recs(3, 0), lose, seg(0), recs(4, 0), seg(0), recs(2, 0), lose, seg(0), recs(5, 0)} {
		write(d)
	}
	p := followOn(t, d.m, variant{OS, true}, func(o *Options) { o.Archive = true })
	require.Equal(t, int64(3), p.Start())
	r := p.NewReader(First())
	for o := int64(3); o < 14; o++ {
		rec, err := r.TryNext()
		var gap *GapError
		if errors.As(err, &gap) {
			require.Equal(t, [3]int64{7, 7, 9}, [3]int64{o, gap.From, gap.To})
			o = 8
			continue
		}
		require.NoError(t, err)
		require.Equal(t, o, rec.Offset)
	}
	require.Empty(t, p.Recovery().Lost)
	seg(0)(d)
	recs(1, 0)(d)
	require.Len(t, values(t, p, 9), 6)
	require.NoError(t, p.Close())

	p = followOn(t, d.m, variant{OS, true})
	require.Empty(t, values(t, p, 0), "nothing says that it was ever durable")
	require.NoError(t, p.Close())
}

package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// frozen is Freeze of one partition.
func frozen(p *Partition) *Snapshot { return Freeze([]*Partition{p})[0] }

// backupDir is a new directory for copies on m.
func backupDir(t testing.TB, m *fs.Mem) fs.Dir {
	t.Helper()
	dir, err := m.OpenDir("/backup", true)
	require.NoError(t, err)
	return dir
}

// openCopy opens the copy called "0", as a store would that has its
// checkpoint.
func openCopy(t testing.TB, m *fs.Mem, v variant, c Checkpoint, ok bool) *Partition {
	t.Helper()
	shared, err := NewShared(SharedOptions{FS: m, ForceHeap: v.heap})
	require.NoError(t, err)
	o := Options{Shared: shared, Config: Config{Durability: v.level, SegmentBytes: 4 << 10}}
	if ok {
		o.Checkpoint, o.Clean = &c, true
	}
	root := backupDir(t, m)
	p, err := OpenIn(root, "0", o)
	require.NoError(t, err)
	p.own, p.root = true, root
	return p
}

// copied copies a snapshot and opens the copy on a disk whose power went then.
func copied(t testing.TB, m *fs.Mem, v variant, s *Snapshot) *Partition {
	t.Helper()
	dir := backupDir(t, m)
	c, ok, err := s.Copy(bg, dir, "0")
	require.NoError(t, err)
	require.NoError(t, dir.Sync(".")) // the caller's part
	return openCopy(t, m.Crash(func() bool { return false }), v, c, ok)
}

// calms brings a partition to where it changes no file by itself any more.
func calms(t testing.TB, p *Partition) {
	t.Helper()
	require.NoError(t, p.Sync(bg))
	calm := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.w.seg == nil && !p.baton && (p.witness >= p.durable.Load() || p.failed != nil)
	}
	for tries := 0; !calm(); tries++ { // the timer may be at it just now
		require.Less(t, tries, 1000)
		rests(p, time.Hour)
	}
}

// Whatever recovery finds in a partition, it finds in the copy.
func TestCopyOfEverythingThatRecoveryFinds(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		t.Parallel()
		for _, row := range recoveryTable {
			if row.committed > 0 && v.level != Sync {
				continue
			}
			t.Run(row.name, func(t *testing.T) {
				d := newDisk(t)
				for _, l := range row.script {
					l(d)
				}
				d.seg = nil
				m := d.m.Crash(func() bool { return true })
				opts := func(o *Options) {
					o.Committed = row.committed
					o.SegmentBytes = 4 << 10
					if row.checkpoint >= 0 {
						o.Checkpoint = &Checkpoint{End: row.checkpoint}
					}
				}
				p := open(t, m, v, opts)
				calms(t, p)
				before := contents(t, m)
				q := copied(t, m, v, frozen(p))
				requireFound(t, q, row.intact, row.lost, row.refuses)
				require.Equal(t, p.Start(), q.Start())
				if g := q.Recovery().Gap; g != nil { // the files do not bear the checkpoint out
					require.NotEqual(t, Sync, v.level)
					require.False(t, q.Recovery().Vouched)
					require.Equal(t, p.End(), g.From)
				} else {
					require.Equal(t, p.End(), q.End())
				}
				require.True(t, maps.Equal(before, contents(t, m)), "the source is as it was")
				require.NoError(t, q.Close())
				require.NoError(t, p.Close())
			})
		}
	})
}

// A copy shares files with its source, on disks without clones. A repair of
// one leaves the files of the other as they are.
func TestRepairLeavesTheOtherAlone(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		for _, row := range recoveryTable {
			if row.committed > 0 && v.level != Sync || len(row.lost) == 0 {
				continue
			}
			for _, policy := range []RepairPolicy{KeepIntact, CutAtDamage} {
				for _, ofCopy := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v/%s/%v/of the copy: %t", v.level, row.name, policy, ofCopy), func(t *testing.T) {
						d := newDisk(t)
						for _, l := range row.script {
							l(d)
						}
						m := d.m.Crash(func() bool { return true })
						p := open(t, m, v, func(o *Options) {
							o.Committed, o.SegmentBytes = row.committed, 4<<10
							if row.checkpoint >= 0 {
								o.Checkpoint = &Checkpoint{End: row.checkpoint}
							}
						})
						c, ok, err := frozen(p).Copy(bg, backupDir(t, m), "0")
						require.NoError(t, err)
						q := openCopy(t, m, v, c, ok)
						repaired, other, otherDir := p, q, "/backup/0"
						if ofCopy {
							repaired, other, otherDir = q, p, "/p"
						}
						calms(t, other)
						before := contentsOf(t, m, otherDir)
						_, err = repaired.Repair(bg, policy)
						require.NoError(t, err)
						require.True(t, maps.Equal(before, contentsOf(t, m, otherDir)))
						requireFound(t, other, row.intact, row.lost, row.refuses)
						require.NoError(t, p.Close())
						require.NoError(t, q.Close())
					})
				}
			}
		}
	}
}

// The copy ends where the snapshot does, whatever is appended before it is
// made, and takes appends of its own.
func TestCopyIsOfTheSnapshot(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, n := range []int{0, 1, 50, 100, 260} { // in segments of about 95
			for _, later := range []int{0, 1, 100, 300} {
				m := fs.NewMem()
				p := open(t, m, v)
				appendN(t, p, 0, n)
				s := frozen(p)
				appendN(t, p, n, later)
				q := copied(t, m, v, s)
				require.Equal(t, n > 0, q.Recovery().Vouched)
				require.Zero(t, q.Recovery().ReadBytes)
				readAll(t, q, n)
				appendN(t, q, n, 150)
				readAll(t, q, n+150)
				readAll(t, p, n+later)
				require.NoError(t, q.Close())
				require.NoError(t, p.Close())
			}
		}
	})
}

// The same where nothing can be linked.
func TestCopyWithoutLinks(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 300)
		m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpLink {
				return fs.ErrNoLink
			}
			return nil
		})
		q := copied(t, m, v, frozen(p))
		readAll(t, q, 300)
		require.NoError(t, q.Close())
		require.NoError(t, p.Close())
	})
}

// A link is synced by its own name: as a clone it is a file of its own.
func TestLinkedSegmentsAreSynced(t *testing.T) {
	m := fs.NewMem()
	p := open(t, m, variant{Sync, true})
	appendN(t, p, 0, 300)
	var linked, synced []string
	m.OnOp(func(op fs.Op) error {
		switch op.Kind {
		case fs.OpLink:
			linked = append(linked, op.To)
		case fs.OpSync:
			synced = append(synced, op.Name)
		}
		return nil
	})
	_, _, err := frozen(p).Copy(bg, backupDir(t, m), "0")
	require.NoError(t, err)
	m.OnOp(nil)
	require.Len(t, linked, len(p.all())-1)
	require.Subset(t, synced, linked)
	require.NoError(t, p.Close())
}

// Files are copied in pieces, the last one a part.
func TestCopyInPieces(t *testing.T) {
	for _, v := range []variant{{Sync, true}, {OS, false}} {
		m := fs.NewMem()
		p := open(t, m, v, func(o *Options) { o.SegmentBytes = 4 << 20 })
		var recs []int
		for i := range 30 {
			_, err := p.Append(bg, numbered(i, 100_000))
			require.NoError(t, err)
			recs = append(recs, i)
		}
		q := copied(t, m, v, frozen(p))
		var got []int
		for _, e := range readEntries(t, v.String(), q) {
			got = append(got, e.number)
		}
		require.Equal(t, recs, got)
		require.NoError(t, q.Close())
		require.NoError(t, p.Close())
	}
}

// heldUp returns how many make appends wait, and whether one does.
func (p *Partition) heldUp() (held int, waits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held, p.space != nil
}

func TestHeldAppendsWait(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		appendN(t, p, 0, 3)
		p.holdAppends()
		p.holdAppends()
		done := appendSoon(bg, p, 3)
		waits := func() bool { _, waits := p.heldUp(); return waits }
		until(t, waits)
		p.letAppend()
		until(t, waits) // it looked, and waits again
		require.Equal(t, int64(3), p.End())
		require.Equal(t, int64(3), frozen(p).end)
		p.letAppend()
		require.Equal(t, result{3, nil}, <-done)
		held, _ := p.heldUp()
		require.Zero(t, held)
		require.NoError(t, p.Close())
	})
}

// What is being written when the snapshot is taken is not in it: nobody was
// told of it. It is taken without waiting for that.
func TestSnapshotDuringASync(t *testing.T) {
	m := fs.NewMem()
	v := variant{Sync, true}
	p := open(t, m, v)
	appendN(t, p, 0, 3)
	g := newGate(m, fs.OpSync)
	done := appendSoon(bg, p, 3)
	<-g.entered
	s := frozen(p)
	m.OnOp(nil)
	g.open <- nil
	require.Equal(t, result{3, nil}, <-done)
	q := copied(t, m, v, s)
	readAll(t, q, 3)
	require.NoError(t, q.Close())
	require.NoError(t, p.Close())
}

// A segment is not linked before whoever seals it is done with it.
func TestCopyWaitsForSealing(t *testing.T) {
	m := fs.NewMem()
	v := variant{OS, false}
	p := open(t, m, v)
	appendN(t, p, 0, 50)
	var mu sync.Mutex
	var linked bool // guarded by mu
	entered, goOn := make(chan struct{}, 1), make(chan struct{})
	m.OnOp(func(op fs.Op) error {
		switch op.Kind {
		case fs.OpTruncate:
			entered <- struct{}{}
			<-goOn
		case fs.OpLink:
			mu.Lock()
			linked = true
			mu.Unlock()
		}
		return nil
	})
	appendN(t, p, 50, 50)
	<-entered
	s := frozen(p)
	require.Equal(t, int64(100), s.end)
	require.Positive(t, s.seg.Base)
	done := make(chan *Partition)
	go func() { done <- copied(t, m, v, s) }()
	until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.wanted) > 0
	})
	mu.Lock()
	require.False(t, linked)
	mu.Unlock()
	close(goOn)
	q := <-done
	require.True(t, linked)
	readAll(t, q, 100)
	require.NoError(t, q.Close())
	require.NoError(t, p.Close())
}

// What a trim removes in between is not in the copy.
func TestCopyAfterATrim(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 300)
		s := frozen(p)
		appendN(t, p, 300, 300)
		require.NoError(t, p.Sync(bg))

		at := slices.Index(p.all(), s.seg)
		start := p.all()[at-1].Base + 5
		require.NoError(t, p.Trim(bg, start))
		require.True(t, s.isThere())
		q := copied(t, m, v, s)
		require.Equal(t, []int64{start, 300}, []int64{q.Start(), q.End()})
		require.Len(t, readEntriesOf(t, q), int(300-start))
		require.NoError(t, q.Close())
		require.NoError(t, fs.RemoveAll(backupDir(t, m), "0"))

		require.NoError(t, p.Trim(bg, 450)) // the snapshot's last segment too
		require.False(t, s.isThere())
		q = copied(t, m, v, s)
		require.Equal(t, []int64{p.Start(), p.Start()}, []int64{q.Start(), q.End()})
		require.Empty(t, readEntriesOf(t, q))
		require.Empty(t, q.Recovery().Lost)
		offset, err := q.Append(bg, value(0))
		require.NoError(t, err)
		require.Equal(t, p.Start(), offset)
		require.NoError(t, q.Close())
		require.NoError(t, fs.RemoveAll(backupDir(t, m), "0"))

		s = frozen(p)
		require.NoError(t, p.Trim(bg, 600)) // everything
		q = copied(t, m, v, s)
		require.Equal(t, []int64{600, 600}, []int64{q.Start(), q.End()})
		require.NoError(t, q.Close())
		require.NoError(t, p.Close())
	})
}

// readEntriesOf returns the offsets of all records, each of which is
// value(offset).
func readEntriesOf(t *testing.T, p *Partition) (offsets []int64) {
	for rec, err := range p.Records(bg, First()) {
		require.NoError(t, err)
		require.Equal(t, value(int(rec.Offset)).Value, rec.Value)
		offsets = append(offsets, rec.Offset)
	}
	return offsets
}

// Gaps that were there go along, later ones do not.
func TestCopyHasTheGaps(t *testing.T) {
	m := fs.NewMem()
	v := variant{Sync, true}
	p := open(t, m, v)
	appendN(t, p, 0, 10)
	s := frozen(p)
	p.gaps.Store(&[]span{{2, 4}, {12, 14}})
	q := copied(t, m, v, s)
	require.Equal(t, []span{{2, 4}}, *q.gaps.Load())
	readAll(t, q, 10)
	require.NoError(t, q.Close())
	require.NoError(t, p.Close())
}

// Who has upkeep is waited for, as long as ctx says.
func TestCopyWaitsForUpkeep(t *testing.T) {
	m := fs.NewMem()
	v := variant{OS, true}
	p := open(t, m, v)
	appendN(t, p, 0, 10)
	s := frozen(p)
	p.upkeep <- struct{}{}
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error)
	go func() {
		_, _, err := s.Copy(ctx, backupDir(t, m), "0")
		done <- err
	}()
	cancel()
	err := <-done
	require.ErrorIs(t, err, context.Canceled)
	require.EqualError(t, err, "back up partition 0: context canceled")
	entries, err := backupDir(t, m).List(".")
	require.NoError(t, err)
	require.Empty(t, entries)
	<-p.upkeep
	q := copied(t, m, v, s)
	readAll(t, q, 10)
	require.NoError(t, q.Close())
	require.NoError(t, p.Close())
}

func TestCopyThatCannotBeMade(t *testing.T) {
	m := fs.NewMem()
	v := variant{Sync, true}
	prepare := func(t *testing.T) (*fs.Mem, *Partition) {
		m := m.Kill()
		p := open(t, m, v)
		appendN(t, p, 0, 300)
		return m, p
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *fs.Mem, p *Partition)
		want  error
	}{
		"closed": {func(t *testing.T, _ *fs.Mem, p *Partition) { require.NoError(t, p.Close()) }, ErrClosed},
		"closed meanwhile": {func(t *testing.T, m *fs.Mem, p *Partition) {
			m.OnOp(once(fs.OpLink, func() error { return closes(t, p) }))
		}, ErrClosed},
		"closed at the end": {func(t *testing.T, m *fs.Mem, p *Partition) {
			m.OnOp(once(fs.OpSyncDir, func() error { return closes(t, p) }))
		}, ErrClosed},
		"failed": {func(t *testing.T, m *fs.Mem, p *Partition) { p.poison(fs.EIO) }, ErrFailed},
		"nothing to read": {func(t *testing.T, m *fs.Mem, p *Partition) {
			m.OnOp(once(fs.OpReadAt, func() error { return fs.EIO }))
		}, fs.EIO},
		"no room": {func(t *testing.T, m *fs.Mem, p *Partition) {
			m.OnOp(once(fs.OpWriteAt, func() error { return fs.ENOSPC }))
		}, fs.ENOSPC},
		"the name is taken": {func(t *testing.T, m *fs.Mem, p *Partition) { require.NoError(t, backupDir(t, m).Mkdir("0")) }, fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			m, p := prepare(t)
			c.spoil(t, m, p)
			_, ok, err := frozen(p).Copy(bg, backupDir(t, m), "0")
			require.ErrorIs(t, err, c.want)
			require.False(t, ok)
			require.ErrorContains(t, err, "partition 0: ")
			m.OnOp(nil)
			switch err = p.Close(); c.want {
			case ErrClosed:
				until(t, func() bool { return p.Closed() })
			case ErrFailed:
				require.ErrorIs(t, err, ErrFailed)
			default:
				require.NoError(t, err)
			}
			require.Zero(t, p.shared.OpenFiles())
		})
	}

	broken := Broken(Options{Topic: "orders", Number: 3, Shared: &Shared{}}, fmt.Errorf("open: %w", ErrCorrupt))
	_, _, err := frozen(broken).Copy(bg, backupDir(t, m), "3")
	require.EqualError(t, err, "back up orders/3: open: corrupt")
}

// closes has a partition closed and returns when that has begun: it may have
// to wait for who asks.
func closes(t *testing.T, p *Partition) error {
	done := make(chan error, 1)
	go func() { done <- p.Close() }()
	t.Cleanup(func() { require.NoError(t, <-done) })
	until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.closing
	})
	return nil
}

// A repair in between may have changed the files.
func TestCopyAfterARepair(t *testing.T) {
	for name, c := range map[string]struct {
		script []line
		policy RepairPolicy
		end    int64
		want   error
	}{
		"of the end":          {[]line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5)}, KeepIntact, 9, errRepaired},
		"of a sealed segment": {[]line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5), seg(9), recs(2, 9)}, KeepIntact, 11, nil},
		"that cuts a segment": {[]line{seg(0), recs(3, 0), recs(2, 3), spoil, recs(4, 5), seg(9), recs(2, 9)}, CutAtDamage, 11, errRepaired},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			for _, l := range c.script {
				l(d)
			}
			m, v := d.m.Crash(func() bool { return true }), variant{Sync, true}
			p := open(t, m, v)
			s := frozen(p)
			require.Equal(t, c.end, s.end)
			_, err := p.Repair(bg, c.policy)
			require.NoError(t, err)
			if c.want != nil {
				_, _, err = s.Copy(bg, backupDir(t, m), "0")
				require.ErrorIs(t, err, c.want)
				require.NoError(t, fs.RemoveAll(backupDir(t, m), "0"))
				s = frozen(p)
			}
			q := copied(t, m, v, s)
			wantIntact, wantGaps, wantLost := readSpans(t, p)
			intact, gaps, lost := readSpans(t, q)
			require.Equal(t, wantIntact, intact)
			require.Equal(t, wantGaps, gaps)
			require.Equal(t, wantLost, lost)
			require.Empty(t, lost)
			require.NoError(t, q.Close())
			require.NoError(t, p.Close())
		})
	}
}

// once is a hook that does something at the first operation of a kind.
func once(kind fs.OpKind, do func() error) func(fs.Op) error {
	var mu sync.Mutex
	return func(op fs.Op) error {
		mu.Lock()
		if op.Kind != kind || do == nil {
			mu.Unlock()
			return nil
		}
		now := do
		do = nil
		mu.Unlock()
		return now()
	}
}

// Copies are made while a partition is appended to and rolls, by several at a
// time. Each is what its snapshot was.
func TestCopiesWhileAppending(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v, func(o *Options) { o.SegmentBytes = 4 << 10 })
		appendN(t, p, 0, 20)
		ctx, cancel := context.WithCancel(bg)
		var all sync.WaitGroup
		all.Go(func() {
			for i := 20; ctx.Err() == nil; i++ {
				if _, err := p.Append(bg, value(i)); err != nil {
					t.Error(err)
				}
			}
		})
		var copiers sync.WaitGroup
		for n := range 3 {
			copiers.Go(func() {
				dir, err := m.OpenDir(fmt.Sprint("/copies", n), true)
				if err != nil {
					t.Error(err)
				}
				for i := range 10 {
					s := frozen(p)
					c, ok, err := s.Copy(bg, dir, fmt.Sprint(i))
					if err != nil || !ok || c.End != s.end {
						t.Error(c, ok, err)
						return
					}
					if n := lengthOf(m, dir, fmt.Sprint(i), s); n != s.end {
						t.Error("a copy has", n, "records, not", s.end)
					}
				}
			})
		}
		copiers.Wait()
		cancel()
		all.Wait()
		require.NoError(t, p.Close())
	})
}

// lengthOf reads a copy and returns how many records it has, each with its own
// offset; -1 if it is damaged.
func lengthOf(m *fs.Mem, parent fs.Dir, name string, s *Snapshot) (n int64) {
	shared, err := NewShared(SharedOptions{FS: m})
	if err != nil {
		return -1
	}
	c, _ := s.checkpoint()
	p, err := OpenIn(parent, name, Options{Shared: shared, Checkpoint: &c, Clean: true})
	if err != nil {
		return -1
	}
	p.own = true
	for rec, err := range p.Records(bg, First()) {
		if err != nil || rec.Offset != n || string(rec.Value) != string(value(int(n)).Value) {
			n = -1
			break
		}
		n++
	}
	if errors.Join(p.Close()) != nil || c.Position < segment.FirstFrame {
		return -1
	}
	return n
}

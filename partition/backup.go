package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/segment"
)

// copyPieceBytes is how much of a file is copied at a time.
const copyPieceBytes = 1 << 20

var errRepaired = errors.New("it was repaired meanwhile")

// A Snapshot is a partition as readers saw it at one moment. It keeps nothing
// from happening to the partition; what that means for Copy is said there.
type Snapshot struct {
	p       *Partition
	seg     *segment.Segment // the last one; nil if there was none
	pos     int64            // position behind its last batch
	end     int64            // offset there
	time    int64            // append time of the last record, or of one that was about to be written
	damaged bool             // where it ends: nothing is appended, and all files are as they were found
}

// Freeze takes snapshots of partitions at one moment: appends to any of them
// wait until it has seen all. So if a snapshot has a record, the other ones
// have every record that was acknowledged before that one's append began. It
// waits for no write and no sync.
func Freeze(parts []*Partition) []*Snapshot {
	for _, p := range parts {
		p.holdAppends()
		defer p.letAppend()
	}
	all := make([]*Snapshot, len(parts))
	for i, p := range parts {
		all[i] = p.snapshot()
	}
	return all
}

func (p *Partition) snapshot() *Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &Snapshot{p: p, end: p.visible.Load(), time: p.tail.time, damaged: errors.Is(p.failed, ErrCorrupt)}
	if list := p.all(); len(list) > 0 {
		s.seg = list[len(list)-1]
		s.pos = s.seg.Readable()
	}
	return s
}

// Copy makes a copy of the partition as it was, durably, in a new directory
// called name, whose own name is the caller's to sync. If nothing was ever
// appended it makes none. Segments that nobody writes any more are linked if
// they can be, and share what damages them later; the others are copied, up to
// the snapshot's end. A damaged partition is copied with its damage.
//
// What was trimmed since the snapshot is not in the copy, which then begins,
// and may end, where the partition begins now. Copy waits for who trims or
// repairs the partition, and they for it; appends and reads go on. It ends
// early with ctx, and with ErrClosed when the partition is being closed. After
// an error the directory has a part of the copy.
//
// The checkpoint is what Close would have returned; ok is false if there is
// nothing to say.
func (s *Snapshot) Copy(ctx context.Context, to fs.Dir, name string) (c Checkpoint, ok bool, err error) {
	p := s.p
	done, err := p.beginUpkeep(ctx, "back up")
	if err != nil {
		return c, false, err
	}
	defer done()
	// Who seals the segment before the last one has the baton until it is
	// sealed: after this, nobody changes any but the last.
	if err = p.Sync(ctx); err != nil {
		return c, false, err
	}
	if err = s.check(ctx); err == nil {
		err = s.copy(ctx, to, name)
	}
	if e := s.check(ctx); e != nil {
		err = e // it says why files could not be read
	}
	if err != nil {
		return c, false, p.errorf("back up", err)
	}
	c, ok = s.checkpoint()
	return c, ok, nil
}

// check returns why the copy is not to go on, nil if it is.
func (s *Snapshot) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	switch {
	case s.p.closing:
		return ErrClosed
	case s.damaged && !errors.Is(s.p.failed, ErrCorrupt), !s.isThere() && s.p.Start() < s.end:
		return errRepaired
	}
	return nil
}

// copy is Copy by who has upkeep.
func (s *Snapshot) copy(ctx context.Context, to fs.Dir, name string) error {
	m := s.meta()
	needless := m.Start == 0 && len(m.Gaps) == 0
	bases, err := s.files(m.Start)
	if err != nil || needless && len(bases) == 0 && !s.damaged {
		return err
	}
	if err = to.Mkdir(name); err != nil {
		return err
	}
	dir := to.Sub(name)
	for _, base := range bases {
		if err = s.check(ctx); err == nil {
			err = s.copySegment(ctx, dir, base)
		}
		if err != nil {
			return err
		}
	}
	if !needless {
		err = meta.Write(dir, partitionFile, m)
	}
	if err == nil {
		err = dir.Sync(".")
	}
	return err
}

// meta returns the partition.json of the copy. What was trimmed or given up
// behind the copy's end is not its business: there it gives the offsets out
// itself.
func (s *Snapshot) meta() *partitionMeta {
	m := s.p.metaOf(s.p.Start(), below(*s.p.gaps.Load(), s.end))
	if s.seg != nil && s.isThere() {
		m.Start = min(m.Start, s.end)
	}
	return m
}

// isThere reports whether the last segment is still one of the partition's. If
// not it was trimmed, and so every one, or a repair changed the files.
func (s *Snapshot) isThere() bool { return s.seg == nil || slices.Contains(s.p.all(), s.seg) }

// files returns the base offsets of the segment files that are to be copied,
// rising: also of those that recovery could not read, but not of those that
// were made since, or were to be removed by a trim.
func (s *Snapshot) files(start int64) (bases []int64, err error) {
	names, err := s.p.parent.List(s.p.name)
	if errors.Is(err, fs.ErrNotExist) || !s.isThere() {
		return nil, nil
	}
	for _, e := range names {
		if base, ok := segment.ParseName(e.Name); ok && (base <= s.last() || s.damaged) {
			bases = append(bases, base)
		}
	}
	for len(bases) > 1 && bases[1] <= start {
		bases = bases[1:]
	}
	return bases, err
}

// last returns the base offset of the last segment, -1 if there was none.
func (s *Snapshot) last() int64 {
	if s.seg == nil {
		return -1
	}
	return s.seg.Base
}

// checkpoint returns where the copy ends. Of a damaged end it tells what was
// durable and no more, so that whoever opens the copy finds the damage.
func (s *Snapshot) checkpoint() (c Checkpoint, ok bool) {
	if s.damaged {
		return Checkpoint{End: s.p.durable.Load()}, true
	}
	if s.seg == nil || !s.isThere() {
		return Checkpoint{}, false
	}
	return Checkpoint{End: s.end, Segment: s.seg.Base, Position: s.pos, Time: s.time}, true
}

// copySegment puts one segment in dir, durably but for its name.
func (s *Snapshot) copySegment(ctx context.Context, dir fs.Dir, base int64) error {
	name := segment.Name(base)
	if base == s.last() && !s.damaged {
		return writeFile(dir, name, s.pos, s.checked(ctx, s.seg.ReadAt))
	}
	if base < s.last() {
		if err := s.p.link(name, dir); !errors.Is(err, fs.ErrNoLink) {
			return err
		}
	}
	f, err := s.p.dir.Open(name, false)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		err = writeFile(dir, name, size, s.checked(ctx, reads(f, 0)))
	}
	return errors.Join(err, f.Close())
}

// checked is read as long as the copy is to go on.
func (s *Snapshot) checked(ctx context.Context, read func([]byte, int64) error) func([]byte, int64) error {
	return func(b []byte, pos int64) error {
		if err := s.check(ctx); err != nil {
			return err
		}
		return read(b, pos)
	}
}

// link links a file of the partition that nobody changes any more into dir,
// durably but for its name: a clone is a file of its own, and is synced.
func (p *Partition) link(name string, dir fs.Dir) error {
	if err := p.dir.Link(name, dir, name); err != nil {
		return err
	}
	f, err := dir.Open(name, false)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// copyFile copies the bytes [from, to) of a file to a new one, and syncs that.
func copyFile(f fs.File, from, to int64, dir fs.Dir, name string) error {
	return writeFile(dir, name, to-from, reads(f, from))
}

// reads returns what reads a file as if it began at from.
func reads(f fs.File, from int64) func([]byte, int64) error {
	return func(b []byte, pos int64) error {
		_, err := f.ReadAt(b, from+pos)
		if err == io.EOF { // it is shorter than it was
			err = io.ErrUnexpectedEOF
		}
		return err
	}
}

// writeFile makes a new file of the bytes [0, size) that read returns, piece by
// piece, and syncs it.
func writeFile(dir fs.Dir, name string, size int64, read func(b []byte, pos int64) error) error {
	f, err := dir.Create(name)
	if err != nil {
		return err
	}
	b := make([]byte, min(copyPieceBytes, size))
	for pos := int64(0); pos < size && err == nil; pos += int64(len(b)) {
		b = b[:min(int64(len(b)), size-pos)]
		if err = read(b, pos); err != nil {
			err = fmt.Errorf("copy %s: %w", name, err)
		} else {
			_, err = f.WriteAt(b, pos)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

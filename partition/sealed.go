package partition

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"slices"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/segment"
)

// A Sealed is a segment that takes no more appends. Retention removes it by
// Trim(ctx, To). Once it is gone, or the partition closed, what has to read it
// fails with ErrClosed.
type Sealed struct {
	From, To int64 // offsets [From, To)
	Bytes    int64 // length of its file

	p   *Partition
	seg *segment.Segment
}

// Sealed returns the sealed segments, rising, as they are now, and how many
// bytes all segments had then, the active one included.
func (p *Partition) Sealed() (all []Sealed, bytes int64) {
	list := p.all()
	for _, seg := range list {
		bytes += seg.Readable()
	}
	for i, seg := range list {
		if i == len(list)-1 || !seg.Sealed() {
			break
		}
		all = append(all, Sealed{From: seg.Base, To: seg.End(), Bytes: seg.Readable(), p: p, seg: seg})
	}
	return all, bytes
}

// Name returns the name of its file.
func (s Sealed) Name() string { return s.seg.Name() }

// LastAppended returns when its last record was appended. Of a segment that is
// older than this Open, or than a repair, that is at most the time of those,
// whatever the records say: a clock that was once ahead must not keep it for
// ever.
func (s Sealed) LastAppended() (time.Time, error) {
	t, err := s.seg.LastAppended()
	if found := s.p.found.Load(); t == 0 || t > found && !s.seg.Mine() {
		t = found
	}
	return time.Unix(0, t).UTC(), s.errorf("find the last record of a segment of", err)
}

// FirstAppended returns the time of its first record that can be read, the
// zero time if there is none.
func (s Sealed) FirstAppended() (time.Time, error) {
	t, err := s.seg.FirstTime()
	if err != nil {
		return time.Time{}, s.errorf("find the first record of a segment of", err)
	}
	if t == 0 {
		return time.Time{}, nil
	}
	return time.Unix(0, t).UTC(), nil
}

// Open opens its file until done is called, also if it is removed meanwhile.
func (s Sealed) Open() (file io.ReaderAt, done func(), err error) {
	f, err := s.seg.Borrow()
	if err != nil {
		return nil, nil, s.errorf("read a segment of", err)
	}
	return f, s.seg.Release, nil
}

// errorf is Partition.errorf, nil for nil. A file that was closed for good is
// ErrClosed: the partition is, or the segment was trimmed or repaired meanwhile.
func (s Sealed) errorf(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, iofs.ErrClosed):
		err = ErrClosed
	}
	return s.p.errorf(op, err)
}

// Now returns the time by the partition's clock: that of its timestamps.
func (p *Partition) Now() time.Time { return time.Unix(0, p.shared.clock.Now()).UTC() }

// RollOld ends the active segment if its last record was appended at or before
// a time, so that the segment can be removed. Appends wait meanwhile.
func (p *Partition) RollOld(ctx context.Context, before time.Time) error {
	p.mu.Lock()
	t := p.tail
	last := t.used
	if last == 0 { // nothing was appended since it was found
		last = min(t.time, p.found.Load())
	}
	old := p.failed == nil && !p.closing && t.seg != nil && t.seg.Base < t.next && last <= before.UnixNano()
	p.mu.Unlock()
	if !old {
		return nil
	}
	done, err := p.beginUpkeep(ctx, "roll")
	if err != nil {
		return err
	}
	defer done()
	if err = p.rollEarly(ctx); err != nil {
		return p.errorf("roll", err)
	}
	return nil
}

// CopyTo makes the segment's file appear in another directory, under the same
// name and durable but for that name: as a clone or a second name of the same
// file where the file system can do that, else as a copy. What stood there
// under the name is replaced.
func (s Sealed) CopyTo(ctx context.Context, dir fs.Dir) error {
	name := s.Name()
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := s.p.link(name, dir)
	if err == nil && s.p.Closed() {
		// The topic may be deleted: then the name can have stood for a file of
		// another one.
		return errors.Join(s.p.errorf("copy a segment of", ErrClosed), dir.Remove(name))
	}
	if !errors.Is(err, fs.ErrNoLink) {
		return err
	}
	f, err := s.seg.Borrow()
	if err != nil {
		return s.errorf("copy a segment of", err)
	}
	defer s.seg.Release()
	tmp := name + ".tmp"
	if err = dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = ctx.Err(); err == nil {
		err = copyFile(f, 0, s.Bytes, dir, tmp)
	}
	if err == nil {
		err = dir.Rename(tmp, name)
	}
	return err
}

// DescribeArchived writes the partition.json of a directory that the segment
// was archived in, unless it says the same already. What a repair gave up
// behind the segment is not in it: nothing there is missing yet.
func (s Sealed) DescribeArchived(dir fs.Dir) error {
	m, err := s.p.loadMeta(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next := s.p.metaOf(s.From, merged(append(below(*s.p.gaps.Load(), s.To), m.Gaps...)))
	if err == nil {
		next.Start = min(s.From, m.Start)
		if next.Start == m.Start && slices.Equal(next.Gaps, m.Gaps) {
			return nil
		}
	}
	return meta.Write(dir, partitionFile, next)
}

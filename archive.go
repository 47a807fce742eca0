package braidlog

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// An Archiver keeps a segment somewhere before retention removes it. It
// returns nil only when the segment is safe: once it did, the segment goes. A
// crash in between has it called again with the same segment. It must end when
// ctx does: Store.Close ends ctx and waits.
type Archiver func(ctx context.Context, s *ArchiveSegment) error

// An ArchiveSegment is a segment that is to be archived. It lives until the
// Archiver returns.
type ArchiveSegment struct {
	Topic       string
	Partition   int
	Name        string    // of its file
	From, To    int64     // offsets [From, To)
	First, Last time.Time // append times of its first and last record; zero if none can be read
	Bytes       int64     // its length
	CRC32C      uint32    // of all its bytes
	Reader      io.Reader // its bytes
}

// archives reports whether segments are archived before they go.
func (c TopicConfig) archives() bool {
	return c.Archive.To != nil || c.Archive.Dir != "" || c.archiverStored
}

// errNoArchiver keeps segments that somebody wanted archived.
var errNoArchiver = fmt.Errorf("%w: the topic has an archiver, and none was given since the store was opened", ErrInvalid)

// Waits between attempts to archive a segment.
const (
	minArchiveWait = time.Second
	maxArchiveWait = 5 * time.Minute
)

// archiving is what a topic knows of attempts to archive.
type archiving struct {
	mu       yield.Mutex
	waits    map[int]archiveWait // guarded by mu; by partition
	segments int64               // guarded by mu; archived since Open
	failures int64               // guarded by mu; since Open
	last     error               // guarded by mu; the last failure, nil if none came since a success
}

// An archiveWait is when a partition's next segment is tried again.
type archiveWait struct {
	until time.Time
	wait  time.Duration
}

// archive has a segment archived. In the background it returns how long to
// wait if an attempt failed lately.
func (t *Topic) archive(ctx context.Context, c TopicConfig, p *partition.Partition, seg partition.Sealed, background bool) (wait time.Duration, err error) {
	a := &t.archiving
	a.mu.Lock()
	left := a.waits[p.Number()].until.Sub(p.Now())
	a.mu.Unlock()
	if background && left > 0 {
		return left, nil
	}
	if err = t.tryArchive(ctx, c, p, seg); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err() // that is no failure of the archive
		}
		if seg.To <= p.Start() || p.Closed() {
			return 0, nil // nor is that: the segment was trimmed meanwhile, or its topic deleted
		}
		return a.failed(p, err), fmt.Errorf("archive segment %s of %s/%d: %w", seg.Name(), t.name, p.Number(), err)
	}
	a.succeeded(p)
	t.store.notify(Event{
		Kind: Archived, Topic: t.name, Partition: p.Number(), Time: p.Now(),
		From: seg.From, To: seg.To, Bytes: seg.Bytes,
	})
	return 0, nil
}

func (a *archiving) failed(p *partition.Partition, err error) (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waits == nil {
		a.waits = map[int]archiveWait{}
	}
	wait = min(max(2*a.waits[p.Number()].wait, minArchiveWait), maxArchiveWait)
	a.waits[p.Number()] = archiveWait{p.Now().Add(wait), wait}
	a.failures++
	a.last = err
	return wait
}

// startOver has the next attempt made at once: the archive is another one.
func (a *archiving) startOver() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits = nil
}

func (a *archiving) succeeded(p *partition.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waits, p.Number())
	a.segments++
	a.last = nil
}

// tell enters what became of archiving.
func (a *archiving) tell(s *Stats) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Archived, s.ArchiveFailures = a.segments, a.failures
	if a.last != nil {
		s.ArchiveError = a.last.Error()
	}
}

// tryArchive reads the segment for its checksum and hands it over.
func (t *Topic) tryArchive(ctx context.Context, c TopicConfig, p *partition.Partition, seg partition.Sealed) error {
	file, done, err := seg.Open()
	if err != nil {
		return err
	}
	defer done()
	s := &ArchiveSegment{
		Topic: t.name, Partition: p.Number(), Name: seg.Name(),
		From: seg.From, To: seg.To, Bytes: seg.Bytes,
		Reader: io.NewSectionReader(file, 0, seg.Bytes),
	}
	if s.First, err = seg.FirstAppended(); err != nil {
		return err
	}
	if s.Last, err = seg.LastAppended(); err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	if _, err = io.Copy(sum, &contextReader{ctx, io.NewSectionReader(file, 0, seg.Bytes)}); err != nil {
		return err
	}
	s.CRC32C = sum.Sum32()
	switch {
	case c.Archive.To != nil:
		return handOver(ctx, c.Archive.To, s)
	case c.Archive.Dir != "":
		return t.moveToArchive(ctx, c.Archive.Dir, p, seg)
	}
	return errNoArchiver
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// handOver calls an archiver. A panic is an error.
func handOver(ctx context.Context, to Archiver, s *ArchiveSegment) (err error) {
	defer caught(&err)
	return to(ctx, s)
}

// A contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

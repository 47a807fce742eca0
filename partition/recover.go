package partition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// Recovery is in four steps, each in a function of its own: look (names and
// headers), examine (batches), judge (torn or corrupt, by one comparison), and
// mend (change files). Nothing is changed before everything is known.

// A Recovery is what Open found and did.
type Recovery struct {
	Vouched   bool            // a checkpoint said where the partition ended; no batch was read
	ReadBytes int64           // of batches that were read and checked
	Cut       *Cut            // what a crash left torn, nil if nothing
	Lost      []*CorruptError // damage: records that were durable and cannot be read
	Rewritten int64           // bytes written again, since only the page cache was sure to have them
	Gap       *GapError       // offsets skipped, since a power cut or a failed sync may have taken their records
	Ahead     time.Duration   // how far the last record's time is ahead of the clock, if over an hour
	Err       error           // why the partition could not be opened, nil if it was
}

// A Cut is what recovery took off the end of a partition: bytes that were
// never acknowledged as durable.
type Cut struct {
	File             string   // the segment that was cut, "" if none was
	FromByte, ToByte int64    // the bytes cut off: positions [FromByte, ToByte)
	Offset           int64    // of the first record that is not there
	Aside            []string // segments renamed to cut-…
}

// sideFile keeps the beginning of what was cut off last.
const (
	sidePrefix   = "cut-"
	sideFile     = sidePrefix + "tail"
	maxSideBytes = 1 << 20
)

// partitionFile is partition.json.
const partitionFile = "partition.json"

type partitionMeta struct {
	Format int    `json:"format"`
	Start  int64  `json:"start"`
	Gaps   []span `json:"gaps,omitempty"`
	// Whose it is. Topic is left out where there is none, and was by the first
	// versions.
	Topic     meta.ID `json:"topic,omitzero"`
	Partition int     `json:"partition,omitempty"`
}

// metaOf returns what the partition's partition.json says, with this start.
func (p *Partition) metaOf(start int64, gaps []span) *partitionMeta {
	return &partitionMeta{Format: meta.Format, Start: start, Gaps: gaps, Topic: p.opts.TopicID, Partition: p.opts.Number}
}

// loadMeta reads a partition.json of this partition, here or elsewhere.
func (p *Partition) loadMeta(dir fs.Dir) (partitionMeta, error) {
	m := partitionMeta{Start: -1} // there always is one
	if err := meta.Read(dir, partitionFile, &m); err != nil {
		return partitionMeta{}, err
	}
	if m.Start < 0 {
		return m, fmt.Errorf("%s: %w: start is %d", partitionFile, ErrCorrupt, m.Start)
	}
	if m.Topic != (meta.ID{}) && (m.Topic != p.opts.TopicID || m.Partition != p.opts.Number) {
		return m, fmt.Errorf("%s: %w: it is of partition %d of another topic or place", partitionFile, ErrCorrupt, m.Partition)
	}
	return m, nil
}

// aheadLimit is how far ahead of the clock a last record may be before it is
// reported.
const aheadLimit = time.Hour

// A candidate is a segment file, as recovery sees it.
type candidate struct {
	base int64
	size int64
	seg  *segment.Segment // nil if the header does not decode
	bad  error            // why not

	scanned    bool
	from       int64        // position that the scan began at
	fromOff    int64        // offset there
	end        int64        // offset behind the last good batch
	endPos     int64        // position behind it
	recordsEnd int64        // position behind the last good batch that has records; markers may follow
	time       int64        // append time of the last good batch
	spots      []spot       // what does not decode, good batches behind it
	junk       error        // why the bytes behind endPos are neither batches nor zeros; nil if they are zeros
	idx        *index.Index // of the active segment
	since      int64        // position of its last entry
}

// A spot is a range that does not decode.
type spot struct {
	at       int   // which candidate; len(candidates) if behind the last
	file     bool  // false: no file has the offsets
	pos, to  int64 // bytes
	from, up int64 // offsets [from, up); up is unknown if less than from
	cause    error
}

// A finding is everything that is known before anything is changed.
type finding struct {
	list    []*candidate
	durable int64 // D
	spots   []spot
	newest  int64 // greatest base offset found, -1 if none
	opened  []*segment.Segment
	read    int64
	report  Recovery
	meta    bool // there is a partition.json
	full    bool // every batch of every segment is read
}

func (p *Partition) recover() (err error) {
	p.found.Store(p.shared.clock.Now())
	f := &finding{durable: p.opts.Committed, newest: -1, full: p.opts.Validate == ValidateFull}
	before := p.all() // none, or what a repair is about to replace
	defer func() {
		if err != nil {
			p.putBack(before)
		}
		p.letGo(f.opened)
		p.report.Store(&f.report)
	}()
	if err = p.look(f); err != nil {
		return err
	}
	if f.meta {
		// Its name may be in the page cache only, and what it says is about
		// to be shown.
		if err = p.dir.Sync("."); err != nil {
			return err
		}
	}
	if !f.full && p.vouched(f) {
		end := p.opts.Checkpoint.End
		p.settle(f, end, end)
		f.report.Vouched = true
		return nil
	}
	if err = p.examine(f); err != nil {
		return err
	}
	return p.mend(f, p.judge(f, f.durable))
}

// putBack has readers see the segments that there were before.
func (p *Partition) putBack(list []*segment.Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments.Store(&list)
	p.recountLocked()
}

// letGo closes the segments that were opened and are not the partition's.
func (p *Partition) letGo(opened []*segment.Segment) {
	for _, s := range opened {
		if !slices.Contains(p.all(), s) {
			s.Close()
		}
	}
}

// look finds the segments and reads their headers.
func (p *Partition) look(f *finding) error {
	if p.level() != Sync {
		f.durable = 0
	}
	if c := p.opts.Checkpoint; c != nil {
		f.durable = max(f.durable, c.End)
	}
	names, err := p.parent.List(p.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = p.readMeta(f); err != nil {
		return err
	}
	f.durable = max(f.durable, p.givenUpTo(), p.start.Load()) // a trim made durable what it gave up
	for _, e := range names {
		base, ok := segment.ParseName(e.Name)
		if !ok {
			continue
		}
		if e.Kind != fs.KindFile {
			return fmt.Errorf("segment %s: %w", e.Name, fs.ErrNotRegular)
		}
		f.list = append(f.list, &candidate{base: base, size: e.Size})
	}
	// The first segment is made when the directory is durable: one without
	// segments may be what a crash left before it was.
	p.hasDir = len(f.list) > 0
	p.litter.Store(f.dropTrimmed(p.Start()))
	for _, c := range f.list {
		if err = p.readHeader(f, c); err != nil {
			return err
		}
	}
	return nil
}

// readMeta reads partition.json, if there is one.
func (p *Partition) readMeta(f *finding) error {
	m, err := p.loadMeta(p.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.meta = err == nil
	p.start.Store(max(m.Start, p.start.Load())) // it never falls
	gaps := merged(m.Gaps)
	p.gaps.Store(&gaps)
	return nil
}

// dropTrimmed leaves out segments that lie wholly below start: a trim was
// interrupted before it removed them.
func (f *finding) dropTrimmed(start int64) (dropped bool) {
	for len(f.list) > 1 && f.list[1].base <= start {
		f.list = f.list[1:]
		dropped = true
	}
	return dropped
}

// readHeader reads a candidate's header. Only the file system's errors are
// errors.
func (p *Partition) readHeader(f *finding, c *candidate) error {
	f.newest = max(f.newest, c.base)
	if c.seg = p.follow.sealed(c.base); c.seg != nil {
		return nil
	}
	seg, err := segment.Open(p.place(), c.base)
	var newer *segment.VersionError
	switch {
	case errors.As(err, &newer):
		return err
	case errors.Is(err, segment.ErrHeader):
		c.bad = err
		return nil
	case err != nil:
		return err
	}
	f.opened = append(f.opened, seg)
	if seg.Topic != p.opts.TopicID || seg.Partition != p.opts.Number {
		c.bad = fmt.Errorf("%w: it is of partition %d of another topic or place", segment.ErrHeader, seg.Partition)
		return nil
	}
	c.seg = seg
	seg.Publish(c.size, seg.Base)
	f.durable = max(f.durable, seg.Durable)
	return nil
}

// linked reports whether the segment behind candidate i names it as the one
// before, and so where it ended.
func (f *finding) linked(i int) bool {
	if i+1 >= len(f.list) {
		return false
	}
	c, next := f.list[i], f.list[i+1]
	return c.seg != nil && next.seg != nil && next.seg.PrevID == c.seg.ID
}

// closedWell reports whether the checkpoint says where the partition ends: then
// neither a power cut nor a failed sync, of another partition of the store, can
// have taken offsets that were given out, whatever else is to be read or is found
// to be wrong.
func (o *Options) closedWell() bool {
	return o.Clean && o.Checkpoint != nil && o.Checkpoint.Position >= segment.FirstFrame
}

// vouched reports whether the partition ends where the checkpoint says: that is
// to be believed, and the files bear it out.
func (p *Partition) vouched(f *finding) bool {
	c := p.opts.Checkpoint
	if !p.opts.closedWell() || len(f.list) == 0 {
		return false
	}
	last := f.list[len(f.list)-1]
	if last.seg == nil || last.base != c.Segment || last.size < c.Position || c.End < max(last.base, p.Start()) {
		return false
	}
	if f.list[0].seg == nil {
		return false
	}
	if from, to := p.Start(), f.list[0].seg.PrevEnd; from < to && !p.givenUp(from, to) {
		return false
	}
	for i := range len(f.list) - 1 {
		if !f.linked(i) {
			return false
		}
	}
	last.end, last.endPos, last.time = c.End, c.Position, c.Time
	last.from, last.fromOff = c.Position, c.End
	return true
}

// examine reads the batches of every segment that can have something at or
// behind the durable mark, or whose end nothing else tells.
func (p *Partition) examine(f *finding) error {
	for i, c := range f.list {
		sealed := f.linked(i) && f.list[i+1].seg.PrevEnd <= f.durable
		if c.seg == nil || sealed && !f.full {
			continue
		}
		if err := p.findStart(f, i); err != nil {
			return err
		}
		if sealed {
			c.idx = nil // nothing is going to be appended to it
		}
		if err := p.scan(f, i); err != nil {
			return err
		}
	}
	return nil
}

// findStart looks in the index of the last segment for a place to begin from:
// everything below the durable mark was durable, so only what is behind needs
// to be read.
func (p *Partition) findStart(f *finding, i int) error {
	c := f.list[i]
	c.from, c.fromOff = segment.FirstFrame, c.base
	c.idx = index.New(c.seg.ID, c.base)
	if i+1 < len(f.list) || f.full {
		return nil
	}
	x, err := index.Load(p.dir, segment.IndexName(c.base), c.seg.ID, c.base)
	if errors.Is(err, index.ErrWrong) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrNotRegular) {
		return nil
	}
	if err != nil {
		return err
	}
	last, b, ok, err := c.lastEntry(x, math.MaxInt64)
	if err != nil || !ok {
		return err
	}
	f.durable = max(f.durable, b.Durable)
	believed := p.opts.Validate == ValidateNone && p.opts.SameBoot && p.level() != Sync
	if last.Offset >= f.durable && !believed { // a marker at the mark may come before its batch
		if last, _, ok, err = c.lastEntry(x, f.durable-1); err != nil || !ok {
			return err
		}
	}
	c.from, c.fromOff = last.Position, last.Offset
	x.Keep(func(e index.Entry) bool { return e.Position < last.Position })
	c.idx = x
	return nil
}

// lastEntry returns the last index entry at or below offset, and its batch, if
// the batch bears it out.
func (c *candidate) lastEntry(x *index.Index, offset int64) (index.Entry, record.Batch, bool, error) {
	e, ok, _ := x.FindOffset(offset)
	if !ok {
		return e, record.Batch{}, false, nil
	}
	b, err := c.seg.CheckEntry(e)
	if errors.Is(err, index.ErrWrong) {
		return e, b, false, nil
	}
	return e, b, err == nil, err
}

// scan reads the batches of candidate i and notes what does not decode.
func (p *Partition) scan(f *finding, i int) error {
	c := f.list[i]
	c.scanned = true
	c.end, c.endPos, c.recordsEnd, c.time = c.fromOff, c.from, c.from, 0
	var sc segment.Scanner
	sc.Start(c.seg, c.from, c.fromOff, c.size)
	defer func() { f.read += c.endPos - c.from }()
	for {
		var b record.Batch
		err := sc.Next(&b)
		var damage *segment.DamageError
		switch {
		case err == nil:
			f.durable = max(f.durable, b.Durable)
			c.took(&b)
		case err == io.EOF:
			return nil
		case errors.As(err, &damage):
			if done, err := c.step(&sc, damage); done || err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// took notes a good batch.
func (c *candidate) took(b *record.Batch) {
	if c.idx != nil && (c.since == 0 || b.Position >= c.since+index.Every) {
		c.idx.Add(index.Entry{Offset: b.Base, Position: b.Position, Time: b.Time})
		c.since = b.Position
	}
	c.end, c.endPos, c.time = b.End(), b.Next(), b.Time
	if b.Count > 0 {
		c.recordsEnd = b.Next()
	}
}

// step looks behind damage for more batches. It reports done if there are
// none.
func (c *candidate) step(sc *segment.Scanner, damage *segment.DamageError) (done bool, err error) {
	zeros, err := allZeros(c.seg, damage.Position, c.size)
	if zeros || err != nil {
		return true, err
	}
	found, err := sc.Search(math.MaxInt64)
	if err != nil {
		return true, err
	}
	if !found {
		c.junk = damage
		return true, nil
	}
	c.spots = append(c.spots, spot{file: true, pos: damage.Position, to: sc.Position(), from: damage.Offset, up: sc.Offset(), cause: damage.Cause})
	return false, nil
}

// allZeros reports whether a segment has nothing but zeros from pos to size.
func allZeros(s *segment.Segment, pos, size int64) (bool, error) {
	b := make([]byte, min(segment.MaxChunkBytes, max(size-pos, 0)))
	for ; pos < size; pos += int64(len(b)) {
		b = b[:min(int64(len(b)), size-pos)]
		if err := s.ReadAt(b, pos); err != nil {
			return false, err
		}
		if bytes.Count(b, []byte{0}) < len(b) { // far faster than a loop that ends at once
			return false, nil
		}
	}
	return true, nil
}

// judge lists everything that is missing, in order of offsets, and returns the
// first of it at or behind the durable mark: that was never durable, and a
// crash left it and all behind it. What comes before is damage, unless nobody
// misses it.
func (p *Partition) judge(f *finding, mark int64) (torn *spot) {
	p.collect(f)
	start := p.start.Load()
	f.spots = slices.DeleteFunc(f.spots, func(s spot) bool {
		trimmed := s.from < s.up && s.up <= start
		marker := s.from == s.up && s.pos > 0 && s.from < mark
		return trimmed || marker
	})
	for i := range f.spots {
		if s := &f.spots[i]; s.from >= mark {
			torn = s
			f.spots = f.spots[:i:i]
			break
		}
	}
	return torn
}

// collect fills f.spots.
func (p *Partition) collect(f *finding) {
	expected := p.Start()
	for i, c := range f.list {
		if c.seg == nil {
			f.spots = append(f.spots, spot{at: i, file: true, to: c.size, from: expected, up: f.known(i), cause: c.bad})
			expected = max(expected, c.base, f.known(i))
			continue
		}
		if c.seg.PrevEnd > expected {
			f.spots = append(f.spots, spot{at: i, from: expected, up: c.seg.PrevEnd, cause: errMissing})
		}
		for _, s := range c.spots {
			s.at = i
			f.spots = append(f.spots, s)
		}
		expected = f.close(i)
	}
	if expected < f.durable {
		f.spots = append(f.spots, spot{at: len(f.list), from: expected, up: f.durable, cause: errMissing})
	}
}

var errMissing = errors.New("a segment is missing or short")

// known returns where the candidate behind i begins, as far as that is known:
// the offset behind those that candidate i can have had. Behind the last one
// only those below the durable mark are sure to have been.
func (f *finding) known(i int) int64 {
	if i+1 >= len(f.list) {
		return f.durable
	}
	if next := f.list[i+1].seg; next != nil {
		return next.PrevEnd
	}
	return f.list[i+1].base
}

// close adds what is missing at the end of candidate i and returns the offset
// that has to follow.
func (f *finding) close(i int) (expected int64) {
	c := f.list[i]
	if !c.scanned {
		return f.list[i+1].seg.PrevEnd
	}
	if up := f.known(i); f.linked(i) {
		if c.end < up {
			f.spots = append(f.spots, spot{at: i, file: true, pos: c.endPos, to: c.size, from: c.end, up: up, cause: c.why()})
		}
		return up
	}
	last := i+1 == len(f.list)
	switch {
	case c.junk != nil:
		f.spots = append(f.spots, spot{at: i, file: true, pos: c.endPos, to: c.size, from: c.end, up: f.known(i), cause: c.junk})
		return max(c.end, f.known(i))
	case last && c.end < f.durable:
		f.spots = append(f.spots, spot{at: i, file: true, pos: c.endPos, to: c.size, from: c.end, up: f.durable, cause: segment.ErrEmpty})
		return f.durable
	}
	return c.end
}

// why returns what stands behind the last good batch.
func (c *candidate) why() error {
	if c.junk != nil {
		return c.junk
	}
	return segment.ErrEmpty
}

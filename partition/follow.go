package partition

import (
	"errors"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// This file keeps a partition up to date that somebody else writes. Nothing is
// told to it: it finds out by reading, and changes nothing.
//
// Bytes that do not decode mean one of two things. Below the durable mark they
// are damage, provided that the mark was known before they were read; else
// they are not there yet, or never will be. So what is shown ends at the first
// batch that does not decode at or behind the mark, and at level Sync at the
// mark itself.

const (
	// Readers who wait have the files looked at this often: at first, and
	// after nothing came for a while.
	minPause = 10 * time.Millisecond
	maxPause = 100 * time.Millisecond

	// nextEvery is how often the next segment is looked for while there is no
	// sign that there is one.
	nextEvery = 20 * time.Millisecond

	// lookEvery is how often the directory is listed, and everything done
	// that costs more than a few reads; less often where that takes more than
	// a small share of the time.
	lookEvery = time.Second
	lookShare = 50

	// maxAhead is how many batches are taken at a time where all may be shown.
	maxAhead = 1 << 14
	// maxSurveys bounds how often everything is read again because the writer
	// was faster.
	maxSurveys = 8
)

// Outside is what the files of a partition that somebody else writes do not
// tell.
type Outside struct {
	Durability Durability // the level in force; zero: as before
	Durable    int64      // everything below is durable, as far as is known elsewhere
	Gone       error      // why nothing can be read any more, for good; nil if it can
}

// A follower is what a read-only partition has in place of a tail.
type follower struct {
	p *Partition

	turn  atomic.Int64 // refreshes begun
	taken atomic.Int64 // how often batches that had been shown were taken back

	mu      yield.Mutex // one refresh at a time; held while files are read
	at      place       // guarded by mu; what comes before is shown
	good    place       // guarded by mu; behind the last batch found: at, or at level Sync behind it
	durable int64       // guarded by mu; the durable mark
	lost    int64       // guarded by mu; offsets below it that no batch has are lost
	spots   []spot      // guarded by mu; the damage that was found last
	odd     bool        // guarded by mu; the files do not go on as they were left
	lookAt  int64       // guarded by mu; when the directory is due, by the clock
	nextAt  int64       // guarded by mu; when a look for the next segment is due, in any case
	stood   place       // guarded by mu; good, as it was at the last look
	err     error       // guarded by mu; of the last refresh
	gone    error       // guarded by mu; why there will be no more

	busy   bool          // guarded by p.mu; a worker is at it
	pause  time.Duration // guarded by p.mu; until the next turn
	usedAt int64         // guarded by p.mu; when it was last refreshed, by the clock
}

// A place is where batches were found to end.
type place struct {
	seg  *segment.Segment // nil as long as there is none
	pos  int64
	off  int64
	last frame // the batch that ends there; zero if it need not be known
}

// A frame is as much of a batch as one needs to know it again.
type frame struct {
	pos, next int64 // positions [pos, next)
	base, end int64 // offsets [base, end)
	time      int64
}

func frameOf(b *record.Batch) frame {
	return frame{pos: b.Position, next: b.Next(), base: b.Base, end: b.End(), time: b.Time}
}

// attach opens a partition for reading: it is recovery without mending.
func (f *follower) attach() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.survey(true); err != nil {
		f.replace(nil)
		return err
	}
	f.lookAt = f.p.shared.clock.Now() + int64(lookEvery)
	return nil
}

// refresh brings the partition up to date with what was in its files when the
// call began. Callers who come together share one. A thorough one looks at the
// directory too.
func (f *follower) refresh(thorough bool) error {
	turn := f.turn.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.turn.Load() > turn && !thorough && !f.p.ended.Load() {
		return f.err // somebody's began after this call
	}
	return f.run(thorough)
}

// glance is refresh for those who cannot be told of an error and take what is
// known: they do not wait for somebody who is at it. With start it also reads
// where the partition starts.
func (f *follower) glance(start bool) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	if f.run(false) == nil && start { // who reads on is told of the error
		f.p.readMeta(&finding{}) // #nosec G104 -- likewise
	}
}

// run is refresh for a caller who holds mu.
func (f *follower) run(thorough bool) error {
	p := f.p
	switch {
	case p.ended.Load():
		return ErrClosed
	case f.gone != nil:
		return f.gone
	}
	f.turn.Add(1)
	now, shown := p.shared.clock.Now(), p.visible.Load()
	thorough = thorough || now >= f.lookAt
	if !thorough {
		f.err = f.catchUp(false)
		thorough = errors.Is(f.err, fs.ErrNotExist) // trimmed, most likely
	}
	if thorough {
		f.err = f.look()
		took := p.shared.clock.Now() - now
		f.lookAt = now + took + max(int64(lookEvery), lookShare*took)
	}
	if f.err != nil {
		f.lookAt = 0 // whoever asks next is told too
	}
	if f.err != nil || p.visible.Load() != shown {
		p.watch.wake()
	}
	f.used(now)
	return f.err
}

// limit returns the offset up to which batches may be shown.
func (f *follower) limit() int64 {
	if f.p.level() == Sync {
		// What was shown at a lower level stays: raising it made that durable.
		return max(f.durable, f.p.visible.Load())
	}
	return math.MaxInt64
}

// catchUp shows what was appended since the last time: behind the last batch,
// and in segments that follow.
func (f *follower) catchUp(thorough bool) error {
	for {
		ahead, size, err := f.read(thorough)
		if err != nil {
			return err
		}
		more := len(ahead) == maxAhead && f.p.level() != Sync
		// A segment that has space reserved is still being written, unless its
		// writer was killed.
		wanted := thorough || size <= f.good.pos || len(ahead) == 0 && f.p.shared.clock.Now() >= f.nextAt
		next, err := f.next(wanted && !more)
		if err != nil {
			return err
		}
		if next != nil {
			f.durable = max(f.durable, next.Durable)
		}
		if err = f.show(ahead, more); err != nil || !more && !f.enter(next) {
			f.letGo(next)
			return err
		}
	}
}

// letGo closes a segment that was opened and not entered; nil is none.
func (f *follower) letGo(seg *segment.Segment) {
	if seg != nil && f.at.seg != seg {
		seg.Close()
	}
}

// read returns the batches that follow those shown, and how long the file is.
// Behind damage it goes on only if it is to be thorough.
func (f *follower) read(thorough bool) (ahead []frame, size int64, err error) {
	at := f.at
	f.good = at
	if at.seg == nil {
		return nil, 0, nil
	}
	if size, err = at.seg.Size(); err != nil || size == at.pos {
		return nil, size, err
	}
	sure := f.durable // known before anything is read
	var sc segment.Scanner
	sc.Start(at.seg, at.pos, at.off, size)
	if at.last != (frame{}) {
		// A writer that failed may have cut off what was not durable, and put
		// other batches in its place.
		sc.Start(at.seg, at.last.pos, at.last.base, size)
		var b record.Batch
		if err = sc.Next(&b); err != nil || frameOf(&b) != at.last {
			return nil, size, f.takenBack(err)
		}
	}
	for len(ahead) < maxAhead || f.p.level() == Sync {
		var b record.Batch
		err = sc.Next(&b)
		if err == nil {
			f.durable = max(f.durable, b.Durable)
			ahead = append(ahead, frameOf(&b))
			f.good = place{seg: at.seg, pos: b.Next(), off: b.End(), last: frameOf(&b)}
			continue
		}
		if on, err := f.passOver(&sc, err, sure, thorough); !on || err != nil {
			return ahead, size, err
		}
	}
	return ahead, size, nil
}

// takenBack is what becomes of a batch that is not there any more.
func (f *follower) takenBack(err error) error {
	var damage *segment.DamageError
	if err != nil && !errors.As(err, &damage) && !errors.Is(err, io.EOF) {
		return err
	}
	f.odd = true
	return nil
}

// passOver decides about bytes that do not decode, and reports whether there
// is more behind them.
func (f *follower) passOver(sc *segment.Scanner, err error, sure int64, thorough bool) (bool, error) {
	var damage *segment.DamageError
	switch {
	case errors.Is(err, io.EOF):
		return false, nil
	case !errors.As(err, &damage):
		return false, err
	case damage.Offset >= sure:
		return false, nil // not yet
	case !thorough:
		f.odd = true
		return false, nil
	}
	return sc.Search(math.MaxInt64)
}

// next returns the segment that follows the one being read if there is one, and
// if it is worth while to look.
func (f *follower) next(wanted bool) (*segment.Segment, error) {
	if !wanted || f.good.seg != nil && f.good.seg.Base == f.good.off {
		return nil, nil
	}
	f.nextAt = f.p.shared.clock.Now() + int64(nextEvery)
	seg, err := segment.Open(f.p.place(), f.good.off)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, segment.ErrHeader):
		return nil, nil // or it is being made
	case err != nil:
		return nil, err
	case !f.follows(seg):
		seg.Close()
		return nil, nil
	}
	return seg, nil
}

// follows reports whether a segment says that it comes behind what was read.
func (f *follower) follows(seg *segment.Segment) bool {
	p, last := f.p, f.good.seg
	ours := seg.Topic == p.opts.TopicID && seg.Partition == p.opts.Number
	return ours && (last == nil || seg.PrevID == last.ID && seg.PrevEnd == f.good.off)
}

// enter goes on to the next segment, nil for none, if everything before it is
// shown. One that has nothing yet may be taken back by its writer; the next
// look tells.
func (f *follower) enter(next *segment.Segment) bool {
	if next == nil || f.at.off != f.good.off {
		return false
	}
	if f.at.seg != nil {
		f.at.seg.Seal() // #nosec G104 -- it writes nothing here
	}
	next.Resume(index.New(next.ID, next.Base), 0)
	next.Publish(segment.FirstFrame, next.Base)
	f.p.mu.Lock()
	f.p.addSegmentLocked(next)
	f.p.mu.Unlock()
	f.at = place{seg: next, pos: segment.FirstFrame, off: next.Base}
	return true
}

// show lets readers see as many of the batches found as they may. If more are
// about to follow, it takes nothing away that they see.
func (f *follower) show(ahead []frame, more bool) error {
	p := f.p
	if len(ahead) > 0 {
		if p.level() != Sync {
			// It may have been raised before these were written.
			if err := f.ask(); err != nil {
				return err
			}
		}
		if err := f.at.seg.ResumeIndex(); err != nil {
			return err
		}
	}
	limit := f.limit()
	for _, b := range ahead {
		if b.end > limit {
			break
		}
		f.at.seg.Note(b.base, b.pos, b.time)
		f.at.pos, f.at.off, f.at.last = b.next, b.end, b
	}
	if !more || f.at.off >= p.visible.Load() {
		f.publish()
	}
	return nil
}

// publish tells readers how far they may go. If that is not as far as before,
// they are stopped first.
func (f *follower) publish() {
	p := f.p
	end := max(f.at.off, f.lost, p.start.Load())
	if end < p.visible.Load() {
		p.visible.Store(end)
		f.taken.Add(1)
	}
	if f.at.seg != nil {
		f.at.seg.Publish(f.at.pos, f.at.off)
	}
	p.durable.Store(f.durable)
	p.visible.Store(end)
}

// ask finds out what the partition's files do not tell.
func (f *follower) ask() error {
	p := f.p
	if p.opts.Outside == nil {
		return nil
	}
	o, err := p.opts.Outside()
	switch {
	case err != nil:
		return err
	case o.Gone != nil:
		f.end(o.Gone)
		return o.Gone
	}
	f.durable = max(f.durable, o.Durable)
	if c := p.Config(); o.Durability != 0 && o.Durability != c.Durability {
		c.Durability = o.Durability
		p.config.Store(&c)
	}
	return nil
}

// end gives everything back: there is nothing more to be read.
func (f *follower) end(why error) {
	f.gone = why
	f.at, f.good, f.stood = place{}, place{}, place{}
	f.replace(nil)
}

// replace makes list the segments that readers find, and closes the others.
func (f *follower) replace(list []*segment.Segment) {
	p := f.p
	old := p.all()
	p.mu.Lock()
	p.segments.Store(&list)
	p.mu.Unlock()
	for _, s := range old {
		if !slices.Contains(list, s) {
			s.Close()
		}
	}
}

// look does what a refresh leaves out: it asks outside, reads the start, lists
// the directory, and reads everything anew if that does not fit what is known.
func (f *follower) look() error {
	p := f.p
	if err := f.ask(); err != nil {
		return err
	}
	bases, err := f.list()
	if err == nil {
		err = p.readMeta(&finding{})
	}
	if err != nil {
		return err
	}
	f.dropTrimmed()
	known := p.all()
	if f.farBehind(bases) {
		return f.survey(false)
	}
	f.odd = false
	if err = f.catchUp(true); errors.Is(err, fs.ErrNotExist) {
		f.odd, err = true, nil
	}
	if err != nil {
		return err
	}
	fits, err := f.fits(bases, known)
	if err == nil && !fits {
		err = f.survey(false)
	}
	f.stood = f.good
	return err
}

// dropTrimmed takes segments away from readers that lie wholly below the start.
func (f *follower) dropTrimmed() {
	list, start := f.p.all(), f.p.start.Load()
	n := 0
	for n < len(list)-1 && list[n+1].Base <= start {
		n++
	}
	if n > 0 {
		f.replace(slices.Clone(list[n:]))
	}
}

// list returns the base offsets of the segments in the directory.
func (f *follower) list() (bases []int64, err error) {
	names, err := f.p.parent.List(f.p.name)
	if errors.Is(err, fs.ErrNotExist) && f.at.seg == nil {
		return nil, nil // nobody appended yet
	}
	for _, e := range names {
		if base, ok := segment.ParseName(e.Name); ok {
			bases = append(bases, base)
		}
	}
	return bases, err
}

// farBehind reports whether there is more to catch up with than is worth
// reading: of sealed segments the headers do.
func (f *follower) farBehind(bases []int64) bool {
	last := int64(-1)
	if f.at.seg != nil {
		last = f.at.seg.Base
	}
	behind := 0
	for _, b := range bases {
		if b > last {
			behind++
		}
	}
	return behind > 1 || f.at.seg == nil && behind > 0 || f.p.start.Load() > f.at.off
}

// fits reports whether the directory, as it was listed, has the segments that
// were known then and none that cannot be accounted for, and whether the last
// one is as it should be.
func (f *follower) fits(bases []int64, known []*segment.Segment) (bool, error) {
	for _, s := range known {
		if !slices.Contains(bases, s.Base) {
			return false, nil
		}
	}
	list := f.p.all()
	for _, b := range bases {
		i := findSegment(list, b)
		known := i >= 0 && list[i].Base == b
		if i < 0 && len(list) > 0 || known || b == f.good.off {
			continue // below the start; or the next one, still empty
		}
		return false, nil
	}
	if f.odd || f.at.seg == nil {
		return !f.odd, nil
	}
	same, err := f.sameFile()
	if !same || err != nil || f.stood != f.good {
		return same, err
	}
	// Nothing came for a while, and yet something may stand there.
	size, err := f.good.seg.Size()
	if err != nil {
		return false, err
	}
	return allZeros(f.good.seg, f.good.pos, size)
}

// sameFile reports whether the last segment is still the file of its name. One
// whose batches were not durable may have been set aside and begun anew.
func (f *follower) sameFile() (bool, error) {
	if f.at.off > f.at.seg.Base && f.at.off <= f.durable {
		return true, nil
	}
	seg, err := segment.Open(f.p.place(), f.at.seg.Base)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, segment.ErrHeader) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer seg.Close()
	return seg.ID == f.at.seg.ID, nil
}

// survey reads everything anew as recovery does, and shows it. The writer may
// be faster: then a batch is written, and a later one says that it is durable,
// after the place where it belongs was read; or a file is made that the listing
// has missed, and one behind it that it has not. So damage counts only if the
// durable mark was known before, and if it is found twice in a row.
func (f *follower) survey(first bool) error {
	for try := 1; ; try++ {
		done, err := f.surveyOnce(first, try == maxSurveys)
		if errors.Is(err, fs.ErrNotExist) && try < maxSurveys {
			continue // trimmed meanwhile
		}
		if done || err != nil {
			return err
		}
	}
}

func (f *follower) surveyOnce(first, last bool) (done bool, err error) {
	p := f.p
	fd := &finding{durable: max(f.durable, p.opts.Committed), newest: -1, full: first && p.opts.Validate == ValidateFull}
	defer func() { p.letGo(fd.opened) }()
	if err = p.look(fd); err != nil {
		return false, err
	}
	if p.opts.Archive && len(fd.list) > 0 {
		p.start.Store(max(p.start.Load(), fd.list[0].base))
		fd.durable = max(fd.durable, fd.newest)
	}
	f.durable = max(f.durable, fd.durable)
	fd.durable = f.durable
	if first && !fd.full && p.vouched(fd) {
		fd.report.Vouched = true
		return true, f.settle(fd, nil)
	}
	if err = p.examine(fd); err != nil {
		return false, err
	}
	torn := p.judge(fd, f.durable)
	f.durable = fd.durable
	again := torn != nil && torn.from < fd.durable || !slices.EqualFunc(fd.spots, f.spots, spot.same)
	f.spots = fd.spots
	if again && !last {
		return false, nil
	}
	return true, f.settle(fd, torn)
}

// settle makes what was found what readers see. It stands still at the last
// place that needs no reading, and what follows is read as ever.
func (f *follower) settle(fd *finding, torn *spot) error {
	p := f.p
	fd.report.ReadBytes = fd.read
	p.reportLost(fd, fd.end(p.start.Load(), torn))
	p.report.Store(&fd.report)
	p.hide(fd, torn)
	f.at, f.lost, f.odd = place{off: p.start.Load()}, 0, false
	for _, s := range fd.spots {
		f.lost = max(f.lost, min(s.up, f.limit()))
	}
	var list []*segment.Segment
	for i, c := range fd.list {
		if c.seg == nil {
			continue
		}
		seg := f.known(c.seg)
		list = append(list, seg)
		end := c.end
		if fd.linked(i) {
			end = fd.list[i+1].seg.PrevEnd
		}
		if fd.followed(i) && end <= f.limit() {
			seg.Publish(c.size, end)
			continue
		}
		if seg == c.seg { // else readers are in it, and stay where they are
			seg.Publish(c.from, c.fromOff)
		}
		seg.Unnote(c.from)
		f.at = place{seg: seg, pos: c.from, off: c.fromOff}
		break
	}
	f.replace(list)
	return f.catchUp(true)
}

// same reports whether two spots are of the same offsets, in the same place.
func (s spot) same(other spot) bool {
	return s.from == other.from && s.up == other.up && s.pos == other.pos
}

// followed reports whether there is a segment behind candidate i.
func (f *finding) followed(i int) bool {
	return slices.ContainsFunc(f.list[i+1:], func(c *candidate) bool { return c.seg != nil })
}

// known returns the segment that readers have in place of one that was opened
// anew, if it is the same.
func (f *follower) known(seg *segment.Segment) *segment.Segment {
	for _, s := range f.p.all() {
		if s.ID == seg.ID && s.Base == seg.Base {
			return s
		}
	}
	return seg
}

// sealed returns the segment of this base offset if it is known and will not
// change any more; else, and for a partition that is written here, nil.
func (f *follower) sealed(base int64) *segment.Segment {
	if f == nil {
		return nil
	}
	list := f.p.all()
	i := findSegment(list, base)
	if i >= 0 && i < len(list)-1 && list[i].Base == base && list[i].End() <= f.durable {
		return list[i]
	}
	return nil
}

// stop waits for a refresh that is under way. The partition has ended: there
// will be no other.
func (f *follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.good, f.stood = place{}, place{}, place{}
}

// used has the timer come by, to give back what is not used for a while.
func (f *follower) used(now int64) {
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	f.usedAt = now
	if p.dueAt == 0 {
		p.wakeAtLocked(now + int64(idleDelay))
	}
}

// watched has the timer look after readers who wait.
func (f *follower) watched() {
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	f.pause = minPause
	p.wakeAtLocked(p.shared.clock.Now() + int64(minPause))
}

// lookAfterLocked has a worker refresh the partition while somebody waits, and
// give its files back when nobody used it for a while. It returns when the
// timer has to come again.
func (f *follower) lookAfterLocked(now int64) int64 {
	p := f.p
	switch idle := f.usedAt + int64(idleDelay); {
	case now < p.dueAt:
		return p.dueAt
	case p.watch.waiting.Load() > 0:
		if !f.busy {
			f.busy = true
			p.shared.submit(f.turnOver)
		}
		return now + int64(f.pause)
	case now < idle:
		return idle
	}
	p.shared.submit(f.rest)
	return never
}

// turnOver is a refresh by a worker. Readers are woken by it, and hear of its
// error when they look themselves.
func (f *follower) turnOver() {
	p := f.p
	before := p.visible.Load()
	f.refresh(false) // #nosec G104 -- see above
	p.mu.Lock()
	defer p.mu.Unlock()
	f.busy = false
	f.pause = min(2*f.pause, maxPause)
	if p.visible.Load() != before {
		f.pause = minPause
	}
}

// rest closes the files. They are opened again when they are needed.
func (f *follower) rest() {
	for _, s := range f.p.all() {
		s.CloseFile()
	}
}

// goOn is Reader.advance; where somebody else writes, what does not read well
// is believed only if it is still so after the files were looked at again.
func (r *Reader) goOn(bound int64) error {
	f := r.p.follow
	if f == nil {
		return r.advance(bound)
	}
	if r.seg == nil {
		f.used(r.p.shared.clock.Now())
	}
	next := r.next
	if taken := f.taken.Load(); taken != r.taken {
		r.taken = taken
		r.placeAt(next) // what it has read already may be no more
	}
	err := r.advance(min(bound, r.p.visible.Load()))
	var damage *CorruptError
	doubtful := errors.As(err, &damage) || errors.Is(err, fs.ErrNotExist)
	if !doubtful || r.err != nil || r.doubted == next+1 {
		return err
	}
	r.doubted = next + 1
	if err = f.refresh(true); err != nil {
		return r.p.errorf("read", err)
	}
	r.placeAt(next)
	return nil
}

// placeAt has the reader go on at an offset, and forget what it has read.
func (r *Reader) placeAt(next int64) {
	r.next, r.seg, r.dec = next, nil, record.Decoder{}
	r.scan.Start(nil, 0, 0, 0)
}

package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/segment"
)

// RepairPolicy says what a repair gives up.
type RepairPolicy uint8

// The policies.
const (
	// KeepIntact gives up what is damaged and nothing else: every record that
	// can be read stays, at its offset, and what was between is a gap.
	KeepIntact RepairPolicy = iota
	// CutAtDamage gives up the first damaged record and everything behind it,
	// for readers who must not see a later record without an earlier one. The
	// offsets are not given out again.
	CutAtDamage
)

func (r RepairPolicy) String() string {
	switch r {
	case KeepIntact:
		return "keep intact"
	case CutAtDamage:
		return "cut at damage"
	}
	return fmt.Sprintf("repair(%d)", uint8(r))
}

// A RepairReport is what a repair did.
type RepairReport struct {
	GivenUp []GapError // offsets that hold no records from now on, rising
	Aside   []string   // files in the partition's directory that have what was taken out
	End     int64      // where appends go on
}

// Repair gives damaged records up for good, so that readers get a *GapError in
// their place once and go on, and appends to a partition whose active segment
// was damaged are possible again. It is the only thing that changes damaged
// files, and never happens by itself.
//
// Damaged bytes inside a segment stay where they are. What is taken out, by
// CutAtDamage or since it is not a segment at all, is kept in files whose
// names begin with cut-. A crash in the middle leaves a partition that is
// still damaged, and can be repaired again.
//
// A partition without damage is left alone: the error is ErrNotDamaged. One
// that failed otherwise has to be opened again first. Appends wait meanwhile if
// the policy is CutAtDamage or appends were refused. ctx is heeded until the
// first change.
func (p *Partition) Repair(ctx context.Context, policy RepairPolicy) (RepairReport, error) {
	done, err := p.beginUpkeep(ctx, "repair")
	if err != nil {
		return RepairReport{}, err
	}
	defer done()
	report, err := p.repair(ctx, policy)
	if err != nil {
		return RepairReport{}, p.errorf("repair", err)
	}
	for _, g := range report.GivenUp {
		p.emit(Event{Kind: Repaired, From: g.From, To: g.To})
	}
	return report, nil
}

func (p *Partition) repair(ctx context.Context, policy RepairPolicy) (report RepairReport, err error) {
	if policy > CutAtDamage {
		return report, fmt.Errorf("%w policy: %v", ErrInvalid, policy)
	}
	if failed := p.failure(); failed != nil && !errors.Is(failed, ErrCorrupt) {
		return report, failed
	}
	aside, err := p.mendHeaders(ctx)
	if err != nil {
		return report, err
	}
	var lost []span
	if !p.damagedAtEnd() {
		lost, err = p.damaged(ctx)
	}
	switch {
	case err != nil:
	case p.damagedAtEnd() || len(lost) > 0 && policy == CutAtDamage:
		report, err = p.rebuild(ctx, policy)
	case len(lost) > 0:
		report, err = p.giveUpDamage(ctx, lost)
	case len(aside) == 0:
		err = ErrNotDamaged
	default:
		report.End = p.End()
	}
	report.Aside = append(aside, report.Aside...)
	return report, err
}

// damaged returns what a partition has lost that appends go on in.
func (p *Partition) damaged(ctx context.Context) (lost []span, err error) {
	if failed := p.failure(); failed != nil { // meanwhile
		return nil, failed
	}
	found, err := p.Verify(ctx, nil)
	for _, e := range found {
		if e.FromOffset < e.ToOffset { // else one copy of a header: nothing is lost
			lost = append(lost, span{e.FromOffset, e.ToOffset})
		}
	}
	return lost, err
}

// giveUpDamage writes damage down as given up. No batch is changed, and appends
// go on: in a new segment if the active one is damaged, which the next Open
// would not go on in. What comes before the end of a gap counts as durable, and
// is made so.
func (p *Partition) giveUpDamage(ctx context.Context, lost []span) (report RepairReport, err error) {
	if err = p.begin(ctx); err != nil {
		return RepairReport{}, err
	}
	last := slices.MaxFunc(lost, func(a, b span) int { return cmp.Compare(a.To, b.To) })
	if last.To > p.Durable() {
		if err = p.Sync(ctx); err != nil {
			return RepairReport{}, err
		}
	}
	if list := p.all(); last.To > list[len(list)-1].Base {
		if err = p.rollEarly(ctx); err != nil {
			return RepairReport{}, err
		}
	}
	if err = p.writeOff(lost); err != nil {
		return RepairReport{}, err
	}
	p.clearReport()
	return p.reportRepair(lost, nil), nil
}

// mendHeaders writes headers again of which a copy is damaged, or both while
// the segment is open. It returns the files that keep what stood there.
func (p *Partition) mendHeaders(ctx context.Context) (aside []string, err error) {
	var bad []*segment.Segment
	for _, s := range p.all() {
		wrong, err := s.CheckHeader()
		if errors.Is(err, fs.ErrNotExist) {
			continue // that is more than a header can mend
		}
		if err != nil {
			return nil, err
		}
		if wrong != nil && !errors.Is(wrong.Cause, io.ErrUnexpectedEOF) {
			bad = append(bad, s)
		}
	}
	if len(bad) == 0 {
		return nil, nil
	}
	if err = p.takeFile(ctx); err != nil {
		return nil, err
	}
	defer p.pass()
	defer p.hold()()
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	if p.failure() == nil {
		err = p.release() // a file that is mapped is not written otherwise
	}
	for _, s := range bad {
		if err == nil {
			aside, err = p.mendHeader(s, aside)
		}
	}
	return aside, err
}

func (p *Partition) mendHeader(s *segment.Segment, aside []string) ([]string, error) {
	f, err := s.Borrow()
	if err != nil {
		return aside, err
	}
	defer s.Release()
	to, err := p.freeName(sidePrefix + s.Name() + "-0")
	if err != nil {
		return aside, err
	}
	if err = copyFile(f, 0, segment.FirstFrame, p.dir, to); err != nil {
		return aside, err
	}
	if err = p.dir.Sync("."); err != nil {
		return aside, err
	}
	aside = append(aside, to)
	if err = s.WriteHeader(f); err != nil {
		return aside, err
	}
	return aside, p.syncFile(f)
}

// writeOff adds to what partition.json says is given up, durably.
func (p *Partition) writeOff(lost []span) error {
	return p.writeMeta(p.Start(), merged(append(slices.Clone(*p.gaps.Load()), lost...)))
}

// clearReport takes what was given up out of the report.
func (p *Partition) clearReport() {
	r := p.Recovery()
	r.Lost = slices.DeleteFunc(slices.Clone(r.Lost), func(e *CorruptError) bool { return p.givenUp(e.FromOffset, e.ToOffset) })
	p.report.Store(&r)
}

func (p *Partition) reportRepair(lost []span, aside []string) RepairReport {
	r := RepairReport{Aside: aside, End: p.End()}
	for _, s := range merged(lost) {
		r.GivenUp = append(r.GivenUp, GapError{p.opts.Topic, p.opts.Number, s.From, s.To})
	}
	return r
}

// rebuild repairs a partition whose files have to be changed, while nobody
// appends, and then opens it anew.
func (p *Partition) rebuild(ctx context.Context, policy RepairPolicy) (RepairReport, error) {
	if err := p.takeFile(ctx); err != nil {
		return RepairReport{}, err
	}
	defer p.pass()
	defer p.hold()()
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	if err := p.unmake(); err != nil {
		return RepairReport{}, err
	}
	if !p.damagedAtEnd() {
		if err := p.release(); err != nil {
			return RepairReport{}, err
		}
	}
	r := repair{p: p, policy: policy, f: &finding{durable: p.opts.Committed, newest: -1, full: true}}
	defer func() {
		for _, s := range r.f.opened {
			s.Close()
		}
	}()
	if err := r.plan(ctx); err != nil {
		return RepairReport{}, err
	}
	err := r.carryOut(ctx)
	if err == nil {
		err = p.reload()
	}
	if err != nil {
		p.poison(err) // what is in memory may not be what is on disk
		return RepairReport{}, err
	}
	return p.reportRepair(r.lost, r.aside), nil
}

// A repair is one that changes segments.
type repair struct {
	p      *Partition
	policy RepairPolicy
	f      *finding
	cut    *spot  // where everything behind is taken out; nil: nowhere
	lost   []span // what is given up
	end    int64  // where the partition goes on
	aside  []string
}

// plan finds out what is there and what has to be done. It changes nothing.
func (r *repair) plan(ctx context.Context) error {
	p, f := r.p, r.f
	if err := p.look(f); err != nil {
		return err
	}
	f.durable = max(f.durable, p.Durable()) // of that there may be no witness
	if err := p.examine(f); err != nil {
		return err
	}
	r.cut = p.judge(f, f.durable)
	r.end = max(f.end(p.Start(), r.cut), p.End())
	var first *spot // that was not given up yet
	for i := range f.spots {
		s := &f.spots[i]
		lost := span{s.from, s.up}
		if s.up < s.from {
			lost.To = max(r.end, s.from)
		}
		if p.givenUp(lost.From, lost.To) {
			continue
		}
		if first == nil {
			first = s
		}
		r.lost = append(r.lost, lost)
	}
	if first == nil {
		if !p.damagedAtEnd() {
			return ErrNotDamaged
		}
		first = r.interrupted()
	}
	if r.policy == CutAtDamage && first != nil {
		r.cut, r.lost = first, []span{{first.from, max(r.end, first.from)}}
	}
	return ctx.Err()
}

// interrupted returns where the repair that was interrupted began: at the first
// damage in the gap that reaches into the active segment. What was given up
// before that is none of its business.
func (r *repair) interrupted() *spot {
	spots := r.f.spots
	i := len(spots) - 1
	if i < 0 {
		return nil
	}
	gap, _ := r.p.gapAt(spots[i].from)
	for i > 0 && gap.From <= spots[i-1].from {
		i--
	}
	return &spots[i]
}

// carryOut changes the files. What is lost is written down first: from then on
// that much counts as durable once, so that damage is not taken for what a
// crash left, and as long as the new segment is missing the active one still
// counts as damaged.
func (r *repair) carryOut(ctx context.Context) error {
	p := r.p
	if err := p.begin(ctx); err != nil {
		return err
	}
	// Everything below the end is about to be called durable.
	if _, err := p.rewrite(r.f, min(r.f.durable, r.end)); err != nil {
		return err
	}
	if err := p.writeOff(r.lost); err != nil {
		return err
	}
	if err := r.takeOut(); err != nil {
		return err
	}
	return r.goOn()
}

// takeOut sets aside what is behind the cut, and files that are no segments.
// The last goes first.
func (r *repair) takeOut() error {
	f := r.f
	for i := len(f.list) - 1; i >= 0; i-- {
		c := f.list[i]
		whole := r.cut != nil && (i > r.cut.at || i == r.cut.at && (!r.cut.file || r.cut.pos == 0))
		switch {
		case whole || c.seg == nil:
			if err := r.setAside(c); err != nil {
				return err
			}
			f.list = slices.Delete(f.list, i, i+1)
		case r.cut != nil && i == r.cut.at:
			if err := r.cutFile(c, r.cut.pos); err != nil {
				return err
			}
		}
	}
	return r.p.dir.Sync(".")
}

// setAside renames a whole segment, to a name that no other file has, and
// removes its index.
func (r *repair) setAside(c *candidate) error {
	if c.seg != nil {
		c.seg.Close()
	}
	name := segment.Name(c.base)
	to, err := r.p.freeName(sidePrefix + name)
	if err != nil {
		return err
	}
	if err = r.p.dir.Rename(name, to); err != nil {
		return err
	}
	r.aside = append(r.aside, to)
	err = r.p.dir.Remove(segment.IndexName(c.base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// freeName returns name, or a longer one if that is taken: what an earlier
// repair took out is kept.
func (p *Partition) freeName(name string) (string, error) {
	names, err := p.dir.List(".")
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(names, func(e fs.Entry) bool { return e.Name == name }) {
		name += "-" + p.shared.newID().Short()
	}
	return name, nil
}

// cutFile copies what is behind pos to a file of its own, durably, and cuts it
// off.
func (r *repair) cutFile(c *candidate, pos int64) error {
	f, err := c.seg.Borrow()
	if err != nil {
		return err
	}
	defer c.seg.Release()
	to, err := r.p.freeName(fmt.Sprintf("%s%s-%d", sidePrefix, segment.Name(c.base), pos))
	if err != nil {
		return err
	}
	if err = copyFile(f, pos, c.size, r.p.dir, to); err != nil {
		return err
	}
	r.aside = append(r.aside, to)
	return r.shorten(c, f, pos)
}

// shorten leaves the bytes [0, pos) of a segment's file. It may have another
// name, in a backup, where it is to stay as it is: what is left is copied and
// takes its place here.
func (r *repair) shorten(c *candidate, f fs.File, pos int64) error {
	name := segment.Name(c.base)
	short := sidePrefix + name + "-short"
	if err := r.p.dir.Remove(short); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyFile(f, 0, pos, r.p.dir, short); err != nil {
		return err
	}
	c.seg.Close() // what is open is not the segment's file any more
	return r.p.dir.Rename(short, name)
}

// goOn begins a segment behind everything, so that nothing is ever appended to
// one that was damaged.
func (r *repair) goOn() error {
	p := r.p
	h := segment.Header{
		ID: p.shared.newID(), Topic: p.opts.TopicID, Partition: p.opts.Number,
		Base: r.end, PrevEnd: r.end, Durable: r.end,
	}
	if n := len(r.f.list); n > 0 {
		h.PrevID = r.f.list[n-1].seg.ID
		if r.f.list[n-1].base == r.end {
			return nil // it has no records, and so no damage
		}
	}
	seg := segment.Plan(p.place(), h)
	defer seg.Close()
	f, err := seg.Create(segment.FirstFrame)
	if err != nil {
		return err
	}
	defer seg.Release()
	if err = p.syncFile(f); err != nil {
		return err
	}
	return p.dir.Sync(".")
}

// reload opens the partition anew as it is on disk now.
func (p *Partition) reload() error {
	old := p.all()
	p.mu.Lock()
	p.failed, p.redo = nil, nil
	p.figures.oldest, p.figures.newest = moment{}, moment{}
	p.mu.Unlock()
	p.opts.Clean = false // the checkpoint is older; nobody else reads this
	if err := p.recover(); err != nil {
		return err
	}
	for _, s := range old {
		s.Close()
	}
	return p.failure()
}

package damage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
)

// Of many variants only some are looked at in ways that take long.
const (
	everyAppend   = 4  // appends to the partition that was spoiled
	everyReopen   = 8  // opens the store again
	everyUse      = 16 // has groups go on, repaired if need be, and opens the store again
	everyAll      = 32 // reads every partition, and compares every file
	everyFull     = 8  // opens with ValidateFull
	everyNone     = 8  // opens with ValidateNone
	everyReadOnly = 16 // looks in read-only first
)

// judge spoils a copy of the store and looks at what is found. n is the number
// of the variant, which decides how thoroughly.
func (f *fixture) judge(c change, n int64) error {
	m := f.mem.Kill()
	if err := f.apply(m, c); err != nil {
		return fmt.Errorf("spoil the store: %w", err)
	}
	if n%everyReadOnly == 0 {
		if err := f.lookIn(m, c); err != nil {
			return err
		}
	}
	return f.examine(m, dir, c, n)
}

// apply changes the files in m.
func (f *fixture) apply(m *fs.Mem, c change) error {
	d, err := m.OpenDir(dir, false)
	if err != nil {
		return err
	}
	for name, e := range c.files {
		err = errors.Join(err, put(d, name, e))
	}
	return errors.Join(err, d.Close())
}

func put(d fs.Dir, name string, e entry) error {
	if e.form == regular {
		file, err := d.Open(name, true)
		if err != nil {
			return err
		}
		if err = file.Truncate(int64(len(e.bytes))); err == nil {
			_, err = file.WriteAt(e.bytes, 0)
		}
		return errors.Join(err, file.Sync(), file.Close())
	}
	if err := d.Remove(name); err != nil {
		return err
	}
	if e.form == directory {
		return d.Mkdir(name)
	}
	return nil
}

// touched are the partitions whose answers a change may change: nil for all. The
// groups log is evidence of what was durable in each of them: they have their
// turn, and everyAll sees the rest.
func (f *fixture) touched(c change, n int64) (some []*part) {
	for name := range c.files {
		known := path.Dir(name) == f.ledger.dir
		if known {
			some = append(some, f.parts[n%int64(len(f.parts))])
		}
		for _, p := range f.parts {
			if path.Dir(name) == p.dir {
				some, known = append(some, p), true
			}
		}
		if !known {
			return nil
		}
	}
	return some
}

// examine opens the store at a path of m and compares it with what the table
// wants.
func (f *fixture) examine(m fs.FS, at string, c change, n int64) error {
	parts, thorough := f.touched(c, n), n%everyAll == 0
	if parts == nil || thorough {
		parts, thorough = f.parts, true
	}
	o := options(m, clock.Still(began.AddDate(1, 0, 0)))
	switch {
	case n%everyFull == 1:
		o.Validate = braidlog.ValidateFull
	case n%everyNone == 2 && f.clean: // else it believes what lies behind the durable mark
		o.Validate = braidlog.ValidateNone
	}
	s, err := braidlog.Open(at, o)
	if err != nil {
		return errors.Join(f.mayRefuse(c, err), f.sameFiles(c, m, at, ".", nil))
	}
	v := visit{f: f, c: c, s: s, validate: o.Validate}
	groups := f.touchesGroups(c)
	for _, p := range parts {
		v.part(p, n%everyAppend == 0 && len(c.files) == 1 && !groups)
	}
	if groups || thorough {
		v.groups(groups && n%everyUse == 0 && !v.spoilsTopics())
	}
	if err = s.Close(); err != nil && !errors.Is(err, partition.ErrFailed) {
		v.say(undetected, "close: %v", err)
	}
	if thorough {
		v.err = errors.Join(v.err, f.sameFiles(c, m, at, ".", v.mayChange))
	} else {
		changed := parts
		if groups {
			changed = append(changed, f.ledger)
		}
		for _, p := range changed {
			v.err = errors.Join(v.err, f.sameFiles(c, m, at, p.dir, v.mayChange))
		}
	}
	if (n%everyReopen == 0 || v.moved != nil) && v.err == nil && len(v.appended) == 0 {
		again := visit{f: f, c: c, again: true, moved: v.moved}
		if again.s, err = braidlog.Open(at, options(m, clock.Still(began.AddDate(2, 0, 0)))); err != nil {
			return fmt.Errorf("open again: %w", err)
		}
		for _, p := range parts {
			again.part(p, false)
		}
		if groups {
			again.groups(false)
		}
		return errors.Join(again.err, again.s.Close())
	}
	return v.err
}

// lookIn opens the store read-only: not a byte changes, and intact records are
// read there too.
func (f *fixture) lookIn(m *fs.Mem, c change) error {
	var err error
	var o braidlog.Options
	reading := fs.Reading{FS: m, OnChange: func(op fs.OpKind, name string) { err = violated(lost, "read-only: tried to %v %s", op, name) }}
	testhook.Enter(&o, testhook.World{FS: reading, Clock: clock.Still(began.AddDate(1, 0, 0)), Idle: true})
	o.ReadOnly = true
	s, openErr := braidlog.Open(dir, o)
	if openErr != nil {
		return errors.Join(err, f.mayRefuse(c, openErr))
	}
	v := visit{f: f, c: c, s: s}
	v.lookAtGroups()
	err = errors.Join(err, v.err)
	for _, p := range f.parts {
		if t, topicErr := s.Topic(p.topic); topicErr == nil && err == nil {
			for rec, recErr := range t.Partition(p.number).Records(context.Background(), partition.First()) {
				if recErr == nil && err == nil {
					err = p.compare(&rec)
				}
			}
		}
	}
	return errors.Join(err, s.Close(), f.sameFiles(c, m, dir, ".", nil))
}

// mayRefuse returns nil if the store may refuse to open after a change, with
// such an error.
func (f *fixture) mayRefuse(c change, err error) error {
	for name, e := range c.files {
		switch name {
		case "store.json":
			if errors.Is(err, braidlog.ErrCorrupt) || e.form != regular && errors.Is(err, fs.ErrNotRegular) || e.form == missing && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
		case "LOCK", "checkpoint":
			if e.form > missing && errors.Is(err, fs.ErrNotRegular) {
				return nil
			}
		}
	}
	return violated(falseCorruption, "the store does not open: %v", err)
}

// A visit is one opening of a store that was spoiled.
type visit struct {
	f        *fixture
	c        change
	s        *braidlog.Store
	validate braidlog.Validate
	again    bool // it was opened before

	appended []string // segments that may have grown
	torn     []*part
	moved    standing // where groups are since they committed more, nil if they did not
	repaired bool     // the groups log was, which gives up what is damaged
	err      error
}

func (v *visit) say(k kind, format string, args ...any) {
	if v.err == nil { // the first is what matters
		v.err = violated(k, format, args...)
	}
}

// topicMayFail reports whether a topic may say that it is damaged.
func (v *visit) topicMayFail(topic string) bool {
	_, spoiled := v.c.files["topics/"+topic+"/topic.json"]
	return spoiled
}

// part compares a partition with what the table wants of it.
func (v *visit) part(p *part, appends bool) {
	t, err := v.s.Topic(p.topic)
	if err != nil {
		if !v.topicMayFail(p.topic) || !isDamage(err) {
			v.say(falseCorruption, "%v", err)
		}
		return
	}
	x := v.f.expect(v.c, p)
	if x.torn {
		v.torn = append(v.torn, p)
	}
	log := t.Partition(p.number)
	if err := log.Recovery().Err; err != nil {
		if !x.unsure || !isDamage(err) {
			v.say(falseCorruption, "%s does not open: %v", p, err)
		}
		return
	}
	if g := log.Recovery().Gap; g != nil && g.From == x.end && !v.f.intact(v.c, "checkpoint") {
		x.end = g.To // on another boot, and nobody says any more that it was closed
	}
	if log.End() != x.end {
		k := lost
		if log.End() > x.end {
			k = undetected
		}
		v.say(k, "%s ends at %d, want %d", p, log.End(), x.end)
		return
	}
	v.scan(p, log, x)
	v.lookUp(p, log, x)
	if v.validate == braidlog.ValidateFull {
		v.report(p, log, x)
	}
	if appends && v.err == nil {
		v.append(p, log, x)
	}
}

// isDamage reports whether an error says that a file is not what it was.
func isDamage(err error) bool {
	return errors.Is(err, braidlog.ErrCorrupt) || errors.Is(err, fs.ErrNotRegular)
}

// scan reads the partition from its first record.
func (v *visit) scan(p *part, log *partition.Partition, x expectation) {
	got, err := p.read(log)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return
	}
	for i := 0; i < max(len(got), len(x.items)); i++ {
		switch {
		case i == len(got):
			v.say(lost, "%s: %v is gone without a word", p, x.items[i])
		case i == len(x.items):
			v.say(invented, "%s: %v behind the end", p, got[i])
		case got[i] != x.items[i] && x.items[i].record:
			v.say(falseCorruption, "%s: %v, want %v", p, got[i], x.items[i])
		case got[i] != x.items[i]:
			v.say(undetected, "%s: %v, want %v", p, got[i], x.items[i])
		default:
			continue
		}
		return
	}
}

func (i item) String() string {
	if i.record {
		return fmt.Sprintf("record %d", i.from)
	}
	return fmt.Sprintf("[%d, %d) lost", i.from, i.to)
}

// read returns what a reader meets. Every record is compared.
func (p *part) read(log *partition.Partition) (all []item, err error) {
	for rec, err := range log.Records(context.Background(), partition.First()) {
		var c *partition.CorruptError
		switch {
		case err == nil:
			if err := p.compare(&rec); err != nil {
				return all, err
			}
			all = append(all, item{rec.Offset, rec.Offset + 1, true})
		case !errors.As(err, &c):
			return all, fmt.Errorf("read %s: %w", p, err)
		case c.FromOffset < c.ToOffset: // else nothing is lost
			all = addLost(all, c.FromOffset, c.ToOffset)
		}
	}
	return all, nil
}

// compare returns what is wrong with a record.
func (p *part) compare(rec *braidlog.Record) error {
	if rec.Offset < 0 || rec.Offset >= p.end() {
		return violated(invented, "%s: record %d", p, rec.Offset)
	}
	want := p.records[rec.Offset]
	if string(rec.Key) != want.key || string(rec.Value) != want.value || !rec.Timestamp.Equal(want.at) {
		return violated(invented, "%s: record %d is %q of %v, want %q of %v", p, rec.Offset, rec.Value, rec.Timestamp, want.value, want.at)
	}
	return nil
}

// lookUp asks for single offsets, each expectation's first and last, and for
// the time of an intact record.
func (v *visit) lookUp(p *part, log *partition.Partition, x expectation) {
	for i, it := range x.items {
		edge := i == 0 || i == len(x.items)-1 || !x.items[i-1].record || !x.items[i+1].record
		if it.record && !edge && i%5 != 0 {
			continue
		}
		rec, err := log.Record(context.Background(), it.from)
		var c *partition.CorruptError
		switch {
		case it.record && err != nil:
			v.say(falseCorruption, "%s: record %d: %v", p, it.from, err)
		case it.record:
			if err = p.compare(&rec); err != nil || rec.Offset != it.from {
				v.say(invented, "%s: record %d is %d: %v", p, it.from, rec.Offset, err)
			}
		case err == nil:
			v.say(undetected, "%s: record %d was lost, and is read", p, it.from)
		case !errors.As(err, &c) || it.from < c.FromOffset || it.from >= c.ToOffset:
			v.say(undetected, "%s: record %d was lost: %v", p, it.from, err)
		}
	}
	if len(x.items) == 0 || !x.items[len(x.items)/2].record {
		return
	}
	mid := x.items[len(x.items)/2].from
	offset, err := log.Resolve(partition.At(p.records[mid].at))
	if err != nil || offset > mid {
		v.say(falseCorruption, "%s: the time of record %d is at %d: %v", p, mid, offset, err)
		return
	}
	for o := offset; o < mid; o++ { // it may stand before damage, and not before an intact record that is earlier
		if x.has(o) && p.records[o].at.Before(p.records[mid].at) {
			v.say(falseCorruption, "%s: the time of record %d is at %d, and record %d is earlier", p, mid, offset, o)
			return
		}
	}
}

// has reports whether a record is expected.
func (x *expectation) has(offset int64) bool {
	for _, it := range x.items {
		if it.record && it.from == offset {
			return true
		}
	}
	return false
}

// report compares what a thorough Open reported.
func (v *visit) report(p *part, log *partition.Partition, x expectation) {
	var got, want []item
	for _, c := range log.Recovery().Lost {
		if c.FromOffset < c.ToOffset {
			got = addLost(got, c.FromOffset, c.ToOffset)
		}
	}
	for _, it := range x.items {
		if !it.record {
			want = append(want, it)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		v.say(undetected, "%s: recovery reports %v, want %v", p, got, want)
	}
}

// append appends a record: behind everything, or not at all if the damage is in
// the active segment.
func (v *visit) append(p *part, log *partition.Partition, x expectation) {
	offset, err := log.Append(context.Background(), braidlog.Record{Value: []byte("behind damage")})
	switch {
	case err != nil && x.refused && errors.Is(err, braidlog.ErrCorrupt):
		return
	case err != nil && x.unsure && isDamage(err):
		return
	case err != nil:
		v.say(falseCorruption, "append behind damage: %v", err)
		return
	case offset != x.end:
		v.say(lost, "%s: appended at %d, want %d", p, offset, x.end)
	}
	v.appended = append(v.appended, p.dir)
	rec, err := log.Record(context.Background(), offset)
	if err != nil || string(rec.Value) != "behind damage" {
		v.say(lost, "%s: what was appended at %d is %q: %v", p, offset, rec.Value, err)
	}
}

// mayChange reports whether a file of these bytes may have others now, nil for
// none.
func (v *visit) mayChange(name string, was, is []byte, after map[string][]byte) bool {
	switch {
	case v.repaired && path.Dir(name) == v.f.ledger.dir:
		return true
	case name == "LOCK", name == "store.json", name == "checkpoint", strings.HasSuffix(name, ".index"):
		return true
	case !strings.HasSuffix(name, ".log"):
		return false
	}
	for _, p := range v.torn {
		if path.Dir(name) != p.dir {
			continue
		}
		aside, there := after[p.dir+"/cut-"+path.Base(name)]
		if there && string(aside) == string(was) { // as a whole; there may be a new one in its place
			return true
		}
		if is != nil && kept(was, is) {
			return true
		}
	}
	return is != nil && begins(is, was)
}

// begins reports whether is has all of was but zeros at its end: space that was
// reserved is given back, and batches are added.
func begins(is, was []byte) bool {
	return strings.HasPrefix(string(is), strings.TrimRight(string(was), "\x00")) || strings.TrimRight(string(is), "\x00") == strings.TrimRight(string(was), "\x00")
}

// kept reports whether is begins with a part of was: what was torn has been cut
// off, and more may have been appended.
func kept(was, is []byte) bool {
	n := 0
	for n < len(was) && n < len(is) && was[n] == is[n] {
		n++
	}
	return n >= headerBytes || n == len(is)
}

// sameFiles returns which file in or below a directory of the store was deleted
// or changed that may not be. A nil mayChange allows for the lock file only.
func (f *fixture) sameFiles(c change, m fs.FS, at, below string, mayChange func(name string, was, is []byte, after map[string][]byte) bool) error {
	after, err := snapshot(m, at, below)
	if err != nil {
		return err
	}
	for _, name := range f.paths {
		e := f.after(c, name)
		if below != "." && path.Dir(name) != below || e.form == missing || e.form == directory || name == "LOCK" {
			continue
		}
		was := e.bytes
		is, there := after[name]
		if there && string(was) == string(is) {
			continue
		}
		if mayChange == nil || !mayChange(name, was, is, after) {
			return violated(lost, "%s was changed or deleted: %d bytes, now %d (there: %v)", name, len(was), len(is), there)
		}
	}
	return nil
}

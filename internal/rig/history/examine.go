package history

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	rigfs "github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/testhook"
)

// An Examination is what came of opening a disk, apart from what anybody knew
// before.
type Examination struct {
	Found     *Found
	Violation *Violation // nil if nothing was wrong
}

// An Examiner opens disks. The zero Examiner is ready.
type Examiner struct {
	Heap bool
	// Depth is how many disks the one that is examined was made from by others:
	// so that new segments have ids that were never used.
	Depth uint64
	// Unsynced says that the disk has more than what was synced: the process
	// ended, and not the machine.
	Unsynced bool
	// Memo, if not nil, is shared by Examiners, and has the disks that come up
	// while others are examined and were found to be good: many lead to the same.
	Memo *Memo
	// During, if not nil, is called before each operation on a file of the
	// first opening for writing, with its number from 1.
	During func(m *rigfs.Mem, n int64, op rigfs.Op)
}

// A Memo remembers which disks were opened and had what they should. The zero
// Memo is empty; it may be used from many goroutines.
type Memo struct {
	mu   sync.Mutex
	good map[memoKey]struct{} // guarded by mu
}

// A memoKey has no pointers: the garbage collector need not look at millions.
type memoKey struct {
	tree, want, boot uint64
	heap             bool
}

// maxMemo is how many disks a Memo has before it begins anew.
const maxMemo = 2_000_000

// known reports whether a disk was found to be good before; if not, enter is
// called when it was.
func (x *Examiner) known(m *rigfs.Mem, want string) (known bool, enter func()) {
	if x.Memo == nil {
		return false, func() {}
	}
	k := memoKey{m.HashOf(StorePath), HashOf(want), HashOf(m.BootID()), x.Heap}
	x.Memo.mu.Lock()
	defer x.Memo.mu.Unlock()
	_, known = x.Memo.good[k]
	return known, func() {
		x.Memo.mu.Lock()
		defer x.Memo.mu.Unlock()
		if x.Memo.good == nil || len(x.Memo.good) >= maxMemo {
			x.Memo.good = map[memoKey]struct{}{}
		}
		x.Memo.good[k] = struct{}{}
	}
}

// HashOf returns a number for a string.
func HashOf(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // #nosec G104 -- a hash takes everything
	return h.Sum64()
}

const oneMore = 1_000_000 // number of a record that is appended to see that it stays

// Examine opens the disk to read only, and then in earnest; reads everything,
// appends a record to each partition, has the power go, and opens it once more.
// m is used up.
func (x *Examiner) Examine(m *rigfs.Mem) (e Examination) {
	hash := m.HashOf(StorePath)
	ids := rand.New(rand.NewPCG(2+x.Depth, 0))
	shown, v := x.readOnly(m)
	if after := m.HashOf(StorePath); v == nil && after != hash {
		v = violation(Changed, "the bytes are others after reading only")
	}
	if v != nil {
		return Examination{&Found{}, v}
	}
	e.Found, e.Violation = x.live(m, ids, hash)
	if e.Violation == nil && shown != nil && !shown.Begins(e.Found) {
		e.Violation = violation(Invented, "who only read was shown %v, and now there is %v", shown.Parts, e.Found.Parts)
	}
	return e
}

// readOnly attaches, and returns what is shown; nil if there is no store.
func (x *Examiner) readOnly(m *rigfs.Mem) (*Found, *Violation) {
	changes := 0
	reading := rigfs.Reading{FS: m, OnChange: func(rigfs.OpKind, string) { changes++ }}
	s, err := openOn(StorePath, braidlog.Options{ReadOnly: true}, testhook.World{
		FS: reading, Clock: clock.Still(epoch),
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, violation(FalseCorruption, "attach: %v", err)
	}
	f, v := Read(s)
	if err = s.Close(); err != nil && v == nil {
		v = violation(FalseCorruption, "close what was attached: %v", err)
	}
	if changes > 0 && v == nil {
		v = violation(Changed, "%d attempts to change something by who only reads", changes)
	}
	return f, v
}

func (x *Examiner) open(m *rigfs.Mem, ids *rand.Rand) (*braidlog.Store, *Found, *Violation) {
	s, err := openOn(StorePath, braidlog.Options{}, testhook.World{
		FS: m, Clock: clock.Still(epoch), NewID: IDs(ids), Heap: x.Heap,
	})
	if err != nil {
		return nil, &Found{}, violation(FalseCorruption, "%v", err)
	}
	f, v := Read(s)
	if v != nil {
		_ = s.Close() // what was found first counts
	}
	return s, f, v
}

// live opens the store, closes and opens it again or not, appends, loses power,
// and opens what is left.
func (x *Examiner) live(m *rigfs.Mem, ids *rand.Rand, hash uint64) (*Found, *Violation) {
	if x.During != nil {
		m.OnOp(func(op rigfs.Op) error { x.During(m, op.N, op); return nil })
	}
	s, f, v := x.open(m, ids)
	m.OnOp(nil)
	if v != nil {
		return f, v
	}
	if v = x.lose(m, ids, f, hash); v != nil {
		_ = s.Close() // what was found first counts
		return f, v
	}
	now, v := f.mend(s)
	if v != nil {
		_ = s.Close() // what was found first counts
		return f, v
	}
	for i := range f.Parts {
		f.Parts[i].Next = now.Parts[i].End
	}
	again := hash&2 != 0
	if again {
		if s, v = x.reopen(s, m, ids, now); v != nil {
			return f, v
		}
	}
	if v = appendTo(s, now); v != nil {
		_ = s.Close() // what was found first counts
		return f, v
	}
	want := now.With(oneMore, slices.Contains(s.Groups(), groupName))
	keep := hash&4 != 0
	left := m.Crash(func() bool { return keep })
	if again {
		if err := s.Close(); err != nil {
			return f, violation(FalseCorruption, "%v", err)
		}
	} else if v = x.stays(s, m, ids, want); v != nil {
		return f, v
	}
	good, enter := x.known(left, "has "+want.Key())
	if good {
		return f, nil
	}
	s, g, v := x.open(left, ids)
	switch {
	case v != nil:
		v.Text = "one more appended, then the power lost: " + v.Text
		return f, v
	case !want.sameEntries(g), !want.sameCommits(g), !want.sameLosses(g):
		v = violation(Lost, "one more appended, then the power lost: %v, want %v", g.Parts, want.Parts)
	}
	if err := s.Close(); err != nil && v == nil {
		v = violation(FalseCorruption, "%v", err)
	}
	if v == nil {
		enter()
	}
	return f, v
}

// stays closes the store, and sees that it is the same when it is opened and
// closed again.
func (x *Examiner) stays(s *braidlog.Store, m *rigfs.Mem, ids *rand.Rand, want *Found) *Violation {
	if err := s.Close(); err != nil {
		return violation(FalseCorruption, "%v", err)
	}
	good, enter := x.known(m, "stays "+want.Key())
	if good {
		return nil
	}
	s, v := x.openSame(m, ids, want)
	if v != nil {
		return v
	}
	if err := s.Close(); err != nil {
		return violation(FalseCorruption, "%v", err)
	}
	enter()
	return nil
}

// lose has the power go as soon as the store was opened and read: what a reader
// saw at level Sync stays. Of disks on which all is synced it tries one in two.
func (x *Examiner) lose(m *rigfs.Mem, ids *rand.Rand, f *Found, hash uint64) *Violation {
	if !x.Unsynced && hash&1 == 0 {
		return nil
	}
	left := m.Crash(func() bool { return false })
	good, enter := x.known(left, "begins "+f.Key())
	if good {
		return nil
	}
	s, g, v := x.open(left, ids)
	if v != nil {
		v.Text = "opened, then the power lost: " + v.Text
		return v
	}
	if t, err := s.Topic(topicName); err == nil && t.Config().Durability == braidlog.Sync && !f.Begins(g) {
		v = violation(Lost, "a reader saw %v, then the power was lost: %v", f.Parts, g.Parts)
	}
	if v == nil && !f.sameCommits(g) {
		v = violation(Lost, "commits were seen in %v, then the power was lost: %v", f.Parts, g.Parts)
	}
	if err := s.Close(); err != nil && v == nil {
		v = violation(FalseCorruption, "%v", err)
	}
	if v == nil {
		enter()
	}
	return v
}

// reopen closes the store and opens it again, which must find the same.
func (x *Examiner) reopen(s *braidlog.Store, m *rigfs.Mem, ids *rand.Rand, want *Found) (*braidlog.Store, *Violation) {
	if err := s.Close(); err != nil {
		return nil, violation(FalseCorruption, "%v", err)
	}
	return x.openSame(m, ids, want)
}

// openSame opens a store in which what is wanted must be.
func (x *Examiner) openSame(m *rigfs.Mem, ids *rand.Rand, want *Found) (*braidlog.Store, *Violation) {
	s, f, v := x.open(m, ids)
	if v == nil && !f.Same(want) {
		v = violation(Unstable, "closed and opened: %v, was %v", f.Parts, want.Parts)
		_ = s.Close() // what was found first counts
	}
	return s, v
}

// appendTo appends a record to each partition and makes it durable; if there is
// a group, it commits everything.
func appendTo(s *braidlog.Store, f *Found) *Violation {
	if len(f.Parts) == 0 {
		return nil
	}
	t, err := s.Topic(topicName)
	if err != nil {
		return violation(FalseCorruption, "%v", err)
	}
	for i := range f.Parts {
		pos, err := t.AppendTo(bg, i, NewRecord(oneMore, 60))
		if err != nil {
			return violation(FalseCorruption, "append after recovery: %v", err)
		}
		if pos.Offset != f.Parts[i].End {
			return violation(Reused, "appended at %d, the end was %d", pos.Offset, f.Parts[i].End)
		}
	}
	if err = t.Sync(bg); err == nil {
		err = commitAll(s, t)
	}
	if err != nil {
		return violation(FalseCorruption, "%v", err)
	}
	return nil
}

// ExamineBackup compares a backup with what was known when it was begun.
func ExamineBackup(m *rigfs.Mem, b *Backup) *Violation {
	s, err := openOn(b.Path, braidlog.Options{ReadOnly: true}, testhook.World{FS: m, Clock: clock.Still(epoch)})
	switch {
	case err != nil && b.Done:
		return violation(Lost, "a backup: %v", err)
	case errors.Is(err, braidlog.ErrPartialBackup), errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return violation(FalseCorruption, "a backup that was not finished: %v", err)
	}
	if b.Known.committed() { // who only reads is not told of commits
		if err = s.Close(); err == nil {
			s, err = openOn(b.Path, braidlog.Options{}, testhook.World{FS: m.Kill(), Clock: clock.Still(epoch)})
		}
		if err != nil {
			return violation(FalseCorruption, "a backup, in earnest: %v", err)
		}
	}
	defer s.Close() // #nosec G104 -- nobody goes on with it
	f, v := Read(s)
	if v == nil {
		v = b.Known.Judge(f, true)
	}
	if v != nil {
		v.Text = "a backup: " + v.Text
	}
	return v
}

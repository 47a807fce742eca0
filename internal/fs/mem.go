package fs

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mem is a file system in memory for tests: it fails on demand, and it can be
// asked what a disk would hold after a crash. It is safe for concurrent use.
// Paths start at "/", where a relative one starts too.
//
// A mapping of a Mem's file is a copy: a store reaches the file when it is
// published, and writes by other ways do not show in it.
type Mem struct {
	boot int // immutable

	mu      sync.Mutex
	root    *node             // guarded by mu, with everything below
	pending []*nameOp         // guarded by mu: those not durable yet, oldest first
	named   int               // guarded by mu; name operations so far
	sure    int               // guarded by mu; the last of them that a Sync made durable, at least in part
	past    *past             // guarded by mu; nil unless it remembers
	ops     int64             // guarded by mu
	halted  error             // guarded by mu; not nil once nothing has an effect any more
	open    map[any]string    // guarded by mu; files, directories and locks that were not closed, by path
	hook    func(op Op) error // guarded by mu; called without it
}

// NewMem returns an empty file system.
func NewMem() *Mem { return &Mem{boot: 1, root: newDir()} }

// BootID implements FS. It is the same after Kill and another after Crash.
func (m *Mem) BootID() string { return fmt.Sprintf("mem-%d", m.boot) }

// CanMap implements FS. It is true.
func (m *Mem) CanMap() bool { return true }

// OnOp has hook called before each operation, in place of any earlier hook;
// nil ends that. An error of the hook's becomes the operation's, which then has
// no effect (but see ShortWriteError; a file whose Close fails is closed, and
// after a failed Sync what was written before stays in doubt until it is
// written anew, as on Linux). The hook holds no lock: it may use m, though what
// it does counts as operations too.
func (m *Mem) OnOp(hook func(op Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// FailNth has operation n, counted from 1 since m was made, fail with err. It
// takes the place of any hook.
func (m *Mem) FailNth(n int64, err error) {
	m.OnOp(func(op Op) error { return errorIf(op.N == n, err) })
}

// FailFrom has operation n and all after it fail with err. It takes the place
// of any hook.
func (m *Mem) FailFrom(n int64, err error) {
	m.OnOp(func(op Op) error { return errorIf(op.N >= n, err) })
}

func errorIf(fails bool, err error) error {
	if fails {
		return err
	}
	return nil
}

// Ops returns how many operations were begun since m was made.
func (m *Mem) Ops() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Halt ends the machine: from now on every operation fails with err and has no
// effect, also one that has begun already, and publishing a mapping. Whatever
// reported success by then is in what Crash and Kill return afterwards as they
// would have it, and nothing else is.
func (m *Mem) Halt(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.halted = err
}

// Open returns the paths of what was opened and not closed, sorted: files,
// directories that OpenDir opened, and locks.
func (m *Mem) Open() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Values(m.open))
}

// openedLocked takes note of something that has to be closed.
func (m *Mem) openedLocked(what any, path string) {
	if m.open == nil {
		m.open = map[any]string{}
	}
	m.open[what] = path
}

// begin counts op and asks the hook about it.
func (m *Mem) begin(op Op) error {
	m.mu.Lock()
	m.ops++
	op.N = m.ops
	hook := m.hook
	m.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op)
}

// do is one operation: the hook without m's lock, then effect with it.
func (m *Mem) do(op Op, effect func() error) error {
	err := m.begin(op)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err = m.halted; err == nil {
			err = effect()
		}
	}
	return wrap(op.Kind.String(), op.Name, err)
}

// OpenDir implements FS.
func (m *Mem) OpenDir(name string, create bool) (Dir, error) {
	full := fullPath(name)
	d := &memDir{m: m, at: full, prefix: ".", closed: new(atomic.Bool)}
	if create {
		err := m.do(Op{Kind: OpOpenDir, Name: full}, func() (err error) {
			if d.base, err = m.makeDirLocked(full); err == nil {
				m.openedLocked(d.closed, full)
			}
			return err
		})
		return d.orNil(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if d.base, err = m.root.dirAt(full[1:]); err == nil {
		m.openedLocked(d.closed, full)
	}
	return d.orNil(wrap(OpOpenDir.String(), full, err))
}

// fullPath is a path given to a Mem from "/".
func fullPath(name string) string { return path.Clean("/" + filepath.ToSlash(name)) }

// makeDirLocked makes the directory at full as OS does: see makeDir.
func (m *Mem) makeDirLocked(full string) (*node, error) {
	at, above := m.root, (*node)(nil)
	for name := range strings.SplitSeq(full[1:], "/") {
		if name == "" {
			break // full is "/"
		}
		next := at.names[name]
		if next == nil {
			m.syncDirLocked(above)
			next = newDir()
			m.applyLocked(half{at, name, next})
		}
		if !next.isDir() {
			return nil, ErrNotRegular
		}
		at, above = next, at
	}
	m.syncDirLocked(above)
	return at, nil
}

// A nameOp is a change of names that a power loss undoes or not, as a whole.
// A rename has two halves, which syncing directories may make durable one by
// one.
type nameOp struct {
	n      int // which of all name operations, from 1
	halves []half
	rename bool // of a file, and both of its halves are open
}

// A half makes name stand for to in a directory, or for nothing if to is nil.
type half struct {
	dir  *node
	name string
	to   *node
}

func (h half) apply(names map[string]*node) {
	if h.to == nil {
		delete(names, h.name)
		return
	}
	names[h.name] = h.to
}

func (m *Mem) applyLocked(halves ...half) {
	m.past.named(halves)
	for _, h := range halves {
		h.apply(h.dir.names)
	}
	m.named++
	rename := len(halves) == 2 && !halves[1].to.isDir()
	m.pending = append(m.pending, &nameOp{m.named, halves, rename})
}

// newFileLocked returns a new empty file.
func (m *Mem) newFileLocked() *node {
	f := newFile()
	f.past = m.past
	return f
}

// syncDirLocked makes the names in dir durable; nil is no directory.
func (m *Mem) syncDirLocked(dir *node) {
	if dir == nil {
		return
	}
	var rest []*nameOp
	for _, op := range m.pending {
		var open []half
		for _, h := range op.halves {
			if h.dir == dir {
				h.apply(dir.durable)
				m.sure = max(m.sure, op.n)
				continue
			}
			open = append(open, h)
		}
		if len(open) > 0 {
			rest = append(rest, &nameOp{op.n, open, op.rename && len(open) == 2})
		}
	}
	m.pending = rest
	m.past.synced()
}

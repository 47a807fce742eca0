package braidlogtest

import (
	"fmt"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
)

// An Op is a kind of operation on files.
type Op uint8

// The operations that FailNext can fail.
const (
	Any       Op = iota // whatever comes next
	OpenFile            // opening a file that exists
	CloseFile           // closing one
	Create              // making a file
	Read                // reading from a file
	Write               // writing to a file: appends, and the store's own files
	Sync                // waiting until a file is on disk
	Truncate            // setting a file's length
	Allocate            // reserving space; a full disk says so here
	Rename              // also how the store's own files are replaced
	Link                // what a backup begins with
	Remove              // removing a file or directory
	Mkdir               // making a directory
	List                // reading a directory
	SyncDir             // waiting until the names in a directory are on disk
)

// kinds are what the operations are called in the file system.
var kinds = [...]fs.OpKind{
	OpenFile: fs.OpOpen, CloseFile: fs.OpClose, Create: fs.OpCreate, Read: fs.OpReadAt, Write: fs.OpWriteAt, Sync: fs.OpSync,
	Truncate: fs.OpTruncate, Allocate: fs.OpAllocate, Rename: fs.OpRename, Link: fs.OpLink, Remove: fs.OpRemove, Mkdir: fs.OpMkdir,
	List: fs.OpList, SyncDir: fs.OpSyncDir,
}

func (o Op) String() string {
	switch {
	case o == Any:
		return "any"
	case int(o) < len(kinds):
		return kinds[o].String()
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// A failure is one that is to come.
type failure struct {
	op  Op
	err error
}

func (f failure) is(kind fs.OpKind) bool { return f.op == Any || kinds[f.op] == kind }

// FailNext has the next operation of a kind, by whatever part of the store,
// fail with err, such as syscall.EIO or syscall.ENOSPC, and do nothing. Called
// again it has one more fail, after that. After a Sync that failed, what was
// not synced by then is lost to the next Crash, as on Linux, also if a later
// Sync succeeds.
func (s *Store) FailNext(op Op, err error) {
	s.t.Helper()
	if err == nil || int(op) >= len(kinds) {
		s.t.Fatalf("braidlogtest: FailNext(%v, %v): want an operation and an error", op, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, failure{op, err})
}

// PowerOffAfter lets n more operations on files happen; then the power goes
// off, and everything fails with ErrPowerOff until Crash, CrashKeeping or Kill
// opens the store again.
func (s *Store) PowerOffAfter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fuse = max(n, 0)
}

// PowerIsOff reports whether the power went off since the store was opened.
func (s *Store) PowerIsOff() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blown != ""
}

// decide is asked about each operation before it happens.
func (s *Store) decide(op fs.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fuse == 0 && s.blown == "" {
		s.blown, s.spoiled = op.String(), true
		s.mem.Halt(ErrPowerOff)
	}
	if s.blown != "" {
		return ErrPowerOff
	}
	if s.fuse > 0 {
		s.fuse--
	}
	for i, f := range s.fail {
		if f.is(op.Kind) {
			s.fail = append(s.fail[:i:i], s.fail[i+1:]...)
			s.spoiled = true
			return f.err
		}
	}
	return nil
}

// EachCrash finds out whether a program loses anything when the power goes off,
// at whichever operation on a file that is. It opens an empty store, calls run,
// which uses the store and keeps in mind what it was promised, turns the power
// off, opens the store again with what was synced, and calls check, which
// compares. It does so again and again, and the power goes off after no
// operation of run's, after one, after two, until run was done first. While the
// power is off everything that run does with the store fails; it has to return
// all the same.
//
// If the test fails, the log says when the power went off.
func EachCrash(t testing.TB, run, check func(s *Store), options ...Option) {
	t.Helper()
	for n, done := 0, false; !done; n++ {
		done = crashOnce(t, n, run, check, options)
	}
}

func crashOnce(t testing.TB, n int, run, check func(s *Store), options []Option) (done bool) {
	t.Helper()
	s := prepare(t, options)
	at := "at the end"
	defer func() {
		t.Helper()
		s.end()
		if t.Failed() {
			t.Logf("braidlogtest: the power went off after %d operations on files, %s", n, at)
		}
	}()
	s.open(fs.NewMem())
	s.PowerOffAfter(n)
	run(s)
	s.mu.Lock()
	done = s.blown == ""
	if !done {
		at = "before: " + s.blown
	}
	s.mu.Unlock()
	s.Crash()
	check(s)
	return done || t.Failed()
}

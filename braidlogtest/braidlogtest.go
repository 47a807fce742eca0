// Package braidlogtest crash-tests programs that use braidlog: it opens stores
// that live in memory, whose files fail and whose power goes off on demand.
//
//	func TestOutboxSurvivesPowerLoss(t *testing.T) {
//		s := braidlogtest.Open(t)
//		outbox := NewOutbox(s.Store)
//		require.NoError(t, outbox.Put(ctx, order))
//		s.Crash() // opens it again, with what was synced
//		require.Contains(t, NewOutbox(s.Store).All(ctx), order)
//	}
//
// [EachCrash] does so at every operation on a file, one after the other.
//
// At the end of the test the store is closed, and the test fails if a file was
// left open or a goroutine of the store is still there. All of it may be used
// inside a bubble of testing/synctest.
package braidlogtest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/testhook"
)

// Dir is where a store is in the file system of its test, for messages, and
// for backups, which go beside it.
const Dir = "/store"

// ErrPowerOff is in the chain of every error of a store whose power went off
// or whose process was ended.
var ErrPowerOff = errors.New("the power is off")

// A Store is a store under test. Its methods are called by one goroutine at a
// time, as is whatever uses the field Store while one of them replaces it.
type Store struct {
	// Store is the open store. Crash, CrashKeeping, Kill and Reopen put another
	// one in its place: topics, groups and readers of the one before are of no
	// use then.
	*braidlog.Store
	// Clock is the time that the store goes by.
	Clock *Clock

	t    testing.TB
	mem  *fs.Mem
	opts braidlog.Options
	leak *leakCheck

	mu      sync.Mutex // a leaf
	fail    []failure  // guarded by mu; those to come
	fuse    int        // guarded by mu; operations until the power goes off, -1 for never
	blown   string     // guarded by mu; the operation before which it did
	spoiled bool       // guarded by mu; something failed: closing may too
}

// An Option changes how a store is opened.
type Option func(*Store)

// With has the store opened with o, and opened again likewise. ReadOnly is of no
// use: there is nobody else who writes.
func With(o braidlog.Options) Option {
	return func(s *Store) { s.opts = o }
}

// At has the store's clock stand at a time, and move by Advance alone.
func At(at time.Time) Option {
	return func(s *Store) { s.Clock = &Clock{clock.Still(at)} }
}

// Open opens an empty store, and has it closed and checked for leaks when the
// test ends. If that is not possible the test fails. Nothing of it waits for a
// disk, and segments are never mapped: whatever is appended goes through a
// write that FailNext can fail.
func Open(t testing.TB, options ...Option) *Store {
	t.Helper()
	s := prepare(t, options)
	t.Cleanup(s.end)
	s.open(fs.NewMem())
	return s
}

func prepare(t testing.TB, options []Option) *Store {
	s := &Store{t: t, fuse: -1, Clock: &Clock{clock.Follow()}}
	for _, o := range options {
		o(s)
	}
	s.leak = watchGoroutines()
	return s
}

// open opens the store on a disk.
func (s *Store) open(m *fs.Mem) {
	s.t.Helper()
	s.mem = m
	m.OnOp(s.decide)
	o := s.opts
	testhook.Enter(&o, testhook.World{FS: m, Clock: s.Clock.c, Heap: true})
	store, err := braidlog.Open(Dir, o)
	if err != nil {
		s.t.Fatalf("braidlogtest: %v", err)
	}
	s.Store = store
}

// Crash turns the power off and opens the store again, with what was synced
// and nothing else: whatever was acknowledged at level Sync, and the part of
// other levels that the disk had. What was under way fails with ErrPowerOff or
// was in time, and the old store is closed when Crash returns; so callbacks
// must not wait for what comes after it. Failures that are still to come are
// forgotten. If the store does not open the test fails.
func (s *Store) Crash() {
	s.t.Helper()
	s.CrashKeeping(func() bool { return false })
}

// CrashKeeping is Crash that asks keep about everything that was written and
// not synced, whether the disk has it: each name, each length and each sector
// of 512 bytes by itself, as real disks write them in any order. Take it from
// a random generator with a seed that the test tells.
func (s *Store) CrashKeeping(keep func() bool) {
	s.t.Helper()
	s.halt()
	s.open(s.mem.Crash(keep))
}

// Kill ends the process, as kill -9 does, and opens the store again: with
// everything that was written, synced or not. Otherwise it is like Crash.
func (s *Store) Kill() {
	s.t.Helper()
	s.halt()
	s.open(s.mem.Kill())
}

// Reopen closes the store well and opens it again. An error of Close fails the
// test.
func (s *Store) Reopen() {
	s.t.Helper()
	if err := s.Store.Close(); err != nil {
		s.t.Fatalf("braidlogtest: %v", err)
	}
	s.checkFiles()
	s.open(s.mem)
}

// halt ends the store as it is, so that nothing of it has any more effect.
func (s *Store) halt() {
	s.t.Helper()
	s.mem.Halt(ErrPowerOff)
	s.mem.OnOp(nil)
	s.Store.Close() // #nosec G104 -- it fails, since nothing can be written; what counts is that it ends
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.fuse, s.blown, s.spoiled = nil, -1, "", false
}

// end is what the test ends with.
func (s *Store) end() {
	s.t.Helper()
	if s.Store == nil {
		return // it did not open
	}
	err := s.Store.Close()
	s.mu.Lock()
	excused := s.spoiled || errors.Is(err, braidlog.ErrClosed)
	s.mu.Unlock()
	if err != nil && !excused {
		s.t.Errorf("braidlogtest: %v", err)
	}
	s.checkFiles()
	if left := s.leak.left(); left != "" {
		s.t.Errorf("braidlogtest: goroutines were left behind:\n%s", left)
	}
}

// checkFiles is called when the store is closed.
func (s *Store) checkFiles() {
	s.t.Helper()
	for _, name := range s.mem.Open() {
		s.t.Errorf("braidlogtest: %s was left open", name)
	}
}

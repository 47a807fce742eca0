package partition

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/segment"
)

const (
	// DefaultMaxOpenFiles is how many files a store keeps open at most.
	DefaultMaxOpenFiles = 512
	minOpenFiles        = 2

	// maxSyncs is how many syncs are in flight at a time: each blocks a
	// thread of the process.
	maxSyncs = 32
	// maxWorkers is how many goroutines do the background work.
	maxWorkers = 8

	// markerDelay is how long after the last sync a marker is written.
	markerDelay = 20 * time.Millisecond
	// idleDelay is how long after the last append a partition gives its file
	// and memory back.
	idleDelay = 10 * time.Second
)

// SharedOptions configure what partitions share.
type SharedOptions struct {
	// FS is the file system; nil is the operating system's.
	FS fs.FS
	// MaxOpenFiles bounds the files that are open at a time, windows
	// included. Files in use at the very moment are never closed, so with
	// more appenders than this it can be exceeded. Zero: 512; at least 2.
	MaxOpenFiles int
	// Begin is called before the first change that any partition makes, and
	// may be called again. It returns the epoch for what is written. Nil: 0.
	Begin func() (epoch uint32, err error)
	// SyncFailed is called when a sync failed of a partition below level Sync,
	// before anybody hears of the failure. The kernel may have thrown away what
	// readers saw, as a power cut does: whoever keeps what Options.SameBoot is to
	// say must say false at the next Open, of all partitions. It may be called
	// again, by several goroutines, and may wait for I/O; it must not wait for a
	// partition. Nil: nobody is told.
	SyncFailed func()
	// Clock tells the time; nil starts one.
	Clock *clock.Clock
	// NewID makes the ids of segments; nil is meta.NewID.
	NewID func() meta.ID
	// ForceHeap keeps mapped windows from being used.
	ForceHeap bool
}

// Shared is what the partitions of a store have in common: the file system,
// the budget of open files, the clock, the slots for syncs, the workers and
// the one timer. Make it with NewShared and close it after the last partition.
type Shared struct {
	fs        fs.FS
	files     *segment.Files
	clock     *clock.Clock
	begin     func() (uint32, error)
	failed    func() // a sync did, below level Sync
	newID     func() meta.ID
	forceHeap bool
	syncs     chan struct{} // one place for each sync in flight
	verifies  chan struct{} // one place for each segment that is verified now
	buffers   sync.Pool     // of *[]byte
	waiters   sync.Pool     // of *waiter
	waiting   atomic.Int32  // appenders that wait for their group

	mu      yield.Mutex  // no I/O is done, and no other lock taken, under it
	tasks   []func()     // guarded by mu; what the workers have still to do
	workers int          // guarded by mu
	awake   awake        // guarded by mu; those with something due some time
	timer   *clock.Timer // guarded by mu; fires tick
	due     int64        // guarded by mu; when the timer fires, by the clock
	closed  bool         // guarded by mu

	running sync.WaitGroup // workers, callbacks and ticks
}

// NewShared returns an empty Shared.
func NewShared(o SharedOptions) (*Shared, error) {
	if o.FS == nil {
		o.FS = fs.OS{}
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = DefaultMaxOpenFiles
	}
	if o.MaxOpenFiles < minOpenFiles {
		return nil, fmt.Errorf("%w option: MaxOpenFiles is %d, want at least %d", ErrInvalid, o.MaxOpenFiles, minOpenFiles)
	}
	if o.Begin == nil {
		o.Begin = func() (uint32, error) { return 0, nil }
	}
	if o.SyncFailed == nil {
		o.SyncFailed = func() {}
	}
	if o.Clock == nil {
		o.Clock = clock.Start()
	}
	if o.NewID == nil {
		o.NewID = meta.NewID
	}
	s := &Shared{
		fs:        o.FS,
		clock:     o.Clock,
		begin:     o.Begin,
		failed:    o.SyncFailed,
		newID:     o.NewID,
		forceHeap: o.ForceHeap,
		syncs:     make(chan struct{}, maxSyncs),
		verifies:  make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	s.files = segment.NewFiles(o.MaxOpenFiles, s.relieve)
	return s, nil
}

// Now returns the time by the clock of all timestamps, in nanoseconds since
// 1970 UTC.
func (s *Shared) Now() int64 { return s.clock.Now() }

// OpenFiles returns how many segment files are open now.
func (s *Shared) OpenFiles() int { return s.files.Open() }

// Close ends the timer and waits for the workers. All partitions must have
// been closed.
func (s *Shared) Close() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil && s.timer.Stop() {
		s.running.Done() // the tick that will not be
	}
	s.timer = nil
	s.mu.Unlock()
	s.running.Wait()
	yield.Woken()
}

// submit has a worker run task. Tasks wait for I/O and for nothing else: a
// task that waited for another one could wait for ever.
func (s *Shared) submit(task func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, task)
	if s.workers < maxWorkers {
		s.workers++
		s.running.Go(s.work)
	}
}

// work runs tasks until there are none.
func (s *Shared) work() {
	yield.Woken()
	for {
		s.mu.Lock()
		if len(s.tasks) == 0 {
			s.workers--
			s.tasks = nil
			s.mu.Unlock()
			return
		}
		task := s.tasks[0]
		s.tasks = s.tasks[1:]
		s.mu.Unlock()
		task()
	}
}

// wake has the timer look after p from now on, first at due.
func (s *Shared) wake(p *Partition, due int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.awake.enter(p, due)
	s.armLocked(due)
}

// armLocked lets the timer fire at due or earlier. The caller holds mu.
func (s *Shared) armLocked(due int64) {
	if s.timer != nil && s.due <= due {
		return
	}
	wait := max(time.Duration(due-s.clock.Now()), time.Millisecond)
	s.due = due
	switch {
	case s.timer == nil:
		s.running.Add(1)
		s.timer = s.clock.AfterFunc(wait, s.tick)
	case s.timer.Stop():
		s.timer.Reset(wait)
	}
	// Otherwise the timer fired already, and tick is about to look around.
}

// tick looks after every partition for which something is due, and arms the
// timer for the next.
func (s *Shared) tick() {
	defer s.running.Done()
	yield.Woken()
	s.clock.Wake()
	s.mu.Lock()
	s.timer = nil
	s.mu.Unlock()
	s.lookAround()
}

// Skip calls move, which moves a clock that stands still, and then does what the
// timer would do when it fires: whatever is due has been asked of the workers
// when it returns, on no other goroutine. It is for tests that are to run the
// same way each time.
func (s *Shared) Skip(move func()) {
	s.mu.Lock()
	if s.timer != nil && s.timer.Stop() {
		s.timer = nil
		s.running.Done() // the tick that will not be
	}
	s.mu.Unlock()
	move()
	s.lookAround()
}

func (s *Shared) lookAround() {
	now := s.clock.Now()
	for p := s.takeDue(now); p != nil; p = s.takeDue(now) {
		if due := p.lookAfter(now); due != never {
			s.wake(p, max(due, now+1)) // this tick is done with it
		}
	}
}

// takeDue returns a partition for which something is due. If there is none it
// arms the timer and returns nil.
func (s *Shared) takeDue(now int64) *Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.awake.take(now)
	if next := s.awake.next(); p == nil && next != never && !s.closed {
		s.armLocked(next)
	}
	return p
}

// sleep takes p off the list of those the timer looks after.
func (s *Shared) sleep(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake.leave(p)
}

// relieve closes the window that was not appended to for the longest time, of
// those that can be closed. It is called when every open file is lent, by
// somebody who holds no lock.
func (s *Shared) relieve() {
	s.mu.Lock()
	all := append([]*Partition(nil), s.awake...)
	s.mu.Unlock()
	type closable struct {
		p    *Partition
		used int64
	}
	var found []closable
	for _, p := range all {
		if used, ok := p.closable(); ok {
			found = append(found, closable{p, used})
		}
	}
	slices.SortFunc(found, func(a, b closable) int { return cmp.Compare(a.used, b.used) })
	for _, c := range found {
		if c.p.tryDetach() {
			return
		}
	}
}

// Package partition is one ordered, append-only log on disk: segments one
// behind the other, appended to at the end and read anywhere. A topic is a
// fixed number of them; a Partition also works by itself.
//
// # Appending
//
// An append encodes its batch under the append lock, either straight into the
// mapped file (the mapped window: levels Interval and OS on 64-bit Linux) or
// into the group of batches that is gathered next (the heap window). A group
// is written, and at level Sync synced, by one of those who wait for it: the
// leader, who holds the baton. docs/DESIGN.md tells it in full.
//
// # Reading
//
// Readers see the records below End: at level Sync those that are durable, at
// the others those that are written. They copy what they read, check every
// batch, and never wait for appenders.
package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/relay"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/segment"
)

// A Partition is an open partition. Its methods may be called from many
// goroutines at once.
type Partition struct {
	opts   Options // immutable but for Config, which is in config
	config atomic.Pointer[Config]
	shared *Shared // immutable
	own    bool    // immutable; shared is this partition's to close
	root   fs.Dir  // immutable; the directory, if this partition opened it
	parent fs.Dir  // immutable; where the partition's directory is or will be
	name   string  // immutable; what it is called there
	dir    fs.Dir  // immutable; the partition's directory
	broken error   // immutable; why the partition could not be opened

	events *relay.Relay[Event] // immutable; to opts.Logger, nil without one

	// upkeep is held, one place, by who trims, repairs or copies the
	// partition: nobody else removes segments or writes partition.json. It is
	// taken before the baton and never while holding it.
	upkeep chan struct{}
	start  atomic.Int64             // first readable offset; changed with upkeep
	gaps   atomic.Pointer[[]span]   // offsets a repair gave up, rising; replaced with upkeep
	report atomic.Pointer[Recovery] // what was found last; never nil
	found  atomic.Int64             // when that was, by the clock
	litter atomic.Bool              // files of trimmed segments may be left; changed with upkeep

	// mu is the append lock. No file is synced and nothing is waited for
	// under it; mapped appends lengthen their file under it if they must.
	mu      yield.Mutex
	mapped  bool     // guarded by mu; appends go through a mapped window
	tail    tail     // guarded by mu; where the next batch goes
	groups  []*group // guarded by mu; gathered and not yet taken by a leader
	pending int64    // guarded by mu; bytes in groups, the one being written included
	space   chan struct{}
	// space is guarded by mu; made by who waits for room or for a sync, and
	// closed by the next commit or sync.

	baton   bool    // guarded by mu; somebody may change files
	held    int     // guarded by mu; how many make appends wait: the settings change, or a snapshot is taken
	wanted  []*want // guarded by mu; those who wait for the baton
	failed  error   // guarded by mu; nothing is appended any more
	counted int64   // guarded by mu; bytes of this partition in opts.Quota
	closing bool    // guarded by mu

	epoch     uint32 // guarded by mu; of what is written now
	begun     bool   // guarded by mu; something may have been written since Open
	witness   int64  // guarded by mu; greatest durable offset that a file tells of
	syncedAt  int64  // guarded by mu; when the last sync ended, by the clock
	dirtyAt   int64  // guarded by mu; when the first unsynced record was appended, 0 if all are synced
	dirty     int64  // guarded by mu; bytes appended since the last sync began
	syncAsked bool   // guarded by mu; an interval sync is on its way
	unsynced  error  // guarded by mu; why the last sync could not be tried, nil if it was
	retryAt   int64  // guarded by mu; what could not be tried is not tried again before, by the clock
	touching  bool   // guarded by mu; a worker makes pages ready
	noting    bool   // guarded by mu; a worker writes the index
	calls     []call // guarded by mu; callbacks to be run
	calling   bool   // guarded by mu; a goroutine runs them
	dueAt     int64  // guarded by mu; when the timer next looks after this, 0 for never
	wakeAt    int64  // guarded by shared.mu; the same, as the timer knows it; never while it does
	wakeSlot  int    // guarded by shared.mu; where in shared.awake, counted from 1; 0: not there

	w         writer        // changed with the baton and mu, read with either
	unmade    string        // changed with the baton and mu, read with either; file of a segment that could not be made and is to be removed
	growing   chan struct{} // guarded by mu; closed when a worker lengthened the file; nobody else changes its length till then
	hasDir    bool          // with the baton; the directory is on disk
	redo      func() error  // with the baton; writes again what recovery found unsynced; nil: nothing
	dirtyDir  bool          // with the baton; names in it may not be durable
	skipped   bool          // with the baton; offsets that a power cut can have taken were passed over
	callbacks sync.WaitGroup

	segments atomic.Pointer[[]*segment.Segment] // rising; replaced, never changed, under mu
	visible  atomic.Int64                       // readers see records below
	durable  atomic.Int64                       // records below are durable
	ended    atomic.Bool                        // closed: readers stop
	watch    watch
	follow   *follower // immutable; nil unless somebody else writes the partition

	figures figures
}

// A tail is where the next batch goes.
type tail struct {
	seg   *segment.Segment // nil before the first append
	pos   int64            // position in its file
	next  int64            // offset
	time  int64            // append time of the last record
	first int64            // when the segment got its first record, by the clock; 0 if it has none
	used  int64            // when it was last appended to, by the clock
	full  bool             // a roll is under way: nothing more goes here
	note  int              // writing the index failed: not again before it lacks so many entries
}

// A writer is what is known of the file that is being written.
type writer struct {
	seg       *segment.Segment // nil while no file is attached
	file      fs.File          // borrowed from seg
	pos       int64            // written up to here
	allocated int64            // reserved up to here
	step      int64            // how much to reserve next
	short     bool             // there was no room to reserve ahead: appends find out when there is
	mapped    bool             // seg has a window
	touched   int64            // the window's pages are ready up to here; guarded by mu
}

// Open opens the partition in the directory dir, which is made by the first
// append if it is missing, and recovers it: what a crash left torn is cut,
// damage is kept and named when it is read. Recovery tells what was found.
func Open(dir string, opts Options) (*Partition, error) {
	shared := opts.Shared
	if shared == nil {
		var err error
		if shared, err = NewShared(SharedOptions{}); err != nil {
			return nil, err
		}
	}
	fsys := shared.fs
	if opts.ReadOnly {
		fsys = fs.OnlyReading(fsys)
	}
	root, err := fsys.OpenDir(dir, !opts.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("open partition: %w", err)
	}
	own := opts.Shared == nil
	opts.Shared = shared
	p, err := OpenIn(root, ".", opts)
	if err != nil {
		err = errors.Join(err, root.Close())
		if own {
			shared.Close()
		}
		return nil, err
	}
	p.own, p.root = own, root
	return p, nil
}

// OpenIn is Open for the directory called name in a directory of a store.
// opts.Shared must be set. The parent stays the caller's to close.
func OpenIn(parent fs.Dir, name string, opts Options) (*Partition, error) {
	config, err := opts.Config.WithDefaults()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", subject(opts.Topic, opts.Number), err)
	}
	p := newPartition(opts, config)
	p.parent, p.name, p.dir = parent, name, parent.Sub(name)
	if opts.ReadOnly {
		p.follow = &follower{p: p}
		p.failed = p.errorf("append", ErrReadOnly)
		err = p.follow.attach()
	} else {
		p.mapped = p.canMap(config.Durability)
		err = p.recover()
	}
	if err != nil {
		p.events.Close()
		return nil, fmt.Errorf("open %s: %w", subject(opts.Topic, opts.Number), err)
	}
	p.figures.opened()
	return p, nil
}

func newPartition(opts Options, config Config) *Partition {
	p := &Partition{opts: opts, shared: opts.Shared, upkeep: make(chan struct{}, 1)}
	p.events = newLog(opts.Logger)
	p.config.Store(&config)
	p.segments.Store(&[]*segment.Segment{})
	p.gaps.Store(&[]span{})
	p.report.Store(&Recovery{})
	return p
}

// canMap reports whether appends at this level go through a mapped window. At
// level Sync they never do: measured, appenders then stand still on pages
// that are being written back.
func (p *Partition) canMap(level Durability) bool {
	return level != Sync && !p.shared.forceHeap && p.shared.fs.CanMap()
}

// level returns the level of durability in force.
func (p *Partition) level() Durability { return p.config.Load().Durability }

// Config returns the settings in force.
func (p *Partition) Config() Config { return *p.config.Load() }

// Number returns the partition's number in its topic.
func (p *Partition) Number() int { return p.opts.Number }

// Start returns the first offset that can be read. With ReadOnly it looks for
// it, as End and Durable do; if the disk fails, they return what is known.
func (p *Partition) Start() int64 {
	p.glance(true)
	return p.start.Load()
}

// End returns the offset behind the last record that can be read: at level
// Sync the last durable one.
func (p *Partition) End() int64 {
	p.glance(false)
	return p.visible.Load()
}

// Durable returns the offset below which every record is known to be on disk.
func (p *Partition) Durable() int64 {
	p.glance(false)
	return p.durable.Load()
}

// glance brings a partition that somebody else writes up to date, unless that
// is being done. The caller holds none of its locks.
func (p *Partition) glance(start bool) {
	if p.follow != nil {
		p.follow.glance(start)
	}
}

// readOnly returns why a partition that somebody else writes is not changed.
func (p *Partition) readOnly() error {
	if p.ended.Load() {
		return ErrClosed
	}
	return ErrReadOnly
}

// fresh brings a partition that somebody else writes up to date.
func (p *Partition) fresh() error {
	if p.follow == nil {
		return nil
	}
	return p.follow.refresh(false)
}

// Recovery returns what Open found and did; after a Repair, what is left; of a
// partition that somebody else writes, what was found last.
func (p *Partition) Recovery() Recovery { return *p.report.Load() }

// Writable reports whether appends are possible: the partition is open, did
// not fail, and its active segment is not damaged.
func (p *Partition) Writable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usableLocked() == nil
}

// failure returns why nothing is appended any more, nil if it is.
func (p *Partition) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// usableLocked returns why nothing can be appended, or nil.
func (p *Partition) usableLocked() error {
	if p.closing {
		return p.errorf("append", ErrClosed)
	}
	return p.failed
}

// errorf wraps an error in the operation and the partition's name, and adds
// ErrDiskFull to one that means it.
func (p *Partition) errorf(op string, err error) error {
	if fs.IsNoSpace(err) && !errors.Is(err, ErrDiskFull) {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return fmt.Errorf("%s %s: %w", op, subject(p.opts.Topic, p.opts.Number), err)
}

// poisonLocked makes every later append fail until the partition is opened
// anew.
func (p *Partition) poisonLocked(cause error) {
	if p.failed == nil {
		p.failed = fmt.Errorf("append %s: %w: %w", subject(p.opts.Topic, p.opts.Number), ErrFailed, cause)
		p.log("failed", cause)
	}
	p.wakeSpaceLocked()
}

// all returns the segments, rising.
func (p *Partition) all() []*segment.Segment { return *p.segments.Load() }

// addSegmentLocked lets readers find a segment.
func (p *Partition) addSegmentLocked(s *segment.Segment) {
	old := p.all()
	list := append(old[:len(old):len(old)], s)
	p.segments.Store(&list)
	p.countLocked(segment.FirstFrame)
}

// Checkpoint returns where the partition ended. It is for use after a Close
// that made everything durable; ok is false before, or if nothing was ever
// appended.
func (p *Partition) Checkpoint() (c Checkpoint, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tail
	if !p.ended.Load() || p.failed != nil || t.seg == nil || p.durable.Load() < t.next {
		return Checkpoint{}, false
	}
	return Checkpoint{End: t.next, Segment: t.seg.Base, Position: t.pos, Time: t.time}, true
}

// Close makes everything that was appended durable, whatever the level, and
// gives everything back. Appends that wait are finished first; waiting
// readers get ErrClosed. A second Close returns ErrClosed.
func (p *Partition) Close() error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return p.errorf("close", ErrClosed)
	}
	p.closing = true
	p.wakeSpaceLocked()
	p.mu.Unlock()
	p.upkeep <- struct{}{} // who trims or repairs comes to an end first
	yield.Woken()
	defer func() { <-p.upkeep }()
	p.takeFile(context.Background()) // #nosec G104 -- it fails only when its context ends
	err := p.finish()
	p.ended.Store(true)
	yield.Point()
	if p.follow != nil {
		p.follow.stop()
	}
	p.pass()
	p.shared.sleep(p)
	p.watch.wake()
	p.callbacks.Wait()
	yield.Woken()
	for _, s := range p.all() {
		s.Close()
	}
	if p.own {
		p.shared.Close()
	}
	if p.root != nil {
		err = errors.Join(err, p.root.Close())
	}
	p.events.Close()
	if err != nil {
		return p.errorf("close", err)
	}
	return nil
}

// finish does the work of Close that needs the baton.
func (p *Partition) finish() error {
	p.commitBelow(math.MaxInt64) // #nosec G104 -- who appended is told
	p.mu.Lock()
	failed, begun := p.failed, p.begun
	p.mu.Unlock()
	if failed != nil {
		return errors.Join(p.abandon(), p.closeError(failed))
	}
	if !begun && p.durable.Load() >= p.visible.Load() && p.redo == nil {
		return nil // else a checkpoint would vouch for what only the page cache is sure to have
	}
	if err := p.wrapUp(); err != nil {
		return errors.Join(err, p.abandon())
	}
	return nil
}

// closeError returns the failure of a partition if it can have cost records.
// Damage found by Open costs nothing that Close could save.
func (p *Partition) closeError(failed error) error {
	if errors.Is(failed, ErrCorrupt) || p.broken != nil || p.follow != nil {
		return nil
	}
	return failed
}

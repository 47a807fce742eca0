package consumergroup

import (
	"sync"

	"github.com/braidlog/braidlog/record"
)

// lanes are the queues of records that are processed one after the other. A
// lane that has a record and whose last one is finished is ready; workers take
// ready lanes in turn.
type lanes struct {
	by Lanes // immutable

	mu     sync.Mutex // a leaf; above it stands Group.mu
	wake   sync.Cond  // for workers: a lane is ready, or closed is set
	lanes  map[laneKey]*lane
	ready  []*lane
	closed bool
	failed error // why a record could not be processed; the first
	moved  bool  // a record was finished since progressed was asked
}

type laneKey struct {
	work *work
	key  string
}

type lane struct {
	key   laneKey
	queue []task
}

// A task is a record to be processed.
type task struct {
	rec  record.Record
	work *work
	lane *lane // nil: it is in no order
}

func newLanes(by Lanes) *lanes {
	l := &lanes{by: by, lanes: map[laneKey]*lane{}}
	l.wake.L = &l.mu
	return l
}

// add puts a record at the end of its lane.
func (l *lanes) add(w *work, rec *record.Record) {
	w.add(rec.Offset)
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.laneLocked(w, rec)
	ln.queue = append(ln.queue, task{*rec, w, ln})
	if len(ln.queue) == 1 {
		l.ready = append(l.ready, ln)
		l.wake.Signal()
	}
}

// laneLocked returns the lane of a record, a new one if it has no key.
func (l *lanes) laneLocked(w *work, rec *record.Record) *lane {
	if l.by == ByKey && rec.Key == nil {
		return &lane{}
	}
	key := laneKey{work: w}
	if l.by == ByKey {
		key.key = string(rec.Key)
	}
	ln := l.lanes[key]
	if ln == nil {
		ln = &lane{key: key}
		l.lanes[key] = ln
	}
	return ln
}

// next waits for a ready lane and returns its first record; ok is false once
// the lanes are closed. Records of a partition that is to be let go are left
// out, unless one behind them was begun.
func (l *lanes) next() (t task, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.ready) == 0 && !l.closed {
			l.wake.Wait()
		}
		if l.closed {
			return task{}, false
		}
		ln := l.ready[0]
		l.ready = l.ready[1:]
		t = ln.queue[0]
		if t.work.start(t.rec.Offset) {
			return t, true
		}
		l.popLocked(ln)
	}
}

// popLocked takes the first record off a lane, which is ready again if it has
// more.
func (l *lanes) popLocked(ln *lane) {
	ln.queue[0] = task{}
	ln.queue = ln.queue[1:]
	if len(ln.queue) > 0 {
		l.ready = append(l.ready, ln)
		l.wake.Signal()
	} else if ln.key.work != nil {
		delete(l.lanes, ln.key)
	}
}

// finish is told what became of a record that next returned. One that is not
// done ends its lane: what is behind it must not be processed.
func (l *lanes) finish(t task, done bool, err error) {
	t.work.finish(t.rec.Offset, done)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = l.moved || done
	if l.failed == nil {
		l.failed = err
	}
	if done || t.work.isOver() {
		l.popLocked(t.lane)
	}
}

// err returns why a record could not be processed.
func (l *lanes) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// progressed reports whether a record was finished since it was called last.
func (l *lanes) progressed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	moved := l.moved
	l.moved = false
	return moved
}

// close has the workers end when they have finished what they are at.
func (l *lanes) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake.Broadcast()
}

// work is what is known of the records of one claim that were polled and are
// not processed, or not without a gap.
type work struct {
	mu      sync.Mutex // a leaf
	offsets []int64    // of records that are not in the prefix, rising
	done    map[int64]bool
	next    int64 // behind everything that was polled
	begun   int64 // behind the last record that was begun
	running int   // records that are being processed
	halted  bool  // records from begun on are not begun any more
	over    bool  // the records are somebody else's, or to be read again
}

func newWork(next int64) *work { return &work{next: next, done: map[int64]bool{}} }

func (w *work) add(offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offsets = append(w.offsets, offset)
	w.next = offset + 1
}

// reach notes how far was polled, offsets without records included.
func (w *work) reach(next int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = max(w.next, next)
}

// end returns the offset behind everything that was polled.
func (w *work) end() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}

// start reports whether a record may be processed.
func (w *work) start(offset int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.halted && offset >= w.begun {
		return false
	}
	w.begun = max(w.begun, offset+1)
	w.running++
	return true
}

func (w *work) finish(offset int64, done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if done {
		w.done[offset] = true
	} else {
		w.halted = true
		w.begun = 0 // what is before it in other lanes will not make it whole
	}
}

// prefix moves on over what is done, and returns the offset behind that and how
// many records it moved over.
func (w *work) prefix() (next int64, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(w.offsets) && w.done[w.offsets[n]] {
		delete(w.done, w.offsets[n])
		n++
	}
	w.offsets = w.offsets[n:]
	if len(w.offsets) > 0 {
		return w.offsets[0], n
	}
	return w.next, n
}

// pending returns how many records are not in the prefix.
func (w *work) pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.offsets)
}

// stop has no record begun behind those that were: so what is processed in the
// end has no gap, and whoever gets the partition repeats nothing.
func (w *work) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.halted = true
}

// giveUp has no record begun any more, and those that fail not tried again.
func (w *work) giveUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.halted, w.over = true, true
}

func (w *work) isOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

func (w *work) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.halted
}

// idle reports whether nothing is being processed, or will be after stop.
func (w *work) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running > 0 || w.over {
		return w.running == 0
	}
	for _, o := range w.offsets {
		if o < w.begun && !w.done[o] {
			return false
		}
	}
	return true
}

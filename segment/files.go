package segment

import (
	"sync"

	"github.com/braidlog/braidlog/internal/fs"
)

// Files keeps the open files of many segments within one budget: who needs a
// file borrows it, and what nobody has borrowed is closed when room is needed,
// the least recently used first, by the clock algorithm (Corbató, 1968).
//
// A file that may have unsynced bytes is lent to the window that writes it,
// and so never closed before its owner synced it. If everything is lent, the
// budget is exceeded rather than anybody made to wait.
type Files struct {
	budget   int
	pressure func() // asks owners of windows to give some up; may be nil; set before use

	mu   sync.Mutex // no I/O is done under it
	ring []*handle  // guarded by mu; the open ones and those being opened
	hand int        // guarded by mu; where the clock's hand stands
}

// NewFiles returns a table that keeps at most budget files open that nobody
// has borrowed. When everything is borrowed it calls pressure, which may be
// nil, without holding a lock.
func NewFiles(budget int, pressure func()) *Files {
	return &Files{budget: budget, pressure: pressure}
}

// Open returns how many files are open now.
func (t *Files) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ring)
}

// A handle is one file that may or may not be open.
type handle struct {
	table *Files
	open  func() (fs.File, error)

	// All guarded by table.mu.
	file    fs.File
	refs    int
	used    bool          // since the hand last passed
	opening chan struct{} // closed when an attempt to open it is over
}

// borrow returns the open file, opening it if need be. It stays open until
// release.
func (h *handle) borrow() (fs.File, error) {
	t := h.table
	t.mu.Lock()
	for h.opening != nil {
		wait := h.opening
		t.mu.Unlock()
		<-wait
		t.mu.Lock()
	}
	h.used = true
	if h.file != nil {
		h.refs++
		f := h.file
		t.mu.Unlock()
		return f, nil
	}
	h.opening = make(chan struct{})
	victims, short := t.makeRoomLocked()
	t.mu.Unlock()
	closeAll(victims)
	if short && t.pressure != nil {
		t.pressure()
	}
	f, err := h.open()
	h.opened(f, err)
	return f, err
}

// opened ends an attempt to open the file.
func (h *handle) opened(f fs.File, err error) {
	t := h.table
	t.mu.Lock()
	defer t.mu.Unlock()
	close(h.opening)
	h.opening = nil
	if err != nil {
		return
	}
	h.file = f
	h.refs = 1
	t.ring = append(t.ring, h)
}

// makeRoomLocked takes files nobody has borrowed out of the ring until one
// more fits, and reports whether it still does not. The caller holds mu and
// closes the files after letting it go.
func (t *Files) makeRoomLocked() (victims []fs.File, short bool) {
	for len(t.ring) >= t.budget {
		h := t.victimLocked()
		if h == nil {
			return victims, true
		}
		victims = append(victims, t.dropLocked(h))
	}
	return victims, false
}

// victimLocked moves the hand to a file that nobody has borrowed and nobody
// used since the hand last came by. The caller holds mu.
func (t *Files) victimLocked() *handle {
	for range 2 * len(t.ring) {
		t.hand = (t.hand + 1) % len(t.ring)
		h := t.ring[t.hand]
		if h.refs == 0 && !h.used {
			return h
		}
		h.used = false
	}
	return nil
}

// dropLocked takes an open file out of the ring. The caller holds mu.
func (t *Files) dropLocked(h *handle) fs.File {
	for i, other := range t.ring {
		if other == h {
			last := len(t.ring) - 1
			t.ring[i] = t.ring[last]
			t.ring[last] = nil
			t.ring = t.ring[:last]
			break
		}
	}
	f := h.file
	h.file = nil
	return f
}

// closeAll closes files that were only read, or synced since they were last
// written: closing has nothing left to lose, so its error says nothing.
func closeAll(files []fs.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck // see above
	}
}

// release gives a borrowed file back.
func (h *handle) release() {
	h.table.mu.Lock()
	h.refs--
	h.table.mu.Unlock()
}

// close closes the file if it is open and not borrowed.
func (h *handle) close() {
	t := h.table
	t.mu.Lock()
	var files []fs.File
	if h.file != nil && h.refs == 0 {
		files = append(files, t.dropLocked(h))
	}
	t.mu.Unlock()
	closeAll(files)
}

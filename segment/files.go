package segment

import (
	iofs "io/fs"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
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

	mu      yield.Mutex // no I/O is done under it
	ring    []*handle   // guarded by mu; the open ones
	opening int         // guarded by mu; how many are being opened
	hand    int         // guarded by mu; where the clock's hand stands
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
	gone    bool          // never to be opened again
}

// borrow returns the open file, opening it if need be. It stays open until
// release.
func (h *handle) borrow() (fs.File, error) { return h.borrowBy(h.open) }

// borrowBy is borrow with another way to open the file.
func (h *handle) borrowBy(open func() (fs.File, error)) (fs.File, error) {
	t := h.table
	t.mu.Lock()
	f, victims, short := h.lendLocked()
	if short && t.pressure != nil {
		// Owners of windows may wait for files themselves, so nobody must be
		// waiting for this one meanwhile.
		t.mu.Unlock()
		closeAll(victims)
		t.pressure()
		t.mu.Lock()
		f, victims, _ = h.lendLocked()
	}
	if f != nil || h.gone {
		t.mu.Unlock()
		return f, h.orGone(f)
	}
	h.opening = make(chan struct{})
	t.opening++
	t.mu.Unlock()
	closeAll(victims)
	f, err := open()
	if fs.IsNoFiles(err) && t.Spare() {
		f, err = open()
	}
	return f, h.opened(f, err)
}

// lendLocked returns the file if it is open. Else it makes room for it, and
// reports whether there still is none. The caller holds mu, which is let go
// while somebody else opens the file.
func (h *handle) lendLocked() (f fs.File, victims []fs.File, short bool) {
	for h.opening != nil {
		wait := h.opening
		h.table.mu.Unlock()
		<-wait
		yield.Woken()
		h.table.mu.Lock()
	}
	if h.gone {
		return nil, nil, false
	}
	h.used = true
	if h.file != nil {
		h.refs++
		return h.file, nil, false
	}
	victims, short = h.table.makeRoomLocked()
	return nil, victims, short
}

// orGone returns an error if there is no file to lend any more.
func (h *handle) orGone(f fs.File) error {
	if f == nil {
		return iofs.ErrClosed
	}
	return nil
}

// opened ends an attempt to open the file. It returns the error, or why that does
// not matter: who closed the file for good may have removed it meanwhile.
func (h *handle) opened(f fs.File, err error) error {
	t := h.table
	t.mu.Lock()
	defer t.mu.Unlock()
	close(h.opening)
	h.opening = nil
	t.opening--
	if err != nil && h.gone {
		return iofs.ErrClosed
	}
	if err != nil {
		return err
	}
	h.file = f
	h.refs = 1
	t.ring = append(t.ring, h)
	return nil
}

// makeRoomLocked takes files nobody has borrowed out of the ring until one
// more fits, and reports whether it still does not. The caller holds mu and
// closes the files after letting it go.
func (t *Files) makeRoomLocked() (victims []fs.File, short bool) {
	for len(t.ring)+t.opening >= t.budget {
		h := t.victimLocked()
		if h == nil {
			return victims, true
		}
		victims = append(victims, t.dropLocked(h))
	}
	return victims, false
}

// spareFiles is how many files are closed when there are no descriptors left:
// one is opened for each directory on the way to a file.
const spareFiles = 4

// Spare closes some files that nobody has borrowed, since there are no
// descriptors left, and reports whether there were any.
func (t *Files) Spare() bool {
	var victims []fs.File
	t.mu.Lock()
	for len(victims) < spareFiles {
		h := t.victimLocked()
		if h == nil {
			break
		}
		victims = append(victims, t.dropLocked(h))
	}
	t.mu.Unlock()
	closeAll(victims)
	return len(victims) > 0
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
		f.Close() // #nosec G104 -- see above
	}
}

// release gives a borrowed file back.
func (h *handle) release() {
	t := h.table
	t.mu.Lock()
	h.refs--
	files := h.dropIfLocked(h.gone)
	t.mu.Unlock()
	closeAll(files)
}

// close closes the file if it is open and not borrowed. With forGood, it is
// closed as soon as nobody has borrowed it, and not opened again.
func (h *handle) close(forGood bool) {
	t := h.table
	t.mu.Lock()
	h.gone = h.gone || forGood
	files := h.dropIfLocked(true)
	t.mu.Unlock()
	closeAll(files)
}

// dropIfLocked takes an open file that nobody has borrowed out of the ring, to
// be closed, if wanted.
func (h *handle) dropIfLocked(wanted bool) []fs.File {
	if !wanted || h.file == nil || h.refs > 0 {
		return nil
	}
	return []fs.File{h.table.dropLocked(h)}
}

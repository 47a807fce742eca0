// Package index finds places in a segment: it maps the offset, or the append
// time, of about every kibibyte of batches to the position of a batch.
//
// An index is a cache. Its file may be missing, old or full of anything: a
// user checks each entry against the batch it points to, and takes none that
// does not fit, so an index decides how long an answer takes and never what
// it is. docs/FORMAT.md has the file's layout.
package index

import (
	"sort"
	"sync"
)

// Every is how many bytes of batches lie between two entries, at least.
const Every = 1 << 10

// An Entry says that a batch begins at Position, that Offset is the offset of
// its first record, and Time its append time in nanoseconds since 1970 UTC.
type Entry struct {
	Offset   int64
	Position int64
	Time     int64
}

// chunkEntries is how many entries are allocated at a time: growing copies
// nothing but the first chunk, which begins with firstEntries. Of thousands of
// partitions most have no more.
const (
	chunkEntries = 1 << 10
	firstEntries = 1 << 4
)

// An Index is the index of one segment, in memory. Its methods may be called
// from many goroutines, Add from one at a time.
type Index struct {
	id   [16]byte // of the segment
	base int64    // of the segment

	mu      sync.RWMutex
	chunks  [][]Entry // guarded by mu; all but the last hold chunkEntries
	dropped int       // guarded by mu; entries at the front that only the file has
	count   int       // guarded by mu; entries in memory and dropped
	written int       // guarded by mu; entries in the file
	stale   bool      // guarded by mu; the file may have more than those written
	cuts    int       // guarded by mu; how often entries were given up
}

// New returns an empty index of the segment with this id and base offset.
func New(id [16]byte, base int64) *Index {
	return &Index{id: id, base: base}
}

// Add appends an entry. Where entries stand at its position or behind it, the
// batches that they named were cut off since, and they are given up.
func (x *Index) Add(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := x.count - x.dropped; n > 0 && x.atLocked(n-1).Position >= e.Position {
		x.keepLocked(func(old Entry) bool { return old.Position < e.Position })
	}
	switch n := len(x.chunks); {
	case n == 0:
		x.chunks = append(x.chunks, make([]Entry, 0, firstEntries))
	case len(x.chunks[n-1]) == chunkEntries:
		x.chunks = append(x.chunks, make([]Entry, 0, chunkEntries))
	}
	last := &x.chunks[len(x.chunks)-1]
	*last = append(*last, e)
	x.count++
}

// Len returns how many entries the index has, on disk or in memory.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count
}

// Unwritten returns how many entries the file does not have yet.
func (x *Index) Unwritten() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count - x.written
}

// Whole reports whether all entries are in memory.
func (x *Index) Whole() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.dropped == 0
}

// FindOffset returns the last entry in memory whose offset is at most offset.
// The error is always nil.
func (x *Index) FindOffset(offset int64) (Entry, bool, error) {
	e, ok := x.find(func(e Entry) bool { return e.Offset > offset })
	return e, ok, nil
}

// FindTime returns the last entry in memory whose time is before t: records
// at t or later begin at or behind it. The error is always nil.
func (x *Index) FindTime(t int64) (Entry, bool, error) {
	e, ok := x.find(func(e Entry) bool { return e.Time >= t })
	return e, ok, nil
}

// find returns the entry before the first one that is beyond.
func (x *Index) find(beyond func(Entry) bool) (Entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := sort.Search(x.count-x.dropped, func(i int) bool { return beyond(x.atLocked(i)) })
	if n == 0 {
		return Entry{}, false
	}
	return x.atLocked(n - 1), true
}

// atLocked returns entry i of those in memory. The caller holds mu.
func (x *Index) atLocked(i int) Entry {
	return x.chunks[i/chunkEntries][i%chunkEntries]
}

// Forget drops whole chunks of entries that the file has, to save memory.
// What Find then misses is to be looked for in the file.
func (x *Index) Forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.chunks) > 0 && x.dropped+len(x.chunks[0]) <= x.written && len(x.chunks[0]) == chunkEntries {
		x.dropped += chunkEntries
		x.chunks = x.chunks[1:]
	}
}

// Keep gives up every entry for which keep is false and all behind it: in
// memory and, at the next Write, in the file. Entries that only the file has
// stay: none is younger than any in memory.
func (x *Index) Keep(keep func(Entry) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keepLocked(keep)
}

// keepLocked is Keep for a caller that holds mu.
func (x *Index) keepLocked(keep func(Entry) bool) {
	n := sort.Search(x.count-x.dropped, func(i int) bool { return !keep(x.atLocked(i)) })
	if n == x.count-x.dropped {
		return
	}
	whole := n / chunkEntries
	if part := n % chunkEntries; part > 0 {
		x.chunks[whole] = x.chunks[whole][:part]
		whole++
	}
	clear(x.chunks[whole:])
	x.chunks = x.chunks[:whole]
	x.count = x.dropped + n
	x.cuts++
	if x.written > x.count {
		x.written, x.stale = x.count, true
	}
}

// A backlog is what a Write has to do.
type backlog struct {
	entries []Entry // that the file does not have
	written int     // how many it has
	stale   bool    // it may have more behind them
	cuts    int     // as of now
}

// pending returns what a Write has to do.
func (x *Index) pending() backlog {
	x.mu.RLock()
	defer x.mu.RUnlock()
	todo := backlog{written: x.written, stale: x.stale, cuts: x.cuts}
	for i := x.written; i < x.count; i++ {
		todo.entries = append(todo.entries, x.atLocked(i-x.dropped))
	}
	return todo
}

// wrote notes that the backlog is done, unless entries were given up
// meanwhile: they may have been part of it.
func (x *Index) wrote(todo backlog) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cuts != todo.cuts {
		x.stale = true
		return
	}
	x.written, x.stale = todo.written+len(todo.entries), false
}

// startOver takes the file for empty, since somebody removed it. Entries that
// only the file had are gone.
func (x *Index) startOver() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count -= x.dropped
	x.dropped, x.written = 0, 0
	x.cuts++
}

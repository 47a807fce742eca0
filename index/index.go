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

// chunkEntries is how many entries are allocated at a time: growing never
// copies what is there.
const chunkEntries = 1 << 10

// An Index is the index of one segment, in memory. Its methods may be called
// from many goroutines, Add from one at a time.
type Index struct {
	id   [16]byte // of the segment
	base int64    // of the segment

	mu      sync.RWMutex
	chunks  [][]Entry // guarded by mu; all but the last hold chunkEntries
	dropped int       // guarded by mu; entries at the front that only the file has
	count   int       // guarded by mu; entries ever added
	written int       // guarded by mu; entries in the file
}

// New returns an empty index of the segment with this id and base offset.
func New(id [16]byte, base int64) *Index {
	return &Index{id: id, base: base}
}

// Add appends an entry. Its position must be behind the last one's.
func (x *Index) Add(e Entry) {
	x.mu.Lock()
	if n := len(x.chunks); n == 0 || len(x.chunks[n-1]) == chunkEntries {
		x.chunks = append(x.chunks, make([]Entry, 0, chunkEntries))
	}
	last := &x.chunks[len(x.chunks)-1]
	*last = append(*last, e)
	x.count++
	x.mu.Unlock()
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

// pending returns the entries that the file does not have, and how many it
// has.
func (x *Index) pending() (entries []Entry, written int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i := x.written; i < x.count; i++ {
		entries = append(entries, x.atLocked(i-x.dropped))
	}
	return entries, x.written
}

func (x *Index) wrote(n int) {
	x.mu.Lock()
	x.written = n
	x.mu.Unlock()
}

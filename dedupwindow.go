package braidlog

import (
	"cmp"
	"slices"
)

// A first is where the first record of an id is.
type first struct {
	id        [16]byte
	partition int32
	offset    int64
	time      int64 // when it was appended, nanoseconds since 1970 UTC
}

// byTime orders firsts as they were appended.
func byTime(a, b first) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
}

// A window has the firsts of the latest ids. The zero window is empty.
type window struct {
	firsts []first // as they were acknowledged
	gone   int     // how many there were in front of them
	at     map[[16]byte]int
	// at has where an id is in firsts, those gone counted. If an id is there
	// twice, since the earlier one was too old, it is the later one.
}

func (w *window) find(id [16]byte) (f first, ok bool) {
	n, ok := w.at[id]
	if !ok {
		return first{}, false
	}
	return w.firsts[n-w.gone], true
}

func (w *window) push(f first) {
	if w.at == nil {
		w.at = map[[16]byte]int{}
	}
	w.at[f.id] = w.gone + len(w.firsts)
	w.firsts = append(w.firsts, f)
}

// evict forgets all but the latest entries, and what was appended before
// since. One that is too old may stay for a while behind one that is not: who
// looks an id up compares its time.
func (w *window) evict(entries int, since int64) {
	for len(w.firsts) > entries || len(w.firsts) > 0 && w.firsts[0].time < since {
		if id := w.firsts[0].id; w.at[id] == w.gone {
			delete(w.at, id)
		}
		w.firsts = w.firsts[1:]
		w.gone++
	}
}

// merge adds what was found in the log and is not older than since. Of an id
// that is there twice the earlier record counts.
func (w *window) merge(found []first, since int64) {
	all := append(found, w.firsts...)
	slices.SortFunc(all, byTime)
	*w = window{at: make(map[[16]byte]int, len(all))}
	for _, f := range all {
		if _, again := w.at[f.id]; !again && f.time >= since {
			w.push(f)
		}
	}
}

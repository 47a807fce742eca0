package fs

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// sectorBytes is what a disk writes at once: after a power loss a sector has
// its old content or its new.
const sectorBytes = 512

// A node is a file or a directory of a Mem, whatever its names. All of it is
// guarded by the Mem's mutex. A nil node is a name that is not taken.
type node struct {
	locked bool
	mapped bool

	// Of directories: what names stand for now, and after a power loss that
	// undoes all pending operations.
	names, durable map[string]*node

	// Of files: the content as it reads, the length at the last Sync, and what
	// the disk may still hold of sectors written since then.
	data     []byte
	synced   int
	unsynced map[int]*sector

	shared bool   // data is also another Mem's: it is copied before it changes
	sum    uint64 // the hash of data, 0 if that is not known
	past   *past  // of the Mem; nil unless it remembers
	sizes  []int  // the lengths since the last Sync, but for the last; if it remembers
}

// A sector is the durable content of a sector that has been written since.
type sector struct {
	old []byte // zeros follow up to sectorBytes; immutable

	// If the Mem remembers: which bytes were written since old, and what the
	// sector held in between.
	written  mask
	versions [][]byte

	// A Sync of the new content failed. The kernel then takes it for written,
	// so that the next Sync says nothing about it.
	lost bool
}

func newDir() *node {
	return &node{names: map[string]*node{}, durable: map[string]*node{}}
}

func newFile() *node { return &node{unsynced: map[int]*sector{}} }

func (n *node) isDir() bool { return n != nil && n.names != nil }

func (n *node) isLocked() bool { return n != nil && n.locked }

func (n *node) holder() string {
	if n == nil {
		return ""
	}
	return string(n.data[:min(len(n.data), maxHolderBytes)])
}

// dirAt finds the directory that p leads to from n. Empty and "." are n.
func (n *node) dirAt(p string) (*node, error) {
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		n = n.names[name]
		if n == nil {
			return nil, ErrNotExist
		}
		if !n.isDir() {
			return nil, ErrNotRegular
		}
	}
	return n, nil
}

// contains reports whether other is n or a directory somewhere below it.
func (n *node) contains(other *node) bool {
	if n == other {
		return true
	}
	for _, below := range n.names {
		if below.contains(other) {
			return true
		}
	}
	return false
}

func (n *node) entries() []Entry {
	entries := make([]Entry, 0, len(n.names))
	for name, e := range n.names {
		if e.isDir() {
			entries = append(entries, Entry{Name: name, Kind: KindDir})
			continue
		}
		entries = append(entries, Entry{Name: name, Kind: KindFile, Size: int64(len(e.data))})
	}
	sortEntries(entries)
	return entries
}

func (n *node) write(p []byte, off int) {
	if len(p) == 0 {
		return
	}
	n.keepOld(off, off+len(p))
	n.grow(off + len(p))
	n.own()
	n.past.wrote(n, off, off+len(p))
	copy(n.data[off:], p)
}

// own makes data this node's alone, since it is about to change.
func (n *node) own() {
	n.sum = 0
	if n.shared {
		n.data, n.shared = bytes.Clone(n.data), false
	}
}

func (n *node) truncate(size int) {
	if size < len(n.data) {
		n.keepOld(size, len(n.data))
		n.past.cut(n, size)
		n.data, n.sum = n.data[:size], 0
	}
	n.grow(size)
}

// grow adds zeros. A zero behind the old end needs no keepOld: it is what the
// disk holds there, as far as anybody can see.
func (n *node) grow(size int) {
	if size > len(n.data) {
		n.own()
		n.past.grew(n)
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
}

// keepOld saves the durable content of the sectors of [from, to) before they
// change. One that is changed again keeps its first, but its new content has
// not failed to sync yet.
func (n *node) keepOld(from, to int) {
	for i := from / sectorBytes; i*sectorBytes < to; i++ {
		s := n.unsynced[i]
		if s == nil {
			s = &sector{old: bytes.Clone(n.sectorAt(i))}
			n.unsynced[i] = s
		} else if s.lost = false; n.past != nil {
			s.versions = append(s.versions, bytes.Clone(n.sectorAt(i)))
		}
		if n.past != nil {
			s.written.set(from-i*sectorBytes, to-i*sectorBytes)
		}
	}
}

// sectorAt is the content of sector i, cut at the end of the file.
func (n *node) sectorAt(i int) []byte {
	from := min(i*sectorBytes, len(n.data))
	return n.data[from:min(from+sectorBytes, len(n.data))]
}

func (n *node) sync() {
	n.synced, n.sizes = len(n.data), nil
	maps.DeleteFunc(n.unsynced, func(_ int, s *sector) bool { return !s.lost })
}

// failSync is what a Sync that failed leaves.
func (n *node) failSync(then Aftermath) {
	for at, i := range slices.Sorted(maps.Keys(n.unsynced)) {
		s := n.unsynced[i]
		s.lost = true
		switch {
		case then == Reverted:
			n.own()
			now := n.sectorAt(i)
			clear(now[copy(now, s.old):])
			delete(n.unsynced, i)
		case then == HalfPersisted && at%2 == 0:
			delete(n.unsynced, i)
		}
	}
}

// afterCrash is the file as a disk would hold it. keep is asked about the
// length if that changed, then about each changed sector in front of it.
func (n *node) afterCrash(keep func() bool) *node {
	size := len(n.data)
	if size != n.synced && !keep() {
		size = n.synced
	}
	c := newFile()
	c.data = make([]byte, size)
	c.synced = size
	copy(c.data, n.data)
	for _, i := range slices.Sorted(maps.Keys(n.unsynced)) {
		now := c.sectorAt(i)
		old := make([]byte, len(now))
		copy(old, n.unsynced[i].old)
		// What was cut away, by a cut that did not survive, is not new content.
		cutAway := i*sectorBytes >= len(n.data)
		if cutAway || !bytes.Equal(old, now) && !keep() {
			copy(now, old)
		}
	}
	return c
}

// clone is a file with the same past, neither locked nor mapped.
func (n *node) clone() *node {
	c := n.share()
	c.synced = n.synced
	c.sizes = slices.Clone(n.sizes)
	for i, s := range n.unsynced {
		copied := *s
		c.unsynced[i] = &copied
	}
	return c
}

// share is a file of the same content, with no past.
func (n *node) share() *node {
	c := newFile()
	n.hash()
	n.shared = true
	c.data, c.sum, c.shared = n.data, n.sum, true
	c.synced = len(c.data)
	return c
}

package fs

import (
	"maps"
	"slices"
)

// Crash returns the disk as a power loss now would leave it, as a Mem of its
// own: with another boot id, nothing locked or open, no hook, and no
// operations counted. m is not changed.
//
// What is synced survives. About everything else keep is asked, one by one in
// an order that depends only on what was done: for each name operation of an
// unsynced directory, oldest first, whether it survives, a rename being one
// operation; then for each file that is left, by path, whether its new length
// survives, if it changed, and whether each 512-byte sector with new content
// does. Where a new length survives and a new sector does not, there are
// zeros. keep must not use m.
func (m *Mem) Crash(keep func() bool) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := survey{
		names: m.survivingNamesLocked(keep),
		made:  map[*node]*node{},
		keep:  keep,
	}
	return &Mem{boot: m.boot + 1, root: s.copy(m.root)}
}

// survivingNamesLocked decides about name operations. An operation whose
// predecessor did not survive is taken at its word: a rename gives the file
// its new name though it never got its old one. The result has the directories
// of which some names are in doubt.
func (m *Mem) survivingNamesLocked(keep func() bool) map[*node]map[string]*node {
	names := map[*node]map[string]*node{}
	for _, op := range m.pending {
		if !keep() {
			continue
		}
		for _, h := range op.halves {
			if names[h.dir] == nil {
				names[h.dir] = maps.Clone(h.dir.durable)
			}
			h.apply(names[h.dir])
		}
	}
	return names
}

// A survey copies what a power loss leaves.
type survey struct {
	names map[*node]map[string]*node // where they differ from the durable ones
	made  map[*node]*node            // copies, since a file can have two names
	keep  func() bool

	// Of PowerLoss, in place of keep:
	files []fileDoubt // those with something open
	picks []int
	now   bool // everything is as it is now
}

func (s *survey) copy(n *node) *node {
	if c := s.made[n]; c != nil {
		return c
	}
	if !n.isDir() {
		c := s.copyFile(n)
		s.made[n] = c
		return c
	}
	c := newDir()
	s.made[n] = c
	names := s.names[n]
	switch {
	case s.now:
		names = n.names
	case names == nil:
		names = n.durable
	}
	if s.keep == nil { // nobody is asked: any order will do
		for name, below := range names {
			c.names[name] = s.copy(below)
		}
		c.durable = maps.Clone(c.names)
		return c
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c.names[name] = s.copy(names[name])
	}
	c.durable = maps.Clone(c.names)
	return c
}

func (s *survey) copyFile(n *node) *node {
	if s.keep != nil {
		return n.afterCrash(s.keep)
	}
	for i := range s.files {
		if s.files[i].node == n {
			return s.files[i].afterLoss(s.picks)
		}
	}
	return n.share()
}

// Kill returns the file system as kill -9 of the process now would leave it,
// as a Mem of its own: with the same boot id, everything that was written or
// published, nothing locked or open, no hook, and no operations counted. What
// was not synced is still not, so it may be lost by a later Crash. m is not
// changed.
func (m *Mem) Kill() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := copier{}
	k := &Mem{boot: m.boot, root: c.copy(m.root), named: m.named, sure: m.sure}
	for _, op := range m.pending {
		k.pending = append(k.pending, c.copyOp(op))
	}
	if m.past != nil {
		k.past = c.copyPast(m.past)
		k.root.remember(k.past)
	}
	return k
}

// A copier has the copies it made.
type copier map[*node]*node

func (c copier) copy(n *node) *node {
	if n == nil {
		return nil
	}
	if made := c[n]; made != nil {
		return made
	}
	if !n.isDir() {
		c[n] = n.clone()
		return c[n]
	}
	dir := newDir()
	c[n] = dir
	for name, to := range n.names {
		dir.names[name] = c.copy(to)
	}
	for name, to := range n.durable {
		dir.durable[name] = c.copy(to)
	}
	return dir
}

func (c copier) copyOp(op *nameOp) *nameOp {
	made := &nameOp{n: op.n, rename: op.rename}
	for _, h := range op.halves {
		made.halves = append(made.halves, half{c.copy(h.dir), h.name, c.copy(h.to)})
	}
	return made
}

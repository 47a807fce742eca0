package fs

import "bytes"

// Remember has m keep the order in which things change from now on, and what
// stood in each sector meanwhile: PowerLoss then knows of it. It costs memory
// until the next sync.
func (m *Mem) Remember() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.past == nil {
		m.past = &past{}
		m.root.remember(m.past)
	}
}

// A past is what a Mem remembers since something was last synced. It is guarded
// by the Mem's mutex. A nil past remembers nothing.
type past struct {
	undo  []undo
	stale []byte // the content of the last file of some length that lost its name
}

// An undo takes back one change.
type undo struct {
	names []half // what the names stood for before

	node   *node
	sector int    // which sector changed, or else -1
	was    []byte // what it held, or what was cut off the end
	size   int    // how long the file was
}

// staleBytes is how long a file must have been for its bytes to be of interest.
const staleBytes = 2 * sectorBytes

func (p *past) synced() {
	if p != nil {
		p.undo = nil
	}
}

func (p *past) named(halves []half) {
	if p == nil {
		return
	}
	u := undo{sector: -1}
	for _, h := range halves {
		was := h.dir.names[h.name]
		u.names = append(u.names, half{h.dir, h.name, was})
		moved := len(halves) == 2 && h.to == nil
		if was != nil && !was.isDir() && !moved && len(was.data) >= staleBytes {
			p.stale = bytes.Clone(was.data)
		}
	}
	p.undo = append(p.undo, u)
}

// wrote is called before [from, to) of a file is written, which is that long
// already.
func (p *past) wrote(n *node, from, to int) {
	if p == nil {
		return
	}
	for i := from / sectorBytes; i*sectorBytes < to; i++ {
		p.undo = append(p.undo, undo{node: n, sector: i, was: bytes.Clone(n.sectorAt(i)), size: len(n.data)})
	}
}

func (p *past) grew(n *node) {
	if p == nil {
		return
	}
	n.sizes = append(n.sizes, len(n.data))
	p.undo = append(p.undo, undo{node: n, sector: -1, size: len(n.data)})
}

func (p *past) cut(n *node, size int) {
	if p == nil {
		return
	}
	n.sizes = append(n.sizes, len(n.data))
	p.undo = append(p.undo, undo{node: n, sector: -1, was: bytes.Clone(n.data[size:]), size: len(n.data)})
}

// take takes one change back.
func (u *undo) take() {
	for i := len(u.names) - 1; i >= 0; i-- {
		h := u.names[i]
		h.apply(h.dir.names)
	}
	n := u.node
	if n == nil {
		return
	}
	n.own()
	switch {
	case u.sector >= 0:
		copy(n.data[u.sector*sectorBytes:], u.was)
	case u.size < len(n.data):
		n.data = n.data[:u.size]
	default:
		n.data = append(n.data[:u.size-len(u.was):u.size-len(u.was)], u.was...)
	}
}

// remember hands p to every file below n.
func (n *node) remember(p *past) {
	if n == nil {
		return
	}
	n.past = p
	for _, below := range n.names {
		below.remember(p)
	}
}

// copyPast copies what is remembered, of the copies of the files.
func (c copier) copyPast(p *past) *past {
	made := &past{stale: p.stale, undo: make([]undo, len(p.undo))}
	for i, u := range p.undo {
		copied := u
		copied.node = c.copy(u.node)
		copied.names = nil
		for _, h := range u.names {
			copied.names = append(copied.names, half{c.copy(h.dir), h.name, c.copy(h.to)})
		}
		made.undo[i] = copied
	}
	return made
}

// A mask marks bytes of a sector.
type mask [sectorBytes / 64]uint64

// set marks [from, to), as far as it is inside the sector.
func (m *mask) set(from, to int) {
	for i := max(from, 0); i < min(to, sectorBytes); i++ {
		m[i/64] |= 1 << (i % 64)
	}
}

func (m *mask) has(i int) bool { return m[i/64]&(1<<(i%64)) != 0 }

// changes returns what can be taken back, the oldest first; nothing if nothing
// is remembered.
func (p *past) changes() []undo {
	if p == nil {
		return nil
	}
	return p.undo
}

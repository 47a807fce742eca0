package fs

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A DiskModel says what a disk may hold after a power loss of what was not
// synced.
type DiskModel uint8

// The models, from the strongest to the weakest.
const (
	// OrderedDisk holds all that was done up to some moment, and nothing that
	// was done later. A sync makes everything before it durable.
	OrderedDisk DiskModel = iota + 1
	// JournalDisk holds the names as they were at some moment, no earlier than
	// any that was synced, and of what was written any of the sectors.
	JournalDisk
	// WeakDisk holds any of the names' changes and any of the sectors. Of a file
	// that was renamed both names may be there; no file system gives a directory
	// two.
	WeakDisk
)

func (d DiskModel) String() string {
	switch d {
	case OrderedDisk:
		return "ordered"
	case JournalDisk:
		return "journal"
	case WeakDisk:
		return "weak"
	}
	return fmt.Sprintf("disk(%d)", uint8(d))
}

// A PowerLoss is all that a disk may hold after the power went at one moment. It
// is immutable.
type PowerLoss struct {
	mem   *Mem // as kill -9 would leave it; nothing in it changes
	model DiskModel
	least int // JournalDisk: how many pending name operations are sure to be there
	files []fileDoubt

	// Doubts are what is open, in an order that depends only on what was done.
	Doubts []Doubt
}

// A Doubt is one thing that the disk may hold in one of several ways.
type Doubt struct {
	What    string   // for people
	Names   []string // of the options, for people
	Options int      // how many; option 0 is what is surely there, as it was synced
	New     int      // the option that is as it is now
	Sector  bool     // it is about the content of a sector
}

// A fileDoubt is what is open about one file.
type fileDoubt struct {
	node    *node
	length  int // which doubt is about its length, -1 if that is known
	sizes   []int
	first   int // the first of the doubts about its sectors
	doubts  int // how many there are
	sectors []sectorDoubt
	sums    map[uint64]uint64 // hashes by what was picked; guarded by the Mem's mutex
}

type sectorDoubt struct {
	i        int
	contents [][]byte // whole sectors by option; one alone is no doubt
}

// PowerLoss returns what m's disk may hold if the power went now. m is not
// changed, and what is done to it later makes no difference. Of what stood in
// a sector between two syncs, and of the order in which things were done, it
// knows from Remember on; OrderedDisk needs that.
//
// A sector that was written and not synced may hold what it held, what it holds
// now or held in between, or, where it was written, zeros, garbage, or bytes of
// a file that was removed. What was synced in it and not written since stays.
func (m *Mem) PowerLoss(model DiskModel) *PowerLoss {
	l := &PowerLoss{mem: m.Kill(), model: model}
	switch model {
	case OrderedDisk:
		n := len(l.mem.past.changes())
		l.Doubts = append(l.Doubts, Doubt{What: "changes that the disk got", Options: n + 1, New: n})
		return l
	case JournalDisk:
		pending := l.mem.pending
		for l.least < len(pending) && pending[l.least].n <= l.mem.sure {
			l.least++
		}
		open := len(pending) - l.least
		l.Doubts = append(l.Doubts, Doubt{What: "changes of names in the journal", Options: open + 1, New: open})
	case WeakDisk:
		for _, op := range l.mem.pending {
			l.Doubts = append(l.Doubts, op.doubt())
		}
	}
	seen := map[*node]bool{}
	l.survey("", l.mem.root, seen)
	for _, op := range l.mem.pending {
		for _, h := range op.halves {
			l.survey("…/"+h.name, h.to, seen)
		}
	}
	return l
}

func (op *nameOp) doubt() Doubt {
	h := op.halves[len(op.halves)-1]
	d := Doubt{What: "the name " + h.name, Options: 2, New: 1, Names: []string{"as before", "changed"}}
	if op.rename {
		d.Options, d.Names = 3, append(d.Names, "renamed and under both names")
	}
	return d
}

// survey finds out what is open about the files below n.
func (l *PowerLoss) survey(at string, n *node, seen map[*node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	if !n.isDir() {
		l.surveyFile(at, n)
		return
	}
	for _, names := range []map[string]*node{n.names, n.durable} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			l.survey(at+"/"+name, names[name], seen)
		}
	}
}

func (l *PowerLoss) surveyFile(at string, n *node) {
	f := fileDoubt{node: n, length: -1, sizes: []int{n.synced}, sums: map[uint64]uint64{}}
	for _, size := range append(slices.Clip(n.sizes), len(n.data)) {
		if !slices.Contains(f.sizes, size) {
			f.sizes = append(f.sizes, size)
		}
	}
	if len(f.sizes) > 1 {
		f.length = len(l.Doubts)
		l.Doubts = append(l.Doubts, Doubt{What: "length of " + at, Options: len(f.sizes), New: slices.Index(f.sizes, len(n.data))})
	}
	f.first = len(l.Doubts)
	for _, i := range slices.Sorted(maps.Keys(n.unsynced)) {
		s, names := l.sector(n, i)
		if len(s.contents) > 1 {
			l.Doubts = append(l.Doubts, Doubt{
				What: fmt.Sprintf("sector %d of %s", i, at), Names: names, Options: len(s.contents), New: 1, Sector: true,
			})
		}
		f.sectors = append(f.sectors, s)
	}
	f.doubts = len(l.Doubts) - f.first
	if len(f.sizes) > 1 || len(f.sectors) > 0 {
		l.files = append(l.files, f)
	}
}

// sector returns what sector i of n may hold, and what to call it.
func (l *PowerLoss) sector(n *node, i int) (s sectorDoubt, names []string) {
	u := n.unsynced[i]
	old, now := padded(u.old), padded(n.sectorAt(i))
	s.i = i
	add := func(name string, content []byte) {
		for _, c := range s.contents {
			if bytes.Equal(c, content) {
				return
			}
		}
		s.contents, names = append(s.contents, content), append(names, name)
	}
	add("old", old)
	if i*sectorBytes >= len(n.data) {
		return s, names // what was cut away, by a cut that did not survive, is not new content
	}
	add("new", now)
	if len(s.contents) == 1 && len(u.versions) == 0 {
		return s, names
	}
	for _, v := range u.versions {
		add("in between", padded(v))
	}
	if n.past == nil {
		return s, names
	}
	add("zeros", u.torn(old, now, func(int) byte { return 0 }))
	add("garbage", u.torn(old, now, func(b int) byte { return byte(0xa5 ^ b*167 ^ i*59) }))
	if stale := l.mem.past.stale; len(stale) > 0 {
		from := i * sectorBytes % (len(stale) / sectorBytes * sectorBytes)
		add("stale", u.torn(old, now, func(b int) byte { return stale[from+b] }))
	}
	return s, names
}

// torn is old with other bytes where the sector was written, but for those that
// were synced and written again as they were.
func (s *sector) torn(old, now []byte, other func(b int) byte) []byte {
	t := bytes.Clone(old)
	for b := range t {
		again := b < len(s.old) && old[b] == now[b]
		if s.written.has(b) && !again {
			t[b] = other(b)
		}
	}
	return t
}

func padded(b []byte) []byte { return append(make([]byte, 0, sectorBytes), b...)[:sectorBytes] }

// State returns the disk that has option picks[i] of each doubt i, as a Mem of
// its own like that of Crash. It may be called from many goroutines.
func (l *PowerLoss) State(picks []int) *Mem {
	if l.model == OrderedDisk {
		return l.orderedState(picks[0])
	}
	s := survey{names: l.names(picks), made: map[*node]*node{}, files: l.files, picks: picks}
	l.mem.mu.Lock() // hashes are noted in it
	defer l.mem.mu.Unlock()
	return &Mem{boot: l.mem.boot + 1, root: s.copy(l.mem.root)}
}

// orderedState has the first n changes.
func (l *PowerLoss) orderedState(n int) *Mem {
	m := l.mem.Kill()
	undo := m.past.changes()
	for i := len(undo) - 1; i >= n; i-- {
		undo[i].take()
	}
	s := survey{made: map[*node]*node{}, now: true}
	return &Mem{boot: m.boot + 1, root: s.copy(m.root)}
}

// names returns the directories of which some names are in doubt, as picked.
func (l *PowerLoss) names(picks []int) map[*node]map[string]*node {
	names := map[*node]map[string]*node{}
	for i, op := range l.mem.pending {
		halves := op.halves
		switch {
		case l.model == JournalDisk && i >= l.least+picks[0], l.model == WeakDisk && picks[i] == 0:
			continue
		case l.model == WeakDisk && picks[i] == 2:
			halves = halves[1:]
		}
		for _, h := range halves {
			if names[h.dir] == nil {
				names[h.dir] = maps.Clone(h.dir.durable)
			}
			h.apply(names[h.dir])
		}
	}
	return names
}

// afterLoss is the file as picked.
func (f *fileDoubt) afterLoss(picks []int) *node {
	size := f.sizes[0]
	if f.length >= 0 {
		size = f.sizes[picks[f.length]]
	}
	c := newFile()
	c.data = make([]byte, size)
	c.synced = size
	copy(c.data, f.node.data)
	doubt := f.first
	for _, s := range f.sectors {
		content := s.contents[0]
		if len(s.contents) > 1 {
			content = s.contents[picks[doubt]]
			doubt++
		}
		copy(c.sectorAt(s.i), content)
	}
	return c
}

// Picks describes a choice, for people.
func (l *PowerLoss) Picks(picks []int) string {
	var said []string
	for i, d := range l.Doubts {
		how := fmt.Sprintf("option %d of %d", picks[i], d.Options)
		if picks[i] < len(d.Names) {
			how = d.Names[picks[i]]
		}
		said = append(said, d.What+": "+how)
	}
	return fmt.Sprintf("%v disk, %s", l.model, strings.Join(said, "; "))
}

// Hash returns what State(picks).Hash() would, without making the state.
func (l *PowerLoss) Hash(picks []int) uint64 {
	if l.model == OrderedDisk {
		return l.orderedState(picks[0]).Hash()
	}
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	return l.hashOf(l.mem.root, l.names(picks), picks)
}

func (l *PowerLoss) hashOf(n *node, names map[*node]map[string]*node, picks []int) uint64 {
	if n.isDir() {
		picked := names[n]
		if picked == nil {
			picked = n.durable
		}
		return hashNames(picked, func(below *node) uint64 { return l.hashOf(below, names, picks) })
	}
	for i := range l.files {
		if f := &l.files[i]; f.node == n {
			return f.hash(picks)
		}
	}
	return n.hash()
}

// hash returns that of the file as picked. Those that were worked out are
// remembered. The caller holds the lock of the PowerLoss's Mem.
func (f *fileDoubt) hash(picks []int) uint64 {
	k := uint64(0)
	if f.length >= 0 {
		k = uint64(picks[f.length])
	}
	for i := range f.doubts {
		k = mix(k+1, uint64(picks[f.first+i]))
	}
	sum, ok := f.sums[k]
	if !ok {
		sum = f.afterLoss(picks).hash()
		f.sums[k] = sum
	}
	return sum
}

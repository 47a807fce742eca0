package fs

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// Hash returns a number that two file systems have in common if they hold the
// same directories and files of the same bytes, and else hardly ever. What a
// power loss would leave of them does not count.
func (m *Mem) Hash() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.hash()
}

// HashOf is Hash of the directory or file at path, 0 if there is none.
func (m *Mem) HashOf(path string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for name := range strings.SplitSeq(fullPath(path)[1:], "/") {
		if name == "" {
			break // path is "/"
		}
		if n = n.names[name]; n == nil {
			return 0
		}
	}
	return n.hash()
}

func (n *node) hash() uint64 {
	if !n.isDir() {
		if n.sum == 0 {
			n.sum = hashBytes(n.data) | 1
		}
		return n.sum
	}
	return hashNames(n.names, (*node).hash)
}

// hashNames adds up, since a sum does not depend on the order.
func hashNames(names map[string]*node, hash func(*node) uint64) uint64 {
	all := uint64(len(names)) + 0x9e3779b97f4a7c15
	for name, below := range names {
		all += mix(hashBytes([]byte(name)), hash(below)^0x5851f42d4c957f2d)
	}
	return mix(all, 0x2545f4914f6cdd1d)
}

// hashBytes folds eight bytes at a time by multiplication, as wyhash does.
func hashBytes(b []byte) uint64 {
	h := uint64(len(b)) ^ 0xa0761d6478bd642f
	for len(b) >= 8 {
		h = mix(h^binary.LittleEndian.Uint64(b), 0xe7037ed1a0b428db)
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	return mix(h^binary.LittleEndian.Uint64(last[:]), 0x8ebc6af09c88c6e3)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93)
	return hi ^ lo
}

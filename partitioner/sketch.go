package partitioner

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"
)

// MaxSketchSize is the largest size of a [Sketch].
const MaxSketchSize = 1 << 16

const (
	sketchRoom = 4  // counters for each of the size that was asked for
	sketchWays = 8  // counters of a set: as many as a word has bytes
	sketchKey  = 32 // bytes that each counter has for its key from the start
)

// A Sketch finds the keys that come most often, among any number of them and in
// memory that does not grow with them. It is the Space-Saving algorithm of
// Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k
// Elements in Data Streams", ICDT 2005: some keys are counted, and a key that is
// not among them takes the place of the one with the least count, whose count
// it carries on, with that count as its error.
//
// A key's true count is never more than its Count, and never less than Count
// minus Error. Of N keys in a sketch of size m, Error is about N/4m, and a
// key that came more than N/m times is there: not for certain, as with one set
// of counters, since a hash sends each key to a set of eight, and nine such keys
// may share one; m keys that all came N/m times would lose one in a thousand.
//
// All methods may be called by many goroutines at once.
type Sketch struct {
	seed maphash.Seed // immutable; by chance: nobody can choose keys that share a set
	sets []sketchSet  // immutable but for what is in them
}

// NewSketch returns a sketch of the given size, from 1 to [MaxSketchSize]: about
// as many keys as are of interest. 100 tells keys with more than a hundredth
// of the records. It takes 300 bytes of memory for each, more if keys are
// longer than 32 bytes.
func NewSketch(size int) (*Sketch, error) {
	if size < 1 || size > MaxSketchSize {
		return nil, fmt.Errorf("make sketch: size is %d, want 1 to %d", size, MaxSketchSize)
	}
	s := &Sketch{
		seed: maphash.MakeSeed(),
		sets: make([]sketchSet, (size*sketchRoom+sketchWays-1)/sketchWays),
	}
	room := make([]byte, len(s.sets)*sketchWays*sketchKey)
	for i := range s.sets {
		for w := range sketchWays {
			s.sets[i].packed[w] = int64(w)
			s.sets[i].keys[w], room = room[:0:sketchKey], room[sketchKey:]
		}
	}
	return s, nil
}

// Add counts a key. It keeps a copy, and allocates only for a key of more than
// 32 bytes that is longer than those before. A nil key is none, and not
// counted.
func (s *Sketch) Add(key []byte) {
	if key == nil {
		return
	}
	hash := maphash.Bytes(s.seed, key)
	n, _ := bits.Mul64(hash, uint64(len(s.sets))) // by the highest bits; the tag is the lowest
	set := &s.sets[n]
	set.mu.Lock()
	set.addLocked(byte(hash), key)
	set.mu.Unlock()
}

// Top returns the k keys with the largest counts, or all there are, the largest
// first. Their shares are of all keys that were counted. Keys that are added
// meanwhile may be in it or not.
func (s *Sketch) Top(k int) []HotKey {
	var all []HotKey
	for i := range s.sets {
		all = s.sets[i].list(all)
	}
	total := int64(0)
	for _, key := range all { // a key that takes a place takes its count: none is lost
		total += key.Count
	}
	return hottest(all, k, total)
}

// A sketchSet is a sketch of eight counters, of the keys that its hash sends to
// it. So few need no table to find a key, and no order to find the least
// count.
type sketchSet struct {
	mu sync.Mutex // guards all that follows
	// tags has 8 bits of each key's hash, the first key's lowest. One word tells
	// which keys are worth a look.
	tags uint64
	// packed has each counter's count times eight, and its number, so that the
	// least of them says where it is. A count of 0 is a free counter.
	packed [sketchWays]int64
	keys   [sketchWays][]byte
	errors [sketchWays]int64
}

func (s *sketchSet) addLocked(tag byte, key []byte) {
	for same := equalBytes(s.tags, tag); same != 0; same &= same - 1 {
		i := uint(bits.TrailingZeros64(same)) / 8 % sketchWays
		if string(s.keys[i]) == string(key) {
			s.packed[i] += sketchWays
			return
		}
	}
	i := s.leastLocked()
	s.tags = s.tags&^(0xff<<(8*i)) | uint64(tag)<<(8*i)
	s.keys[i] = append(s.keys[i][:0], key...)
	s.errors[i] = s.packed[i] / sketchWays
	s.packed[i] += sketchWays
}

// equalBytes returns a word with the highest bit set of each byte of word that
// is b. Bytes behind such a one may have it too: Mycroft's test, as in Warren,
// Hacker's Delight, section 6-1.
func equalBytes(word uint64, b byte) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := word ^ uint64(b)*ones
	return (x - ones) &^ x & highs
}

// leastLocked returns the counter with the least count. Two by two, it is
// twice as quick as one after the other.
func (s *sketchSet) leastLocked() uint {
	c := &s.packed
	least := min(min(min(c[0], c[1]), min(c[2], c[3])), min(min(c[4], c[5]), min(c[6], c[7])))
	return uint(least) % sketchWays
}

func (s *sketchSet) list(all []HotKey) []HotKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, packed := range s.packed {
		if count := packed / sketchWays; count > 0 {
			all = append(all, HotKey{Key: string(s.keys[i]), Count: count, Error: s.errors[i]})
		}
	}
	return all
}

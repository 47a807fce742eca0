package partitioner

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog/record"
)

const (
	stickyPlacement = "sticky"

	defaultStickyBytes  = 64 << 10
	defaultStickyLinger = 10 * time.Millisecond

	// A stream is fast if less than this fraction of Linger went by between two
	// looks at the clock; then the next stickyUntimed records do without.
	stickyFastFraction = 10
	stickyUntimed      = 7
)

// StickyConfig says how long [Sticky] keeps to a partition. More makes larger
// batches and fewer partitions to sync at a time; less spreads records sooner.
// The zero value is recommended.
type StickyConfig struct {
	// Bytes is how much one partition is given before it is another's turn,
	// counted in bytes of keys, values and headers. A single record that is
	// larger is a turn of its own. Zero: 64 KiB. Negative: an error.
	Bytes int
	// Linger is the longest time between the first record of a turn and its
	// last. In a fast stream the clock is not read for every record: if such
	// a stream halts, up to 7 records after the halt may join the turn before
	// it. Zero: 10 ms. Negative: an error.
	Linger time.Duration
}

// withDefaults replaces zeros, and reports the field that is out of range.
func (c StickyConfig) withDefaults() (StickyConfig, error) {
	if c.Bytes < 0 {
		return c, fmt.Errorf("configure sticky partitioner: Bytes is %d, want at least 0", c.Bytes)
	}
	if c.Linger < 0 {
		return c, fmt.Errorf("configure sticky partitioner: Linger is %v, want at least 0", c.Linger)
	}
	if c.Bytes == 0 {
		c.Bytes = defaultStickyBytes
	}
	if c.Linger == 0 {
		c.Linger = defaultStickyLinger
	}
	return c, nil
}

// Sticky returns a partitioner that keeps to one partition, chosen at random,
// until it was given config.Bytes or config.Linger is over, and then goes on
// to another one, with the same chance for each of the others. Records that
// come together so share batches and syncs, and in the long run each partition
// gets its part. Keys are ignored. The idea is Kafka's: KIP-480, and KIP-794
// for counting bytes.
//
// A config out of range is reported by every call of Partition, which names
// the field; Sticky itself has no error to return. The sizes are tuning: the
// placement is "sticky" whatever they are.
//
// After each batch it ends the turn early if what is left would not hold
// another batch like this one. So the records of one batch part only where the
// batch began near the end of Linger or alone exceeds what is left of Bytes.
func Sticky(config StickyConfig) Partitioner {
	return newSticky(config)
}

// sticky gives partitions their turns.
type sticky struct {
	// Immutable.
	config StickyConfig
	err    error                // config is out of range
	now    func() time.Duration // since any fixed moment, never falls
	intN   func(n int) int      // uniform in [0, n), n ≥ 1

	// current is the partition whose turn it is, -1 before the first. Written
	// under mu; BatchEnd reads it without, to stay clear of mu when a batch
	// went elsewhere.
	current atomic.Int64

	mu      sync.Mutex
	began   time.Duration // guarded by mu: when the turn's first record came
	timed   time.Duration // guarded by mu: when the clock was read last
	untimed int           // guarded by mu: how many records to take before it is read again
	used    int           // guarded by mu: bytes of the turn so far
	batched int           // guarded by mu: how many of them its latest BatchEnd has seen
	over    bool          // guarded by mu: the turn was ended early
	next    int           // guarded by mu: whose turn is next, -1 before that is chosen
}

func newSticky(config StickyConfig) *sticky {
	s := &sticky{now: monotonic(), intN: rand.IntN, next: -1}
	s.config, s.err = config.withDefaults()
	s.current.Store(-1)
	return s
}

// monotonic returns a clock. time.Since reads only the monotonic clock, which
// takes about half the time of time.Now.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func (s *sticky) Placement() string { return stickyPlacement }

// Check returns what is wrong with the configuration.
func (s *sticky) Check(n int) error {
	if s.err != nil {
		return s.err
	}
	return checkCount(stickyPlacement, n)
}

func (s *sticky) Partition(rec record.Record, n int) (int, error) {
	if err := s.Check(n); err != nil {
		return 0, err
	}
	return s.take(recordBytes(&rec), n), nil
}

// Route does not count the record. If it would begin a turn, the partition is
// chosen now and remembered: that turn will be its, whenever it begins.
func (s *sticky) Route(rec record.Record, n int) (int, error) {
	if err := s.Check(n); err != nil {
		return 0, err
	}
	return s.peek(recordBytes(&rec), n), nil
}

// take counts a record of the given size to a turn and returns its partition.
func (s *sticky) take(bytes, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := int(s.current.Load())
	if s.usedUpLocked(p, bytes, n) || s.lingeredLocked() {
		p = s.nextLocked(p, n)
		s.beginLocked(p)
	}
	s.used += bytes
	return p
}

// peek returns what take would. It reads the clock when take would read it,
// and never notes the reading.
func (s *sticky) peek(bytes, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := int(s.current.Load())
	if s.usedUpLocked(p, bytes, n) || s.untimed == 0 && s.now()-s.began >= s.config.Linger {
		return s.nextLocked(p, n)
	}
	return p
}

// usedUpLocked tells whether the turn of p is over before a record of the
// given size, whatever the time.
func (s *sticky) usedUpLocked(p, bytes, n int) bool {
	return p < 0 || p >= n || // the first record, or n has changed
		s.over ||
		bytes > s.config.Bytes-s.used
}

// lingeredLocked tells whether Linger is over. Reading the clock takes twice
// as long as all the rest of take, so while records come fast, most of them go
// by without.
func (s *sticky) lingeredLocked() bool {
	if s.untimed > 0 {
		s.untimed--
		return false
	}
	now := s.now()
	if now-s.timed < s.config.Linger/stickyFastFraction {
		s.untimed = stickyUntimed
	}
	s.timed = now
	return now-s.began >= s.config.Linger
}

// beginLocked begins the turn of p.
func (s *sticky) beginLocked(p int) {
	now := s.now()
	s.current.Store(int64(p))
	s.began, s.timed = now, now
	s.used, s.batched, s.over = 0, 0, false
	s.next = -1
}

// nextLocked returns whose turn is after that of p: the same partition until
// that turn begins, unless n has changed and there is no such partition now.
func (s *sticky) nextLocked(p, n int) int {
	if s.next < 0 || s.next >= n || s.next == p {
		s.next = s.another(p, n)
	}
	return s.next
}

// another returns a random partition other than p, or any if p is not one of
// the n or the only one.
func (s *sticky) another(p, n int) int {
	if p < 0 || p >= n || n == 1 {
		return s.intN(n)
	}
	q := s.intN(n - 1)
	if q >= p {
		q++
	}
	return q
}

// BatchEnd ends the turn of the partition if it has no room for another batch
// like this one. Size and number of the batch are not used: they count records
// with keys too, which were not routed here. What counts is what Partition has
// counted since the previous BatchEnd; with several appenders at once that may
// be more than one batch, and the turn ends a little sooner.
func (s *sticky) BatchEnd(partition, _, _ int) {
	if s.current.Load() != int64(partition) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != int64(partition) {
		return
	}
	batch := s.used - s.batched
	s.batched = s.used
	if batch > s.config.Bytes-s.used {
		s.over = true
	}
}

// recordBytes returns the size of what the caller gave to be stored.
func recordBytes(rec *record.Record) int {
	n := len(rec.Key) + len(rec.Value)
	for i := range rec.Headers {
		n += len(rec.Headers[i].Key) + len(rec.Headers[i].Value)
	}
	return n
}

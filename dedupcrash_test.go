package braidlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// This file appends records with ids while, before every operation on a file,
// the process ends, the power goes, or the operation fails. Then everything is
// tried again until it succeeds, as a user does who was not told or was told
// that nobody knows. Each record must be there once.

// retryRecords is how many records a caller appends.
const retryRecords = 17

// A caller appends its records in every way, and knows what it was told.
type caller struct {
	t    testing.TB
	mode DedupMode

	mu    sync.Mutex
	acked map[int]Position // guarded by mu
}

func (c *caller) told(n int, pos Position, err error) {
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pos.Duplicate = false
	if at, ok := c.acked[n]; ok && c.mode != DedupOff {
		require.Equal(c.t, at, pos, "record %d moved", n)
	}
	c.acked[n] = pos
}

// known returns what was acknowledged by now.
func (c *caller) known() map[int]Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[int]Position{}
	for n, pos := range c.acked {
		all[n] = pos
	}
	return all
}

// offer appends all records, each once and the last of a batch twice. Errors are
// as they come.
func (c *caller) offer(topic *Topic) {
	n := 0
	one := func() {
		pos, err := topic.Append(bg, idRec(n))
		c.told(n, pos, err)
		n++
	}
	batch := func() {
		recs := []Record{idRec(n), idRec(n + 1), idRec(n + 2), idRec(n + 1)}
		if c.mode == DedupOff {
			recs = recs[:3]
		}
		err := topic.AppendBatch(bg, recs)
		var b *BatchError
		if err == nil || errors.As(err, &b) {
			for i, r := range recs {
				if b == nil || b.Outcomes[i] == Appended {
					c.told(int(r.ID[15]), Position{Partition: r.Partition, Offset: r.Offset}, nil)
				}
			}
		}
		n += 3
	}
	async := func() {
		var calls sync.WaitGroup
		for range 4 {
			calls.Add(1)
			if err := topic.AppendAsync(bg, idRec(n), func(pos Position, err error) {
				defer calls.Done()
				c.told(n, pos, err)
			}); err != nil {
				calls.Done()
			}
			calls.Wait() // n is used by the callback
			n++
		}
	}
	one()
	one()
	batch()
	async()
	batch()
	one()
	async()
	require.Equal(c.t, retryRecords, n)
}

// repeat appends all records again, one by one, which must succeed, and returns
// how many are there more than once. What was promised must be a repeat, at its
// place. Without dedup a careful caller repeats only what was not acknowledged.
func (c *caller) repeat(at string, topic *Topic, acked map[int]Position, promised bool) (twice int) {
	for n := range retryRecords {
		if _, ok := acked[n]; ok && c.mode == DedupOff {
			continue
		}
		pos, err := topic.Append(bg, idRec(n))
		require.NoError(c.t, err, at)
		if was, ok := acked[n]; ok && promised && c.mode != DedupOff {
			was.Duplicate = true
			require.Equal(c.t, was, pos, "%s: record %d was acknowledged", at, n)
		}
	}
	for _, count := range copies(c.t, topic) {
		if count > 1 {
			twice++
		}
	}
	require.Len(c.t, copies(c.t, topic), retryRecords, at)
	return twice
}

// modesAt returns the modes to compare. At Sync a record may well be there that
// was not acknowledged; below, a Mem has no moment between the two.
func modesAt(level Durability) []DedupMode {
	if level == Sync {
		return []DedupMode{DedupOn, DedupOff}
	}
	return []DedupMode{DedupOn}
}

// A retryImage is a disk at some moment, and what was acknowledged by then.
type retryImage struct {
	at     string
	killed bool
	m      *fs.Mem
	acked  map[int]Position
}

func TestRetryAfterAnyCrash(t *testing.T) {
	eachLevel(t, func(t *testing.T, level Durability, heap bool) {
		for _, mode := range modesAt(level) {
			twice := 0
			for _, i := range retryImages(t, level, heap, mode) {
				s, err := Open("/store", Options{fs: i.m, forceHeap: heap})
				require.NoError(t, err, i.at)
				topic, err := s.Topic("orders")
				require.NoError(t, err, i.at)
				c := &caller{t: t, mode: mode}
				n := c.repeat(i.at, topic, i.acked, i.killed || level == Sync)
				require.True(t, mode == DedupOff || n == 0, "%s: %d records are there more than once", i.at, n)
				twice += n
				require.NoError(t, s.Close(), i.at)
			}
			require.Equal(t, mode == DedupOff, twice > 0, "it is dedup that makes retries safe")
		}
	})
}

// retryImages plays a caller once, and returns what each crash would have left.
func retryImages(t *testing.T, level Durability, heap bool, mode DedupMode) (all []retryImage) {
	m := fs.NewMem()
	s := openMem(t, m, heapIf(heap))
	config := withDedup(dedupConfig(level), Dedup{Mode: mode})
	config.SegmentBytes = 4 << 10
	topic := ensure(t, s, config)
	c := &caller{t: t, mode: mode, acked: map[int]Position{}}
	rng := rand.New(rand.NewPCG(uint64(level), 5))
	var mu sync.Mutex
	take := func(at string) {
		acked := c.known() // first: what is acknowledged meanwhile need not be on the image
		all = append(all,
			retryImage{at + ", killed", true, m.Kill(), acked},
			retryImage{at + ", crashed", false, m.Crash(func() bool { return false }), acked},
			retryImage{at + ", crashed, a part kept", false, m.Crash(func() bool { return rng.IntN(2) == 0 }), acked})
	}
	m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if changes(op) {
			take(fmt.Sprintf("before operation %d, %v", op.N, op))
		}
		return nil
	})
	c.offer(topic)
	mu.Lock()
	take("at the end")
	mu.Unlock()
	m.OnOp(nil)
	require.Len(t, c.acked, retryRecords)
	require.NoError(t, s.Close())
	return all
}

// Whatever operation fails: the caller tries again in the same process, opens
// the store anew, and tries again.
func TestRetryAfterAnyFailure(t *testing.T) {
	eachLevel(t, func(t *testing.T, level Durability, heap bool) {
		for _, mode := range modesAt(level) {
			twice := 0
			for _, fault := range []error{fs.EIO, fs.ENOSPC} {
				for n := int64(1); ; n++ {
					came, more := retryAfter(t, level, heap, mode, n, fault)
					twice += more
					if !came {
						break
					}
				}
			}
			require.Equal(t, mode == DedupOff, twice > 0, "it is dedup that makes retries safe")
		}
	})
}

// retryAfter has operation n of a caller fail, and those that follow up to the
// seventh if n is odd, and reports whether it came to that.
func retryAfter(t *testing.T, level Durability, heap bool, mode DedupMode, n int64, fault error) (came bool, twice int) {
	m := fs.NewMem()
	s := openMem(t, m, heapIf(heap))
	config := withDedup(dedupConfig(level), Dedup{Mode: mode})
	config.SegmentBytes = 4 << 10
	topic := ensure(t, s, config)
	c := &caller{t: t, mode: mode, acked: map[int]Position{}}
	var mu sync.Mutex
	ops, failed := int64(0), "nothing"
	m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if ops++; ops < n || ops > n+6*(n%2) {
			return nil
		}
		failed = op.String()
		return fault
	})
	c.offer(topic)
	mu.Lock()
	came = ops >= n
	at := fmt.Sprintf("operation %d, %s, fails", n, failed)
	mu.Unlock()
	m.OnOp(nil)
	acked := c.known()
	for i := range retryRecords {
		_, ok := acked[i]
		if ok && mode == DedupOff {
			continue
		}
		pos, err := topic.Append(bg, idRec(i))
		c.told(i, pos, err)
		require.False(t, mode != DedupOff && ok && (err != nil || !pos.Duplicate), "%s: record %d was acknowledged: %v", at, i, err)
	}
	acked = c.known()
	if err := s.Close(); err != nil {
		require.ErrorIs(t, err, ErrFailed, at)
	}
	s, err := Open("/store", Options{fs: m, forceHeap: heap})
	require.NoError(t, err, at)
	topic, err = s.Topic("orders")
	require.NoError(t, err, at)
	twice = c.repeat(at, topic, acked, true)
	require.True(t, mode == DedupOff || twice == 0, "%s: %d records are there more than once", at, twice)
	require.NoError(t, s.Close(), at)
	return came, twice
}

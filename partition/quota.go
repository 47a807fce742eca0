package partition

import (
	"math"
	"sync/atomic"
)

// A Quota bounds how many bytes several partitions hold together. Appends that
// would go beyond it fail with ErrFull. Make it with NewQuota.
type Quota struct {
	limit atomic.Int64
	used  atomic.Int64
}

// NewQuota returns a quota without a limit.
func NewQuota() *Quota {
	q := &Quota{}
	q.SetLimit(math.MaxInt64)
	return q
}

// SetLimit changes the limit, in bytes; math.MaxInt64 is none.
func (q *Quota) SetLimit(bytes int64) { q.limit.Store(bytes) }

// Used returns how many bytes the partitions hold, segment headers included
// and reserved space left out.
func (q *Quota) Used() int64 { return q.used.Load() }

// refusesLocked reports whether there is no room for size more bytes.
func (p *Partition) refusesLocked(size int) bool {
	q := p.opts.Quota
	return q != nil && q.used.Load()+int64(size) > q.limit.Load()
}

// countLocked counts bytes that were gathered, or are gone.
func (p *Partition) countLocked(size int) {
	if q := p.opts.Quota; q != nil {
		p.counted += int64(size)
		q.used.Add(int64(size))
	}
}

// recountLocked counts everything anew.
func (p *Partition) recountLocked() {
	q := p.opts.Quota
	if q == nil {
		return
	}
	now := p.Bytes() + p.pending
	q.used.Add(now - p.counted)
	p.counted = now
}

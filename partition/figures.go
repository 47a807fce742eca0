package partition

import (
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
)

// Stats are figures of a partition at one moment. What is counted is counted
// since the partition was opened; what opening it did is left out. As JSON,
// times are as time.Time has them and durations are nanoseconds.
type Stats struct {
	Start    int64 `json:"start"`   // what can be read: [Start, End)
	End      int64 `json:"end"`     //
	Durable  int64 `json:"durable"` // every record below is known to be on disk
	Writable bool  `json:"writable"`

	Bytes    int64 `json:"bytes"` // of all segments, space reserved in advance left out
	Segments int   `json:"segments"`
	// First and Last are the append times of the first and the last record
	// that can be read, zero if there is none or it cannot be had from the
	// disk. First is read, one batch, when it is asked for the first time and
	// after a trim; Last is known once something was appended, and read, one
	// batch, before.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`

	Appends int64 `json:"appends"` // records appended
	// Reads is how many records were read. A reader enters what it read when
	// it comes to the end of a piece of the file or of the partition, and when
	// it is closed.
	Reads int64 `json:"reads"`

	// Syncs is how often a segment's file was synced, SyncTime how long that
	// took in all, and LongestSync the longest of them.
	Syncs       int64         `json:"syncs"`
	SyncTime    time.Duration `json:"sync_ns"`
	LongestSync time.Duration `json:"longest_sync_ns"`

	// Groups is how many groups of records were written together, each with
	// one write and at level Sync with one sync; GroupRecords is how many
	// records were in them, and LargestGroup in the largest. Appends through a
	// mapped window are in no group.
	Groups       int64 `json:"groups"`
	GroupRecords int64 `json:"group_records"`
	LargestGroup int64 `json:"largest_group"`
}

// figures are what a partition counts, and what it remembers for Stats.
type figures struct {
	appends      int64  // guarded by the partition's mu; and so are
	groups       int64  //
	groupRecords int64  //
	largestGroup int64  //
	newest       moment // End, and the append time of the last record below
	oldest       moment // a Start, and the append time of the first record behind

	reads       atomic.Int64
	syncs       atomic.Int64 // changed with the baton, and so are
	syncTime    atomic.Int64 //
	longestSync atomic.Int64 //
}

// A moment is an append time that goes with an offset. The zero moment is none.
type moment struct {
	offset int64
	time   int64 // nanoseconds since 1970 UTC; 0 if there is none
}

func (m moment) utc() time.Time {
	if m.time == 0 {
		return time.Time{}
	}
	return time.Unix(0, m.time).UTC()
}

// Stats returns figures of the partition as it is now. After Close they are
// those of its end.
func (p *Partition) Stats() Stats {
	p.glance(true)
	p.mu.Lock()
	f := &p.figures
	s := Stats{
		Start: p.start.Load(), End: p.visible.Load(), Durable: p.durable.Load(), Writable: p.usableLocked() == nil,
		Appends: f.appends,
		Groups:  f.groups, GroupRecords: f.groupRecords, LargestGroup: f.largestGroup,
	}
	oldest, newest := f.oldest, f.newest
	p.mu.Unlock()
	s.Bytes, s.Segments = p.Bytes(), len(p.all())
	s.Reads = f.reads.Load()
	s.Syncs, s.SyncTime, s.LongestSync = f.syncs.Load(), time.Duration(f.syncTime.Load()), time.Duration(f.longestSync.Load())
	if s.Start < s.End {
		s.First, s.Last = p.times(s.Start, s.End, oldest, newest)
	}
	return s
}

// times returns when the first and the last record of [start, end) were
// appended: as remembered, if that is still so.
func (p *Partition) times(start, end int64, oldest, newest moment) (first, last time.Time) {
	if oldest.time == 0 || oldest.offset != start {
		oldest = p.findOldest(end)
	}
	if oldest.time == 0 {
		return first, last // all that is left is a gap, or damaged
	}
	if newest.time == 0 || newest.offset != end {
		newest = p.findNewest(end)
	}
	return oldest.utc(), newest.utc()
}

// findOldest reads the first record and remembers when it was appended.
func (p *Partition) findOldest(end int64) moment {
	r := p.keeping(First())
	r.scan.Most = minReadBytes
	start := r.next
	rec, err := r.TryBefore(end)
	for err != nil {
		if !Skippable(err) {
			return moment{}
		}
		rec, err = r.TryBefore(end)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.figures.oldest = moment{start, rec.Timestamp.UnixNano()}
	return p.figures.oldest
}

// findNewest finds out when the last record below end was appended, and
// remembers it unless more was appended meanwhile.
func (p *Partition) findNewest(end int64) moment {
	found := moment{offset: end}
	list := p.all()
	for i := len(list) - 1; i >= 0 && found.time == 0; i-- {
		var err error
		if found.time, err = list[i].LastRecordTime(); err != nil {
			return moment{}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.figures.newest.offset < end {
		p.figures.newest = found
	}
	return found
}

// committed counts a group of records that was written.
func (f *figures) committed(records int64) {
	f.appends += records
	f.groups++
	f.groupRecords += records
	f.largestGroup = max(f.largestGroup, records)
}

// syncFile syncs a segment's file and counts it. The caller holds the baton.
// An error is a *syncError.
func (p *Partition) syncFile(f fs.File) error {
	began := time.Now()
	err := f.Sync()
	took := int64(time.Since(began))
	p.figures.syncs.Add(1)
	p.figures.syncTime.Add(took)
	if took > p.figures.longestSync.Load() {
		p.figures.longestSync.Store(took)
	}
	if err != nil {
		return p.syncFailed(err)
	}
	return nil
}

// opened begins to count anew: what recovery did is not counted.
func (f *figures) opened() {
	f.syncs.Store(0)
	f.syncTime.Store(0)
	f.longestSync.Store(0)
}

// Closed reports whether Close was called and readers are to stop.
func (p *Partition) Closed() bool { return p.ended.Load() }

// Bytes returns how long the segments are that can be read, space reserved in
// advance left out.
func (p *Partition) Bytes() (n int64) {
	for _, s := range p.all() {
		n += s.Readable()
	}
	return n
}

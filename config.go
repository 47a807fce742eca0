package braidlog

import (
	"fmt"
	"log/slog"
	"math"
	"time"
	"unicode/utf8"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// Options say how a store is opened. The zero value is the recommended
// setting.
type Options struct {
	// MaxOpenFiles bounds the segment files that are open at a time, and so
	// descriptors and mapped memory. Zero: 512; at least 2.
	MaxOpenFiles int
	// ReadOnly attaches to a store that another process of the same machine may
	// have open and be writing, or to an archive. Not a byte is changed and no
	// lock is taken: the directory need not be writable. Whatever would change
	// something fails with ErrReadOnly.
	//
	// Everything that reads follows the writer, whoever that is by then: its
	// records, topics and settings, and what it trims. A topic that it deleted
	// is ErrTopicNotFound for its readers. At level Sync a record is seen when
	// the files tell that it is durable: with the records after it, or 20 ms
	// later; at the end of a segment that is full to the last byte, with the
	// next record or the writer's Close. At the other levels it is seen when it
	// is written. How soon what happens is noticed stands at package partition's
	// Options.
	ReadOnly bool
	// Validate says how much of what is on disk is checked before Open
	// returns. Zero: ValidateTail.
	Validate Validate
	// Logger gets every event, on a goroutine of the store and under no lock:
	// rolls at level Debug, trims and archived segments at Info, recoveries and
	// repairs at Warn, trouble in the background at Error. Nil: silence.
	Logger *slog.Logger
	// OnEvent is called with every event, from the time Open returns: rolls,
	// trims, recoveries, repairs, archived segments, and trouble in the
	// background. It is called on a goroutine of the store, under no lock, one
	// event at a time and in the order in which they happened, those of Open
	// first. It may take its time, since nothing waits for it but Close: up to
	// 1,024 events wait for it, what comes then is dropped, and Event.Dropped
	// of the next one tells how many were. It may use the store, but must not
	// close it. A panic is logged, and goes no further. An Open that fails
	// tells nobody. Nil: nobody is told.
	OnEvent func(Event)

	fs        fs.FS                   // nil: the operating system's
	clock     *clock.Clock            // nil: a new one
	newID     func() meta.ID          // nil: meta.NewID
	onShared  func(*partition.Shared) // nil: nobody wants to know
	forceHeap bool                    // no mapped windows
	idle      bool                    // no background worker: retention is enforced by hand

	groupsSegment, groupsSnapshot int64 // of the groups log; 0: the defaults
}

// DefaultPartitions is how many partitions a topic gets if nobody says.
const DefaultPartitions = 6

// MaxPartitions is how many partitions a topic has at most.
const MaxPartitions = 100_000

// A TopicConfig describes a topic. In a new topic zero means the default; in
// one that exists it means: as stored.
//
// Partitions and the partitioner's placement are fixed for life. The rest may
// be changed with EnsureTopic or SetConfig.
type TopicConfig struct {
	// Partitions is how many there are. Zero: six. 1 to 100,000. More
	// partitions let more readers share the work; the number decides where
	// each key goes, so leave room.
	Partitions int
	// Partitioner routes records. Nil: partitioner.Key(); in a topic that
	// exists, the one whose name is stored, if it is a built-in one.
	Partitioner partitioner.Partitioner

	// Durability is what an acknowledged append survives. Zero: Sync.
	Durability Durability
	// SyncEvery is how much level Interval leaves unsynced. Zero: 1 s, 1,024
	// records or 1 MiB in a partition, whichever comes first.
	SyncEvery SyncEvery

	// SegmentBytes is the size of a segment file. Zero: 128 MiB; 4 KiB to 1 GiB.
	SegmentBytes int64
	// SegmentAge is how long a segment is appended to. Zero: 7 days; 1 s to
	// 100 years.
	SegmentAge time.Duration
	// MaxRecordBytes limits key, value and headers of a record together.
	// Zero: 1 MiB, or a quarter of SegmentBytes if that is less; at most
	// that quarter.
	MaxRecordBytes int
	// MaxKeyBytes limits the key. Zero: 255; at most MaxRecordBytes.
	MaxKeyBytes int
	// IndexCache says which indexes stay in memory. Zero: CacheActiveSegment.
	IndexCache CacheMode

	// Retention says when old segments go. Zero: never.
	Retention Retention
	// HoldBack, if not nil, is asked what retention may not remove yet: the
	// offset of the first record of a partition that somebody still needs.
	// Retention.HoldBackBytes and HoldBackAge bound it. It is called by the
	// store's background worker and by Enforce, under no lock; it must return
	// soon and must not call Enforce of its topic. A topic stores
	// that it has one, and not which: until one is given after Open,
	// everything is held back. HoldNothing lifts it.
	HoldBack func(partition int) int64
	// Archive says what happens to a segment before retention removes it.
	// Zero: nothing.
	Archive Archive

	// Dedup has appends with an id that was appended lately return the first
	// one's position. Zero: off.
	Dedup Dedup

	// HotKeys has Stats tell the keys that most records have been appended
	// with, so many of them: 1 to 65,536, each for 300 bytes of memory and all
	// for about 30 ns an append. They are counted by a partitioner.Sketch, from
	// Open or a change of HotKeys on; what is appended by a Partition itself is
	// not. Zero: NoHotKeys in a new topic.
	HotKeys int

	// What a topic's file says of functions that cannot be stored.
	holdBackStored bool
	archiverStored bool
}

// NoHotKeys is a TopicConfig.HotKeys that counts no keys.
const NoHotKeys = -1

// Unlimited lifts a limit of Retention that a topic has stored.
const Unlimited = math.MaxInt64

// Retention says when the oldest records of a topic go. Whole segments go,
// oldest first, and never the one that is being appended to; so a partition
// may keep up to SegmentBytes more than it has to. In a new topic a limit of
// zero is none; in one that exists it is as stored, and Unlimited is none.
type Retention struct {
	// Age is how old the youngest record of a segment is when it goes, by
	// Timestamp. A segment that is still appended to is ended when it is too
	// old as a whole. 1 ms or more.
	Age time.Duration
	// PartitionBytes is how much one partition keeps at most. At least
	// SegmentBytes.
	PartitionBytes int64
	// TopicBytes is how much all partitions together keep at most: the oldest
	// segments of any of them go. At least SegmentBytes times Partitions.
	TopicBytes int64
	// Full says what happens at TopicBytes. Zero: DeleteOldest.
	Full FullPolicy

	// Groups says whether what consumer groups have not committed is held back:
	// everything behind the slowest group that reads the topic, whether it is
	// open or not. A group that is not used any more is to be deleted. Zero:
	// IgnoreGroups.
	Groups GroupPolicy

	// HoldBackBytes bounds HoldBack and Groups: what is held back goes all the
	// same when the partition holds more than this. Zero: Unlimited.
	HoldBackBytes int64
	// HoldBackAge bounds HoldBack and Groups by age. Zero: Unlimited.
	HoldBackAge time.Duration
}

// GroupPolicy says whether retention waits for consumer groups. Zero stands for
// IgnoreGroups, and in a topic that exists for the stored policy.
type GroupPolicy uint8

// The policies.
const (
	// IgnoreGroups removes what a group has not read: it goes on behind that,
	// where its Config.Trimmed says.
	IgnoreGroups GroupPolicy = iota + 1
	// HoldForGroups keeps what a group has not committed.
	HoldForGroups
)

func (g GroupPolicy) String() string {
	switch g {
	case IgnoreGroups:
		return "ignore groups"
	case HoldForGroups:
		return "hold for groups"
	}
	return fmt.Sprintf("groups(%d)", uint8(g))
}

// FullPolicy says what happens when a topic holds Retention.TopicBytes. Zero
// stands for DeleteOldest, and in a topic that exists for the stored one.
type FullPolicy uint8

// The policies.
const (
	// DeleteOldest removes the oldest segments.
	DeleteOldest FullPolicy = iota + 1
	// Refuse removes nothing on that account: appends fail with ErrFull until
	// a trim, a purge or another limit made room.
	Refuse
)

func (f FullPolicy) String() string {
	switch f {
	case DeleteOldest:
		return "delete oldest"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("full(%d)", uint8(f))
}

// Archive says what happens to a segment before retention removes it. At most
// one of its fields is set. What Trim, Purge and DeleteTopic remove is not
// archived. A segment is archived whole: also with records that a Trim gave up
// and that are still in the file.
type Archive struct {
	// To is called with each segment, oldest first, by the store's background
	// worker or Enforce, whose work waits for it, for all topics; it must not
	// call Enforce of its topic. Its error or panic keeps the segment; it is tried
	// again, after 1 s and then after twice as long each time, up to 5
	// minutes. A topic stores that it has one, and not which: until one is
	// given after Open, nothing is removed.
	To Archiver
	// Dir is a directory that segments are moved to, made if it is missing.
	// Open with ReadOnly reads it as a store of its own. It is stored as it is
	// given, and whoever opens the store archives there: a relative path would
	// lead somewhere else from another working directory.
	Dir string
	// Off ends archiving.
	Off bool
}

// Dedup configures the recognition of records by their ID, so that an append
// may be tried again without fear that the record is there twice: above all
// after ErrOutcomeUnknown.
//
// A record whose ID was appended to the topic lately, to whichever partition,
// is a repeat. It is not appended and the partitioner is not asked: the append
// returns where the first record is, with Duplicate set. Its key, value and all
// else are not compared. A repeat of a record that is still being appended
// waits for that one and shares its outcome; so it is ErrOutcomeUnknown again
// as long as only opening the store anew can tell. A record without an ID, all
// zeros, is never a repeat.
//
// What is remembered is in the log itself: the first append with an ID after
// Open, or after dedup was switched on, reads the topic backwards until it has
// Entries ids or everything that is younger than Window. If a partition cannot
// be read for an I/O error, appends with an ID fail with that error. Offsets
// lost to damage are passed over. A record that was removed since is still a
// repeat's first as long as its ID is remembered, and forgotten at Open.
//
// It is the appends of a Topic that look for repeats, not those of a Partition
// by itself. An append that is under way while dedup is switched on may not be
// remembered.
type Dedup struct {
	// Mode: zero is DedupOff in a new topic and as stored in others.
	Mode DedupMode
	// Entries is how many ids are remembered, 1 to 16,777,216; each takes about
	// 100 bytes of memory. Zero: 10,000.
	Entries int
	// Window is for how long, by Timestamp, 1 ms or more. Zero: 1 minute. It
	// goes on while the store is closed: make it longer than it takes until an
	// append is tried for the last time, a restart of the program included.
	Window time.Duration
}

// DedupMode says whether repeats are recognized. Zero stands for DedupOff, and
// in a topic that exists for the stored mode.
type DedupMode uint8

// The modes.
const (
	// DedupOff appends every record.
	DedupOff DedupMode = iota + 1
	// DedupOn recognizes records that have an id.
	DedupOn
	// DedupRequired is DedupOn, and refuses records without an id.
	DedupRequired
)

func (m DedupMode) String() string {
	switch m {
	case DedupOff:
		return "off"
	case DedupOn:
		return "on"
	case DedupRequired:
		return "required"
	}
	return fmt.Sprintf("dedup(%d)", uint8(m))
}

// Defaults of Dedup.
const (
	DefaultDedupEntries = 10_000
	DefaultDedupWindow  = time.Minute
	maxDedupEntries     = 1 << 24
)

// HoldNothing is a HoldBack that lets everything go.
func HoldNothing(int) int64 { return math.MaxInt64 }

// withDefaults returns c with every zero replaced, or an error that names the
// field.
func (c TopicConfig) withDefaults() (TopicConfig, error) {
	if c.Partitions == 0 {
		c.Partitions = DefaultPartitions
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		return c, fmt.Errorf("%w config: Partitions is %d, want 1 to %d", ErrInvalid, c.Partitions, MaxPartitions)
	}
	p, err := c.ofPartition().WithDefaults()
	if err != nil {
		return c, err
	}
	c = c.with(p)
	c.Retention = c.Retention.withDefaults()
	orStored(&c.Dedup.Mode, DedupOff)
	orStored(&c.Dedup.Entries, DefaultDedupEntries)
	orStored(&c.Dedup.Window, DefaultDedupWindow)
	orStored(&c.HotKeys, NoHotKeys)
	return c, c.check()
}

func (r Retention) withDefaults() Retention {
	orStored(&r.Age, Unlimited)
	orStored(&r.PartitionBytes, Unlimited)
	orStored(&r.TopicBytes, Unlimited)
	orStored(&r.Full, DeleteOldest)
	orStored(&r.Groups, IgnoreGroups)
	orStored(&r.HoldBackBytes, Unlimited)
	orStored(&r.HoldBackAge, Unlimited)
	return r
}

// check returns what is wrong with the settings that are not a partition's.
func (c TopicConfig) check() error {
	r, d := c.Retention, c.Dedup
	for _, f := range []struct {
		field        string
		value, least any
		ok           bool
	}{
		{"Retention.Age", r.Age, time.Millisecond, r.Age >= time.Millisecond},
		{"Retention.HoldBackAge", r.HoldBackAge, time.Millisecond, r.HoldBackAge >= time.Millisecond},
		{"Retention.HoldBackBytes", r.HoldBackBytes, 1, r.HoldBackBytes >= 1},
		{"Dedup.Window", d.Window, time.Millisecond, d.Window >= time.Millisecond},
		{"Dedup.Entries", d.Entries, 1, d.Entries >= 1},
	} {
		if !f.ok {
			return fmt.Errorf("%w config: %s is %v, want %v or more", ErrInvalid, f.field, f.value, f.least)
		}
	}
	if d.Entries > maxDedupEntries {
		return fmt.Errorf("%w config: Dedup.Entries is %d, want at most %d", ErrInvalid, d.Entries, maxDedupEntries)
	}
	if n := c.HotKeys; n != NoHotKeys && (n < 1 || n > partitioner.MaxSketchSize) {
		return fmt.Errorf("%w config: HotKeys is %d, want 1 to %d, or NoHotKeys", ErrInvalid, n, partitioner.MaxSketchSize)
	}
	if d.Mode > DedupRequired {
		return fmt.Errorf("%w config: Dedup.Mode is %v, want DedupOff, DedupOn or DedupRequired", ErrInvalid, d.Mode)
	}
	if r.Full > Refuse {
		return fmt.Errorf("%w config: Retention.Full is %v, want DeleteOldest or Refuse", ErrInvalid, r.Full)
	}
	if r.Groups > HoldForGroups {
		return fmt.Errorf("%w config: Retention.Groups is %v, want IgnoreGroups or HoldForGroups", ErrInvalid, r.Groups)
	}
	if n := boolCount(c.Archive.To != nil, c.Archive.Dir != "", c.Archive.Off); n > 1 {
		return fmt.Errorf("%w config: Archive has %d of To, Dir and Off, want one", ErrInvalid, n)
	}
	if !utf8.ValidString(c.Archive.Dir) { // it would be stored as another one
		return fmt.Errorf("%w config: Archive.Dir is %q, want UTF-8", ErrInvalid, c.Archive.Dir)
	}
	return c.checkBytes()
}

func boolCount(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// checkBytes refuses limits that whole segments cannot keep to.
func (c TopicConfig) checkBytes() error {
	if n := c.Retention.PartitionBytes; n < c.SegmentBytes {
		return fmt.Errorf("%w config: Retention.PartitionBytes is %d, less than one segment: whole segments go, and never the active one, so a partition would keep up to SegmentBytes, %d, all the same; make SegmentBytes smaller",
			ErrInvalid, n, c.SegmentBytes)
	}
	if n, least := c.Retention.TopicBytes, int64(c.Partitions)*c.SegmentBytes; n < least {
		return fmt.Errorf("%w config: Retention.TopicBytes is %d, less than one segment for each of %d partitions: whole segments go, and never an active one, so the topic would keep up to %d all the same; make SegmentBytes at most %d",
			ErrInvalid, n, c.Partitions, least, n/int64(c.Partitions))
	}
	return nil
}

// ofPartition returns the settings that are a partition's.
func (c TopicConfig) ofPartition() partition.Config {
	return partition.Config{
		Durability:     c.Durability,
		SyncEvery:      c.SyncEvery,
		SegmentBytes:   c.SegmentBytes,
		SegmentAge:     c.SegmentAge,
		MaxRecordBytes: c.MaxRecordBytes,
		MaxKeyBytes:    c.MaxKeyBytes,
		IndexCache:     c.IndexCache,
	}
}

func (c TopicConfig) with(p partition.Config) TopicConfig {
	c.Durability = p.Durability
	c.SyncEvery = p.SyncEvery
	c.SegmentBytes = p.SegmentBytes
	c.SegmentAge = p.SegmentAge
	c.MaxRecordBytes = p.MaxRecordBytes
	c.MaxKeyBytes = p.MaxKeyBytes
	c.IndexCache = p.IndexCache
	return c
}

// over returns c with every zero replaced by what is stored.
func (c TopicConfig) over(stored TopicConfig) TopicConfig {
	orStored(&c.Partitions, stored.Partitions)
	if c.Partitioner == nil {
		c.Partitioner = stored.Partitioner
	}
	orStored(&c.Durability, stored.Durability)
	orStored(&c.SyncEvery.Time, stored.SyncEvery.Time)
	orStored(&c.SyncEvery.Records, stored.SyncEvery.Records)
	orStored(&c.SyncEvery.Bytes, stored.SyncEvery.Bytes)
	orStored(&c.SegmentBytes, stored.SegmentBytes)
	orStored(&c.SegmentAge, stored.SegmentAge)
	orStored(&c.MaxRecordBytes, stored.MaxRecordBytes)
	orStored(&c.MaxKeyBytes, stored.MaxKeyBytes)
	orStored(&c.IndexCache, stored.IndexCache)
	c.Retention = c.Retention.over(stored.Retention)
	if c.HoldBack == nil {
		c.HoldBack, c.holdBackStored = stored.HoldBack, stored.holdBackStored
	}
	if c.Archive.To == nil && c.Archive.Dir == "" && !c.Archive.Off {
		c.Archive, c.archiverStored = stored.Archive, stored.archiverStored
	}
	orStored(&c.Dedup.Mode, stored.Dedup.Mode)
	orStored(&c.Dedup.Entries, stored.Dedup.Entries)
	orStored(&c.Dedup.Window, stored.Dedup.Window)
	orStored(&c.HotKeys, stored.HotKeys)
	return c
}

func (r Retention) over(stored Retention) Retention {
	orStored(&r.Age, stored.Age)
	orStored(&r.PartitionBytes, stored.PartitionBytes)
	orStored(&r.TopicBytes, stored.TopicBytes)
	orStored(&r.Full, stored.Full)
	orStored(&r.Groups, stored.Groups)
	orStored(&r.HoldBackBytes, stored.HoldBackBytes)
	orStored(&r.HoldBackAge, stored.HoldBackAge)
	return r
}

func orStored[T comparable](field *T, stored T) {
	var zero T
	if *field == zero {
		*field = stored
	}
}

// checkName returns why a topic cannot have this name.
func checkName(name string) error {
	if err := naming.Check(name); err != nil {
		return fmt.Errorf("%w topic name: %w", ErrInvalid, err)
	}
	return nil
}

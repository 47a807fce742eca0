package partition

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/braidlog/braidlog/index"
	"github.com/braidlog/braidlog/segment"
)

// Durability says when an append is acknowledged, and so what a record
// survives.
type Durability uint8

// The levels of durability. The zero Durability stands for Sync, and in the
// configuration of a topic that exists for the level it has.
const (
	// Sync acknowledges a record when it is on disk: it survives power loss.
	// Appends that come together share one sync. Readers see a record when
	// it is acknowledged.
	Sync Durability = iota + 1
	// Interval acknowledges when the record is written: it survives the end
	// of the process, and a power loss once it was synced, which happens as
	// often as SyncEvery says.
	Interval
	// OS acknowledges when the record is written and leaves syncing to the
	// operating system.
	OS
)

func (d Durability) String() string {
	switch d {
	case Sync:
		return "sync"
	case Interval:
		return "interval"
	case OS:
		return "os"
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// SyncEvery says how much may be unsynced at level Interval: a sync starts at
// whichever threshold is reached first, and at twice the threshold appends
// wait for it.
type SyncEvery struct {
	Time    time.Duration // zero: 1 s; 1 ms to 1 h
	Records int64         // zero: 1,024; 1 to 2^24
	Bytes   int64         // zero: 1 MiB; 4 KiB to 1 GiB
}

// Config is what may change over a partition's life. The zero value is the
// recommended setting.
type Config struct {
	Durability Durability
	SyncEvery  SyncEvery // of level Interval

	// SegmentBytes is the size at which a segment is full. Small segments
	// are trimmed in small steps, large ones need fewer files. Zero: 128
	// MiB; 4 KiB to 1 GiB.
	SegmentBytes int64
	// SegmentAge is how long a segment is appended to. Zero: 7 days; 1 s to
	// 100 years.
	SegmentAge time.Duration
	// MaxRecordBytes limits key, value and headers of one record together.
	// Zero: 1 MiB, or a quarter of SegmentBytes if that is less; at most a
	// quarter of SegmentBytes.
	MaxRecordBytes int
	// MaxKeyBytes limits the key. Zero: 255; at most MaxRecordBytes.
	MaxKeyBytes int
	// IndexCache says which indexes stay in memory.
	IndexCache index.CacheMode
}

// Defaults and limits of Config.
const (
	DefaultSegmentBytes   = 128 << 20
	DefaultSegmentAge     = 7 * 24 * time.Hour
	DefaultMaxRecordBytes = 1 << 20
	DefaultMaxKeyBytes    = 255
	DefaultSyncTime       = time.Second
	DefaultSyncRecords    = 1024
	DefaultSyncBytes      = 1 << 20
	minSegmentBytes       = 4 << 10
	maxSegmentAge         = 100 * 365 * 24 * time.Hour
)

// WithDefaults returns c with every zero replaced by what it stands for, or
// an error that names the field, its value and the range.
func (c Config) WithDefaults() (Config, error) {
	setDefault(&c.Durability, Sync)
	setDefault(&c.IndexCache, index.ActiveSegment)
	setDefault(&c.SegmentBytes, DefaultSegmentBytes)
	setDefault(&c.SegmentAge, DefaultSegmentAge)
	setDefault(&c.MaxRecordBytes, int(min(DefaultMaxRecordBytes, c.SegmentBytes/4)))
	setDefault(&c.MaxKeyBytes, min(DefaultMaxKeyBytes, c.MaxRecordBytes))
	setDefault(&c.SyncEvery.Time, DefaultSyncTime)
	setDefault(&c.SyncEvery.Records, DefaultSyncRecords)
	setDefault(&c.SyncEvery.Bytes, DefaultSyncBytes)
	return c, c.check()
}

// roomBytes returns how long a frame may be, so that it fits in a segment: the
// window over one is no larger. A record fits, since MaxRecordBytes is at most
// a quarter of a segment.
func (c *Config) roomBytes() int { return int(c.SegmentBytes) - segment.FirstFrame }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) check() error {
	return firstError(
		inRange("Durability", int64(c.Durability), int64(Sync), int64(OS)),
		inRange("IndexCache", int64(c.IndexCache), int64(index.ActiveSegment), int64(index.None)),
		inRange("SegmentBytes", c.SegmentBytes, minSegmentBytes, segment.MaxBytes),
		inRange("SegmentAge", c.SegmentAge, time.Second, maxSegmentAge),
		inRange("MaxRecordBytes", int64(c.MaxRecordBytes), 1, c.SegmentBytes/4),
		inRange("MaxKeyBytes", c.MaxKeyBytes, 1, c.MaxRecordBytes),
		inRange("SyncEvery.Time", c.SyncEvery.Time, time.Millisecond, time.Hour),
		inRange("SyncEvery.Records", c.SyncEvery.Records, 1, segment.MaxOffsets),
		inRange("SyncEvery.Bytes", c.SyncEvery.Bytes, 4<<10, segment.MaxBytes),
	)
}

func inRange[T int | int64 | time.Duration](field string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%w config: %s is %v, want %v to %v", ErrInvalid, field, v, least, most)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Options say which partition is opened and what is known about it. The zero
// value opens a partition that stands alone.
type Options struct {
	Config

	Topic   string   // name, for records and errors
	TopicID [16]byte // written into every segment and compared with it
	Number  int      // of the partition in its topic

	// Shared is what this partition shares with others of the same store.
	// Nil: it makes its own and closes it.
	Shared *Shared

	// Checkpoint is what the last Close returned, if its caller kept it, or
	// nil. Everything below its End is taken to be durable. With Clean it is
	// also where the partition ends: nothing was written since.
	Checkpoint *Checkpoint
	Clean      bool
	// Committed is an offset below which a consumer is known to have
	// committed: at level Sync everything below was durable.
	Committed int64
	// SameBoot says that the machine did not restart since the partition was
	// last written, and no sync failed (SharedOptions.SyncFailed), so that the
	// operating system still has what was written and not synced. False, the safe answer, leaves a gap in the offsets at
	// levels Interval and OS after an unclean end.
	SameBoot bool

	// Validate says how much of what is on disk is checked before the
	// partition is opened. Zero: ValidateTail.
	Validate Validate
	// ReadOnly opens a partition that somebody else may be writing, another
	// process too: not a byte is changed, no lock is taken, and whatever would
	// change something fails with ErrReadOnly. The directory must be there.
	//
	// Reading follows the writer: records, rolls, trims, and other writers
	// that come after it. Start, End, Durable, TryNext and whatever begins to
	// read look at the files; who waits is woken 10 to 100 ms after something
	// came. Trims, gaps and what is asked of Outside may take a second to be
	// noticed. At level Sync a record is shown when something in the files, or
	// Outside, tells that it is durable: with the next group, a marker 20 ms
	// later, or the next segment. At the other levels it is shown when it is
	// written; one whose write or sync failed then may be seen and be gone
	// later.
	ReadOnly bool

	// Quota, if not nil, bounds what this partition and others hold together.
	Quota *Quota

	// Outside, with ReadOnly, is asked now and then for what the partition's own
	// files do not tell. It may read files; it must not call the partition. Nil:
	// nothing else is known.
	Outside func() (Outside, error)
	// Archive, with ReadOnly, says that the directory has segments that were
	// archived: whole and durable when they appear there, and the partition
	// begins with the first of them.
	Archive bool

	// Logger gets every event, as Event.Log writes it, on a goroutine of the
	// partition. Nil: silence.
	Logger *slog.Logger
	// OnEvent is told of rolls, trims, recoveries and trouble in the
	// background, of recoveries before Open returns. It may be called under a
	// lock: it must take note and return, and must not call the partition.
	// Nil: nobody is told.
	OnEvent func(Event)
}

// Validate says how much Open reads of what is on disk.
type Validate uint8

// How much is validated.
const (
	// ValidateTail reads what no checkpoint vouches for: what was written
	// since the partition was last closed well.
	ValidateTail Validate = iota
	// ValidateNone reads as little as finds the end. After the process ended
	// without Close, on a machine that did not restart, what lies between the
	// durable mark and the last good index entry is believed.
	ValidateNone
	// ValidateFull reads and checks every batch of every segment.
	ValidateFull
)

func (v Validate) String() string {
	switch v {
	case ValidateTail:
		return "tail"
	case ValidateNone:
		return "none"
	case ValidateFull:
		return "full"
	}
	return fmt.Sprintf("validate(%d)", uint8(v))
}

// A Checkpoint says where a partition ended when it was closed.
type Checkpoint struct {
	End      int64 // offset behind the last record
	Segment  int64 // base offset of the last segment
	Position int64 // behind its last batch
	Time     int64 // append time of the last record, nanoseconds since 1970 UTC
}

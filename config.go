package braidlog

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// Options say how a store is opened. The zero value is the recommended
// setting.
type Options struct {
	// MaxOpenFiles bounds the segment files that are open at a time, and so
	// descriptors and mapped memory. Zero: 512; at least 8.
	MaxOpenFiles int
	// Logger is told of recoveries and of trouble in the background. Nil:
	// silence.
	Logger *slog.Logger

	fs        fs.FS // nil: the operating system's
	forceHeap bool  // no mapped windows
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
}

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
	return c.with(p), err
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
	return c
}

func orStored[T comparable](field *T, stored T) {
	var zero T
	if *field == zero {
		*field = stored
	}
}

const maxNameBytes = 200

// checkName returns why a topic cannot have this name.
func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("%w topic name: %q has %d bytes, want 1 to %d", ErrInvalid, shorten(name), len(name), maxNameBytes)
	}
	for i, c := range []byte(name) {
		if !nameByte(c) && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("%w topic name: %q has %q at byte %d, want letters, digits, '_', and behind the first '.' and '-'", ErrInvalid, name, c, i)
		}
	}
	if isDevice(name) {
		return fmt.Errorf("%w topic name: %q is a device on Windows", ErrInvalid, name)
	}
	return nil
}

// shorten keeps a name of any length out of an error message.
func shorten(name string) string {
	if len(name) > maxNameBytes {
		return name[:maxNameBytes] + "…"
	}
	return name
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// isDevice reports whether Windows takes a file of this name for a device, as
// it does whatever follows the first dot.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	if len(base) != 4 || base[3] < '1' || base[3] > '9' {
		return false
	}
	return base[:3] == "COM" || base[:3] == "LPT"
}

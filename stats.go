package braidlog

import (
	"maps"
	"time"

	"github.com/braidlog/braidlog/partition"
)

// Figures are plain structs for encoding/json, and so for expvar.Func: names
// in snake case, durations in nanoseconds, nothing that JSON does not have.

// PartitionStats are figures of one partition.
type PartitionStats = partition.Stats

// Stats are figures of a topic at one moment: sums over its partitions, unless
// they say otherwise. What is counted is counted since the store was opened.
type Stats struct {
	Records  int64 `json:"records"` // that can be read, offsets left out by gaps counted
	Bytes    int64 `json:"bytes"`
	Segments int   `json:"segments"`
	// Skew is how many records the largest partition holds over their mean: 1
	// if all hold the same, the number of partitions if one holds all. 0: there
	// are no records.
	Skew float64 `json:"skew"`

	Appends      int64         `json:"appends"`
	Reads        int64         `json:"reads"` // what Dedup reads to know the latest ids is counted too
	Syncs        int64         `json:"syncs"`
	SyncTime     time.Duration `json:"sync_ns"`
	LongestSync  time.Duration `json:"longest_sync_ns"` // in any partition
	Groups       int64         `json:"groups"`
	GroupRecords int64         `json:"group_records"`
	LargestGroup int64         `json:"largest_group"` // in any partition

	// Archived is how many segments were archived before retention removed
	// them, ArchiveFailures how often that failed, and ArchiveError the last
	// failure, "" if none came since something was archived: as long as it is
	// not, segments stay that should go.
	Archived        int64  `json:"archived"`
	ArchiveFailures int64  `json:"archive_failures"`
	ArchiveError    string `json:"archive_error,omitempty"`

	// HotKeys are the keys that most records have, the most first, as many as
	// TopicConfig.HotKeys says; counted since the store was opened or that was
	// changed. Shares are of the records with a key.
	HotKeys []HotKey `json:"hot_keys,omitempty"`

	Partitions []PartitionStats `json:"partitions"`
}

// Stats returns figures of the topic as it is now. What First and Last of a
// partition need from the disk is read.
func (t *Topic) Stats() Stats {
	s := Stats{Partitions: make([]PartitionStats, len(t.parts))}
	largest := int64(0)
	for i, p := range t.parts {
		s.Partitions[i] = p.Stats()
		s.add(&s.Partitions[i])
		largest = max(largest, s.Partitions[i].End-s.Partitions[i].Start)
	}
	t.archiving.tell(&s)
	s.HotKeys = t.state.Load().hotKeys()
	if s.Records > 0 {
		s.Skew = float64(largest) * float64(len(t.parts)) / float64(s.Records)
	}
	return s
}

func (s *Stats) add(p *PartitionStats) {
	s.Records += p.End - p.Start
	s.Bytes += p.Bytes
	s.Segments += p.Segments
	s.Appends += p.Appends
	s.Reads += p.Reads
	s.Syncs += p.Syncs
	s.SyncTime += p.SyncTime
	s.LongestSync = max(s.LongestSync, p.LongestSync)
	s.Groups += p.Groups
	s.GroupRecords += p.GroupRecords
	s.LargestGroup = max(s.LargestGroup, p.LargestGroup)
}

// StoreStats are figures of a store at one moment.
type StoreStats struct {
	OpenFiles int              `json:"open_files"` // segment files
	Topics    map[string]Stats `json:"topics"`     // by name; those that could not be opened are left out
}

// Stats returns figures of all topics. It waits while topics are made, changed
// or deleted.
func (s *Store) Stats() StoreStats {
	s.mu.Lock()
	topics := maps.Clone(s.topics)
	s.mu.Unlock()
	all := StoreStats{OpenFiles: s.shared.OpenFiles(), Topics: make(map[string]Stats, len(topics))}
	for name, t := range topics {
		all.Topics[name] = t.Stats()
	}
	return all
}

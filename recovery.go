package braidlog

import (
	"maps"

	"github.com/braidlog/braidlog/partition"
)

// A Recovery is what Open found in a store and did about it.
type Recovery struct {
	// Topics has what was found in each partition of a topic, by the topic's
	// name. A partition that could not be opened has an Err.
	Topics map[string][]partition.Recovery
	// Broken has why a topic could not be opened, by its name.
	Broken map[string]error
	// Groups has what was found in the groups log. With an Err it cannot be
	// used: groups fail with that error, and topics work.
	Groups partition.Recovery
}

// Recovery returns what Open found, as it was then: topics that were made,
// repaired or deleted since change nothing. What the maps hold is not to be
// changed. For a topic as it is now, see Topic.Recovery.
func (s *Store) Recovery() Recovery {
	return Recovery{Topics: maps.Clone(s.recovery.Topics), Broken: maps.Clone(s.recovery.Broken), Groups: s.recovery.Groups}
}

// found returns the recovery of every topic, and of the groups log.
func (s *Store) found() Recovery {
	r := Recovery{Topics: make(map[string][]partition.Recovery, len(s.topics)), Broken: maps.Clone(s.broken)}
	for name, t := range s.topics {
		r.Topics[name] = t.Recovery()
	}
	r.Groups = s.ledger.Partition().Recovery()
	if r.Groups.Err == nil {
		r.Groups.Err = known(s.ledger.Err())
	}
	return r
}

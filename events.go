package braidlog

import "github.com/braidlog/braidlog/partition"

// notify takes note of an event of a partition. It may be called under a
// partition's lock: it must not block.
func (s *Store) notify(e partition.Event) { s.keeper.rolled(e) }

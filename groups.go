package braidlog

import (
	"context"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
)

// groupsDir is the name of the groups log in a store's directory.
const groupsDir = "groups"

// groupsVouch is what names the groups log in a checkpoint.
var groupsVouch = vouch{topic: meta.ID(consumergroup.LedgerID)}

// openLedger opens the groups log. One that cannot be read keeps the store
// open: the ledger says so to whoever asks it for something.
func (s *Store) openLedger() {
	o := partition.Options{
		Config:     consumergroup.LedgerConfig(),
		Topic:      consumergroup.LedgerName,
		TopicID:    consumergroup.LedgerID,
		Shared:     s.shared,
		Checkpoint: s.vouchers[groupsVouch],
		Clean:      s.file.vouched,
		SameBoot:   s.file.sameBoot,
		Validate:   s.cfg.Validate,
		OnEvent:    s.notify,
	}
	if n := s.cfg.groupsSegment; n > 0 {
		o.SegmentBytes = n
	}
	if s.cfg.ReadOnly {
		o.ReadOnly = true
		o.Outside = func() (partition.Outside, error) {
			return partition.Outside{Durability: Sync, Durable: s.marks.of(s.dir, groupsVouch)}, nil
		}
	}
	p, err := partition.OpenIn(s.dir, groupsDir, o)
	if err != nil {
		p = partition.Broken(o, known(err))
	}
	s.ledger = consumergroup.OpenLedger(p, consumergroup.LedgerOptions{
		ReadOnly:      s.cfg.ReadOnly,
		SnapshotBytes: s.cfg.groupsSnapshot,
		OnTrouble:     func(what string, err error) { s.warn("", what, err) },
	})
	if err = s.ledger.Err(); err != nil {
		s.warn("", "the groups log cannot be used", err)
	}
}

// groupsUsed reports whether there is a groups log, or something in its place.
func (s *Store) groupsUsed() bool {
	p := s.ledger.Partition()
	r := p.Recovery()
	return p.Bytes() > 0 || r.Err != nil || len(r.Lost) > 0
}

// Groups returns the names of all consumer groups that were ever opened and not
// deleted, sorted. If the groups log is damaged they are those that can still
// be read: Recovery tells. With ReadOnly they are those on disk.
func (s *Store) Groups() []string { return s.ledger.Groups() }

// DeleteGroup forgets a consumer group and how far it was, durably. One that is
// opened again under the name begins anew. If it is open it is closed, and its
// members with it; until DeleteGroup returns, Group of the name fails with
// ErrClosed. ErrGroupNotFound if there is none.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return known(s.deleteGroup(ctx, name))
}

// RepairGroups gives up what cannot be read of a damaged groups log, for good,
// and makes groups work again. They go on where the intact part of the log says
// that they were, which may be earlier than they were last: records may come
// again. To lose nothing, restore the directory groups from a backup instead,
// while the store is closed. ErrNotDamaged if there is nothing to repair.
func (s *Store) RepairGroups(ctx context.Context) (partition.RepairReport, error) {
	r, err := s.ledger.Repair(ctx)
	return r, known(err)
}

// forgetTopic has groups forget a topic that was deleted. If that fails, what
// they know of it is of no use and takes a little space.
func (s *Store) forgetTopic(ctx context.Context, t *Topic) {
	if s.ledger.Err() != nil {
		return // that was told
	}
	if err := s.ledger.DeleteTopic(context.WithoutCancel(ctx), t.id); err != nil {
		s.warn(t.name, "groups could not forget a topic that was deleted", err)
	}
}

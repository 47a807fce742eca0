// Replay keeps the balances of accounts, as a consumer group tells of money that
// moves; it loses them, and rebuilds them in two ways: from offset 0, and from a
// snapshot and the time at which it was made. Then it compares all three.
//
//	go run ./examples/replay
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partition"
)

const (
	movements  = 300 // in two halves
	accounts   = 5
	partitions = 3
)

var program = show.Program{Name: "replay", Play: play}

func main() { program.Main() }

// figures are of movements that were read. All three balances are the same.
type figures struct {
	Records   int `json:"records"`
	Accounts  int `json:"accounts"`
	FromStart int `json:"from_start"` // read again to rebuild from offset 0
	FromTime  int `json:"from_time"`  // and from the time of the snapshot
	Total     int `json:"total"`      // of all balances
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := store.CreateTopic(ctx, "movements", braidlog.TopicConfig{
		Partitions: partitions,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
	if err != nil {
		return nil, err
	}
	group, err := topic.Group("balances", consumergroup.Config{})
	if err != nil {
		return nil, err
	}
	b := &bank{Stage: s, topic: topic, group: group}
	if err = b.move(ctx); err != nil {
		return nil, err
	}
	if err = b.follow(ctx); err != nil {
		return nil, err
	}
	if err = b.rebuild(ctx); err != nil {
		return nil, err
	}
	if err = b.compare(); err != nil {
		return nil, err
	}
	return b.found, nil
}

// balances are by account.
type balances map[string]int

// add books a movement.
func (b balances) add(rec *braidlog.Record) error {
	amount, err := strconv.Atoi(string(rec.Value))
	if err != nil {
		return fmt.Errorf("%.100q is no amount: %w", rec.Value, err)
	}
	b[string(rec.Key)] += amount
	return nil
}

// A bank keeps balances in memory alone.
type bank struct {
	*show.Stage
	topic *braidlog.Topic
	group *consumergroup.Group

	ledger *show.Ledger // of what was moved
	noon   time.Time    // when the second half began

	first     balances // as they were followed
	snapshot  balances // what first was at noon
	fromStart balances
	fromTime  balances
	found     figures
}

// move appends the movements: half of them before noon.
func (b *bank) move(ctx context.Context) error {
	recs := make([]braidlog.Record, movements)
	for i := range recs {
		recs[i] = braidlog.Record{Key: fmt.Appendf(nil, "account-%d", i%accounts), Value: strconv.AppendInt(nil, int64(i*i%97-30), 10)}
	}
	b.ledger = show.NewLedger(recs)
	morning, afternoon := b.Plant(recs[:movements/2]), b.Plant(recs[movements/2:])
	if err := b.topic.AppendBatch(ctx, morning); err != nil {
		return err
	}
	if err := b.topic.AppendBatch(ctx, afternoon); err != nil {
		return err
	}
	b.noon = slices.MinFunc(afternoon, func(x, y braidlog.Record) int { return x.Timestamp.Compare(y.Timestamp) }).Timestamp
	return nil
}

// follow has the group process everything for the first time.
func (b *bank) follow(ctx context.Context) error {
	b.first, b.snapshot = balances{}, balances{}
	n, err := b.process(ctx, func(rec *braidlog.Record) error {
		if rec.Timestamp.Before(b.noon) {
			if err := b.snapshot.add(rec); err != nil {
				return err
			}
		}
		return errors.Join(b.ledger.Read(rec), b.first.add(rec))
	})
	if err != nil {
		return err
	}
	b.Say("processed %d movements of %d accounts", n, len(b.first))
	b.found.Records, b.found.Accounts = n, len(b.first)
	return b.ledger.End()
}

// rebuild loses the balances and has the group process movements again: all of
// them, and then those that the snapshot does not have.
func (b *bank) rebuild(ctx context.Context) (err error) {
	b.fromStart, b.fromTime = balances{}, maps.Clone(b.snapshot)
	for _, r := range []struct {
		what  string
		start partition.Start
		into  balances
		n     *int
	}{
		{"offset 0", partition.Offset(0), b.fromStart, &b.found.FromStart},
		{"the snapshot, and its time", partition.At(b.noon), b.fromTime, &b.found.FromTime},
	} {
		if err = b.group.Reset(ctx, r.start); err != nil {
			return err
		}
		if *r.n, err = b.process(ctx, r.into.add); err != nil {
			return err
		}
		b.Say("rebuilt from %s: %d movements", r.what, *r.n)
	}
	return nil
}

// process has a member process everything that the group has not committed, and
// returns how much that was.
func (b *bank) process(ctx context.Context, do func(rec *braidlog.Record) error) (n int, err error) {
	m, err := b.group.Join(ctx, consumergroup.MemberConfig{})
	if err != nil {
		return 0, err
	}
	left, err := show.Behind(ctx, b.group)
	if err != nil {
		return 0, err
	}
	for n < left {
		recs, err := m.Poll(ctx, 0)
		if err != nil {
			return n, err
		}
		for i := range recs {
			if err = do(&recs[i]); err != nil {
				return n, err
			}
		}
		if err = m.Commit(ctx); err != nil {
			return n, err
		}
		n += len(recs)
	}
	return n, m.Close(ctx)
}

// compare shows the balances, which must be the same.
func (b *bank) compare() error {
	b.Say("")
	table := show.Table{{"account", "at noon", "at last", "from offset 0", "from noon"}}
	for _, name := range slices.Sorted(maps.Keys(b.first)) {
		table.Add(name, b.snapshot[name], b.first[name], b.fromStart[name], b.fromTime[name])
		b.found.Total += b.first[name]
	}
	table.Print(b)
	b.Say("")
	if !maps.Equal(b.first, b.fromStart) || !maps.Equal(b.first, b.fromTime) {
		return fmt.Errorf("balances are %v, from offset 0 %v, from the snapshot %v", b.first, b.fromStart, b.fromTime)
	}
	return nil
}

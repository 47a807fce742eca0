// Tenants keeps 500 tenants in 50 partitions that two readers share. Keys are
// tenant:order, and partitioner.Prefix goes by the tenant: all that a tenant does
// is in one partition, in order, with one reader. One tenant makes as much noise
// as a third of all, and all who share its partition wait behind it; salted, it
// is spread over ten partitions, and they wait for a tenth.
//
//	go run ./examples/tenants
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

const (
	tenants    = 500
	partitions = 50
	readers    = 2
	records    = 6000
	loud       = "tenant-7" // who has a third of them
	buckets    = 10         // that it is spread over
)

var program = show.Program{Name: "tenants", Play: play}

func main() { program.Main() }

// figures are of records that were read, by two readers side by side. Fairness
// is Jain's index of what the partitions have: 1 if all have the same, 1/50 if
// one has everything.
type figures struct {
	Records        int     `json:"records"`
	Tenants        int     `json:"tenants"`
	Isolated       int     `json:"isolated"` // tenants that are in one partition, with one reader
	Behind         int     `json:"behind"`   // the longest queue of the loud tenant's that others are in
	Fairness       float64 `json:"fairness"`
	Readers        []int   `json:"readers"`         // records of each
	SaltedIsolated int     `json:"salted_isolated"` // all but the loud one
	SaltedLoud     int     `json:"salted_loud"`     // partitions that have records of it
	SaltedBehind   int     `json:"salted_behind"`
	SaltedFairness float64 `json:"salted_fairness"`
	SaltedReaders  []int   `json:"salted_readers"`
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	isLoud := func(tenant []byte) bool { return string(tenant) == loud }
	plain, err := share(ctx, s, store, "plain", partitioner.Prefix(":", 1, partitioner.Key()))
	if err != nil {
		return nil, err
	}
	salted, err := share(ctx, s, store, "salted", partitioner.Prefix(":", 1, partitioner.Salted(partitioner.Key(), buckets, isLoud)))
	if err != nil {
		return nil, err
	}
	f := figures{
		records, len(plain.homes), plain.isolated(), plain.behind(), plain.fairness(), plain.readers,
		salted.isolated(), len(salted.homes[loud]), salted.behind(), salted.fairness(), salted.readers,
	}
	table := show.Table{{"topic", "isolated tenants", "queue of the loud one", "fairness", "reader 0", "reader 1"}}
	table.Add("plain", f.Isolated, f.Behind, f.Fairness, f.Readers[0], f.Readers[1])
	table.Add("salted", f.SaltedIsolated, f.SaltedBehind, f.SaltedFairness, f.SaltedReaders[0], f.SaltedReaders[1])
	table.Print(s)
	s.Say("")
	if f.Isolated != f.Tenants || f.SaltedIsolated != f.Tenants-1 || f.SaltedLoud != buckets || f.SaltedFairness <= f.Fairness {
		return nil, fmt.Errorf("each tenant but the salted one should have one partition and one reader: %+v", f)
	}
	return f, nil
}

// share appends what all tenants do, and has it read by two readers.
func share(ctx context.Context, s *show.Stage, store *braidlog.Store, name string, p partitioner.Partitioner) (*tally, error) {
	topic, err := store.CreateTopic(ctx, name, braidlog.TopicConfig{
		Partitions: partitions, Partitioner: p,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
	if err != nil {
		return nil, err
	}
	recs := newRecords()
	ledger := show.NewLedger(recs)
	if err = topic.AppendBatch(ctx, s.Plant(recs)); err != nil {
		return nil, err
	}
	var read [readers][]braidlog.Record
	g, ctx := errgroup.WithContext(ctx)
	for r := range readers {
		g.Go(func() (err error) {
			read[r], err = readShare(ctx, topic, r)
			return err
		})
	}
	if err = g.Wait(); err != nil {
		return nil, err
	}
	t := newTally()
	for r, recs := range read {
		for _, rec := range recs {
			if err = ledger.Read(&rec); err != nil {
				return nil, err
			}
			t.add(r, &rec)
		}
	}
	t.draw(s, name)
	return t, ledger.End()
}

// newRecords makes what tenants do: each has orders, and each order three steps.
func newRecords() (recs []braidlog.Record) {
	chance := rand.New(rand.NewPCG(2026, 3))
	for i := range records {
		tenant := fmt.Sprintf("tenant-%d", i*7%tenants)
		if chance.IntN(3) == 0 {
			tenant = loud
		}
		recs = append(recs, braidlog.Record{Key: fmt.Appendf(nil, "%s:order-%d", tenant, i/1500), Value: fmt.Appendf(nil, "step %d", i)})
	}
	return recs
}

// readShare reads the partitions of a reader: every second one.
func readShare(ctx context.Context, topic *braidlog.Topic, reader int) (recs []braidlog.Record, err error) {
	for i := reader; i < topic.NumPartitions(); i += readers {
		for rec, err := range topic.Partition(i).Records(ctx, partition.First()) {
			if err != nil {
				return nil, err
			}
			recs = append(recs, rec)
		}
	}
	return recs, nil
}

// Hotkey finds a customer who makes up a good third of all clicks, and cures
// what that does to the partitions, in two ways. The sketch of hot keys, which
// TopicConfig.HotKeys turns on, names the customer while clicks are appended.
// Then partitioner.Salted spreads this one key over several partitions, and
// Topic.Key merges its clicks again, in order. Or the customer gets a topic,
// where the key is finer: the visit.
//
//	go run ./examples/hotkey
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partitioner"
)

const (
	clicks     = 3000
	partitions = 6
	buckets    = 6 // in which the hot key is
)

var program = show.Program{Name: "hotkey", Play: play}

func main() { program.Main() }

// figures are of clicks that were read back. Skew is the largest partition over
// the mean.
type figures struct {
	Records    int     `json:"records"`
	HotKey     string  `json:"hot_key"`   // that the sketch found
	HotShare   float64 `json:"hot_share"` // of the clicks
	Skew       float64 `json:"skew"`
	SaltedSkew float64 `json:"salted_skew"`
	Merged     int     `json:"merged"`      // clicks of the hot key, merged from its buckets in order
	OthersSkew float64 `json:"others_skew"` // without the hot key, which has
	OwnRecords int     `json:"own_records"` // so many in a topic of its own
	OwnSkew    float64 `json:"own_skew"`
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	d := &demonstration{Stage: s, store: store, clicks: newClicks()}
	for _, step := range []func(context.Context) error{d.find, d.salt, d.separate} {
		if err = step(ctx); err != nil {
			return nil, err
		}
	}
	return d.found, nil
}

// newClicks makes clicks of 200 customers, of whom number 7 is there again and
// again.
func newClicks() (recs []braidlog.Record) {
	chance := rand.New(rand.NewPCG(2026, 3))
	for i := range clicks {
		customer, visit := chance.IntN(200), i/10
		if i%5 < 2 {
			customer = 7
		}
		recs = append(recs, braidlog.Record{Key: fmt.Appendf(nil, "customer-%d", customer), Value: fmt.Appendf(nil, "visit-%d", visit)})
	}
	return recs
}

// A demonstration is a shop whose clicks are appended again and again.
type demonstration struct {
	*show.Stage
	store  *braidlog.Store
	clicks []braidlog.Record
	found  figures
}

func (d *demonstration) hot(key []byte) bool { return string(key) == d.found.HotKey }

// find lets the topic count keys, and looks who is above the share of a
// partition.
func (d *demonstration) find(ctx context.Context) error {
	topic, err := d.store.CreateTopic(ctx, "clicks", braidlog.TopicConfig{
		Partitions: partitions, HotKeys: 100,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
	if err != nil {
		return err
	}
	got, skew, err := d.fill(ctx, topic, d.clicks)
	if err != nil {
		return err
	}
	stats := topic.Stats()
	top := stats.HotKeys[0]
	of := 0
	for _, rec := range got {
		if string(rec.Key) == top.Key {
			of++
		}
	}
	d.Say("the hottest key: %s has %.0f%% of the records; a partition's fair share is %.0f%%\n", top.Key, 100*top.Share, 100.0/partitions)
	if top.Count-top.Error > int64(of) || int64(of) > top.Count || top.Share <= 1.0/partitions || show.Round(stats.Skew) != skew {
		return fmt.Errorf("%s has %d records and the skew is %.2f, and the topic says %+v and %.2f", top.Key, of, skew, top, stats.Skew)
	}
	d.found = figures{Records: len(got), HotKey: top.Key, HotShare: show.Round(float64(of) / float64(len(got))), Skew: skew}
	return nil
}

// salt spreads the hot key, and reads it back as one.
func (d *demonstration) salt(ctx context.Context) error {
	topic, err := d.store.CreateTopic(ctx, "clicks-salted", braidlog.TopicConfig{
		Partitions: partitions,
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
		Partitioner: partitioner.Salted(partitioner.Key(), buckets, d.hot),
	})
	if err != nil {
		return err
	}
	if _, d.found.SaltedSkew, err = d.fill(ctx, topic, d.clicks); err != nil {
		return err
	}
	var numbers []int
	for rec, err := range topic.Key(ctx, []byte(d.found.HotKey)) {
		if err != nil {
			return err
		}
		numbers = append(numbers, show.Number(&rec))
	}
	d.found.Merged = len(numbers)
	d.Say("its %d records, merged by Topic.Key: in order %v\n", len(numbers), slices.IsSorted(numbers))
	if !slices.IsSorted(numbers) || len(numbers) != len(d.of(true)) {
		return fmt.Errorf("%s has %d records after the merge, in order %v", d.found.HotKey, len(numbers), slices.IsSorted(numbers))
	}
	return nil
}

// separate gives the hot key a topic, with a finer key.
func (d *demonstration) separate(ctx context.Context) error {
	own := d.of(true)
	for i := range own {
		own[i].Key = own[i].Value // the visit
	}
	for _, t := range []struct {
		name string
		recs []braidlog.Record
		skew *float64
	}{{"clicks-others", d.of(false), &d.found.OthersSkew}, {"clicks-" + d.found.HotKey, own, &d.found.OwnSkew}} {
		topic, err := d.store.CreateTopic(ctx, t.name, braidlog.TopicConfig{
			Partitions: partitions,
			Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
		})
		if err != nil {
			return err
		}
		got, skew, err := d.fill(ctx, topic, t.recs)
		if err != nil {
			return err
		}
		d.found.OwnRecords, *t.skew = len(got), skew // of the last one in the end
	}
	return nil
}

// of returns the clicks of the hot key, or all others.
func (d *demonstration) of(hot bool) (recs []braidlog.Record) {
	for _, rec := range d.clicks {
		if d.hot(rec.Key) == hot {
			recs = append(recs, rec)
		}
	}
	return recs
}

// fill appends clicks one by one, since those of one batch have no order across
// partitions; reads them back, and shows where they are.
func (d *demonstration) fill(ctx context.Context, topic *braidlog.Topic, recs []braidlog.Record) (got []braidlog.Record, skew float64, err error) {
	ledger := show.NewLedger(recs)
	for _, rec := range d.Plant(recs) {
		if _, err = topic.Append(ctx, rec); err != nil {
			return nil, 0, err
		}
	}
	if got, err = ledger.ReadBack(ctx, topic); err != nil {
		return nil, 0, err
	}
	counts := show.Count(got, topic.NumPartitions())
	skew = show.Skew(counts)
	d.Say("topic %s: %d records, largest/mean %.2f", topic.Name(), len(got), skew)
	show.Partitions(d, counts)
	d.Say("")
	return got, skew, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partition"
)

// open opens the store and its topic. No partitions: as many as it has, six
// in a new one.
func open(ctx context.Context, dir string, partitions int) (*braidlog.Store, *braidlog.Topic, error) {
	store, err := braidlog.Open(dir, braidlog.Options{})
	if err != nil {
		return nil, nil, err
	}
	topic, err := store.EnsureTopic(ctx, "flights", braidlog.TopicConfig{Partitions: partitions})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, topic, nil
}

// fill appends the records, shows where they are and looks one up by time. It
// returns where each partition began before.
func fill(ctx context.Context, dir string, partitions int, recs []braidlog.Record, text io.Writer, bar *show.Progress) (starts []int64, err error) {
	store, topic, err := open(ctx, dir, partitions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for i := range topic.NumPartitions() {
		starts = append(starts, topic.Partition(i).End())
	}
	if err = show.AppendAll(ctx, topic, recs, bar); err != nil {
		return nil, err
	}
	fmt.Fprintf(text, "appended %d records to topic %s in %s\n\n", len(recs), topic.Name(), dir)
	show.Partitions(text, show.Count(recs, topic.NumPartitions()))
	return starts, showAt(ctx, topic, halfTime(recs), text)
}

// halfTime returns the middle of the time in which the records were appended.
func halfTime(recs []braidlog.Record) time.Time {
	first, last := recs[0].Timestamp, recs[0].Timestamp
	for i := range recs {
		if t := recs[i].Timestamp; t.Before(first) {
			first = t
		} else if t.After(last) {
			last = t
		}
	}
	return first.Add(last.Sub(first) / 2)
}

// showAt shows the first record that was appended at t or later.
func showAt(ctx context.Context, topic *braidlog.Topic, t time.Time, text io.Writer) error {
	var first braidlog.Record
	for i := range topic.NumPartitions() {
		for rec, err := range topic.Partition(i).Records(ctx, partition.At(t)) {
			if err != nil {
				return err
			}
			if first.Topic == "" || rec.Timestamp.Before(first.Timestamp) {
				first = rec
			}
			break
		}
	}
	fmt.Fprintf(text, "\nfirst record appended at or after %s:\n", t.Format(time.RFC3339Nano))
	fmt.Fprintf(text, "partition %d, offset %d, key %.100q, %s\n%.200s\n\n", first.Partition, first.Offset,
		first.Key, first.Timestamp.Format(time.RFC3339Nano), first.Value)
	return nil
}

// readBack opens the store again, reads what each partition has from its start
// on, and compares it with what was sent.
func readBack(ctx context.Context, dir string, starts []int64, sent []braidlog.Record, bar *show.Progress) (found tally, err error) {
	store, topic, err := open(ctx, dir, len(starts))
	if err != nil {
		return tally{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	defer bar.Clear()
	c := newChecker(sent, len(starts), func(key []byte) (int, error) {
		return topic.Route(braidlog.Record{Key: key})
	})
	for i, start := range starts {
		for rec, err := range topic.Partition(i).Records(ctx, partition.Offset(start)) {
			if err == nil {
				err = c.read(&rec)
			}
			if err != nil {
				return tally{}, err
			}
			bar.Show("read", c.found.records, len(sent))
		}
	}
	return c.result(), nil
}

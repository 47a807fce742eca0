package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// A ledger is a topic and what was appended to it.
type ledger struct {
	stage *stage
	topic *braidlog.Topic
	sent  [][]braidlog.Record // by partition and offset
}

// fill makes a topic and appends records to it.
func (s *stage) fill(ctx context.Context, name string, c braidlog.TopicConfig) (*ledger, error) {
	c.SegmentBytes = segmentBytes
	c.Archive = braidlog.Archive{Dir: s.archive}
	topic, err := s.store.CreateTopic(ctx, name, c)
	if err != nil {
		return nil, err
	}
	l := &ledger{stage: s, topic: topic}
	recs := newRecords(name)
	if l.sent, err = byPartition(topic, recs); err != nil {
		return nil, err
	}
	recs = slices.Clone(recs)
	if s.plant != nil {
		recs = s.plant(recs)
	}
	for batch := range slices.Chunk(recs, batchRecords) {
		if err = topic.AppendBatch(ctx, batch); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func newRecords(topic string) (recs []braidlog.Record) {
	for i := range records {
		recs = append(recs, braidlog.Record{
			Key:   fmt.Appendf(nil, "sensor-%d", i%40),
			Value: fmt.Appendf(nil, `{"topic":%q,"number":%d,"celsius":%d.%d,"station":"by the old lighthouse"}`, topic, i, 15+i%10, i%7),
		})
	}
	return recs
}

// byPartition returns the records that each partition is going to have.
func byPartition(topic *braidlog.Topic, recs []braidlog.Record) ([][]braidlog.Record, error) {
	parts := make([][]braidlog.Record, topic.NumPartitions())
	for _, rec := range recs {
		n, err := topic.Route(rec)
		if err != nil {
			return nil, err
		}
		parts[n] = append(parts[n], rec)
	}
	return parts, nil
}

// readOn reads from a place on, up to an offset, as a reader does.
func (l *ledger) readOn(ctx context.Context, place *atomic.Int64, to int64) error {
	for rec, err := range l.topic.Partition(0).Records(ctx, partition.Offset(place.Load())) {
		if err == nil {
			err = l.compare(&rec, 0, place.Load())
		}
		if err != nil {
			return fmt.Errorf("the slow reader: %w", err)
		}
		l.stage.found.SlowReader++
		if place.Add(1) == to {
			return nil
		}
	}
	return fmt.Errorf("the slow reader came to the end at offset %d, want %d", place.Load(), to)
}

// A count is what became of a topic's records.
type count struct {
	archived, kept int   // records read back
	bytes          int64 // that those kept take
}

// enforce has retention do its work at once, and reads everything back.
func (l *ledger) enforce(ctx context.Context) (c count, err error) {
	if err = l.topic.Enforce(ctx); err != nil {
		return c, err
	}
	archive, err := braidlog.Open(l.stage.archive, braidlog.Options{ReadOnly: true})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	archived, err := archive.Topic(l.topic.Name())
	for i := range l.topic.NumPartitions() {
		if err == nil {
			err = l.readBoth(ctx, archived.Partition(i), i, &c)
		}
	}
	return c, err
}

// readBoth reads a partition's records, those archived and those kept. Together
// they must be all that were appended.
func (l *ledger) readBoth(ctx context.Context, archived *partition.Partition, number int, c *count) error {
	next, kept := int64(0), l.topic.Partition(number)
	n, err := l.read(ctx, archived, number, &next)
	c.archived += n
	if err != nil {
		return fmt.Errorf("in the archive: %w", err)
	}
	n, err = l.read(ctx, kept, number, &next)
	c.kept += n
	c.bytes += kept.Bytes()
	if sent := len(l.sent[number]); err == nil && next != int64(sent) {
		err = fmt.Errorf("topic %s, partition %d: %d records were appended, and there are %d", l.topic.Name(), number, sent, next)
	}
	return err
}

// read reads a partition, of the archive or of the store, which must go on at
// the next offset.
func (l *ledger) read(ctx context.Context, p *partition.Partition, number int, next *int64) (n int, err error) {
	for rec, err := range p.Records(ctx, partition.First()) {
		if err == nil {
			err = l.compare(&rec, number, *next)
		}
		if err != nil {
			return n, err
		}
		n++
		*next++
	}
	return n, nil
}

// compare returns an error unless rec is the record that was appended at an
// offset of a partition.
func (l *ledger) compare(rec *braidlog.Record, number int, offset int64) error {
	where := fmt.Sprintf("topic %s, partition %d", l.topic.Name(), number)
	switch {
	case rec.Offset != offset:
		return fmt.Errorf("%s: want offset %d, and got %d", where, offset, rec.Offset)
	case offset >= int64(len(l.sent[number])):
		return fmt.Errorf("%s: %d records were appended, and there are more", where, len(l.sent[number]))
	}
	sent := &l.sent[number][offset]
	if !bytes.Equal(rec.Key, sent.Key) || !bytes.Equal(rec.Value, sent.Value) {
		return fmt.Errorf("%s: the record at offset %d is not the one that was appended: it is %.100q", where, offset, rec.Value)
	}
	return nil
}

// within wants something gone, something left, and no more than so many bytes.
func (l *ledger) within(c count, limit int64) error {
	if c.archived == 0 || c.kept == 0 || c.bytes > limit {
		return fmt.Errorf("topic %s keeps %d records in %d bytes, and %d are archived; its limit is %d bytes",
			l.topic.Name(), c.kept, c.bytes, c.archived, limit)
	}
	return nil
}

// show prints a line of the table.
func (l *ledger) show(text io.Writer, limit string, c count) error {
	_, err := fmt.Fprintf(text, "%-13s%-32s%9d%9d%9d%12d\n", l.topic.Name(), limit, c.archived+c.kept, c.archived, c.kept, c.bytes)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

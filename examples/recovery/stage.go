package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// Names of the stores.
const (
	whole     = "store"     // as it was closed
	torn      = "torn"      // as it was while it was open, with a torn tail
	flipped   = "flipped"   // as it was closed, with a flipped bit
	unindexed = "unindexed" // as it was closed, without an index
)

const (
	records      = 2000
	batchRecords = 20 // they are on disk, and damaged, together
)

// config has segments so small that there are several.
var config = braidlog.TopicConfig{Partitions: 1, SegmentBytes: 64 << 10}

// A stage is where the damage is done: a store and copies of it.
type stage struct {
	dir  string
	text io.Writer
	sent []braidlog.Record // what was appended; the first has offset 0
}

// newRecords makes records that tell their offsets, [from, to).
func newRecords(from, to int) (recs []braidlog.Record) {
	for i := from; i < to; i++ {
		recs = append(recs, braidlog.Record{
			Key:   fmt.Appendf(nil, "customer-%d", i%97),
			Value: fmt.Appendf(nil, `{"order":%d,"customer":%d,"cents":%d,"note":"please ring twice"}`, i, i%97, 100+i*7%9900),
		})
	}
	return recs
}

// fill makes the store, and the copies that the scenes begin with.
func (s *stage) fill(ctx context.Context, recs []braidlog.Record) error {
	l, err := s.open(ctx, whole, braidlog.Options{})
	if err != nil {
		return err
	}
	err = l.append(ctx, recs)
	if err == nil {
		err = s.copyTo(torn) // nobody closed it: so a crash leaves it
	}
	if err = errors.Join(err, l.store.Close()); err != nil {
		return err
	}
	for _, name := range []string{flipped, unindexed} {
		if err = s.copyTo(name); err != nil {
			return err
		}
	}
	files, err := filesOf(s.path(whole), ".log")
	if err == nil {
		fmt.Fprintf(s.text, "appended %d records to %s, in %d segments\n", len(recs), s.path(whole), len(files))
	}
	return err
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// copyTo copies the store as it is now.
func (s *stage) copyTo(name string) error {
	if err := os.CopyFS(s.path(name), os.DirFS(s.path(whole))); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	return nil
}

// A ledger is an open store, its only partition, and what should be in it.
type ledger struct {
	store *braidlog.Store
	topic *braidlog.Topic
	part  *partition.Partition
	sent  []braidlog.Record
}

func (s *stage) open(ctx context.Context, name string, o braidlog.Options) (*ledger, error) {
	store, err := braidlog.Open(s.path(name), o)
	if err != nil {
		return nil, err
	}
	topic, err := store.EnsureTopic(ctx, "orders", config)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &ledger{store, topic, topic.Partition(0), slices.Clone(s.sent)}, nil
}

// append appends records, each batch on disk when the next one begins.
func (l *ledger) append(ctx context.Context, recs []braidlog.Record) error {
	for batch := range slices.Chunk(recs, batchRecords) {
		if err := l.topic.AppendBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// A span is the offsets [from, to).
type span struct{ from, to int64 }

func (s span) String() string { return fmt.Sprintf("[%d,%d)", s.from, s.to) }

// A reading is what a reader got.
type reading struct {
	records int
	lost    []span // that a *CorruptError named
	gaps    []span // that a *GapError named
	behind  int    // records behind the first of those
}

// read reads everything, and returns an error unless each record is there that
// was appended, once, in order and unchanged, but for those that the reader is
// told are not there.
func (l *ledger) read(ctx context.Context) (r reading, err error) {
	next := int64(0)
	for rec, err := range l.part.Records(ctx, partition.First()) {
		if err != nil {
			missing, ok := r.note(err)
			if !ok {
				return r, err
			}
			if missing.from != next {
				return r, fmt.Errorf("offset %d is not there, and nobody said so", next)
			}
			next = missing.to
			continue
		}
		if err = l.compare(&rec, next); err != nil {
			return r, err
		}
		r.records++
		if len(r.lost)+len(r.gaps) > 0 {
			r.behind++
		}
		next++
	}
	if next != int64(len(l.sent)) {
		return r, fmt.Errorf("records were appended up to offset %d, and can be read up to %d", len(l.sent), next)
	}
	return r, nil
}

// note takes an error that names offsets without records. There may be others.
func (r *reading) note(err error) (s span, ok bool) {
	var corrupt *braidlog.CorruptError
	var gap *braidlog.GapError
	switch {
	case errors.As(err, &corrupt):
		s = span{corrupt.FromOffset, corrupt.ToOffset}
		r.lost = append(r.lost, s)
	case errors.As(err, &gap):
		s = span{gap.From, gap.To}
		r.gaps = append(r.gaps, s)
	default:
		return s, false
	}
	return s, true
}

// compare returns an error unless rec is the record that was appended at an
// offset.
func (l *ledger) compare(rec *braidlog.Record, offset int64) error {
	switch {
	case rec.Offset != offset:
		return fmt.Errorf("offset %d is not there, and nobody said so: the next record has offset %d", offset, rec.Offset)
	case offset >= int64(len(l.sent)):
		return fmt.Errorf("%d records were appended, and one has offset %d", len(l.sent), offset)
	}
	sent := &l.sent[offset]
	if !bytes.Equal(rec.Key, sent.Key) || !bytes.Equal(rec.Value, sent.Value) {
		return fmt.Errorf("the record at offset %d is not the one that was appended: it is %.100q", offset, rec.Value)
	}
	return nil
}

// damage verifies the store.
func (l *ledger) damage(ctx context.Context) (found []span, err error) {
	r, err := l.store.Verify(ctx)
	for _, e := range r.Damaged {
		found = append(found, span{e.FromOffset, e.ToOffset})
	}
	return found, err
}

// appendMore appends a batch behind everything, and reads all of it back.
func (l *ledger) appendMore(ctx context.Context) (r reading, err error) {
	n := len(l.sent)
	more := newRecords(n, n+batchRecords)
	if err = l.append(ctx, more); err != nil {
		return r, err
	}
	l.sent = append(l.sent, more...)
	return l.read(ctx)
}

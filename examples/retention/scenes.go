package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/braidlog/braidlog"
)

// Names in the directory.
const (
	storeDir   = "store"
	archiveDir = "archive"
)

const (
	records      = 2000 // appended to each topic
	batchRecords = 50
	segmentBytes = 16 << 10 // small, so that there are many
)

// A stage is the store and its archive.
type stage struct {
	store   *braidlog.Store
	archive string
	plant   func([]braidlog.Record) []braidlog.Record // nil: nobody changes what is appended
	found   figures
}

func open(dir string) (*stage, error) {
	store, err := braidlog.Open(filepath.Join(dir, storeDir), braidlog.Options{})
	if err != nil {
		return nil, err
	}
	return &stage{store: store, archive: filepath.Join(dir, archiveDir)}, nil
}

// play fills topics, has retention do its work, and shows what became of them.
func (s *stage) play(ctx context.Context, text io.Writer) error {
	fmt.Fprintf(text, "%-13s%-32s%9s%9s%9s%12s\n", "topic", "limit", "appended", "archived", "kept", "bytes kept")
	for _, scene := range []func(context.Context, io.Writer) error{s.byAge, s.bySize, s.bySum, s.slowReader} {
		if err := scene(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// byAge removes what is older than a millisecond: in the end, everything. The
// segment that is being appended to is ended for that.
func (s *stage) byAge(ctx context.Context, text io.Writer) error {
	const age = time.Millisecond
	l, err := s.fill(ctx, "by-age", braidlog.TopicConfig{Partitions: 1, Retention: braidlog.Retention{Age: age}})
	if err != nil {
		return err
	}
	select {
	case <-time.After(2 * age): // records have to grow old first
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := l.enforce(ctx)
	if err == nil && c.kept > 0 {
		err = fmt.Errorf("topic %s keeps %d records that are too old", l.topic.Name(), c.kept)
	}
	if err != nil {
		return err
	}
	s.found.add(c)
	return l.show(text, age.String(), c)
}

// bySize bounds what each partition holds.
func (s *stage) bySize(ctx context.Context, text io.Writer) error {
	const limit = 64 << 10
	return s.bounded(ctx, text, "by-partition", 2*limit, kib(limit)+" a partition", braidlog.TopicConfig{
		Partitions: 2, Retention: braidlog.Retention{PartitionBytes: limit},
	})
}

// bySum bounds what all partitions hold together: the oldest segments of any
// of them go.
func (s *stage) bySum(ctx context.Context, text io.Writer) error {
	const limit = 128 << 10
	return s.bounded(ctx, text, "by-topic", limit, kib(limit)+" all together", braidlog.TopicConfig{
		Partitions: 4, Retention: braidlog.Retention{TopicBytes: limit},
	})
}

// bounded shows a topic that may hold so many bytes.
func (s *stage) bounded(ctx context.Context, text io.Writer, name string, limit int64, how string, config braidlog.TopicConfig) error {
	l, err := s.fill(ctx, name, config)
	if err != nil {
		return err
	}
	c, err := l.enforce(ctx)
	if err == nil {
		err = l.within(c, limit)
	}
	if err != nil {
		return err
	}
	s.found.add(c)
	return l.show(text, how, c)
}

// slowReader holds back what a reader has not read yet, over the limit: it
// reads a quarter, and later the rest.
func (s *stage) slowReader(ctx context.Context, text io.Writer) error {
	const limit = 64 << 10
	var place atomic.Int64 // of the first record that the reader still needs
	l, err := s.fill(ctx, "held-back", braidlog.TopicConfig{
		Partitions: 1,
		Retention:  braidlog.Retention{PartitionBytes: limit},
		HoldBack:   func(partition int) int64 { return place.Load() },
	})
	if err != nil {
		return err
	}
	var before, after count
	for _, step := range []struct {
		to   int64
		left *count
	}{{records / 4, &before}, {records, &after}} {
		if err = l.readOn(ctx, &place, step.to); err != nil {
			return err
		}
		if *step.left, err = l.enforce(ctx); err != nil {
			return err
		}
		if err = l.show(text, fmt.Sprintf("%s, a reader at %d", kib(limit), place.Load()), *step.left); err != nil {
			return err
		}
	}
	s.found.add(after)
	s.found.HeldBack = before.kept - after.kept
	if before.archived == 0 || before.bytes <= limit {
		return fmt.Errorf("topic %s: %d records in %d bytes were kept for the reader, and %d were archived, want more than %d bytes and some archived",
			l.topic.Name(), before.kept, before.bytes, before.archived, limit)
	}
	return l.within(after, limit)
}

func kib(bytes int) string { return fmt.Sprintf("%d KiB", bytes>>10) }

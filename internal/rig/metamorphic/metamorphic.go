// Package metamorphic plays one history under many settings that must not show
// in what is read: how large segments are, what is mapped or cached, how many
// files may be open, when the store was closed and opened, or killed, whether
// its indexes are there. Whatever differs from the first setting is a finding.
package metamorphic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/segment"
)

const (
	dir        = "/store"
	name       = "orders"
	partitions = 3
)

// A Setting is one way to play a history. The zero value is the first, with
// which the others are compared.
type Setting struct {
	Name    string
	Options braidlog.Options
	Topic   braidlog.TopicConfig
	Heap    bool // no mapped windows
	Split   int  // batches are appended in pieces of so many records; 0: whole
	Between func(p *player, step int) error
}

// Settings are what Run compares, the first one with each of the others.
func Settings() []Setting {
	tiny := braidlog.TopicConfig{Durability: braidlog.Sync, SegmentBytes: 4 << 10, MaxRecordBytes: 1 << 10}
	os := braidlog.TopicConfig{Durability: braidlog.OS}
	return []Setting{
		{Name: "as recommended"},
		{Name: "small segments", Topic: tiny},
		{Name: "segments of 64 KiB", Topic: braidlog.TopicConfig{SegmentBytes: 64 << 10}},
		{Name: "level OS, mapped", Topic: os},
		{Name: "level OS, not mapped", Topic: os, Heap: true},
		{Name: "level Interval, mapped", Topic: braidlog.TopicConfig{Durability: braidlog.Interval, SyncEvery: braidlog.SyncEvery{Records: 7}}},
		{Name: "level Interval, not mapped", Topic: braidlog.TopicConfig{Durability: braidlog.Interval, SegmentBytes: 4 << 10, MaxRecordBytes: 1 << 10}, Heap: true},
		{Name: "no index in memory", Topic: braidlog.TopicConfig{IndexCache: braidlog.CacheNone, SegmentBytes: 8 << 10, MaxRecordBytes: 1 << 10}},
		{Name: "every index in memory", Topic: braidlog.TopicConfig{IndexCache: braidlog.CacheAll, SegmentBytes: 8 << 10, MaxRecordBytes: 1 << 10}},
		{Name: "two open files", Options: braidlog.Options{MaxOpenFiles: 2}, Topic: tiny},
		{Name: "two open files, mapped", Options: braidlog.Options{MaxOpenFiles: 2}, Topic: braidlog.TopicConfig{Durability: braidlog.OS, SegmentBytes: 4 << 10, MaxRecordBytes: 1 << 10}},
		{Name: "batches cut to single records", Split: 1},
		{Name: "batches cut to three records", Split: 3, Topic: os},
		{Name: "closed and opened", Topic: tiny, Between: every(5, (*player).reopen)},
		{Name: "closed and opened, all checked", Options: braidlog.Options{Validate: braidlog.ValidateFull}, Topic: os, Between: every(7, (*player).reopen)},
		{Name: "closed, indexes removed, opened", Topic: tiny, Between: every(6, (*player).loseIndexes)},
		{Name: "killed and opened", Topic: tiny, Between: every(5, (*player).kill)},
		{Name: "killed and opened, mapped", Topic: os, Between: every(5, (*player).kill)},
		{Name: "power lost", Topic: tiny, Between: every(5, (*player).powerLoss)},
		{Name: "level changed all the time", Topic: os, Between: every(3, (*player).otherLevel)},
	}
}

// every calls what after each n-th step.
func every(n int, what func(p *player) error) func(p *player, step int) error {
	return func(p *player, step int) error {
		if step%n != n-1 {
			return nil
		}
		return what(p)
	}
}

// Run plays the histories of these seeds under all settings, and returns how
// often something was looked at and compared, and what differs. It ends early
// with ctx. The error is that of a history that could not be played.
func Run(ctx context.Context, seeds []uint64, steps int) (compared int, findings []string, err error) {
	settings := Settings()
	for _, seed := range seeds {
		var want []string
		for i, s := range settings {
			if ctx.Err() != nil {
				return compared, findings, ctx.Err()
			}
			got, err := Play(ctx, s, seed, steps)
			if err != nil {
				return compared, findings, fmt.Errorf("seed %d, %s: %w", seed, s.Name, err)
			}
			if i == 0 {
				want = got
				continue
			}
			compared += len(got)
			if d := difference(want, got); d != "" {
				findings = append(findings, fmt.Sprintf("seed %d, %s: %s", seed, s.Name, d))
			}
		}
	}
	return compared, findings, nil
}

// difference returns the first one of two lists, "" if there is none.
func difference(want, got []string) string {
	for i, w := range want {
		if i >= len(got) {
			return fmt.Sprintf("look %d is missing: %s", i, w)
		}
		if g := got[i]; g != w {
			return fmt.Sprintf("look %d: %s, %s has %s", i, g, Settings()[0].Name, w)
		}
	}
	if len(got) > len(want) {
		return "more: " + got[len(want)]
	}
	return ""
}

// A player plays one history under one setting.
type player struct {
	ctx     context.Context
	setting Setting
	rng     *rand.Rand // of the history alone: settings must not use it
	clock   *clock.Clock
	mem     *fs.Mem
	store   *braidlog.Store
	topic   *braidlog.Topic
	count   int // records that were offered
	changes int // of the level
	firsts  map[[16]byte]braidlog.Position
	seen    []string // what was looked at
}

// Play plays the history of seed and returns what was seen, in order.
func Play(ctx context.Context, s Setting, seed uint64, steps int) (seen []string, err error) {
	p := &player{ctx: ctx, setting: s, rng: rand.New(rand.NewPCG(seed, 0)), mem: fs.NewMem(), firsts: map[[16]byte]braidlog.Position{}}
	p.clock = clock.Still(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	if err = p.open(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()
	for step := range steps {
		if err = p.step(); err == nil && s.Between != nil {
			err = s.Between(p, step)
		}
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", step, err)
		}
	}
	return p.seen, p.lookAtAll()
}

func (p *player) open() (err error) {
	o := p.setting.Options
	testhook.Enter(&o, testhook.World{FS: p.mem, Clock: p.clock, Heap: p.setting.Heap, Idle: true})
	if p.store, err = braidlog.Open(dir, o); err != nil {
		return err
	}
	c := p.setting.Topic
	c.Partitions = partitions
	c.Dedup = braidlog.Dedup{Mode: braidlog.DedupOn, Window: 5 * time.Minute}
	c.Partitioner = partitioner.Key()
	p.topic, err = p.store.EnsureTopic(p.ctx, name, c)
	return err
}

// step does what the history says, and looks at what it changed.
func (p *player) step() error {
	switch n := p.rng.IntN(20); {
	case n < 6:
		return p.append()
	case n < 10:
		return p.appendBatch()
	case n < 12:
		return p.appendTo()
	case n < 13:
		return p.trim()
	case n < 14:
		return p.sync()
	case n < 15:
		return p.repeat()
	case n < 16:
		p.clock.Skip(time.Duration(1 + p.rng.Int64N(int64(time.Minute))))
		return nil
	case n < 18:
		return p.lookAtTimes()
	case n < 19:
		return p.lookAtKey()
	}
	return p.lookAtAll()
}

// record makes the next record of the history.
func (p *player) record() braidlog.Record {
	p.count++
	rec := braidlog.Record{Value: bytes.Repeat([]byte{byte(p.count)}, p.rng.IntN(300))}
	if p.rng.IntN(8) > 0 {
		rec.Key = fmt.Appendf(nil, "customer-%d", p.rng.IntN(12))
	} else {
		rec.Key = []byte{} // empty, and not nil: routing by turns is not the history's
	}
	if p.rng.IntN(4) == 0 {
		rec.ID = id(p.count)
	}
	if p.rng.IntN(4) == 0 {
		rec.Headers = []braidlog.Header{{Key: "n", Value: fmt.Append(nil, p.count)}, {Key: "n"}}
	}
	if p.rng.IntN(4) == 0 {
		rec.OriginTime = time.Unix(int64(p.count), 7).UTC()
	}
	return rec
}

func id(n int) (id [16]byte) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func (p *player) append() error {
	rec := p.record()
	pos, err := p.topic.Append(p.ctx, rec)
	p.firsts[rec.ID] = pos
	p.saw("appended %v", pos)
	return err
}

// appendBatch appends up to 20 records, in pieces if the setting says so.
func (p *player) appendBatch() error {
	recs := make([]braidlog.Record, 1+p.rng.IntN(20))
	for i := range recs {
		recs[i] = p.record()
	}
	size := p.setting.Split
	if size == 0 {
		size = len(recs)
	}
	for from := 0; from < len(recs); from += size {
		piece := recs[from:min(from+size, len(recs))]
		if err := p.topic.AppendBatch(p.ctx, piece); err != nil {
			return err
		}
	}
	for _, r := range recs {
		p.firsts[r.ID] = braidlog.Position{Partition: r.Partition, Offset: r.Offset}
		p.saw("appended %d/%d at %v", r.Partition, r.Offset, r.Timestamp)
	}
	return nil
}

func (p *player) appendTo() error {
	to, rec := p.rng.IntN(partitions), p.record()
	pos, err := p.topic.AppendTo(p.ctx, to, rec)
	p.firsts[rec.ID] = pos
	p.saw("appended %v", pos)
	return err
}

// repeat appends something with an id that may have been there lately. If its
// first was trimmed, only a store that was not opened since may know it: then
// nobody asks.
func (p *player) repeat() error {
	rec := p.record()
	rec.ID = id(1 + p.rng.IntN(p.count))
	if first, known := p.firsts[rec.ID]; known && first.Offset < p.topic.Partition(first.Partition).Start() {
		return nil
	}
	pos, err := p.topic.Append(p.ctx, rec)
	p.firsts[rec.ID] = pos
	p.saw("appended, or not, %v", pos)
	return err
}

func (p *player) trim() error {
	part := p.topic.Partition(p.rng.IntN(partitions))
	from, to := part.Start(), part.End()
	return part.Trim(p.ctx, from+int64(float64(to-from)*p.rng.Float64()/2))
}

func (p *player) sync() error { return p.topic.Sync(p.ctx) }

// lookAtTimes asks for what comes at some time or later.
func (p *player) lookAtTimes() error {
	t := time.Unix(0, p.clock.Now()).Add(-time.Duration(p.rng.Int64N(int64(10 * time.Minute))))
	for i := range partitions {
		offset, err := p.topic.Partition(i).Resolve(partition.At(t))
		if err != nil {
			return err
		}
		p.saw("%d: %v is at %d", i, t, offset)
	}
	return nil
}

func (p *player) lookAtKey() error {
	key := fmt.Appendf(nil, "customer-%d", p.rng.IntN(12))
	for rec, err := range p.topic.Key(p.ctx, key) {
		if err != nil {
			return err
		}
		p.sawRecord(rec)
	}
	return nil
}

// lookAtAll reads everything, each record also by its offset.
func (p *player) lookAtAll() error {
	for i := range partitions {
		part := p.topic.Partition(i)
		p.saw("%d: %d to %d", i, part.Start(), part.End())
		for rec, err := range part.Records(p.ctx, partition.First()) {
			if err != nil {
				return err
			}
			p.sawRecord(rec)
			again, err := part.Record(p.ctx, rec.Offset)
			if err != nil {
				return err
			}
			p.sawRecord(again)
		}
		_, err := part.Record(p.ctx, part.End())
		p.saw("%d: behind the end: %v", i, err)
	}
	return nil
}

func (p *player) sawRecord(r braidlog.Record) {
	p.saw("%s/%d/%d %v: %q %t %q %t %v %x %v", r.Topic, r.Partition, r.Offset, r.Timestamp,
		r.Key, r.Key == nil, r.Value, r.Value == nil, r.Headers, r.ID, r.OriginTime)
}

func (p *player) saw(format string, args ...any) {
	p.seen = append(p.seen, fmt.Sprintf(format, args...))
}

func (p *player) reopen() error {
	if err := p.store.Close(); err != nil {
		return err
	}
	return p.open()
}

// loseIndexes removes all index files while the store is closed.
func (p *player) loseIndexes() error {
	if err := p.store.Close(); err != nil {
		return err
	}
	for i := range partitions {
		d, err := p.mem.OpenDir(fmt.Sprintf("%s/topics/%s/partitions/%d", dir, name, i), false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // nothing was appended to it
		}
		if err == nil {
			err = removeIndexes(d)
		}
		if err != nil {
			return err
		}
	}
	return p.open()
}

func removeIndexes(d fs.Dir) error {
	names, err := d.List(".")
	for _, e := range names {
		if _, is := segment.ParseIndexName(e.Name); is && err == nil {
			err = d.Remove(e.Name)
		}
	}
	return errors.Join(err, d.Close())
}

// kill leaves the files as they are when the process ends without a word.
func (p *player) kill() error { return p.goOnWith(p.mem.Kill()) }

// powerLoss loses all that was not synced.
func (p *player) powerLoss() error {
	return p.goOnWith(p.mem.Crash(func() bool { return false }))
}

func (p *player) goOnWith(m *fs.Mem) error {
	if err := p.store.Close(); err != nil {
		return err
	}
	p.mem = m
	return p.open()
}

// otherLevel changes the topic's level.
func (p *player) otherLevel() error {
	p.changes++
	c := p.setting.Topic
	c.Durability = braidlog.Durability(1 + p.changes%3)
	return p.topic.SetConfig(p.ctx, c)
}

// String tells settings apart.
func (s Setting) String() string { return strings.ReplaceAll(s.Name, " ", "-") }

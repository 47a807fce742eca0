package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// play shows the three scenes.
func (s *stage) play(ctx context.Context) (f figures, err error) {
	for _, scene := range []func(context.Context, *figures) error{s.tornTail, s.flippedBit, s.missingIndex} {
		if err = scene(ctx, &f); err != nil {
			return figures{}, err
		}
	}
	return f, nil
}

// say tells one step of a scene.
func (s *stage) say(step, format string, args ...any) {
	fmt.Fprintf(s.text, "  %-7s %s\n", step, fmt.Sprintf(format, args...))
}

// tornTail shows what a crash leaves: nothing that was acknowledged is lost.
func (s *stage) tornTail(ctx context.Context, f *figures) error {
	fmt.Fprintf(s.text, "\na torn tail: the store was not closed, and of the next batch one half is on disk\n")
	file, at, bytes, err := tear(s.path(torn))
	if err != nil {
		return fmt.Errorf("damage %s: %w", s.path(torn), err)
	}
	s.say("damage", "%s has %d bytes behind its last batch, at byte %d", filepath.Base(file), bytes, at)
	return s.in(ctx, torn, braidlog.Options{}, func(l *ledger) error { return s.afterTear(ctx, l, f) })
}

// in opens a store for as long as do takes.
func (s *stage) in(ctx context.Context, name string, o braidlog.Options, do func(*ledger) error) error {
	l, err := s.open(ctx, name, o)
	if err == nil {
		err = errors.Join(do(l), l.store.Close())
	}
	if err != nil {
		return fmt.Errorf("the store in %s: %w", s.path(name), err)
	}
	return nil
}

func (s *stage) afterTear(ctx context.Context, l *ledger, f *figures) error {
	found := l.part.Recovery()
	if found.Cut == nil {
		return errors.New("a torn tail was not reported")
	}
	f.TornBytes = found.Cut.ToByte - found.Cut.FromByte
	s.say("open", "cut bytes [%d,%d) of %s: they were never acknowledged", found.Cut.FromByte, found.Cut.ToByte, found.Cut.File)
	r, err := l.read(ctx)
	if err == nil {
		f.TornRecordsKept = r.records
		s.say("read", "%d records: all that were acknowledged", r.records)
		err = s.sound(ctx, l)
	}
	if err == nil {
		err = s.goOn(ctx, l)
	}
	return err
}

// sound wants a store without damage, in which there is nothing to repair.
func (s *stage) sound(ctx context.Context, l *ledger) error {
	found, err := l.damage(ctx)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("offsets %v are damaged, and nothing should be", found)
	}
	if err != nil {
		return err
	}
	s.say("verify", "nothing is damaged")
	if _, err = l.part.Repair(ctx, partition.KeepIntact); !errors.Is(err, braidlog.ErrNotDamaged) {
		return fmt.Errorf("repair of what is sound: %w, want %w", err, braidlog.ErrNotDamaged)
	}
	s.say("repair", "refused: %v", err)
	return nil
}

// goOn appends, and reads everything.
func (s *stage) goOn(ctx context.Context, l *ledger) error {
	r, err := l.appendMore(ctx)
	if err == nil {
		s.say("append", "%d records; %d can be read", batchRecords, r.records)
	}
	return err
}

// flippedBit shows damage that no crash causes: what is lost is named, and
// nothing else is.
func (s *stage) flippedBit(ctx context.Context, f *figures) error {
	fmt.Fprintf(s.text, "\na flipped bit: in a segment that was full and on disk long ago\n")
	file, at, err := flip(s.path(flipped))
	if err != nil {
		return fmt.Errorf("damage %s: %w", s.path(flipped), err)
	}
	s.say("damage", "bit 3 of byte %d of %s is flipped", at, filepath.Base(file))
	err = s.in(ctx, flipped, braidlog.Options{}, func(l *ledger) error { return s.afterFlip(ctx, l, f) })
	if err != nil {
		return err
	}
	return s.in(ctx, flipped, braidlog.Options{Validate: braidlog.ValidateFull}, func(l *ledger) error { return s.afterRepair(ctx, l, f) })
}

func (s *stage) afterFlip(ctx context.Context, l *ledger, f *figures) error {
	s.say("open", "%d damaged ranges reported: opening does not read full segments", len(l.part.Recovery().Lost))
	r, err := l.read(ctx)
	if err != nil {
		return err
	}
	if len(r.lost) != 1 || len(r.gaps) > 0 {
		return fmt.Errorf("offsets %v are lost and %v were given up, want one range of the first", r.lost, r.gaps)
	}
	lost := r.lost[0]
	f.FlipLost, f.FlipReadAfter = [2]int64{lost.from, lost.to}, r.behind
	s.say("read", "offsets %v are lost, a whole batch; %d records can be read, %d of them behind the damage", lost, r.records, r.behind)
	if _, err = l.appendMore(ctx); err != nil {
		return err
	}
	s.say("append", "%d records: appends go on", batchRecords)
	if err = s.same(ctx, l, lost); err != nil {
		return err
	}
	return s.repair(ctx, l, lost)
}

// same wants Verify to find what the reader was told.
func (s *stage) same(ctx context.Context, l *ledger, lost span) error {
	found, err := l.damage(ctx)
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0] != lost {
		return fmt.Errorf("offsets %v are damaged, and readers are told %v", found, lost)
	}
	s.say("verify", "offsets %v are damaged, nothing else", found[0])
	return nil
}

// repair gives up what is lost: from then on readers get a gap.
func (s *stage) repair(ctx context.Context, l *ledger, lost span) error {
	done, err := l.part.Repair(ctx, partition.KeepIntact)
	if err != nil {
		return err
	}
	if n := len(done.GivenUp); n != 1 || (span{done.GivenUp[0].From, done.GivenUp[0].To}) != lost {
		return fmt.Errorf("the repair gave up %v, want %v", done.GivenUp, lost)
	}
	s.say("repair", "offsets %v are given up, nothing else", lost)
	return nil
}

// afterRepair looks at the repaired store, of which every batch was read when
// it was opened.
func (s *stage) afterRepair(ctx context.Context, l *ledger, f *figures) error {
	l.sent = append(l.sent, newRecords(records, records+batchRecords)...)
	s.say("open", "%d damaged ranges reported, though every batch was read", len(l.part.Recovery().Lost))
	r, err := l.read(ctx)
	if err != nil {
		return err
	}
	given := span{f.FlipLost[0], f.FlipLost[1]}
	if len(r.lost) > 0 || len(r.gaps) != 1 || r.gaps[0] != given {
		return fmt.Errorf("offsets %v are lost and %v were given up, want none and %v", r.lost, r.gaps, given)
	}
	s.say("read", "%d records, and one error that names the gap %v", r.records, given)
	if err = s.sound(ctx, l); err != nil {
		return err
	}
	return s.goOn(ctx, l)
}

// missingIndex shows that an index is a cache.
func (s *stage) missingIndex(ctx context.Context, f *figures) error {
	fmt.Fprintf(s.text, "\na missing index: somebody removed the file\n")
	file, err := removeIndex(s.path(unindexed))
	if err != nil {
		return fmt.Errorf("damage %s: %w", s.path(unindexed), err)
	}
	s.say("damage", "%s is gone", filepath.Base(file))
	return s.in(ctx, unindexed, braidlog.Options{}, func(l *ledger) error { return s.afterRemoval(ctx, l, file, f) })
}

func (s *stage) afterRemoval(ctx context.Context, l *ledger, file string, f *figures) error {
	s.say("open", "%d damaged ranges reported: no record is in an index", len(l.part.Recovery().Lost))
	var first int64 // of the segment
	if _, err := fmt.Sscanf(filepath.Base(file), "%d.index", &first); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	offset := first + 7*batchRecords
	rec, err := l.part.Record(ctx, offset)
	if err == nil {
		err = l.compare(&rec, offset)
	}
	if err != nil {
		return err
	}
	stat, err := os.Stat(file)
	f.IndexRebuilt = err == nil && stat.Size() > 0
	s.say("read", "the record at offset %d was found; the index is there again: %v", offset, f.IndexRebuilt)
	r, err := l.read(ctx)
	if err != nil {
		return err
	}
	s.say("read", "%d records", r.records)
	if err = s.sound(ctx, l); err != nil {
		return err
	}
	return s.goOn(ctx, l)
}

package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/braidlog/braidlog/partition"
)

// maxPartBytes is about how much one record of a snapshot has.
const maxPartBytes = 256 << 10

// compact writes a snapshot and gives up the log before it, so that the log
// does not grow for ever.
func (l *Ledger) compact() {
	err := l.takeUpkeep(l.ctx)
	if err == nil {
		err = l.snapshot(l.ctx)
		l.letUpkeep()
	}
	l.mu.Lock()
	l.compacting = false
	if err != nil {
		l.grown = 0 // tried again when the log has grown as much again
	}
	l.mu.Unlock()
	l.note(err)
	if err != nil && l.ctx.Err() == nil {
		l.trouble("could not shorten the groups log", err)
	}
}

func (l *Ledger) takeUpkeep(ctx context.Context) error {
	select {
	case l.upkeep <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Ledger) letUpkeep() { <-l.upkeep }

// Hold keeps the log from being trimmed until release is called, so that what
// is in it now can be copied. Commits go on. ctx bounds the wait for a trim
// that is under way.
func (l *Ledger) Hold(ctx context.Context) (release func(), err error) {
	if err = l.takeUpkeep(ctx); err != nil {
		return nil, fmt.Errorf("hold %s: %w", LedgerName, err)
	}
	return l.letUpkeep, nil
}

// snapshot writes a snapshot, in a segment that begins with it if nobody
// commits meanwhile, and trims the log to it. The caller has upkeep. Whatever
// ends it in between leaves a log that says the same.
func (l *Ledger) snapshot(ctx context.Context) error {
	if err := l.p.RollOld(ctx, l.p.Now().Add(time.Hour)); err != nil {
		return err
	}
	parts, begun, err := l.beginSnapshot(ctx)
	if err != nil {
		return err
	}
	bytes := int64(0)
	for i := range parts {
		w := &ledgerWrite{record: &parts[i]}
		if err = l.writeBehind(ctx, w); err != nil {
			return err
		}
		bytes += w.bytes
	}
	end := &ledgerRecord{kind: ledgerEnd, begun: begun, parts: int64(len(parts))}
	if err = l.writeBehind(ctx, &ledgerWrite{record: end}); err != nil {
		return err
	}
	l.mu.Lock()
	l.snapshotBytes = bytes
	l.mu.Unlock()
	// Its frame tells that the end is durable: to somebody who follows the log
	// and sees that it was trimmed, and to recovery.
	settled := &ledgerRecord{kind: ledgerSettled, begun: begun}
	if err = l.writeBehind(ctx, &ledgerWrite{record: settled}); err != nil {
		return err
	}
	return l.p.Trim(ctx, begun)
}

// beginSnapshot writes the record that a snapshot begins with, and returns the
// state as of that place in the log.
func (l *Ledger) beginSnapshot(ctx context.Context) (parts []ledgerRecord, begun int64, err error) {
	limit := min(maxPartBytes, l.p.Config().MaxRecordBytes-slackBytes)
	w := &ledgerWrite{record: &ledgerRecord{kind: ledgerSnapshot}, then: func(offset int64) {
		parts, begun = l.state.parts(offset, limit), offset
		l.grown = 0
	}}
	if err = l.writeBehind(ctx, w); err != nil {
		return nil, 0, err
	}
	return parts, begun, nil
}

// writeBehind writes a record of a snapshot.
func (l *Ledger) writeBehind(ctx context.Context, w *ledgerWrite) error {
	if err := l.put(ctx, w); err != nil {
		return err
	}
	return w.wait(ctx)
}

// Repair gives up what cannot be read of a damaged ledger, for good. What
// groups had committed is then what the intact records tell: it may be older
// than what they did last, so records may be delivered again, and a group or a
// topic's offsets that were deleted may be back. It is written anew, and the
// damaged part of the log is given up. If the log was damaged since it was
// read, nothing is lost: it is written anew. One without damage is
// partition.ErrNotDamaged; one that a newer braidlog wrote is not repaired, nor
// one whose disk fails. After an error it is still damaged: try again.
func (l *Ledger) Repair(ctx context.Context) (partition.RepairReport, error) {
	report, err := l.repair(ctx)
	if err != nil {
		return report, fmt.Errorf("repair %s: %w", LedgerName, err)
	}
	return report, nil
}

func (l *Ledger) repair(ctx context.Context) (report partition.RepairReport, err error) {
	if err = l.mayWrite(ctx); err == nil {
		return l.renew(ctx)
	}
	if !errors.Is(err, partition.ErrCorrupt) && !isGap(err) || errors.Is(err, ErrNewerLedger) {
		return report, err
	}
	if err = l.takeUpkeep(ctx); err != nil {
		return report, err
	}
	defer l.letUpkeep()
	report, err = l.p.Repair(ctx, partition.KeepIntact)
	if err != nil && !errors.Is(err, partition.ErrNotDamaged) {
		return report, err
	}
	y := newReplay()
	if err = read(y, l.p); err != nil {
		return report, err
	}
	l.mu.Lock()
	l.takeOverLocked(y)
	l.mu.Unlock()
	if err = l.snapshot(ctx); err != nil {
		return report, err
	}
	l.mu.Lock()
	l.damage = nil
	l.mu.Unlock()
	report.End = l.p.End()
	return report, nil
}

// renew writes a ledger anew whose log was damaged since it was read.
func (l *Ledger) renew(ctx context.Context) (report partition.RepairReport, err error) {
	if err = l.takeUpkeep(ctx); err != nil {
		return report, err
	}
	defer l.letUpkeep()
	found, err := l.p.Verify(ctx, nil)
	if err == nil && len(found) == 0 {
		err = partition.ErrNotDamaged
	}
	if err == nil {
		err = l.snapshot(ctx)
	}
	report.End = l.p.End()
	return report, err
}

func isGap(err error) bool {
	var gap *partition.GapError
	return errors.As(err, &gap)
}

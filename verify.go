package braidlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// A VerifyReport is what Verify found.
type VerifyReport struct {
	Partitions int             // that were read
	Bytes      int64           // that were read
	Damaged    []*CorruptError // by topic, partition and offset
}

// VerifyProgress tells how far Verify is.
type VerifyProgress struct {
	Bytes, TotalBytes           int64 // read, and to be read as it was at the beginning
	Partitions, TotalPartitions int
	Damaged                     int // ranges found so far
}

// Verify reads every segment of every topic and of the groups log, checks every header and every
// batch, and reports each damaged range in bytes and offsets. Nothing is
// changed; appends and reads go on meanwhile. It reads side by side, as many
// segments as there are processors.
//
// progress, of which there is one or none, is called about every mebibyte and
// after each partition, by one goroutine at a time. If it panics it is not
// called again, and the error says so. The error says what could not be read,
// and ctx's error that not all was; the report has what was found all the same.
// Damage is no error: look at Damaged.
func (s *Store) Verify(ctx context.Context, progress ...func(VerifyProgress)) (VerifyReport, error) {
	if err := checkContext(ctx); err != nil {
		return VerifyReport{}, fmt.Errorf("verify store: %w", err)
	}
	parts, errs, err := s.allPartitions()
	if err != nil {
		return VerifyReport{}, fmt.Errorf("verify store: %w", err)
	}
	v := verification{progress: progress, errs: errs, found: make([][]*CorruptError, len(parts))}
	v.now.TotalPartitions = len(parts)
	for _, p := range parts {
		v.now.TotalBytes += p.Bytes()
	}
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	for i, p := range parts {
		g.Go(func() error {
			yield.Woken()
			v.partition(ctx, i, p)
			return nil
		})
	}
	g.Wait() // #nosec G104 -- the functions return nil
	yield.Woken()
	r := VerifyReport{Partitions: v.now.Partitions, Bytes: v.now.Bytes, Damaged: slices.Concat(v.found...)}
	if ctx.Err() != nil {
		return r, fmt.Errorf("verify store: %w", ctx.Err())
	}
	if err = errors.Join(v.errs...); err != nil {
		return r, fmt.Errorf("verify store: %w", known(err))
	}
	return r, nil
}

// allPartitions returns the partitions of all topics, by topic and number, and
// behind them that of the groups log if there is one; and why topics could not
// be opened.
func (s *Store) allPartitions() (parts []*partition.Partition, broken []error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fmt.Errorf("store is %w", ErrClosed)
	}
	if s.cfg.ReadOnly {
		if err = s.findTopicsLocked(); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		parts = append(parts, s.topics[name].parts...)
	}
	if s.groupsUsed() {
		parts = append(parts, s.ledger.Partition())
	}
	for _, name := range slices.Sorted(maps.Keys(s.broken)) {
		broken = append(broken, s.broken[name])
	}
	return parts, broken, nil
}

// A verification is a Verify under way.
type verification struct {
	found [][]*CorruptError // one for each partition

	mu       sync.Mutex // held while progress is called
	progress []func(VerifyProgress)
	now      VerifyProgress
	errs     []error
}

func (v *verification) partition(ctx context.Context, i int, p *partition.Partition) {
	found, err := p.Verify(ctx, func(n int64) {
		v.tell(func(now *VerifyProgress) { now.Bytes += n })
	})
	v.found[i] = found
	v.tell(func(now *VerifyProgress) {
		if err != nil {
			v.errs = append(v.errs, err)
		} else {
			now.Partitions++
		}
		now.Damaged += len(found)
	})
}

// tell changes the progress and shows it.
func (v *verification) tell(change func(*VerifyProgress)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.now)
	if err := v.show(); err != nil {
		v.errs = append(v.errs, fmt.Errorf("show progress: %w", err))
		v.progress = nil
	}
}

// show calls progress. A panic is an error: on a goroutine of Verify's nobody
// else could catch it.
func (v *verification) show() (err error) {
	defer caught(&err)
	for _, show := range v.progress {
		show(v.now)
	}
	return nil
}

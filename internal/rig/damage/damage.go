// Package damage spoils a store in every way that is not a crash, and compares
// what can still be read with what the table in docs/DESIGN.md promises: intact
// batches are read, lost offsets are named exactly, no wrong byte is returned,
// and no file is deleted. Consumer groups are where they were when a commit was
// acknowledged, the last one unless the end of their log was torn, or say that it
// is damaged, and are where its intact records say after a repair.
package damage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
)

// Counts are what a sweep counted.
type Counts struct {
	Variants int64 // ways to spoil a store that were tried

	Lost            int64 // records that were gone without a word, and files that were deleted
	Invented        int64 // wrong bytes that were returned
	Undetected      int64 // damage that nobody was told of as the table wants it
	FalseCorruption int64 // intact records that were said to be damaged
}

// A kind of broken promise.
type kind uint8

const (
	lost kind = iota
	invented
	undetected
	falseCorruption
)

func (k kind) String() string {
	return [...]string{"lost", "invented", "undetected", "false corruption"}[k]
}

// A violation is a broken promise.
type violation struct {
	kind kind
	what string
}

func (v *violation) Error() string { return v.kind.String() + ": " + v.what }

func violated(k kind, format string, args ...any) error {
	return &violation{k, fmt.Sprintf(format, args...)}
}

// maxTold is how many violations the error of Sweep tells: one is enough to
// fail.
const maxTold = 20

// Sweep spoils the fixed stores in every way, or with quick in a share of the
// ways, on as many goroutines as there are processors. It tells progress, which
// may be nil, now and then of how many are done of how many. The error names
// the variants that broke a promise, or is the context's.
func Sweep(ctx context.Context, quick bool, progress func(done, total int)) (Counts, error) {
	step := 1
	if quick {
		step = share
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	stores, err := fixtures()
	if err != nil {
		return Counts{}, err
	}
	s := &sweep{progress: progress}
	for _, f := range stores {
		for v := range f.variants(step) {
			s.total += v.count
		}
	}
	for _, f := range stores {
		s.run(ctx, f, f.variants(step))
	}
	if ctx.Err() == nil {
		s.hostile(ctx, stores[0], quick)
	}
	if ctx.Err() == nil {
		s.real(ctx, stores[0], min(step, 11))
	}
	s.counts.Variants = s.done.Load()
	return s.counts, errors.Join(ctx.Err(), errors.Join(s.errs...))
}

// A sweep is one call of Sweep.
type sweep struct {
	progress func(done, total int)
	total    int
	done     atomic.Int64

	mu     sync.Mutex
	counts Counts  // guarded by mu
	errs   []error // guarded by mu
}

// run tries variants until there are no more or the context ends.
func (s *sweep) run(ctx context.Context, f *fixture, all iter.Seq[series]) {
	work := make(chan series)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for v := range work {
				for i := 0; i < v.count && ctx.Err() == nil; i++ {
					s.try(f, v.at(i))
				}
			}
		})
	}
	for v := range all {
		if ctx.Err() != nil {
			break
		}
		work <- v
	}
	close(work)
	workers.Wait()
}

// progressEvery is after how many variants progress is told.
const progressEvery = 100

// try spoils a store in one way and takes down what is wrong.
func (s *sweep) try(f *fixture, c change) {
	n := s.done.Add(1)
	err := f.judge(c, n)
	s.told(c.what, err)
	if n%progressEvery == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.progress(int(n), max(s.total, int(n)))
	}
}

// told takes down the outcome of a variant.
func (s *sweep) told(what string, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := undetected
	var v *violation
	if errors.As(err, &v) {
		k = v.kind
	}
	*[]*int64{&s.counts.Lost, &s.counts.Invented, &s.counts.Undetected, &s.counts.FalseCorruption}[k]++
	if len(s.errs) < maxTold {
		s.errs = append(s.errs, fmt.Errorf("%s: %w", what, err))
	}
}

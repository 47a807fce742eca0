package braidlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// complete reads from the log what the window lacks: everything after Open,
// and what was appended while dedup was off. One at a time does; the others
// wait for it, and find the window whole. After an error the next one tries.
func (d *dedup) complete(ctx context.Context) error {
	select {
	case d.reading <- struct{}{}:
		yield.Woken()
	case <-ctx.Done():
		yield.Woken()
		return ctx.Err()
	}
	defer func() { <-d.reading }()
	d.mu.Lock()
	whole, turn, config, since := d.whole, d.turn, d.config, d.sinceLocked()
	d.mu.Unlock()
	if whole {
		return nil
	}
	found, err := readIDs(ctx, d.parts, config.Entries, since)
	if err != nil {
		return fmt.Errorf("look for ids: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turn == turn { // else the settings changed, and it has to be done again
		d.window.merge(found, since)
		d.window.evict(config.Entries, since)
		d.whole = true
	}
	return nil
}

// readIDs returns the latest entries records with an id of all partitions, in
// order of time, as far as they were appended at since or later.
func readIDs(ctx context.Context, parts []*partition.Partition, entries int, since int64) ([]first, error) {
	h := &harvest{entries: entries, since: since}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(openAtOnce)
	for n, p := range parts {
		g.Go(func() error {
			yield.Woken()
			return h.read(ctx, n, p)
		})
	}
	err := g.Wait()
	yield.Woken()
	h.cutLocked()
	return h.firsts, err
}

// A harvest is what was read of all partitions so far.
type harvest struct {
	entries int // immutable; how many are wanted

	mu     sync.Mutex
	firsts []first // guarded by mu; at most twice as many as wanted, and what was just added
	since  int64   // guarded by mu; nothing older can be among those wanted
}

// add takes in what was read and returns from when on more is wanted.
func (h *harvest) add(found []first) (since int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.firsts = append(h.firsts, found...)
	if len(h.firsts) >= 2*h.entries {
		h.cutLocked()
		h.since = h.firsts[0].time
	}
	return h.since
}

// cutLocked sorts, and forgets all but as many as are wanted.
func (h *harvest) cutLocked() {
	slices.SortFunc(h.firsts, byTime)
	h.firsts = slices.Delete(h.firsts, 0, max(0, len(h.firsts)-h.entries))
}

// read reads a partition backwards, in spans that double, until there are as
// many ids as are wanted in all or the rest is too old. Counting offsets alone
// would not do: between two records with an id there may be any number without.
func (h *harvest) read(ctx context.Context, n int, p *partition.Partition) error {
	// An append that began before dedup was switched on may still be in flight.
	if err := p.Settle(ctx); err != nil {
		return err
	}
	since, to := h.add(nil), p.End()
	oldest, err := offsetAt(p, since)
	for span, count := int64(h.entries), 0; err == nil && to > oldest && count < h.entries; span *= 2 {
		from := max(oldest, to-span)
		var found []first
		found, err = idsOf(ctx, n, p, from, to)
		var trimmed *OffsetError
		if errors.As(err, &trimmed) && trimmed.Start > from { // meanwhile
			oldest, err = trimmed.Start, nil
			continue
		}
		to, count = from, count+len(found)
		if later := h.add(found); later > since { // by what other partitions have
			since = later
			oldest, err = offsetAt(p, since)
		}
	}
	return err
}

// offsetAt returns the first offset that was appended at a time or later.
func offsetAt(p *partition.Partition, nanos int64) (int64, error) {
	r := p.NewReader(partition.At(time.Unix(0, nanos)))
	defer r.Close()
	return r.Offset(), r.Err()
}

// readsAtOnce is how many records are read between two looks at the context.
const readsAtOnce = 1024

// idsOf returns the records with an id among offsets [from, to) of a
// partition. Those that are lost to damage cannot be repeated with certainty,
// and are passed over.
func idsOf(ctx context.Context, n int, p *partition.Partition, from, to int64) (found []first, err error) {
	r := p.NewReader(partition.Offset(from))
	defer r.Close()
	for i := 0; ; i++ {
		if i%readsAtOnce == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rec, err := r.TryBefore(to)
		switch {
		case err == ErrEnd:
			return found, nil
		case partition.Skippable(err):
		case err != nil:
			return nil, err
		case rec.ID != noID:
			found = append(found, first{rec.ID, int32(n), rec.Offset, rec.Timestamp.UnixNano()})
		}
	}
}

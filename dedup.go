package braidlog

import (
	"context"
	"errors"

	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// noID is the ID of a record that has none.
var noID [16]byte

// A dedup is what a topic knows of the ids that were appended lately.
//
// Who appends a record with an id claims the id first. The first claim is a
// flight: it is the only one that goes to the partitioner and to the log, and
// those that come while it is under way wait for it. Once it is acknowledged
// the id is in the window, which forgets the oldest. A flight whose record is
// certain not to be in the log leaves nothing behind. One whose outcome is
// unknown stays until the store is opened again: its record may be in the log,
// and only recovery can tell.
type dedup struct {
	parts []*partition.Partition // immutable
	now   func() int64           // immutable; the clock that tells append times
	// reading has one place, for who reads the log. It is taken before mu and
	// held during I/O.
	reading chan struct{}

	mu      yield.Mutex          // no I/O is done, and no other lock taken, under it
	config  Dedup                // guarded by mu
	turn    int                  // guarded by mu; counts what made the window incomplete
	whole   bool                 // guarded by mu; everything of the log that belongs in the window is in it
	flights map[[16]byte]*flight // guarded by mu; by id
	window  window               // guarded by mu
}

// A flight is the append of the first record of an id.
type flight struct {
	id [16]byte
	// ready is closed when the record was submitted or refused. What follows
	// is set before, and immutable then. A batch's flights share it.
	ready     chan struct{}
	submitted bool
	partition int32
	pending   partition.Pending

	number int32 // of the record in its batch; immutable
}

// A claim is what was found out about a record's id.
type claim struct {
	flight *flight // the append of the first record; nil if that was acknowledged
	own    bool    // that is this one
	first  first   // where it is, if flight is nil
}

// repeat reports whether somebody else's record is meant: this one is not to
// be appended.
func (c *claim) repeat() bool { return !c.own && (c.flight != nil || c.first.id != noID) }

func newDedup(parts []*partition.Partition, now func() int64) *dedup {
	return &dedup{parts: parts, now: now, reading: make(chan struct{}, 1), flights: map[[16]byte]*flight{}}
}

// configure changes the settings. What the window lacks of larger ones, and
// what was appended while they were off, is read by the next claim.
func (d *dedup) configure(to Dedup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.config
	d.config = to
	off := to.Mode == DedupOff
	if off {
		d.window = window{}
	}
	if off || from.Mode == DedupOff || to.Entries > from.Entries || to.Window > from.Window {
		d.whole = false
		d.turn++
	}
	d.window.evict(to.Entries, d.sinceLocked())
}

// sinceLocked returns when the window begins.
func (d *dedup) sinceLocked() int64 { return d.now() - int64(d.config.Window) }

// claim claims the id of one record.
func (d *dedup) claim(ctx context.Context, id [16]byte) (claim, error) {
	if err := d.lock(ctx); err != nil {
		return claim{}, err
	}
	defer d.mu.Unlock()
	if c := d.findLocked(id, d.sinceLocked()); c.repeat() {
		return c, nil
	}
	f := &flight{id: id, ready: make(chan struct{})}
	d.flights[id] = f
	return claim{flight: f, own: true}, nil
}

// claimAll fills in the claim of each record. It waits for nobody's flight, so
// that batches cannot wait for each other in a circle.
func (d *dedup) claimAll(ctx context.Context, recs []Record, claims []claim) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	since, ready := d.sinceLocked(), make(chan struct{})
	for i := range recs {
		id := recs[i].ID
		if id == noID {
			claims[i] = claim{}
			continue
		}
		if claims[i] = d.findLocked(id, since); !claims[i].repeat() {
			f := &flight{id: id, ready: ready, number: int32(i)}
			d.flights[id] = f
			claims[i] = claim{flight: f, own: true}
		}
	}
	return nil
}

// findLocked returns the claim of a repeat, or the zero one if the id is new.
func (d *dedup) findLocked(id [16]byte, since int64) claim {
	if f := d.flights[id]; f != nil {
		return claim{flight: f}
	}
	if f, ok := d.window.find(id); ok && f.time >= since {
		return claim{first: f}
	}
	return claim{}
}

// lock takes mu when the window is whole.
func (d *dedup) lock(ctx context.Context) error {
	for {
		d.mu.Lock()
		if d.whole {
			return nil
		}
		d.mu.Unlock()
		if err := d.complete(ctx); err != nil {
			return err
		}
	}
}

// submit says that the flight's record was submitted. launch must follow.
func (f *flight) submit(n int32, a partition.Pending) {
	f.submitted, f.partition, f.pending = true, n, a
}

// launch lets those go on who wait for the flights of one call. Flights whose
// record was not submitted are over. Who waits for one of them claims the id
// anew, since what was wrong with this record, or with its batch or context,
// need not be wrong with the other one.
func (d *dedup) launch(claims []claim) {
	var ready chan struct{}
	for _, c := range claims {
		if c.own {
			ready = c.flight.ready
		}
		if c.own && !c.flight.submitted {
			d.forget(c.flight)
		}
	}
	if ready != nil {
		close(ready) // behind forget: nobody is to find those again
	}
}

func (d *dedup) forget(f *flight) {
	d.mu.Lock()
	delete(d.flights, f.id)
	d.mu.Unlock()
}

// conclude acts on the outcome of a flight that was submitted.
func (d *dedup) conclude(f *flight, o Outcome) {
	if o == Unknown {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flights[f.id] != f {
		return // known already
	}
	delete(d.flights, f.id)
	if o == Appended {
		d.window.push(f.first())
		d.window.evict(d.config.Entries, d.sinceLocked())
	}
}

// leave is conclude for an owner who may have left before the outcome was
// known.
func (d *dedup) leave(f *flight, o Outcome) {
	if o != Unknown {
		d.conclude(f, o)
		return
	}
	f.pending.Then(func(_ int64, err error) { d.conclude(f, outcomeOf(err)) }) // #nosec G104 -- the topic is closed then: nobody asks any more
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Appended
	case errors.Is(err, ErrOutcomeUnknown):
		return Unknown
	}
	return NotAppended
}

// first returns where the flight's record is, once it was submitted.
func (f *flight) first() first {
	return first{id: f.id, partition: f.partition, offset: f.pending.First, time: f.pending.Time}
}

// await waits until it is known whether the record was submitted.
func (f *flight) await(ctx context.Context) (submitted bool, err error) {
	select {
	case <-f.ready:
		return f.submitted, nil
	default:
	}
	select {
	case <-f.ready:
		yield.Woken()
		return f.submitted, nil
	case <-ctx.Done():
		yield.Woken()
		return false, ctx.Err()
	}
}

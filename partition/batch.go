package partition

import (
	"context"
	"errors"
	"time"

	"github.com/braidlog/braidlog/record"
)

// A Batch is an append of many records, to one partition or several, whose
// outcome is known record by record. The zero Batch is empty.
type Batch struct {
	parts []part
	err   error // the first
}

// A part is a frame of the batch that was submitted, or a run that was not.
type part struct {
	run     record.Run
	pending Pending
	err     error
}

// Add submits the records of run to p, frame by frame. After an error it adds
// nothing more: what was not submitted was not appended.
func (b *Batch) Add(ctx context.Context, p *Partition, run record.Run) {
	for run.Len() > 0 && b.err == nil {
		b.parts = append(b.parts, part{})
		last := &b.parts[len(b.parts)-1]
		if err := p.Submit(ctx, &run, &last.pending); err != nil {
			last.run, last.err, b.err = run, err, err
			return
		}
		var rest record.Run
		last.run, rest = run.Split(last.pending.Count)
		p.fill(last)
		run = rest
	}
	if b.err != nil && run.Len() > 0 {
		b.parts = append(b.parts, part{run: run, err: b.err})
	}
}

// fill writes what an append knows into the records of a frame.
func (p *Partition) fill(f *part) {
	at := time.Unix(0, f.pending.Time).UTC()
	for i := range f.run.Len() {
		r := f.run.At(i)
		r.Topic, r.Partition = p.opts.Topic, p.opts.Number
		r.Offset, r.Timestamp = f.pending.First+int64(i), at
		r.Duplicate = false
	}
}

// Each calls f for every record that was added, with its number among those
// that the runs pick from: with its append, or with the error if it was not
// submitted. It is for use between Add and Wait.
func (b *Batch) Each(f func(i int, a Pending, err error)) {
	for n := range b.parts {
		part := &b.parts[n]
		for i := range part.run.Len() {
			a := part.pending
			a.First, a.Count = a.First+int64(i), 1
			f(part.run.Index(i), a, part.err)
		}
	}
}

// Wait waits for everything that was added, and resets the batch. Frames of
// different partitions are made durable side by side. The error is nil or a
// *BatchError with the outcome of each of the n records that the runs pick
// from.
func (b *Batch) Wait(ctx context.Context, n int) error {
	for i := range b.parts {
		if i+1 < len(b.parts) && b.parts[i].err == nil {
			b.parts[i].pending.Kick()
		}
	}
	for i := range b.parts {
		f := &b.parts[i]
		if f.err == nil {
			f.err = f.pending.Wait(ctx)
		}
		if b.err == nil {
			b.err = f.err
		}
	}
	defer b.reset()
	if b.err != nil {
		return b.report(n)
	}
	return nil
}

func (b *Batch) reset() {
	clear(b.parts)
	b.parts, b.err = b.parts[:0], nil
}

// report tells what became of each record.
func (b *Batch) report(n int) error {
	e := &BatchError{Outcomes: make([]Outcome, n), Cause: b.err}
	for i := range b.parts {
		f := &b.parts[i]
		o := Appended
		switch {
		case errors.Is(f.err, ErrOutcomeUnknown):
			o = Unknown
		case f.err != nil:
			o = NotAppended
		}
		for j := range f.run.Len() {
			e.Outcomes[f.run.Index(j)] = o
			if o == NotAppended {
				r := f.run.At(j)
				r.Offset, r.Duplicate = -1, false
			}
		}
	}
	return e
}

package braidlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// A Cursor reads all partitions of a topic and knows its place in each. Its
// text form lets another process go on where this one stopped. It is for one
// goroutine at a time.
type Cursor struct {
	t       *Topic
	readers []*partition.Reader
	keeping bool
	at      int // the partition being read
	run     int // records read from it in a row
	wake    chan struct{}
}

// cursorRun is how many records are read from one partition before the next
// one has its turn.
const cursorRun = 256

// NewCursor returns a cursor that begins at start in every partition, which is
// looked up now. An error in start is returned by Next.
func (t *Topic) NewCursor(start partition.Start) *Cursor {
	c := &Cursor{t: t, readers: make([]*partition.Reader, len(t.parts)), wake: make(chan struct{}, 1)}
	for i, p := range t.parts {
		c.readers[i] = p.NewReader(start)
	}
	return c
}

// keep makes the records the caller's to keep.
func (c *Cursor) keep() {
	c.keeping = true
	for _, r := range c.readers {
		r.Keep()
	}
}

// Next returns the next record of any partition, waiting for one if need be,
// until ctx ends or the store is closed. The record lives until the next call.
// Those of one partition come in order, and no partition waits for ever behind
// another. Errors are as of Reader.Next.
func (c *Cursor) Next(ctx context.Context) (*Record, error) {
	if err := checkContext(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.t.name, err)
	}
	rec, err := c.TryNext()
	if err != ErrEnd {
		return rec, err
	}
	for _, p := range c.t.parts {
		defer p.Watch(c.wake)()
	}
	for {
		if rec, err = c.TryNext(); err != ErrEnd {
			return rec, err
		}
		select {
		case <-c.wake:
			yield.Woken()
		case <-ctx.Done():
			yield.Woken()
			return nil, fmt.Errorf("read %s: %w", c.t.name, ctx.Err())
		}
	}
}

// TryNext is Next that does not wait: at the end of all partitions it returns
// ErrEnd.
func (c *Cursor) TryNext() (*Record, error) {
	for range c.readers {
		if c.run < cursorRun {
			rec, err := c.readers[c.at].TryNext()
			if err != ErrEnd {
				c.run++
				return rec, err
			}
		}
		c.at, c.run = (c.at+1)%len(c.readers), 0
	}
	// The partition whose run was over may have more.
	rec, err := c.readers[c.at].TryNext()
	if err == ErrEnd && c.t.closed() {
		err = fmt.Errorf("read %s: %w", c.t.name, ErrClosed)
	}
	return rec, err
}

// Close gives back what the cursor holds.
func (c *Cursor) Close() error {
	var errs []error
	for _, r := range c.readers {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// Offset returns the offset of the next record of a partition.
func (c *Cursor) Offset(partition int) int64 { return c.readers[partition].Offset() }

// cursorVersion begins the text form of a cursor.
const cursorVersion = "braidlog-cursor-1"

// MarshalText returns the cursor's place as text: a version, the topic's id,
// and the offset of the next record of each partition. It works after Close
// too. A cursor whose start was refused has no place: the error is that one.
func (c *Cursor) MarshalText() ([]byte, error) {
	b := fmt.Appendf(nil, "%s:%s:", cursorVersion, c.t.id)
	for i, r := range c.readers {
		if err := r.Err(); err != nil {
			return nil, fmt.Errorf("place of cursor of %s: %w", c.t.name, err)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, r.Offset(), 10)
	}
	return b, nil
}

// UnmarshalText moves the cursor to a place that MarshalText returned, for the
// same topic. On an error it stays where it is. An offset that is no longer
// there is an *OffsetError from Next.
func (c *Cursor) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), ":")
	if len(parts) != 3 || parts[0] != cursorVersion {
		return fmt.Errorf("place cursor of %s: %w text: %q", c.t.name, ErrInvalid, naming.Shorten(string(text)))
	}
	var id meta.ID
	if err := id.UnmarshalText([]byte(parts[1])); err != nil || id != c.t.id {
		return fmt.Errorf("place cursor of %s: %w text: it is of topic %s, not %s", c.t.name, ErrInvalid, naming.Shorten(parts[1]), c.t.id)
	}
	offsets := strings.Split(parts[2], ",")
	if len(offsets) != len(c.readers) {
		return fmt.Errorf("place cursor of %s: %w text: it has %d partitions, not %d", c.t.name, ErrInvalid, len(offsets), len(c.readers))
	}
	readers := make([]*partition.Reader, len(offsets))
	for i, s := range offsets {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("place cursor of %s: %w text: partition %d: %w", c.t.name, ErrInvalid, i, err)
		}
		readers[i] = c.t.parts[i].NewReader(partition.Offset(n))
	}
	c.Close() // #nosec G104 -- closing a reader does not fail; it counts what was read
	c.readers, c.at, c.run = readers, 0, 0
	if c.keeping {
		c.keep()
	}
	return nil
}

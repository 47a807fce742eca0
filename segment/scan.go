package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/braidlog/braidlog/record"
)

// Sizes of the pieces in which a segment is read.
const (
	MinChunkBytes = 4 << 10
	MaxChunkBytes = 256 << 10

	// smallBytes is up to where pieces that are kept share memory of poolBytes.
	smallBytes = 512
	poolBytes  = 4 << 10
)

// ErrEmpty says that nothing is written where a batch could begin.
var ErrEmpty = errors.New("nothing is written here")

// A DamageError says that what stands at Position of a segment is not the
// batch that belongs there.
type DamageError struct {
	Position int64 // of the first byte that is wrong
	Offset   int64 // of the record that is missing
	Cause    error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("no batch of offset %d at position %d: %v", e.Offset, e.Position, e.Cause)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Cause }

// A Scanner reads the batches of a segment in order, in pieces that double in
// size. It belongs to one goroutine. A zero Scanner is ready for Start.
type Scanner struct {
	// Most is the size of the largest piece, MaxChunkBytes if zero. Batches
	// larger than that are read whole all the same.
	Most int
	// Keep says that the batches are handed out for good: the memory of a piece
	// is not used again. Otherwise a batch lives until the next call of Next.
	Keep bool

	seg      *Segment
	limit    int64  // position to stop at
	position int64  // of the next batch
	offset   int64  // that it has to begin with
	buf      []byte // what was read
	pool     []byte // room for small pieces that are kept
	at       int64  // position of buf[0]
	size     int    // of the next piece
}

// Start places the scanner before the batch at position, which begins with
// offset, and lets it read up to limit.
func (c *Scanner) Start(seg *Segment, position, offset, limit int64) {
	c.seg, c.position, c.offset, c.limit = seg, position, offset, limit
	c.buf = c.buf[:0]
	c.size = MinChunkBytes
}

// Extend moves the limit, which only grows.
func (c *Scanner) Extend(limit int64) { c.limit = limit }

// Segment returns the segment that is read.
func (c *Scanner) Segment() *Segment { return c.seg }

// Position returns the position of the next batch.
func (c *Scanner) Position() int64 { return c.position }

// Offset returns the offset that the next batch has to begin with.
func (c *Scanner) Offset() int64 { return c.offset }

// Next reads the next batch into b. At the limit it returns io.EOF. Where
// bytes do not decode it returns a *DamageError, whose cause is ErrEmpty if
// there are only zeros in place of a batch; Search finds the place to go on
// from. Any other error is the file system's and says nothing about content.
func (c *Scanner) Next(b *record.Batch) error {
	if c.position >= c.limit {
		return io.EOF
	}
	if _, err := c.Ready(); err != nil {
		return err
	}
	if err := b.Parse(c.buffered(), c.seg.salt, c.position); err != nil {
		if err = c.parse(b); err != nil {
			return err
		}
	}
	if b.Base != c.offset {
		return c.damaged(fmt.Errorf("%w: it begins with offset %d", record.ErrBad, b.Base))
	}
	c.position = b.Next()
	c.offset = b.End()
	return nil
}

// Ready reads a piece from the scanner's position on if nothing is there that
// was read before, and reports whether it did: Decode may find a batch then.
func (c *Scanner) Ready() (read bool, err error) {
	if c.position+record.HeaderBytes > c.limit || len(c.buffered()) > 0 {
		return false, nil
	}
	return true, c.fill(record.HeaderBytes)
}

// Decode is Next for a reader of records: it places d before the records of
// the next batch, if that was read from the file already. False means nothing
// but that Next has to be asked.
func (c *Scanner) Decode(d *record.Decoder) bool {
	from := uint64(c.position - c.at)
	if from >= uint64(len(c.buf)) {
		return false
	}
	n := d.Open(c.buf[from:], c.seg.salt, c.position, c.offset)
	if n == 0 {
		return false
	}
	c.position += int64(n)
	c.offset += int64(d.Left())
	return true
}

// DecodeSingle is Decode for a batch of a single usual record, which it puts
// into r. False means that Decode or Next has to be asked.
func (c *Scanner) DecodeSingle(r *record.Record) bool {
	from := uint64(c.position - c.at)
	if from >= uint64(len(c.buf)) {
		return false
	}
	n := r.DecodeSingle(c.buf[from:], c.seg.salt, c.position, c.offset)
	if n == 0 {
		return false
	}
	c.position += int64(n)
	c.offset++
	return true
}

// parse is the slow half of Next: it decodes the batch at the scanner's
// position, reading as needed.
func (c *Scanner) parse(b *record.Batch) error {
	for {
		err := b.Parse(c.buffered(), c.seg.salt, c.position)
		if err == nil {
			return nil
		}
		var short *record.ShortError
		switch {
		case errors.Is(err, record.ErrNothing):
			return c.damaged(ErrEmpty)
		case !errors.As(err, &short):
			return c.damaged(err)
		case c.position+int64(short.Need) > c.limit:
			return c.cutShort(err)
		}
		if err = c.fill(short.Need); err != nil {
			return err
		}
	}
}

// cutShort returns what bytes are that are too few for a batch: nothing, if
// they are zeros, or damage.
func (c *Scanner) cutShort(short error) error {
	rest := make([]byte, min(c.limit-c.position, record.HeaderBytes))
	if err := c.seg.ReadAt(rest, c.position); err != nil {
		return err
	}
	if len(bytes.Trim(rest, "\x00")) == 0 {
		return c.damaged(ErrEmpty)
	}
	return c.damaged(fmt.Errorf("%w: %v", record.ErrBad, short))
}

func (c *Scanner) damaged(cause error) error {
	return &DamageError{Position: c.position, Offset: c.offset, Cause: cause}
}

// buffered returns what was read of the scanner's position and behind.
func (c *Scanner) buffered() []byte {
	from := c.position - c.at
	if from < 0 || from >= int64(len(c.buf)) {
		return nil
	}
	return c.buf[from:]
}

// fill reads a piece that begins at the scanner's position and has at least
// need bytes, if the limit allows.
func (c *Scanner) fill(need int) error {
	size := int(min(int64(max(c.size, need)), c.limit-c.position))
	b, err := c.read(size)
	if err != nil {
		c.buf = c.buf[:0]
		return err
	}
	c.buf, c.at = b, c.position
	c.size = min(2*c.size, c.most())
	return nil
}

// read returns so many bytes from the scanner's position on.
func (c *Scanner) read(size int) ([]byte, error) {
	if c.Keep && size > smallBytes {
		return c.seg.copyOf(size, c.position)
	}
	b := c.room(size)
	return b, c.seg.ReadAt(b, c.position)
}

// room returns memory for a piece that is not kept, or a small one. Small ones
// that are kept, of readers that wait for every record, share memory: to allocate
// each would be much of the work.
func (c *Scanner) room(size int) []byte {
	switch {
	case !c.Keep && size <= cap(c.buf):
		return c.buf[:size]
	case !c.Keep:
		return make([]byte, size)
	case size > len(c.pool):
		c.pool = make([]byte, poolBytes)
	}
	b := c.pool[:size:size]
	c.pool = c.pool[size:]
	return b
}

func (c *Scanner) most() int {
	if c.Most != 0 {
		return c.Most
	}
	return MaxChunkBytes
}

// Search moves on to the next place at which a batch stands that begins at or
// behind the offset that is missing and ends at or before most. It reports
// false, standing at the limit, if there is none.
func (c *Scanner) Search(most int64) (bool, error) {
	c.size = c.most()
	for c.position += record.FrameAlign; c.position+record.HeaderBytes <= c.limit; c.position += record.FrameAlign {
		found, err := c.try(most)
		if found || err != nil {
			return found, err
		}
	}
	c.position = c.limit
	return false, nil
}

// try looks whether a batch begins at the scanner's position.
func (c *Scanner) try(most int64) (bool, error) {
	if len(c.buffered()) < record.HeaderBytes {
		if err := c.fill(record.HeaderBytes); err != nil {
			return false, err
		}
	}
	if !record.Plausible(c.buffered(), c.position) {
		return false, nil
	}
	var b record.Batch
	err := c.parse(&b)
	var damage *DamageError
	if errors.As(err, &damage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if b.Base < c.offset || b.End() > most {
		return false, nil
	}
	c.offset = b.Base
	return true, nil
}

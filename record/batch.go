package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"
)

// What Parse says of bytes that are not a frame.
var (
	// ErrNothing: the length word is zero. Nothing was written here yet.
	ErrNothing = errors.New("nothing written")
	// ErrBad: these bytes are not a frame that was written here. It is
	// wrapped with what gave it away.
	ErrBad = errors.New("not a batch")
)

// A ShortError says that a frame may be here but is longer than the bytes at
// hand.
type ShortError struct {
	Need int // the frame's length, if what is there of it is right
}

func (e *ShortError) Error() string { return fmt.Sprintf("batch of %d bytes is cut short", e.Need) }

// A Batch is a frame that passed its checksum: records that were written, and
// can only be lost, together. It points into the bytes it was parsed from.
type Batch struct {
	Base     int64  // offset of its first record; of the next one, if it has none
	Count    int    // records; none: a marker, written for its durable offset only
	Time     int64  // append time, nanoseconds since 1970 UTC
	Durable  int64  // every record below was durable when this was written
	Position int64  // of the frame in its file
	Length   int    // bytes of the frame
	Epoch    uint32 // of the store that wrote it

	body []byte // records and padding
}

// End returns the offset behind the batch's last record.
func (b *Batch) End() int64 { return b.Base + int64(b.Count) }

// Next returns the position behind the batch.
func (b *Batch) Next() int64 { return b.Position + int64(b.Length) }

// PeekLength returns the length of the frame that may begin at b[0]. It is
// checked for being possible, no more; b must hold 4 bytes. Zero means that
// nothing was written here.
func PeekLength(b []byte) (int, error) {
	n := binary.LittleEndian.Uint32(b)
	if n == 0 {
		return 0, nil
	}
	if n < HeaderBytes || n%FrameAlign != 0 || n > MaxFrameBytes {
		return 0, fmt.Errorf("%w: length %d", ErrBad, n)
	}
	return int(n), nil
}

// Parse reads the frame at the beginning of b, which was read from position
// of the file whose segment has this salt. It believes nothing before the
// checksum is right. The error is ErrNothing, a *ShortError, or wraps ErrBad.
func Parse(b []byte, salt uint32, position int64) (batch Batch, err error) {
	return batch, batch.Parse(b, salt, position)
}

// Parse is the function Parse, for a Batch that is used again. After an error
// it is left as it was.
func (batch *Batch) Parse(b []byte, salt uint32, position int64) error {
	if len(b) >= 4 && binary.LittleEndian.Uint32(b) == 0 {
		return ErrNothing
	}
	if len(b) < HeaderBytes {
		return &ShortError{HeaderBytes}
	}
	n, err := PeekLength(b)
	if err != nil {
		return err
	}
	// The position is looked at first: it rules most garbage out without
	// reading it, also when a search tries every place in a file.
	if int64(binary.LittleEndian.Uint32(b[atPosition:])) != position {
		return fmt.Errorf("%w: it says it stands at %d", ErrBad, binary.LittleEndian.Uint32(b[atPosition:]))
	}
	if len(b) < n {
		return &ShortError{n}
	}
	return batch.parse(b[:n:n], salt, position)
}

func (batch *Batch) parse(b []byte, salt uint32, position int64) error {
	le := binary.LittleEndian
	if le.Uint32(b[atCRC:]) != checksum(salt, b) {
		return errChecksum
	}
	// From here on the bytes are as written: what is wrong was written by a
	// version that knows more.
	if b[atFormat] != FrameFormat || b[atFormat+1] != 0 || le.Uint16(b[atFlags:]) != 0 {
		return fmt.Errorf("%w: format %d, flags %#x are not known", ErrBad, b[atFormat], le.Uint16(b[atFlags:]))
	}
	base, durable, count := int64(le.Uint64(b[atBase:])), int64(le.Uint64(b[atDurable:])), le.Uint32(b[atCount:])
	if base < 0 || durable < 0 || uint64(count) > uint64(len(b)-HeaderBytes)/minRecordBytes {
		return fmt.Errorf("%w: base offset %d, durable offset %d, %d records", ErrBad, base, durable, count)
	}
	*batch = Batch{
		Base:     base,
		Count:    int(count),
		Time:     int64(le.Uint64(b[atTime:])),
		Durable:  durable,
		Position: position,
		Length:   len(b),
		Epoch:    le.Uint32(b[atEpoch:]),
		body:     b[HeaderBytes:],
	}
	return nil
}

var (
	errChecksum = fmt.Errorf("%w: checksum does not match", ErrBad)
	errRecord   = fmt.Errorf("%w: a record's lengths do not add up", ErrBad)
)

// minRecordBytes is the smallest record: its length, flags, two deltas.
const minRecordBytes = 4

// Records returns a decoder that stands before the batch's first record.
func (b *Batch) Records() Decoder {
	return Decoder{rest: b.body, left: b.Count, base: b.Base, time: b.Time}
}

// A Decoder hands out the records of a batch one by one.
type Decoder struct {
	rest []byte
	left int
	base int64 // of the batch
	time int64
	n    uint64 // number of the next record in the batch
}

// Open is Parse and Records in one, for a reader that has no time to lose: it
// places the decoder before the first record of the frame at the beginning of
// b and returns the frame's length. If there is no whole frame that begins
// with offset base, it returns 0 and leaves the decoder alone; Parse tells why.
func (d *Decoder) Open(b []byte, salt uint32, position, base int64) int {
	if len(b) < HeaderBytes {
		return 0
	}
	le := binary.LittleEndian
	n := uint64(le.Uint32(b))
	if n < HeaderBytes || n > uint64(len(b)) || n%FrameAlign != 0 {
		return 0
	}
	f := b[:n:n]
	if int64(le.Uint32(f[atPosition:])) != position || int64(le.Uint64(f[atBase:])) != base ||
		le.Uint32(f[atFormat:]) != FrameFormat || le.Uint32(f[atCRC:]) != checksum(salt, f) {
		return 0
	}
	count := uint64(le.Uint32(f[atCount:]))
	if count > (n-HeaderBytes)/minRecordBytes || le.Uint64(f[atDurable:]) > math.MaxInt64 {
		return 0
	}
	d.rest, d.left, d.base, d.time, d.n = f[HeaderBytes:], int(count), base, int64(le.Uint64(f[atTime:])), 0
	return int(n)
}

// Left returns how many records are still to come.
func (d *Decoder) Left() int { return d.left }

// Next decodes the next record into r. Key, Value and Headers point into the
// batch's bytes; the slice r.Headers is used again if it has room. Topic and
// Partition are left as they are. An error, which wraps ErrBad, means that
// the batch was written wrong.
func (d *Decoder) Next(r *Record) error {
	b := d.rest
	var size uint64
	n := 2
	if len(b) >= 2 && b[0] >= 0x80 && b[1] < 0x80 {
		size = uint64(b[0]&0x7f) | uint64(b[1])<<7 // the usual length of a record
	} else {
		size, n = uvarint(b)
	}
	if n <= 0 || size > uint64(len(b)-n) || size < minRecordBytes-1 {
		return errRecord
	}
	end := n + int(size)
	d.rest = b[end:]
	d.left--
	return d.decode(r, b[n:end:end])
}

func (d *Decoder) decode(r *Record, b []byte) error {
	// The usual record has a key, a value, and numbers of one byte each.
	if len(b) > 4 && b[0] == hasKey|hasValue && uint64(b[1]) == d.n && b[1]|b[3] < 0x80 && b[2] == 0 {
		if end := 4 + int(b[3]); end <= len(b) {
			r.Key, r.Value = b[4:end:end], b[end:]
			r.clearExtras()
			r.Offset = d.base + int64(b[1])
			r.Timestamp = unixTime(d.time)
			d.n++
			return nil
		}
	}
	return d.decodeAny(r, b)
}

// clearExtras empties what most records do not have.
func (r *Record) clearExtras() {
	if len(r.Headers) != 0 {
		r.Headers = r.Headers[:0]
	}
	if r.ID != [16]byte{} {
		r.ID = [16]byte{}
	}
	if r.OriginTime != (time.Time{}) {
		r.OriginTime = time.Time{}
	}
}

// unixTime returns the time that nanos counts from 1970, in UTC.
func unixTime(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }

func (d *Decoder) decodeAny(r *Record, b []byte) error {
	flags := b[0]
	offset, n := uvarint(b[1:])
	if flags&^knownFlags != 0 || n <= 0 || offset != d.n {
		return errRecord
	}
	b = b[1+n:]
	if len(b) == 0 || b[0] != 0 { // records appended together share their time
		return errRecord
	}
	b = b[1:]
	d.n++
	r.Offset = d.base + int64(offset)
	r.Timestamp = unixTime(d.time)
	r.OriginTime = time.Time{}
	r.ID = [16]byte{}
	r.Key, r.Value, r.Headers = nil, nil, r.Headers[:0]
	if flags&(hasOrigin|hasID) != 0 {
		var ok bool
		if b, ok = r.takeFixed(flags, b); !ok {
			return errRecord
		}
	}
	if flags&hasKey != 0 {
		var ok bool
		if r.Key, b, ok = takeBytes(b); !ok {
			return errRecord
		}
	}
	if flags&hasHeaders != 0 {
		var ok bool
		if b, ok = r.takeHeaders(b); !ok {
			return errRecord
		}
	}
	return r.takeValue(flags, b)
}

// takeValue takes what is left of the record.
func (r *Record) takeValue(flags byte, b []byte) error {
	if flags&hasValue != 0 {
		r.Value = b
		return nil
	}
	if len(b) != 0 {
		return errRecord
	}
	return nil
}

func (r *Record) takeFixed(flags byte, b []byte) ([]byte, bool) {
	if flags&hasOrigin != 0 {
		if len(b) < 8 {
			return nil, false
		}
		r.OriginTime = time.Unix(0, int64(binary.LittleEndian.Uint64(b))).UTC()
		b = b[8:]
	}
	if flags&hasID != 0 {
		if len(b) < 16 {
			return nil, false
		}
		r.ID = [16]byte(b)
		b = b[16:]
	}
	return b, true
}

func (r *Record) takeHeaders(b []byte) ([]byte, bool) {
	count, n := uvarint(b)
	if n <= 0 || count > uint64(len(b)-n)/2 {
		return nil, false
	}
	b = b[n:]
	for range count {
		var h Header
		var name []byte
		var ok bool
		if name, b, ok = takeBytes(b); !ok {
			return nil, false
		}
		h.Key = unsafe.String(unsafe.SliceData(name), len(name)) // #nosec G103 -- nobody writes to name while h lives
		if h.Value, b, ok = takeBytesOrNil(b); !ok {
			return nil, false
		}
		r.Headers = append(r.Headers, h)
	}
	return b, true
}

func takeBytes(b []byte) (v, rest []byte, ok bool) {
	size, n := uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

func takeBytesOrNil(b []byte) (v, rest []byte, ok bool) {
	size, n := uvarint(b)
	if n <= 0 || size > uint64(len(b)-n)+1 {
		return nil, nil, false
	}
	if size == 0 {
		return nil, b[n:], true
	}
	end := n + int(size-1)
	return b[n:end:end], b[end:], true
}

// uvarint is binary.Uvarint with the one-byte case in line.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// Plausible reports, without looking at the checksum, whether a frame may
// begin at b[0], which stands at position. It is for searching behind damage.
// b must hold HeaderBytes.
func Plausible(b []byte, position int64) bool {
	return int64(binary.LittleEndian.Uint32(b[atPosition:])) == position
}

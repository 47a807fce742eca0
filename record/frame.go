package record

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// A batch frame, as docs/FORMAT.md describes it:
//
//	 0        4        8                16               24
//	 +--------+--------+----------------+----------------+
//	 | length | CRC    | base offset    | append time    |
//	 +--------+--------+--------+-------+--------+-------+
//	 | durable offset  | position | count | epoch  |f|0|flags|
//	 +-----------------+----------+-------+--------+-------+
//	24                32         36      40       44      48
//
// and the records behind it, padded with zeros to a multiple of 8 bytes. All
// numbers are little endian.
const (
	atLength   = 0
	atCRC      = 4
	atBase     = 8
	atTime     = 16
	atDurable  = 24
	atPosition = 32
	atCount    = 36
	atEpoch    = 40
	atFormat   = 44
	atFlags    = 46

	// HeaderBytes is the length of a frame's header; a frame of no records is
	// as long.
	HeaderBytes = 48
	// FrameAlign is what the length and position of a frame are multiples of.
	FrameAlign = 8
	// FrameFormat is the version of the frame format written here.
	FrameFormat = 1
	// MaxFrameBytes bounds the length of any frame: no segment is larger.
	MaxFrameBytes = 1 << 30
)

// Flags in front of each record.
const (
	hasKey = 1 << iota
	hasValue
	hasHeaders
	hasOrigin
	hasID
	knownFlags = hasKey | hasValue | hasHeaders | hasOrigin | hasID
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Salt returns what the checksums of a segment's frames start from: the
// CRC-32C of the segment's id. It keeps bytes of another segment, or a frame
// stored inside a value, from passing for a frame of this one.
func Salt(segment [16]byte) uint32 {
	return crc32.Checksum(segment[:], castagnoli)
}

// size returns the bytes that r takes inside a frame, as its record number i.
func (r *Record) size(i int) int {
	n := r.bodySize(i)
	return uvarintLen(uint64(n)) + n
}

// bodySize counts what follows the record's own length.
func (r *Record) bodySize(i int) int {
	n := 1 + uvarintLen(uint64(i)) + 1 // flags, offset delta, time delta of zero
	if !r.OriginTime.IsZero() {
		n += 8
	}
	if r.ID != [16]byte{} {
		n += 16
	}
	if r.Key != nil {
		n += uvarintLen(uint64(len(r.Key))) + len(r.Key)
	}
	if len(r.Headers) > 0 {
		n += r.headersSize()
	}
	return n + len(r.Value)
}

func (r *Record) headersSize() int {
	n := uvarintLen(uint64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += uvarintLen(uint64(len(h.Key))) + len(h.Key)
		n += uvarintLen(lengthOrNil(h.Value)) + len(h.Value)
	}
	return n
}

// UserBytes returns the bytes of r that belong to the caller: key, value,
// header names and values. Limits on the size of a record count these.
func (r *Record) UserBytes() int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// Stamp is what a frame says of its records beside the records themselves.
type Stamp struct {
	Salt     uint32 // of the segment it is written to
	Position int64  // of the frame's first byte in the file
	Base     int64  // offset of the first record
	Time     int64  // append time of all records, nanoseconds since 1970 UTC
	Durable  int64  // every record below was durable when this was encoded
	Epoch    uint32 // of the store
}

// A Run is the records of one frame: those of Records whose index Picks names,
// in the order of Picks, or all of them if Picks is nil.
type Run struct {
	Records []Record
	Picks   []int32

	skipped int // records cut off in front, if Picks is nil
}

// Len returns the number of records.
func (u *Run) Len() int {
	if u.Picks != nil {
		return len(u.Picks)
	}
	return len(u.Records)
}

// At returns the record number i of the run.
func (u *Run) At(i int) *Record {
	if u.Picks != nil {
		return &u.Records[u.Picks[i]]
	}
	return &u.Records[i]
}

// slice returns the records [from, to) of the run as a run.
func (u *Run) slice(from, to int) Run {
	if u.Picks != nil {
		return Run{Records: u.Records, Picks: u.Picks[from:to]}
	}
	return Run{Records: u.Records[from:to], skipped: u.skipped + from}
}

// Fit returns how many records, from the first on, fit in a frame of at most
// limit bytes, and the frame's length. It is at least one record, if there is
// one, and no more than most.
func (u *Run) Fit(limit, most int) (count, length int) {
	n := min(u.Len(), most)
	size := HeaderBytes
	for count < n {
		s := u.At(count).size(count)
		if count > 0 && size+s > limit {
			break
		}
		size += s
		count++
	}
	return count, align(size)
}

// Split returns the first n records of the run, and what is behind them.
func (u *Run) Split(n int) (first, rest Run) {
	return u.slice(0, n), u.slice(n, u.Len())
}

// Encode writes the frame of the first count records to dst, whose length must be
// the frame's as Fit returned it. The length word is stored last and
// atomically: whoever finds it finds a whole frame.
func (u *Run) Encode(dst []byte, count int, s Stamp) {
	le := binary.LittleEndian
	head := dst[:HeaderBytes]
	le.PutUint64(head[atBase:], uint64(s.Base))
	le.PutUint64(head[atTime:], uint64(s.Time))
	le.PutUint64(head[atDurable:], uint64(s.Durable))
	le.PutUint32(head[atPosition:], uint32(s.Position))
	le.PutUint32(head[atCount:], uint32(count))
	le.PutUint32(head[atEpoch:], s.Epoch)
	le.PutUint32(head[atFormat:], FrameFormat) // and a zero byte, and flags of zero
	at := HeaderBytes
	for i := range count {
		at += u.At(i).put(dst[at:], i)
	}
	clear(dst[at:])
	le.PutUint32(head[atCRC:], checksum(s.Salt, dst))
	storeLength(dst, uint32(len(dst)))
}

// put writes the record as number i of its frame and returns its size.
func (r *Record) put(b []byte, i int) int {
	n := putUvarint(b, uint64(r.bodySize(i)))
	flags := n
	b[flags] = 0
	n++
	n += putUvarint(b[n:], uint64(i))
	b[n] = 0 // records appended together share their time
	n++
	if !r.OriginTime.IsZero() {
		b[flags] |= hasOrigin
		binary.LittleEndian.PutUint64(b[n:], uint64(r.OriginTime.UnixNano()))
		n += 8
	}
	if r.ID != [16]byte{} {
		b[flags] |= hasID
		n += copy(b[n:], r.ID[:])
	}
	if r.Key != nil {
		b[flags] |= hasKey
		n += putBytes(b[n:], r.Key)
	}
	if len(r.Headers) > 0 {
		b[flags] |= hasHeaders
		n += r.putHeaders(b[n:])
	}
	if r.Value != nil {
		b[flags] |= hasValue
		n += copy(b[n:], r.Value)
	}
	return n
}

func (r *Record) putHeaders(b []byte) int {
	n := putUvarint(b, uint64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += putUvarint(b[n:], uint64(len(h.Key)))
		n += copy(b[n:], h.Key)
		n += putUvarint(b[n:], lengthOrNil(h.Value))
		n += copy(b[n:], h.Value)
	}
	return n
}

func putBytes(b, v []byte) int {
	n := putUvarint(b, uint64(len(v)))
	return n + copy(b[n:], v)
}

// putUvarint is binary.PutUvarint with the one-byte case in line.
func putUvarint(b []byte, v uint64) int {
	if v < 0x80 {
		b[0] = byte(v)
		return 1
	}
	return binary.PutUvarint(b, v)
}

// lengthOrNil codes a length so that nil and empty differ: nil is 0, else
// the length plus one.
func lengthOrNil(v []byte) uint64 {
	if v == nil {
		return 0
	}
	return uint64(len(v)) + 1
}

func uvarintLen(v uint64) int {
	return (bits.Len64(v|1) + 6) / 7
}

func align(n int) int {
	return (n + FrameAlign - 1) &^ (FrameAlign - 1)
}

// checksum returns the CRC-32C of what follows the frame's checksum, begun not
// from zero but from the CRC-32C of the segment's id with the frame's length
// XORed in: so both are covered at the price of neither. The length is taken
// from the slice, since the word itself is stored after the checksum.
func checksum(salt uint32, frame []byte) uint32 {
	return crc32.Update(salt^uint32(len(frame)), castagnoli, frame[atBase:])
}

// storeLength publishes a frame to whoever looks at the same memory: on a
// mapped file, another process too. Frames are aligned, so the store is one
// store. Big-endian machines store the bytes of the little-endian word.
func storeLength(frame []byte, n uint32) {
	if !nativeLittleEndian {
		n = bits.ReverseBytes32(n)
	}
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&frame[atLength])), n) // #nosec G103 -- frames are aligned to 8
}

var nativeLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Index returns the place of record number i of the run among the Records
// that it was first made of.
func (u *Run) Index(i int) int {
	if u.Picks != nil {
		return int(u.Picks[i])
	}
	return u.skipped + i
}

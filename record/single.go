package record

import (
	"encoding/binary"
	"math"
)

// DecodeSingle decodes a frame of a single usual record, as an append one by
// one writes it: a key of less than 128 bytes, a value, nothing else. It does
// what Open and Next do together, in two thirds of the instructions, and that
// is what replaying a log spends its time on.
//
// It returns the frame's length. Where there is no such frame at the beginning
// of b it returns 0 and leaves r alone; whoever asked goes the long way.
func (r *Record) DecodeSingle(b []byte, salt uint32, position, base int64) int {
	const at = HeaderBytes
	if len(b) < at+8 {
		return 0
	}
	le := binary.LittleEndian
	h := (*[at + 8]byte)(b)
	n := uint64(le.Uint32(h[atLength:]))
	if n > uint64(len(b)) || n < at+8 || n%FrameAlign != 0 ||
		le.Uint64(h[atPosition:]) != uint64(position)|1<<32 || // and a count of one
		int64(le.Uint64(h[atBase:])) != base || le.Uint32(h[atFormat:]) != FrameFormat {
		return 0
	}
	// The record's length in two bytes; flags; offset and time; the key's length.
	if h[at] < 0x80 || h[at+1] >= 0x80 || le.Uint32(h[at+2:])&0x80ffffff != hasKey|hasValue {
		return 0
	}
	key := uint64(at + 6)
	value := key + uint64(h[at+5])
	end := at + 2 + (uint64(h[at]&0x7f) | uint64(h[at+1])<<7)
	if end > n || value > end || le.Uint32(h[atCRC:]) != checksum(salt, b[:n]) || le.Uint64(h[atDurable:]) > math.MaxInt64 {
		return 0
	}
	r.Key, r.Value = b[key:value:value], b[value:end:end]
	r.clearExtras()
	r.Offset = base
	r.Timestamp = unixTime(int64(le.Uint64(h[atTime:])))
	return int(n)
}

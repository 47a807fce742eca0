package damage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// This file reads segments by docs/FORMAT.md and by nothing else: a mistake in
// the library's own decoding would be made twice otherwise.

const (
	headerBytes = 1024
	blockBytes  = 512
	frameBytes  = 48
)

// A batch is a frame of a segment. One without records is a marker.
type batch struct {
	pos, end int64 // in the file
	from, to int64 // offsets
	durable  int64
}

// A segment is one file, as it was written.
type segment struct {
	name    string // path from the store's directory
	bytes   []byte
	base    int64
	durable int64 // of its header
	batches []batch
	used    int64 // behind the last batch
	to      int64 // offset behind the last record
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parse reads a segment in which nothing is wrong.
func parse(name string, b []byte) (*segment, error) {
	le := binary.LittleEndian
	if len(b) < headerBytes || string(b[:8]) != "braidseg" {
		return nil, fmt.Errorf("parse %s: no header", name)
	}
	s := &segment{name: name, bytes: b, base: int64(le.Uint64(b[48:])), durable: int64(le.Uint64(b[80:]))}
	salt := crc32.Checksum(b[16:32], castagnoli)
	pos, offset := int64(headerBytes), s.base
	for pos+frameBytes <= int64(len(b)) {
		f := b[pos:]
		length := le.Uint32(f)
		if length == 0 {
			break
		}
		if length%8 != 0 || int(length) > len(f) || le.Uint32(f[4:]) != crc32.Update(salt^length, castagnoli, f[8:length]) {
			return nil, fmt.Errorf("parse %s: no frame at position %d", name, pos)
		}
		t := batch{pos: pos, end: pos + int64(length), from: int64(le.Uint64(f[8:])), durable: int64(le.Uint64(f[24:]))}
		t.to = t.from + int64(le.Uint32(f[36:]))
		if t.from != offset {
			return nil, fmt.Errorf("parse %s: frame at position %d begins with offset %d, want %d", name, pos, t.from, offset)
		}
		s.batches = append(s.batches, t)
		pos, offset = t.end, t.to
	}
	s.used, s.to = pos, offset
	return s, nil
}

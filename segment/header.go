package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/braidlog/braidlog/internal/fs"
)

const (
	magic   = "braidseg"
	version = 1

	blockBytes = 512
	// FirstFrame is the position of a segment's first batch: behind two
	// copies of the header, in sectors of their own.
	FirstFrame = 2 * blockBytes

	// MaxOffsets is how many offsets a segment holds at most. With at most
	// two segments unsynced it bounds what a power cut can take.
	MaxOffsets = 1 << 24
	// MaxBytes is the longest a segment may be.
	MaxBytes = 1 << 30
)

// ErrHeader is in the chain of every error that says that a file does not
// begin with a segment header.
var ErrHeader = errors.New("no segment header")

// A Header is what a segment says of itself and of the one before it.
type Header struct {
	ID        [16]byte // random, never zero; the salt of the frames' checksums
	Topic     [16]byte // id of the topic, zeros without one
	Partition int
	Base      int64    // offset of the first record
	PrevID    [16]byte // segment before this one, zeros for none
	PrevEnd   int64    // where it ended; less than Base if a power cut left a gap
	Durable   int64    // every record below was durable when this was written
}

// encode returns the header as it stands in a file: twice.
func (h *Header) encode() []byte {
	b := make([]byte, FirstFrame)
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], uint32(h.Partition))
	copy(b[16:], h.ID[:])
	copy(b[32:], h.Topic[:])
	le.PutUint64(b[48:], uint64(h.Base))
	copy(b[56:], h.PrevID[:])
	le.PutUint64(b[72:], uint64(h.PrevEnd))
	le.PutUint64(b[80:], uint64(h.Durable))
	le.PutUint32(b[blockBytes-4:], crc32.Checksum(b[:blockBytes-4], castagnoli))
	copy(b[blockBytes:], b[:blockBytes])
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decodeHeader reads the header from the first bytes of a file: from either
// copy, and rather from one that fits: a disk may have put one of another
// segment in its place.
func decodeHeader(b []byte, fits func(h Header) bool) (Header, error) {
	var first error
	var stray *Header
	for at := 0; at+blockBytes <= len(b) && at < FirstFrame; at += blockBytes {
		h, err := decodeBlock(b[at : at+blockBytes])
		if err == nil && fits(h) {
			return h, nil
		}
		if err == nil {
			stray = cmp.Or(stray, &h)
			continue
		}
		if newer := (*VersionError)(nil); first == nil || errors.As(err, &newer) {
			first = err
		}
	}
	if stray != nil {
		return *stray, nil
	}
	if first == nil {
		first = fmt.Errorf("%w: only %d bytes", ErrHeader, len(b))
	}
	return Header{}, first
}

func decodeBlock(b []byte) (Header, error) {
	le := binary.LittleEndian
	if string(b[:8]) != magic {
		return Header{}, fmt.Errorf("%w: it begins with %q", ErrHeader, b[:8])
	}
	if le.Uint32(b[blockBytes-4:]) != crc32.Checksum(b[:blockBytes-4], castagnoli) {
		return Header{}, fmt.Errorf("%w: checksum does not match", ErrHeader)
	}
	if v := le.Uint32(b[8:]); v != version {
		return Header{}, &VersionError{Found: int(v), Known: version}
	}
	h := Header{
		Partition: int(le.Uint32(b[12:])),
		ID:        [16]byte(b[16:]),
		Topic:     [16]byte(b[32:]),
		Base:      int64(le.Uint64(b[48:])),
		PrevID:    [16]byte(b[56:]),
		PrevEnd:   int64(le.Uint64(b[72:])),
		Durable:   int64(le.Uint64(b[80:])),
	}
	if h.Base < 0 || h.PrevEnd < 0 || h.PrevEnd > h.Base || h.Durable < 0 || h.Durable > h.Base {
		return Header{}, fmt.Errorf("%w: base %d, previous end %d, durable %d", ErrHeader, h.Base, h.PrevEnd, h.Durable)
	}
	return h, nil
}

// A VersionError says that a segment was written by a newer braidlog.
type VersionError struct{ Found, Known int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("segment format %d is newer than %d, the newest known here", e.Found, e.Known)
}

// Ends of the names of a segment's files.
const (
	logSuffix   = ".log"
	indexSuffix = ".index"
)

// Name returns the name of the segment file with this base offset.
func Name(base int64) string { return fmt.Sprintf("%020d", base) + logSuffix }

// IndexName returns the name of its index file.
func IndexName(base int64) string { return fmt.Sprintf("%020d", base) + indexSuffix }

// ParseIndexName is ParseName for index files.
func ParseIndexName(name string) (base int64, ok bool) {
	digits, ok := strings.CutSuffix(name, indexSuffix)
	if !ok {
		return 0, false
	}
	return ParseName(digits + logSuffix)
}

// ParseName returns the base offset in the name of a segment file, and
// whether it is one.
func ParseName(name string) (base int64, ok bool) {
	digits, ok := strings.CutSuffix(name, logSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0 && Name(base) == name
}

// WriteHeader writes the header again into the segment's file. Nothing is
// synced.
func (s *Segment) WriteHeader(f fs.File) error {
	if _, err := f.WriteAt(s.Header.encode(), 0); err != nil {
		return fmt.Errorf("write header of segment %s: %w", s.Name(), err)
	}
	return nil
}

// BadBytes are positions [From, To) of a segment's header that are wrong.
type BadBytes struct {
	From, To int64
	Cause    error
}

// CheckHeader reads the header again and returns what is wrong with it, nil if
// nothing is. Errors are the file system's.
func (s *Segment) CheckHeader() (*BadBytes, error) {
	b := make([]byte, FirstFrame)
	if err := s.ReadAt(b, 0); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return &BadBytes{0, FirstFrame, err}, nil
		}
		return nil, err
	}
	want := s.Header.encode()
	var bad *BadBytes
	for at := 0; at < FirstFrame; at += blockBytes {
		if bytes.Equal(b[at:at+blockBytes], want[at:at+blockBytes]) {
			continue
		}
		_, err := decodeBlock(b[at : at+blockBytes])
		if err == nil {
			err = fmt.Errorf("%w: it is another segment's", ErrHeader)
		}
		if bad == nil {
			bad = &BadBytes{From: int64(at), Cause: err}
		}
		bad.To = int64(at + blockBytes)
	}
	return bad, nil
}

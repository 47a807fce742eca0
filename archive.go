package braidlog

import (
	"context"
	"io"
	"time"
)

// An Archiver keeps a segment somewhere before retention removes it. It
// returns nil only when the segment is safe: once it did, the segment goes. A
// crash in between has it called again with the same segment. It must end when
// ctx does: Store.Close ends ctx and waits.
type Archiver func(ctx context.Context, s *ArchiveSegment) error

// An ArchiveSegment is a segment that is to be archived. It lives until the
// Archiver returns.
type ArchiveSegment struct {
	Topic       string
	Partition   int
	Name        string    // of its file
	From, To    int64     // offsets [From, To)
	First, Last time.Time // append times of its first and last record
	Bytes       int64     // its length
	CRC32C      uint32    // of all its bytes
	Reader      io.Reader // its bytes
}

package fs

import (
	"errors"
	"fmt"
)

// OpKind says what an Op does.
type OpKind uint8

// The operations of a Mem that can be made to fail. Publishing a mapping and
// letting go of a mapping or a lock are not among them.
const (
	OpOpenDir OpKind = iota // of OpenDir with create
	OpMkdir
	OpCreate
	OpOpen
	OpRename
	OpLink
	OpRemove
	OpList
	OpSyncDir
	OpLock
	OpSize
	OpReadAt
	OpWriteAt
	OpTruncate
	OpAllocate
	OpSync
	OpMap
	OpClose // of a file
)

var opNames = [...]string{
	OpOpenDir:  "open directory",
	OpMkdir:    "mkdir",
	OpCreate:   "create",
	OpOpen:     "open",
	OpRename:   "rename",
	OpLink:     "link",
	OpRemove:   "remove",
	OpList:     "list",
	OpSyncDir:  "sync directory",
	OpLock:     "lock",
	OpSize:     "size",
	OpReadAt:   "read",
	OpWriteAt:  "write",
	OpTruncate: "truncate",
	OpAllocate: "allocate",
	OpSync:     "sync",
	OpMap:      "map",
	OpClose:    "close",
}

func (k OpKind) String() string {
	if int(k) < len(opNames) {
		return opNames[k]
	}
	return fmt.Sprintf("OpKind(%d)", uint8(k))
}

// An Op is one operation of a Mem, as a hook sees it.
type Op struct {
	N    int64 // 1 for the first operation of this Mem
	Kind OpKind
	Name string // full path, from "/"
	To   string // the new full path, of OpRename and OpLink only

	// Off and Len are the range in bytes of OpReadAt, OpWriteAt and
	// OpAllocate. OpTruncate and OpMap have their size in Len.
	Off, Len int64
}

// String describes the operation without its number: two runs that do the
// same give the same lines.
func (o Op) String() string {
	switch o.Kind {
	case OpRename, OpLink:
		return fmt.Sprintf("%s %s to %s", o.Kind, o.Name, o.To)
	case OpReadAt, OpWriteAt, OpAllocate:
		return fmt.Sprintf("%s %s [%d,%d)", o.Kind, o.Name, o.Off, o.Off+o.Len)
	case OpTruncate, OpMap:
		return fmt.Sprintf("%s %s at %d", o.Kind, o.Name, o.Len)
	}
	return o.Kind.String() + " " + o.Name
}

// A ShortWriteError makes a WriteAt write the first N bytes and then fail with
// Err. Any other operation just fails.
type ShortWriteError struct {
	N   int
	Err error // not nil
}

func (e *ShortWriteError) Error() string { return fmt.Sprintf("after %d bytes: %v", e.N, e.Err) }

// Unwrap returns Err.
func (e *ShortWriteError) Unwrap() error { return e.Err }

// A FailedSyncError makes a Sync of a file fail with Err, and says what becomes
// of what was written before: whatever it is, the next Sync takes it for written
// and says nothing. Any other error of a Sync leaves it Cached; any other
// operation just fails.
type FailedSyncError struct {
	Then Aftermath
	Err  error // not nil
}

func (e *FailedSyncError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *FailedSyncError) Unwrap() error { return e.Err }

// Aftermath is what a failed Sync leaves of what was written.
type Aftermath uint8

// The aftermaths.
const (
	Cached        Aftermath = iota // reads still find it; the disk may or may not have it
	Reverted                       // reads find what was there before, and so has the disk
	HalfPersisted                  // reads still find it; the disk has every other sector of it, and the rest or not
)

func aftermathOf(err error) Aftermath {
	var failed *FailedSyncError
	if errors.As(err, &failed) {
		return failed.Then
	}
	return Cached
}

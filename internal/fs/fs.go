// Package fs is the one door to files: every other package of the module
// reaches the operating system through it, and a test keeps it that way.
//
// There are two file systems behind the door. [OS] is the real one. [Mem] lives
// in memory, can be told to fail its nth operation, and can crash: it then
// keeps everything that was synced and any subset of what was not, by
// 512-byte sector and by name operation.
//
// Names are slash-separated and relative to the directory they are given to;
// they never lead out of it. Files are made with mode 0600 and directories
// with 0700. What is neither a regular file nor a directory is refused.
package fs

import (
	"errors"
	"io"
	iofs "io/fs"
)

// Errors that a caller may test for with errors.Is, whichever file system
// reports them. OS-specific causes stay in the chain.
var (
	// ErrNotExist, ErrExist: the name is missing, or taken. They are the
	// values of io/fs and os. ErrExist is also the answer to removing a
	// directory that is not empty.
	ErrNotExist = iofs.ErrNotExist
	ErrExist    = iofs.ErrExist
	// ErrLocked: another process, or another FS of this one, holds the lock.
	// It is wrapped in a *LockedError that names the holder.
	ErrLocked = errors.New("locked")
	// ErrNotRegular: the name is a symbolic link, a device, a pipe, or a
	// directory where a file is wanted or the other way about.
	ErrNotRegular = errors.New("not a regular file or directory")
	// ErrNoMapping: this file system or platform has no mapped windows.
	ErrNoMapping = errors.New("mapping files is not supported here")
	// ErrNoLink: the file cannot have another name there: on another disk, on
	// a file system without links, on a platform other than Linux. Copy it.
	ErrNoLink = errors.New("linking files is not supported here")
)

// An FS opens directories and knows which boot of the machine this is.
type FS interface {
	// OpenDir opens the directory at path, which the operating system resolves
	// like any path of its own. With create it makes the directory and its
	// missing parents first, and syncs the parents.
	OpenDir(path string, create bool) (Dir, error)

	// BootID names the current boot of the machine. Empty means unknown, and
	// a caller takes unknown for another boot than any it remembers.
	BootID() string

	// CanMap reports whether File.Map works.
	CanMap() bool
}

// A Dir is an open directory. Its methods may be called from many goroutines.
// Each takes a name relative to the directory; "." is the directory itself.
type Dir interface {
	// Sub returns the directory below name as a Dir. It opens nothing, checks
	// nothing and costs no descriptor; closing it does nothing.
	Sub(name string) Dir

	// Mkdir makes one directory. ErrExist if the name is taken.
	Mkdir(name string) error

	// Create makes a new empty file and opens it for reading and writing.
	// ErrExist if the name is taken.
	Create(name string) (File, error)

	// Open opens an existing regular file, for writing too if write is set.
	Open(name string, write bool) (File, error)

	// Rename gives the file or directory another name. A file replaces a file
	// of that name; if a directory has it, the error is ErrExist. It is atomic,
	// and durable once both directories are synced.
	Rename(from, to string) error

	// Link lets the file called name also be found under the name as in
	// another directory, or the same one, without its bytes being copied: as a
	// clone, which is a file of its own that shares the disk space until one of
	// them changes, where the file system has that; else as a second name of
	// the same file. So neither may be changed from then on, by anybody who
	// cares about the other. ErrExist if as is taken; ErrNoLink where neither
	// is possible. A clone is as durable as its Sync, the name as that of its
	// directory.
	Link(name string, to Dir, as string) error

	// Remove removes a file or an empty directory.
	Remove(name string) error

	// List returns what is directly inside the directory called name, sorted
	// by name.
	List(name string) ([]Entry, error)

	// Holds reports whether path, resolved as OpenDir would, is this directory
	// or lies somewhere in it, or would if it were made.
	Holds(path string) (bool, error)

	// Sync makes every earlier Mkdir, Create, Rename, Link and Remove directly
	// inside the directory called name survive a power loss. What is inside
	// files is not its business. On Windows it does nothing: there is no such
	// call, and NTFS journals names in its own time.
	Sync(name string) error

	// Lock takes the exclusive lock that the file called name stands for,
	// making the file if need be, and writes holder into it. It does not
	// wait: if somebody has it, the error is a *LockedError. The lock is let
	// go by Close and by the end of the process. The file is never removed.
	// A directory has one lock: two lock files in it exclude each other.
	Lock(name, holder string) (io.Closer, error)

	// Close lets go of the directory, and every Sub of it fails from then on.
	// Files and locks that were opened through it stay open.
	Close() error
}

// An Entry is a name in a directory.
type Entry struct {
	Name string
	Kind Kind
	Size int64 // bytes; of files only
}

// Kind tells what a name stands for.
type Kind uint8

// The kinds of entries.
const (
	KindFile Kind = iota
	KindDir
	KindOther // symbolic links, devices, pipes, sockets: never opened
)

// A File is an open regular file. Its methods may be called from many
// goroutines, but none may run with or after Close.
type File interface {
	io.ReaderAt // a short read returns io.EOF
	io.WriterAt // a short write returns an error

	// Size returns the file's length in bytes.
	Size() (int64, error)

	// Truncate sets the length. What is cut away is gone; what is added
	// reads as zeros.
	Truncate(size int64) error

	// Allocate reserves disk space for [off, off+n), lengthening the file if
	// need be; new bytes read as zeros. When it succeeds, a write in that
	// range does not fail for want of space; where the system cannot reserve,
	// zeros are written behind the end, so holes in front of it stay holes.
	// When it fails, the length is what it was. Nothing else may change the
	// length meanwhile. n must be positive.
	Allocate(off, n int64) error

	// Sync waits until the file's data and length would survive a power
	// loss. After it failed, nothing is known about data written since the
	// last Sync that succeeded, and a later nil proves nothing.
	Sync() error

	// Map maps the first size bytes into memory, shared with the file, which
	// must be open for writing; size must be positive. The file may be shorter;
	// touching bytes behind its end then faults. At most one mapping of a file
	// is made at a time, and it is unmapped before the file is closed.
	//
	// While it lasts, the mapped range must be written through it only: under
	// the race detector and in a Mem it is a copy, in which other writes do
	// not show, and which reaches the file by Publish.
	Map(size int64) (*Mapping, error)

	// Close closes the file, also when it returns an error. It syncs nothing.
	Close() error
}

// A Mapping is the beginning of a file as memory.
type Mapping struct {
	// Bytes is the mapped range. A store to it, once published, is a write to
	// the file; it survives the end of the process, and a power loss once
	// File.Sync returned.
	Bytes []byte

	publish func(from, to int64) error
	unmap   func() error
	touch   func(from, to int64)
}

// Touch has the pages of Bytes[from:to] made ready for writing, so that the
// stores that follow do not wait for that. It is a hint: where it is not
// possible it does nothing. The file must reach to to.
func (m *Mapping) Touch(from, to int64) {
	if m.touch != nil {
		m.touch(from, to)
	}
}

// Publish tells the file that Bytes[from:to] was written. Nobody may store to
// that range meanwhile. Where memory and file are really shared it does
// nothing; elsewhere a range behind the end of the file is an error, in place
// of the fault that a real mapping would have raised.
func (m *Mapping) Publish(from, to int64) error {
	if m.publish == nil {
		return nil
	}
	return m.publish(from, to)
}

// Unmap ends the mapping. Bytes must not be touched afterwards.
func (m *Mapping) Unmap() error { return m.unmap() }

// A LockedError says who holds a lock. errors.Is(err, ErrLocked) is true.
type LockedError struct {
	Name   string // the lock file
	Holder string // what the holder wrote into it, "" if that cannot be read
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return e.Name + " is locked"
	}
	return e.Name + " is locked by " + e.Holder
}

// Unwrap makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Unwrap() error { return ErrLocked }

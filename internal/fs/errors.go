package fs

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
)

// What a caller got wrong. Nobody tests for these.
var (
	errNotLocal = errors.New("the name is empty or leads out of its directory")
	errUnmapped = errors.New("unmapped already")
	errRange    = errors.New("negative or empty range")
	errReadOnly = errors.New("the file was opened for reading only")
	errReading  = errors.New("nothing is changed here")
	errMapped   = errors.New("the file is mapped already")
	errFault    = errors.New("a store to mapped memory behind the end of the file")
)

// IsShort reports whether err says that there is not enough of something, disk
// space or descriptors, of which there may be enough later: IsNoSpace or
// IsNoFiles. False for nil.
func IsShort(err error) bool { return IsNoSpace(err) || IsNoFiles(err) }

// wrap says what was being done to which path. The os package's own wrapping
// is taken off first: it would say both again in other words.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &iofs.PathError{Op: op, Path: path, Err: bare(err)}
}

func bare(err error) error {
	switch e := err.(type) {
	case *iofs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	case *os.SyscallError:
		return e.Err
	}
	return err
}

// closeAfter closes c and returns the first error: err, or that of closing.
func closeAfter(c io.Closer, err error) error {
	closed := c.Close()
	if err != nil {
		return err
	}
	return closed
}

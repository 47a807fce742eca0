package fs

import (
	"errors"
	"fmt"
	"io"
	"path"
)

// ReadFile returns the content of the file called name. A file of more than
// limit bytes is an error, before anything is allocated for it.
func ReadFile(d Dir, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name, false)
	if err != nil {
		return nil, err
	}
	b, err := readAll(f, name, limit)
	if err := closeAfter(f, err); err != nil {
		return nil, err
	}
	return b, nil
}

func readAll(f File, name string, limit int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, which is more than the %d allowed", name, size, limit)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil // at the end, or it was cut meanwhile
	}
	return b[:n], err
}

// Replace makes data the durable content of the file called name, new or not.
// A crash leaves the old content or the new. It goes by way of name.tmp, which
// it removes first if an earlier crash left it, and last if a step fails; only
// one Replace of a name may run at a time.
//
// After an error the file has the old content or the new, and which of them
// survives a power loss is open.
func Replace(d Dir, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := d.Remove(tmp); err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	if err := replaceBy(d, name, tmp, data); err != nil {
		_ = d.Remove(tmp) // what failed first is what counts
		return err
	}
	return d.Sync(path.Dir(name))
}

func replaceBy(d Dir, name, tmp string, data []byte) error {
	f, err := d.Create(tmp)
	if err != nil {
		return err
	}
	if err := closeAfter(f, writeSynced(f, data)); err != nil {
		return err
	}
	return d.Rename(tmp, name)
}

func writeSynced(f File, data []byte) error {
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// RemoveAll removes the file or directory called name with everything in it.
// Nothing of that name is fine. Symbolic links are removed, not followed. It
// does not sync: what a power loss leaves is a part of the tree.
func RemoveAll(d Dir, name string) error {
	err := d.Remove(name)
	if err == nil || errors.Is(err, ErrNotExist) {
		return nil
	}
	entries, listErr := d.List(name)
	if errors.Is(listErr, ErrNotRegular) {
		return err // the first error says why the file stays
	}
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, e := range entries {
		if err := RemoveAll(d, path.Join(name, e.Name)); err != nil {
			return err
		}
	}
	return ignoreMissing(d.Remove(name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	return err
}

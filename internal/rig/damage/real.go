package damage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/braidlog/braidlog/internal/fs"
)

// real puts links, pipes and directories in the place of one file in step of a
// store on a real disk.
func (s *sweep) real(ctx context.Context, f *fixture, step int) {
	base, err := os.MkdirTemp("", "damage")
	if err != nil {
		s.told("make a directory", err)
		return
	}
	defer os.RemoveAll(base)
	for i, name := range f.paths {
		if i%step != 0 {
			continue
		}
		for _, form := range forms {
			if ctx.Err() != nil {
				return
			}
			n := s.done.Add(1)
			c := change{f.what(name, "%s on disk", form), map[string]entry{name: {form: form}}}
			at := filepath.Join(base, fmt.Sprintf("%d-%v", i, form))
			err := f.write(at)
			if err == nil {
				err = replace(filepath.Join(at, name), filepath.Join(base, "elsewhere"), form)
			}
			if err == nil {
				err = f.examine(fs.OS{}, at, c, n)
			}
			s.told(c.what, errors.Join(err, sameForm(filepath.Join(at, name), form), os.RemoveAll(at)))
		}
	}
}

// write makes the store in a directory.
func (f *fixture) write(at string) error {
	for name, b := range f.files {
		full := filepath.Join(at, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(full, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// replace puts something else in the place of a file.
func replace(name, elsewhere string, form form) error {
	switch form {
	case symlink: // whoever follows it finds the right bytes, of a file that is not the store's
		if err := os.Rename(name, elsewhere); err != nil {
			return err
		}
		return os.Symlink(elsewhere, name)
	case pipe:
		return errors.Join(os.Remove(name), makePipe(name))
	case directory:
		return errors.Join(os.Remove(name), os.Mkdir(name, 0o700))
	}
	return os.Remove(name)
}

// sameForm returns nil if what was put there is there still, or has been
// replaced by a file of the store's own.
func sameForm(name string, want form) error {
	fi, err := os.Lstat(name)
	switch {
	case want == missing, filepath.Ext(name) == ".index": // it is a cache
		return nil
	case err != nil:
		return violated(lost, "%v", err)
	case want == symlink && fi.Mode().Type() != os.ModeSymlink, want == pipe && fi.Mode().Type() != os.ModeNamedPipe, want == directory && !fi.IsDir():
		return violated(lost, "%s is %v now", name, fi.Mode())
	}
	return nil
}

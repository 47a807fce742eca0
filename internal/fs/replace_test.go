package fs

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadFile(t *testing.T) {
	cases := []struct {
		content string
		limit   int64
		want    string // of the error
	}{
		{"", 0, ""},
		{"abc", 3, ""},
		{"abc", 100, ""},
		{"abc", 2, "read f: 3 bytes, which is more than the 2 allowed"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%q up to %d", c.content, c.limit), func(t *testing.T) {
			bothFS(t, func(t *testing.T, fsys FS, dir string) {
				d := openDir(t, fsys, dir)
				create(t, d, "f", c.content)
				b, err := ReadFile(d, "f", c.limit)
				if c.want != "" {
					require.EqualError(t, err, c.want)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.content, string(b))
			})
		})
	}
}

func TestReplace(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		require.NoError(t, d.Mkdir("sub"))
		create(t, d, "sub/f.tmp", "stale, and longer than the new content")
		for _, want := range []string{"first", "second", ""} {
			require.NoError(t, Replace(d, "sub/f", []byte(want)))
			require.Equal(t, want, content(t, d, "sub/f"))
			require.Equal(t, "f", names(t, d, "sub"))
		}
		require.ErrorIs(t, Replace(d, "missing/f", nil), ErrNotExist)
		require.ErrorIs(t, Replace(d, "sub", []byte("x")), ErrExist)
		require.Equal(t, "sub", names(t, d, "."), "a failed Replace leaves nothing")
	})
}

// However Replace fails, and wherever the power does, there is the old content
// or the new.
func TestReplaceFailsWhole(t *testing.T) {
	for nth := int64(1); ; nth++ {
		m := NewMem()
		d := openDir(t, m, "/")
		replaces("f", "A")(t, d)
		before := m.Ops()
		m.FailNth(before+nth, ENOSPC)
		err := Replace(d, "f", []byte(strings.Repeat("B", sectorBytes)))
		m.OnOp(nil)
		if err == nil {
			require.EqualValues(t, 8, nth, "one more than the operations of Replace")
			return
		}
		require.ErrorIs(t, err, ENOSPC)
		require.Equal(t, "f", names(t, d, "."), "operation %d left something", nth)
		for _, state := range afterCrashes(t, m) {
			f, _, _ := strings.Cut(state, " ")
			require.Contains(t, []string{"f:A", "f:B"}, f, "operation %d", nth)
		}
	}
}

// A reader that opens a name just when it is replaced opens the one or the
// other, though looking and opening are two steps.
func TestReadWhileReplacing(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		require.NoError(t, Replace(d, "f", []byte("same")))
		done := make(chan error)
		go func() {
			var err error
			for range 100 {
				err = errors.Join(err, Replace(d, "f", []byte("same")))
			}
			done <- err
		}()
		for {
			require.Equal(t, "same", content(t, d, "f"))
			select {
			case err := <-done:
				require.NoError(t, err)
				return
			default:
			}
		}
	})
}

func TestRemoveAll(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		for _, name := range []string{"a", "a/b", "a/b/c", "a/empty"} {
			require.NoError(t, d.Mkdir(name))
		}
		create(t, d, "a/b/c/f", "x")
		create(t, d, "a/g", "x")
		create(t, d, "stays", "x")

		require.NoError(t, RemoveAll(d, "missing"))
		require.NoError(t, RemoveAll(d, "a/g"))
		require.Equal(t, "b empty", names(t, d, "a"))
		require.NoError(t, RemoveAll(d, "a"))
		require.Equal(t, "stays", names(t, d, "."))
		require.ErrorIs(t, RemoveAll(d, "../x"), errNotLocal)
	})
}

// RemoveAll says nil if and only if the name is gone, and can be tried again.
func TestRemoveAllFails(t *testing.T) {
	for nth := int64(1); ; nth++ {
		m := NewMem()
		d := openDir(t, m, "/")
		require.NoError(t, d.Mkdir("a"))
		create(t, d, "a/f", "")
		create(t, d, "a/g", "")
		before := m.Ops()
		m.FailNth(before+nth, EIO)
		err := RemoveAll(d, "a")
		began := m.Ops() - before
		m.OnOp(nil)

		require.Equal(t, names(t, d, ".") == "", err == nil, "operation %d: %v", nth, err)
		require.NoError(t, RemoveAll(d, "a"))
		require.Empty(t, names(t, d, "."))
		if began < nth {
			return
		}
	}
}

func TestIsShort(t *testing.T) {
	for _, err := range []error{ENOSPC, EDQUOT, wrap("write", "f", ENOSPC), fmt.Errorf("x: %w", EDQUOT)} {
		require.True(t, IsNoSpace(err), "%v", err)
		require.False(t, IsNoFiles(err), "%v", err)
		require.True(t, IsShort(err), "%v", err)
	}
	for _, err := range []error{EMFILE, ENFILE, wrap("open", "f", EMFILE)} {
		require.False(t, IsNoSpace(err), "%v", err)
		require.True(t, IsNoFiles(err), "%v", err)
		require.True(t, IsShort(err), "%v", err)
	}
	for _, err := range []error{nil, EIO, ErrExist} {
		require.False(t, IsNoSpace(err), "%v", err)
		require.False(t, IsNoFiles(err), "%v", err)
		require.False(t, IsShort(err), "%v", err)
	}
}

package fs

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every method of a directory or file either changes nothing or is refused.
func TestReadingRefusesEverythingElse(t *testing.T) {
	bothFS(t, func(t *testing.T, fsys FS, dir string) {
		d := openDir(t, fsys, dir)
		create(t, d, "file", "content")
		require.NoError(t, d.Mkdir("sub"))
		var attempts []string
		r := Reading{FS: fsys, OnChange: func(op OpKind, name string) { attempts = append(attempts, op.String()+" "+name) }}
		_, err := r.OpenDir(below(fsys, dir, "new"), true)
		require.ErrorIs(t, err, errReading)
		attempts = nil
		root, err := r.OpenDir(dir, false)
		require.NoError(t, err)
		f, err := root.Sub(".").Open("file", false)
		require.NoError(t, err)
		b := make([]byte, 7)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "content", string(b))

		harmless := map[string]bool{"Sub": true, "List": true, "Holds": true, "Close": true, "Size": true, "ReadAt": true}
		refused := 0
		for _, v := range []any{root, f} {
			typ := reflect.TypeOf(v)
			for i := range typ.NumMethod() {
				m := typ.Method(i)
				if harmless[m.Name] {
					continue
				}
				refused++
				args := []reflect.Value{reflect.ValueOf(v)}
				for j := 1; j < m.Type.NumIn(); j++ {
					args = append(args, argument(m.Type.In(j), root))
				}
				out := m.Func.Call(args)
				err, _ := out[len(out)-1].Interface().(error)
				require.ErrorIs(t, err, errReading, m.Name)
				require.Len(t, attempts, refused, m.Name)
			}
		}
		require.Equal(t, 8+5, refused, "%v", attempts)
		require.False(t, r.CanMap())
		require.NoError(t, f.Close())
		require.NoError(t, root.Close())
		require.Equal(t, "file sub", names(t, d, "."))
		require.Equal(t, "content", content(t, d, "file"))
	})
}

// argument is something for a parameter of this type.
func argument(typ reflect.Type, root Dir) reflect.Value {
	switch typ.Kind() {
	case reflect.Bool:
		return reflect.ValueOf(true) // to write
	case reflect.String:
		return reflect.ValueOf("file")
	case reflect.Interface:
		return reflect.ValueOf(root)
	case reflect.Int64:
		return reflect.ValueOf(int64(1))
	}
	return reflect.Zero(typ)
}

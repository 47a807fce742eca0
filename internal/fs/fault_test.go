package fs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every operation, in an order in which each works.
var everyOp = []struct {
	op Op // but for N
	do func(m *Mem, d Dir, f File) error
}{
	{Op{Kind: OpOpenDir, Name: "/a/b"}, func(m *Mem, _ Dir, _ File) error { _, err := m.OpenDir("/a/b", true); return err }},
	{Op{Kind: OpMkdir, Name: "/d/sub"}, func(_ *Mem, d Dir, _ File) error { return d.Mkdir("sub") }},
	{Op{Kind: OpCreate, Name: "/d/sub/g"}, func(_ *Mem, d Dir, _ File) error { _, err := d.Sub("sub").Create("g"); return err }},
	{Op{Kind: OpOpen, Name: "/d/f"}, func(_ *Mem, d Dir, _ File) error { _, err := d.Open("f", true); return err }},
	{Op{Kind: OpRename, Name: "/d/sub/g", To: "/d/g"}, func(_ *Mem, d Dir, _ File) error { return d.Rename("sub/g", "g") }},
	{Op{Kind: OpLink, Name: "/d/f", To: "/d/sub/h"}, func(_ *Mem, d Dir, _ File) error { return d.Link("f", d.Sub("sub"), "h") }},
	{Op{Kind: OpRemove, Name: "/d/g"}, func(_ *Mem, d Dir, _ File) error { return d.Remove("g") }},
	{Op{Kind: OpList, Name: "/d"}, func(_ *Mem, d Dir, _ File) error { _, err := d.List("."); return err }},
	{Op{Kind: OpSyncDir, Name: "/d"}, func(_ *Mem, d Dir, _ File) error { return d.Sync(".") }},
	{Op{Kind: OpLock, Name: "/d/LOCK"}, func(_ *Mem, d Dir, _ File) error { _, err := d.Lock("LOCK", "x"); return err }},
	{Op{Kind: OpWriteAt, Name: "/d/f", Off: 2, Len: 3}, func(_ *Mem, _ Dir, f File) error { _, err := f.WriteAt([]byte("abc"), 2); return err }},
	{Op{Kind: OpReadAt, Name: "/d/f", Off: 1, Len: 4}, func(_ *Mem, _ Dir, f File) error { _, err := f.ReadAt(make([]byte, 4), 1); return err }},
	{Op{Kind: OpSize, Name: "/d/f"}, func(_ *Mem, _ Dir, f File) error { _, err := f.Size(); return err }},
	{Op{Kind: OpTruncate, Name: "/d/f", Len: 4}, func(_ *Mem, _ Dir, f File) error { return f.Truncate(4) }},
	{Op{Kind: OpAllocate, Name: "/d/f", Off: 4, Len: 9}, func(_ *Mem, _ Dir, f File) error { return f.Allocate(4, 9) }},
	{Op{Kind: OpSync, Name: "/d/f"}, func(_ *Mem, _ Dir, f File) error { return f.Sync() }},
	{Op{Kind: OpMap, Name: "/d/f", Len: 4}, func(_ *Mem, _ Dir, f File) error { _, err := f.Map(4); return err }},
	{Op{Kind: OpClose, Name: "/d/f"}, func(_ *Mem, _ Dir, f File) error { return f.Close() }},
}

func memWithFile(t *testing.T) (*Mem, Dir, File) {
	t.Helper()
	m := NewMem()
	d := openDir(t, m, "/d")
	f, err := d.Create("f")
	require.NoError(t, err)
	return m, d, f
}

func TestHookSeesEveryOp(t *testing.T) {
	require.Len(t, everyOp, len(opNames))
	m, d, f := memWithFile(t)
	begun := m.Ops()
	var seen []Op
	m.OnOp(func(op Op) error { seen = append(seen, op); return nil })
	for i, c := range everyOp {
		require.NoError(t, c.do(m, d, f), c.op)
		want := c.op
		want.N = begun + int64(i) + 1
		require.Equal(t, want, seen[i])
	}
	require.Len(t, seen, len(everyOp))
	require.Equal(t, begun+int64(len(everyOp)), m.Ops())
}

// An operation that is made to fail names itself, keeps the cause, and changes
// nothing. Close is the exception: see TestFailedCloseCloses.
func TestFailEveryOp(t *testing.T) {
	for i, c := range everyOp {
		t.Run(c.op.Kind.String(), func(t *testing.T) {
			m, d, f := memWithFile(t)
			for _, before := range everyOp[:i] {
				require.NoError(t, before.do(m, d, f))
			}
			was := show(t, m)
			m.FailNth(m.Ops()+1, EIO)
			err := c.do(m, d, f)
			require.ErrorIs(t, err, EIO)
			require.EqualError(t, err, fmt.Sprintf("%v %s: %v", c.op.Kind, c.op.Name, EIO))
			m.OnOp(nil)
			require.Equal(t, was, show(t, m))
			if c.op.Kind != OpClose {
				require.NoError(t, c.do(m, d, f), "it works the second time")
			}
		})
	}
}

func TestFailFrom(t *testing.T) {
	m, d, f := memWithFile(t)
	m.FailFrom(m.Ops()+2, ENOSPC)
	require.NoError(t, f.Truncate(1))
	require.ErrorIs(t, f.Truncate(2), ENOSPC)
	require.ErrorIs(t, d.Mkdir("x"), ENOSPC)
	m.OnOp(nil)
	require.NoError(t, d.Mkdir("x"))
}

func TestFailedCloseCloses(t *testing.T) {
	m, _, f := memWithFile(t)
	m.FailNth(m.Ops()+1, EIO)
	require.ErrorIs(t, f.Close(), EIO)
	require.ErrorIs(t, f.Close(), iofs.ErrClosed)
}

func TestShortWrite(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{0, "old"}, {2, "ned"}, {5, "newer"}, {9, "newer"}} {
		t.Run(fmt.Sprint(c.n), func(t *testing.T) {
			m, d, f := memWithFile(t)
			_, err := f.WriteAt([]byte("old"), 0)
			require.NoError(t, err)
			m.FailNth(m.Ops()+1, &ShortWriteError{N: c.n, Err: ENOSPC})
			n, err := f.WriteAt([]byte("newer"), 0)
			require.ErrorIs(t, err, ENOSPC)
			require.EqualError(t, err, fmt.Sprintf("write /d/f: %v", ENOSPC))
			require.Equal(t, min(c.n, len("newer")), n)
			require.Equal(t, c.want, content(t, d, "f"))
		})
	}
}

func TestShortWriteErrorElsewhere(t *testing.T) {
	m, _, f := memWithFile(t)
	m.FailNth(m.Ops()+1, &ShortWriteError{N: 1, Err: ENOSPC})
	err := f.Sync()
	require.ErrorIs(t, err, ENOSPC)
	require.ErrorContains(t, err, "after 1 bytes")
}

func TestHookMayUseTheMem(t *testing.T) {
	m, d, _ := memWithFile(t)
	m.OnOp(func(op Op) error {
		if op.Kind == OpMkdir && op.Name == "/d/x" {
			return d.Mkdir("y")
		}
		return nil
	})
	require.NoError(t, d.Mkdir("x"))
	require.Equal(t, "f x y", names(t, d, "."))
}

func TestOpText(t *testing.T) {
	for want, op := range map[string]Op{
		"mkdir /d":          {N: 7, Kind: OpMkdir, Name: "/d"},
		"rename /a to /b":   {Kind: OpRename, Name: "/a", To: "/b"},
		"write /f [2,5)":    {Kind: OpWriteAt, Name: "/f", Off: 2, Len: 3},
		"allocate /f [0,8)": {Kind: OpAllocate, Name: "/f", Len: 8},
		"truncate /f at 9":  {Kind: OpTruncate, Name: "/f", Len: 9},
	} {
		require.Equal(t, want, op.String())
	}
	require.Equal(t, "OpKind(200)", OpKind(200).String())
}

// Goroutines that share a Mem: the race detector is the judge.
func TestMemConcurrently(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	m.OnOp(func(Op) error { return nil })
	f, err := d.Create("shared")
	require.NoError(t, err)
	require.NoError(t, f.Truncate(4*sectorBytes))
	w, err := f.Map(4 * sectorBytes)
	require.NoError(t, err)

	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			name := fmt.Sprint("f", i)
			mine := w.Bytes[i*sectorBytes : (i+1)*sectorBytes]
			for range 50 {
				copy(mine, name)
				err := errors.Join(
					w.Publish(int64(i*sectorBytes), int64((i+1)*sectorBytes)),
					f.Sync(),
					Replace(d, name, mine),
					d.Remove(name),
				)
				if err != nil {
					t.Error(err)
				}
				m.Crash(func() bool { return true })
				m.Kill()
			}
		})
	}
	all.Wait()
	require.Equal(t, "shared", names(t, d, "."))
	b := make([]byte, 2)
	for i := range 4 {
		_, err := f.ReadAt(b, int64(i*sectorBytes))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("f", i), string(b))
	}
	_, err = f.ReadAt(b, 4*sectorBytes)
	require.ErrorIs(t, err, io.EOF)
}

package index

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/stretchr/testify/require"
)

const name = "00000000000000001000.index"

func dir(t testing.TB) fs.Dir {
	t.Helper()
	d, err := fs.NewMem().OpenDir("d", true)
	require.NoError(t, err)
	return d
}

// written returns a directory with the file of n entries.
func written(t testing.TB, n int) fs.Dir {
	t.Helper()
	d := dir(t)
	require.NoError(t, filled(n).Write(d, name))
	return d
}

func load(t testing.TB, d fs.Dir) *Index {
	t.Helper()
	x, err := Load(d, name, id, base)
	require.NoError(t, err)
	return x
}

func open(t testing.TB, d fs.Dir) *File {
	t.Helper()
	f, err := Open(d, name, id, base)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func contents(t testing.TB, d fs.Dir) []byte {
	t.Helper()
	f, err := d.Open(name, false)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return b
}

// replace makes the file hold b and nothing else.
func replace(t testing.TB, d fs.Dir, b []byte) {
	t.Helper()
	if err := d.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestFileIsAsDocumented(t *testing.T) {
	b := contents(t, written(t, 2))
	require.Len(t, b, 48+2*16)
	require.Equal(t, "braididx\x01\x00\x00\x00\x00\x00\x00\x00", string(b[:16]))
	require.Equal(t, id[:], b[16:32])
	require.Equal(t, uint64(base), binary.LittleEndian.Uint64(b[32:]))
	require.Zero(t, binary.LittleEndian.Uint32(b[40:]))
	require.Equal(t, []byte{5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, b[64:])
}

func TestWriteAndLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []int // entries added before each Write
	}{
		{"nothing", []int{0}},
		{"one", []int{1}},
		{"nothing, then some", []int{0, 3}},
		{"in steps", []int{1, 2, 3}},
		{"nothing new", []int{2, 0, 0, 1}},
		{"chunks", []int{chunkEntries, chunkEntries + 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dir(t)
			x, n := New(id, base), 0
			for _, step := range c.steps {
				for range step {
					x.Add(entry(n))
					n++
				}
				require.Equal(t, step, x.Unwritten())
				require.NoError(t, x.Write(d, name))
				require.Zero(t, x.Unwritten())
			}
			got := load(t, d)
			require.Zero(t, got.Unwritten())
			require.True(t, got.Whole())
			requireSame(t, filled(n), got)
			f := open(t, d)
			require.Equal(t, n, f.Len())
			for i := range n {
				e, err := f.At(i)
				require.NoError(t, err)
				require.Equal(t, entry(i), e)
			}
		})
	}
}

func TestFileOfAnotherSegmentIsRefused(t *testing.T) {
	d := written(t, 3)
	for _, c := range []struct {
		name string
		id   [16]byte
		base int64
	}{
		{"other id", [16]byte{9}, base},
		{"other base offset", id, base + 1},
	} {
		_, err := Open(d, name, c.id, c.base)
		require.ErrorIs(t, err, ErrWrong, c.name)
		_, err = Load(d, name, c.id, c.base)
		require.ErrorIs(t, err, ErrWrong, c.name)
	}
	_, err := Load(d, "missing", id, base)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestFileOfImpossibleSizeIsRefused(t *testing.T) {
	for _, size := range []int64{0, 1, headerBytes - 1, maxFileBytes + 1, math.MaxInt32} {
		d := written(t, 3)
		f, err := d.Open(name, true)
		require.NoError(t, err)
		if size > maxFileBytes {
			_, err = f.WriteAt([]byte{1}, maxFileBytes)
		} else {
			err = f.Truncate(size)
		}
		require.NoError(t, errors.Join(err, f.Close()))
		_, err = Load(d, name, id, base)
		require.ErrorIs(t, err, ErrWrong, "%d bytes", size)
	}
}

// TestFirstWriteReplacesWhatIsThere: a new index does not trust an old file.
func TestFirstWriteReplacesWhatIsThere(t *testing.T) {
	d := dir(t)
	replace(t, d, make([]byte, 10_000))
	require.NoError(t, filled(2).Write(d, name))
	require.Equal(t, contents(t, written(t, 2)), contents(t, d))
}

func TestWriteCutsOffWhatWasGivenUp(t *testing.T) {
	for _, c := range []struct {
		name             string
		n, kept, written int
	}{
		{"all", 5, 0, 2},
		{"some", 9, 3, 4},
		{"some, nothing new", 9, 3, 3},
		{"some, more than before", 9, 3, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dir(t)
			x := filled(c.n)
			require.NoError(t, x.Write(d, name))
			x.Keep(func(e Entry) bool { return e.Position < entry(c.kept).Position })
			for i := c.kept; i < c.written; i++ {
				x.Add(entry(i))
			}
			require.NoError(t, x.Write(d, name))
			require.Equal(t, contents(t, written(t, c.written)), contents(t, d))
		})
	}
}

// TestWriteCutsOffWhatLoadDidNotTake: behind the last entry that rises stands
// garbage, which must not be taken for entries once others stand before it.
func TestWriteCutsOffWhatLoadDidNotTake(t *testing.T) {
	for _, garbage := range [][]byte{{1}, make([]byte, 16), make([]byte, 17), make([]byte, 160)} {
		d := written(t, 3)
		replace(t, d, append(contents(t, d), garbage...))
		x := load(t, d)
		require.Equal(t, 3, x.Len())
		x.Add(entry(3))
		require.NoError(t, x.Write(d, name))
		require.Equal(t, contents(t, written(t, 4)), contents(t, d))
	}
}

func TestWriteAfterTheFileWasRemoved(t *testing.T) {
	d := written(t, 3)
	x := load(t, d)
	require.NoError(t, d.Remove(name))
	require.NoError(t, x.Write(d, name), "nothing to write")
	x.Add(entry(3))
	require.NoError(t, x.Write(d, name))
	requireSame(t, filled(4), load(t, d))

	x = filled(chunkEntries + 1)
	require.NoError(t, x.Write(d, name))
	x.Forget()
	require.NoError(t, d.Remove(name))
	x.Add(entry(chunkEntries + 1))
	require.NoError(t, x.Write(d, name))
	require.True(t, x.Whole(), "what only the file had is gone")
	got := load(t, d)
	require.Equal(t, 2, got.Len())
	e, ok, err := got.FindOffset(math.MaxInt64)
	requireAnswer(t, chunkEntries+1, e, ok, err)
}

// TestAnyOperationMayFail fails each operation of a sequence once. Whatever
// fails, the index in memory answers as before, and a Write that works makes
// the file whole.
func TestAnyOperationMayFail(t *testing.T) {
	for _, fault := range []error{fs.EIO, &fs.ShortWriteError{N: 7, Err: fs.EIO}} {
		for n := int64(1); ; n++ {
			m := fs.NewMem()
			d, err := m.OpenDir("d", true)
			require.NoError(t, err)
			begun := m.Ops()
			m.FailNth(begun+n, fault)
			x := filled(3)
			failed := x.Write(d, name) != nil
			x.Add(entry(3))
			failed = x.Write(d, name) != nil || failed
			x.Keep(func(e Entry) bool { return e.Position < entry(2).Position })
			x.Add(entry(2))
			failed = x.Write(d, name) != nil || failed
			over := m.Ops() < begun+n
			m.OnOp(nil)
			require.Equal(t, !over, failed, "operation %d", n)
			requireSame(t, filled(3), x)
			x.Add(entry(3))
			require.NoError(t, x.Write(d, name))
			require.Equal(t, contents(t, written(t, 4)), contents(t, d), "operation %d", n)
			if over {
				break
			}
		}
	}
}

// TestAnErrorOfTheDiskIsNotAWrongFile: it must not lead anybody to make the
// index anew.
func TestAnErrorOfTheDiskIsNotAWrongFile(t *testing.T) {
	for n := int64(1); ; n++ {
		m := fs.NewMem()
		d, err := m.OpenDir("d", true)
		require.NoError(t, err)
		require.NoError(t, filled(5).Write(d, name))
		begun := m.Ops()
		m.FailNth(begun+n, fs.EIO)
		_, err = Load(d, name, id, base)
		if m.Ops() < begun+n {
			require.NoError(t, err)
			return
		}
		require.ErrorIs(t, err, fs.EIO, "operation %d", n)
		require.NotErrorIs(t, err, ErrWrong)
	}
}

// ask puts many questions to whatever can be made of the file, and requires
// of each answer that it is not beyond what was asked for: a search that
// begins there finds what it looks for.
func ask(t *testing.T, d fs.Dir) {
	t.Helper()
	if f, err := Open(d, name, id, base); err == nil {
		askFinder(t, f)
		require.NoError(t, f.Close())
	} else if !errors.Is(err, ErrWrong) {
		t.Fatal(err)
	}
	if x, err := Load(d, name, id, base); err == nil {
		askFinder(t, x)
	} else if !errors.Is(err, ErrWrong) {
		t.Fatal(err)
	}
}

func askFinder(t *testing.T, f finder) {
	t.Helper()
	for i := -1; i < 8; i++ {
		at := entry(i)
		if e, ok, err := f.FindOffset(at.Offset); err != nil || ok && e.Offset > at.Offset {
			t.Fatalf("offset %d: %v, %v", at.Offset, e, err)
		}
		if e, ok, err := f.FindTime(at.Time); err != nil || ok && e.Time >= at.Time {
			t.Fatalf("time %d: %v, %v", at.Time, e, err)
		}
	}
}

func TestAnyFlippedBit(t *testing.T) {
	d := written(t, 6)
	good := contents(t, d)
	for i := range len(good) * 8 {
		bad := append([]byte(nil), good...)
		bad[i/8] ^= 1 << (i % 8)
		replace(t, d, bad)
		ask(t, d)
		if i/8 < headerBytes {
			_, err := Open(d, name, id, base)
			require.ErrorIs(t, err, ErrWrong, "bit %d", i)
		}
	}
}

func TestAnyCut(t *testing.T) {
	d := written(t, 6)
	good := contents(t, d)
	for n := range good {
		replace(t, d, good[:n])
		ask(t, d)
		x, err := Load(d, name, id, base)
		if n < headerBytes {
			require.ErrorIs(t, err, ErrWrong, "%d bytes", n)
			continue
		}
		require.NoError(t, err)
		requireSame(t, filled((n-headerBytes)/entryBytes), x)
	}
}

func FuzzLoad(f *testing.F) {
	good := contents(f, written(f, 6))
	f.Add(good)
	f.Add(good[:headerBytes+5])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dir(t)
		replace(t, d, b)
		ask(t, d)
		// Behind a header that is right, anything may stand.
		replace(t, d, append(append([]byte(nil), good[:headerBytes]...), b...))
		ask(t, d)
		x := load(t, d)
		x.Add(Entry{Offset: math.MaxInt64, Position: math.MaxUint32, Time: math.MaxInt64})
		require.NoError(t, x.Write(d, name))
		require.Equal(t, x.Len(), open(t, d).Len())
	})
}

// TestWriteWhileOthersUseIt runs under the race detector.
func TestWriteWhileOthersUseIt(t *testing.T) {
	const n = 3 * chunkEntries
	d := dir(t)
	x := New(id, base)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			x.Add(entry(i))
		}
	})
	wg.Go(func() {
		for x.Len() < n || x.Unwritten() > 0 {
			if err := x.Write(d, name); err != nil {
				t.Error(err)
				return
			}
			x.Forget()
		}
	})
	for range 2 {
		wg.Go(func() {
			for x.Len() < n {
				if e, ok, _ := x.FindOffset(base + 5*int64(x.Len())); ok && e.Offset > base+5*n {
					t.Error(e)
				}
			}
		})
	}
	wg.Wait()
	requireSame(t, filled(n), load(t, d))
}

// TestEntriesGivenUpDuringAWrite: what a Write had in hand when they were
// given up does not count as written.
func TestEntriesGivenUpDuringAWrite(t *testing.T) {
	m := fs.NewMem()
	d, err := m.OpenDir("d", true)
	require.NoError(t, err)
	x := filled(5)
	require.NoError(t, x.Write(d, name))
	for i := 5; i < 9; i++ {
		x.Add(Entry{Offset: entry(i).Offset + 1, Position: entry(i).Position + 8, Time: entry(i).Time})
	}
	m.OnOp(func(op fs.Op) error {
		if op.Kind == fs.OpWriteAt {
			x.Keep(func(e Entry) bool { return e.Position < entry(5).Position })
			x.Add(entry(5))
		}
		return nil
	})
	require.NoError(t, x.Write(d, name))
	m.OnOp(nil)
	require.NoError(t, x.Write(d, name))
	require.Equal(t, contents(t, written(t, 6)), contents(t, d))
}

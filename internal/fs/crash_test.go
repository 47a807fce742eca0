package fs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// afterCrashes are all the states in which a power loss may leave m, each once,
// sorted. It goes through every answer that keep can give.
func afterCrashes(t *testing.T, m *Mem) []string {
	t.Helper()
	var states []string
	for answers := []bool{}; ; {
		asked := 0
		c := m.Crash(func() bool {
			if asked == len(answers) {
				answers = append(answers, false)
			}
			asked++
			return answers[asked-1]
		})
		require.Len(t, answers, asked, "the same questions come in the same order")
		states = append(states, show(t, c))

		// Count up: the last no becomes a yes, and what follows is asked anew.
		for len(answers) > 0 && answers[len(answers)-1] {
			answers = answers[:len(answers)-1]
		}
		if len(answers) == 0 {
			slices.Sort(states)
			return slices.Compact(states)
		}
		answers[len(answers)-1] = true
	}
}

// show prints a tree in one line: "f:AB." is a file with a sector of As, one
// of Bs and one of zeros.
func show(t *testing.T, m *Mem) string {
	t.Helper()
	d := openDir(t, m, "/")
	return strings.Join(showDir(t, d, ""), " ")
}

func showDir(t *testing.T, d Dir, prefix string) []string {
	t.Helper()
	entries, err := d.List(".")
	require.NoError(t, err)
	var lines []string
	for _, e := range entries {
		if e.Kind == KindDir {
			lines = append(lines, prefix+e.Name+"/")
			lines = append(lines, showDir(t, d.Sub(e.Name), prefix+e.Name+"/")...)
			continue
		}
		lines = append(lines, prefix+e.Name+":"+showSectors(content(t, d, e.Name)))
	}
	return lines
}

func showSectors(s string) string {
	shown := ""
	for b := range slices.Chunk([]byte(s), sectorBytes) {
		switch first := b[0]; {
		case strings.Count(string(b), string(first)) < len(b):
			shown += "?"
		case first == 0:
			shown += "."
		default:
			shown += string(first)
		}
	}
	return shown
}

// A step does something to the directory of a crash case.
type step func(t *testing.T, d Dir)

func onFile(name string, do func(f File) error) step {
	return func(t *testing.T, d Dir) {
		t.Helper()
		f, err := d.Open(name, true)
		require.NoError(t, err)
		require.NoError(t, do(f))
		require.NoError(t, f.Close())
	}
}

// writes fills sectors from the given one, each with a letter.
func writes(name string, sector int64, letters string) step {
	return onFile(name, func(f File) error {
		for i, c := range letters {
			s := strings.Repeat(string(c), sectorBytes)
			if _, err := f.WriteAt([]byte(s), (sector+int64(i))*sectorBytes); err != nil {
				return err
			}
		}
		return nil
	})
}

func cuts(name string, sectors int64) step {
	return onFile(name, func(f File) error { return f.Truncate(sectors * sectorBytes) })
}

func allocates(name string, sectors int64) step {
	return onFile(name, func(f File) error { return f.Allocate(0, sectors*sectorBytes) })
}

func syncs(name string) step { return onFile(name, File.Sync) }

func onDir(do func(d Dir) error) step {
	return func(t *testing.T, d Dir) {
		t.Helper()
		require.NoError(t, do(d))
	}
}

func creates(name string) step { return func(t *testing.T, d Dir) { create(t, d, name, "") } }
func mkdirs(name string) step  { return onDir(func(d Dir) error { return d.Mkdir(name) }) }
func removes(name string) step { return onDir(func(d Dir) error { return d.Remove(name) }) }
func syncsDir(name string) step {
	return onDir(func(d Dir) error { return d.Sync(name) })
}
func renames(from, to string) step {
	return onDir(func(d Dir) error { return d.Rename(from, to) })
}

func links(name, as string) step {
	return onDir(func(d Dir) error { return d.Link(name, d, as) })
}

// replaces is Replace with one sector of a letter.
func replaces(name, letter string) step {
	return onDir(func(d Dir) error { return Replace(d, name, []byte(strings.Repeat(letter, sectorBytes))) })
}

// In each case a file f of the sectors AB is durable before the steps.
func TestCrash(t *testing.T) {
	cases := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"nothing done", nil,
			[]string{"f:AB"}},

		{"overwrite", []step{writes("f", 0, "XY")},
			[]string{"f:AB", "f:AY", "f:XB", "f:XY"}},
		{"overwrite, sync", []step{writes("f", 0, "XY"), syncs("f")},
			[]string{"f:XY"}},
		{"overwrite with the same", []step{writes("f", 0, "AB")},
			[]string{"f:AB"}},
		{"overwrite twice", []step{writes("f", 0, "X"), writes("f", 0, "Y")},
			[]string{"f:AB", "f:YB"}},
		{"sync, overwrite", []step{writes("f", 0, "X"), syncs("f"), writes("f", 1, "Y")},
			[]string{"f:XB", "f:XY"}},
		{"overwrite, sync the directory", []step{writes("f", 0, "X"), syncsDir(".")},
			[]string{"f:AB", "f:XB"}},

		{"append", []step{writes("f", 2, "CD")},
			[]string{"f:AB", "f:AB..", "f:AB.D", "f:ABC.", "f:ABCD"}},
		{"append, sync", []step{writes("f", 2, "CD"), syncs("f")},
			[]string{"f:ABCD"}},
		{"allocate", []step{allocates("f", 4)},
			[]string{"f:AB", "f:AB.."}},
		{"allocate, sync, append", []step{allocates("f", 4), syncs("f"), writes("f", 2, "C")},
			[]string{"f:AB..", "f:ABC."}},
		{"cut", []step{cuts("f", 1)},
			[]string{"f:A", "f:AB"}},
		{"cut, sync", []step{cuts("f", 1), syncs("f")},
			[]string{"f:A"}},
		{"cut, append", []step{cuts("f", 1), writes("f", 1, "X")},
			[]string{"f:AB", "f:AX"}},
		{"cut, append, sync", []step{cuts("f", 1), writes("f", 1, "X"), syncs("f")},
			[]string{"f:AX"}},
		{"cut, lengthen", []step{cuts("f", 0), cuts("f", 2)},
			[]string{"f:..", "f:.B", "f:A.", "f:AB"}},

		{"create", []step{creates("g")},
			[]string{"f:AB", "f:AB g:"}},
		{"create, write, sync", []step{creates("g"), writes("g", 0, "X"), syncs("g")},
			[]string{"f:AB", "f:AB g:X"}},
		{"create, write, sync the directory", []step{creates("g"), writes("g", 0, "X"), syncsDir(".")},
			[]string{"f:AB g:", "f:AB g:.", "f:AB g:X"}},
		{"create, write, sync both", []step{creates("g"), writes("g", 0, "X"), syncs("g"), syncsDir(".")},
			[]string{"f:AB g:X"}},

		{"remove", []step{removes("f")},
			[]string{"", "f:AB"}},
		{"remove, sync", []step{removes("f"), syncsDir(".")},
			[]string{""}},
		{"remove, create", []step{removes("f"), creates("f")},
			[]string{"", "f:", "f:AB"}},
		{"create, remove", []step{creates("g"), removes("g")},
			[]string{"f:AB", "f:AB g:"}},

		{"rename", []step{renames("f", "g")},
			[]string{"f:AB", "g:AB"}},
		{"rename, sync", []step{renames("f", "g"), syncsDir(".")},
			[]string{"g:AB"}},
		{"rename twice", []step{renames("f", "g"), renames("g", "h")},
			[]string{"f:AB", "f:AB h:AB", "g:AB", "h:AB"}},
		{"create, rename over", []step{creates("g"), writes("g", 0, "X"), syncs("g"), renames("g", "f")},
			[]string{"f:AB", "f:AB g:X", "f:X"}},
		{"rename over, content not synced", []step{creates("g"), syncsDir("."), writes("g", 0, "X"), renames("g", "f")},
			[]string{"f:", "f:.", "f:AB g:", "f:AB g:.", "f:AB g:X", "f:X"}},
		{"replace", []step{replaces("f", "X")},
			[]string{"f:X"}},

		{"link", []step{links("f", "g")},
			[]string{"f:AB", "f:AB g:AB"}},
		{"link, sync", []step{links("f", "g"), syncsDir(".")},
			[]string{"f:AB g:AB"}},
		{"link, remove", []step{links("f", "g"), removes("f")},
			[]string{"", "f:AB", "f:AB g:AB", "g:AB"}},
		{"link into a directory, sync that", []step{mkdirs("d"), syncsDir("."), links("f", "d/g"), syncsDir("d")},
			[]string{"d/ d/g:AB f:AB"}},
		{"write, link, sync names", []step{writes("f", 0, "X"), links("f", "g"), syncsDir(".")},
			[]string{"f:AB g:AB", "f:XB g:XB"}},
		{"write, link, sync by the other name", []step{writes("f", 0, "X"), links("f", "g"), syncsDir("."), syncs("g")},
			[]string{"f:XB g:XB"}},
		{"link, replace", []step{links("f", "g"), syncsDir("."), replaces("f", "X")},
			[]string{"f:X g:AB"}},

		{"mkdir", []step{mkdirs("d")},
			[]string{"d/ f:AB", "f:AB"}},
		{"mkdir, create, sync below only", []step{mkdirs("d"), creates("d/g"), syncsDir("d")},
			[]string{"d/ d/g: f:AB", "f:AB"}},
		{"mkdir, create, sync above only", []step{mkdirs("d"), creates("d/g"), syncsDir(".")},
			[]string{"d/ d/g: f:AB", "d/ f:AB"}},
		{"rename into a directory", []step{mkdirs("d"), syncsDir("."), renames("f", "d/g")},
			[]string{"d/ d/g:AB", "d/ f:AB"}},
		{"rename into a directory, sync that", []step{mkdirs("d"), syncsDir("."), renames("f", "d/g"), syncsDir("d")},
			[]string{"d/ d/g:AB", "d/ d/g:AB f:AB"}},
		{"rename into a directory, sync from", []step{mkdirs("d"), syncsDir("."), renames("f", "d/g"), syncsDir(".")},
			[]string{"d/", "d/ d/g:AB"}},
		{"rename a directory", []step{mkdirs("d"), creates("d/g"), syncsDir("d"), syncsDir("."), renames("d", "e")},
			[]string{"d/ d/g: f:AB", "e/ e/g: f:AB"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem()
			d := openDir(t, m, "/")
			replaces("f", "A")(t, d)
			writes("f", 1, "B")(t, d)
			syncs("f")(t, d)
			for _, s := range c.steps {
				s(t, d)
			}
			now := show(t, m)
			slices.Sort(c.want)
			require.Equal(t, c.want, afterCrashes(t, m))
			require.Equal(t, now, show(t, m), "a crash changes nothing in the old Mem")
			require.Equal(t, now, show(t, m.Kill()), "kill -9 loses nothing")
			require.Equal(t, c.want, afterCrashes(t, m.Kill()), "nor does it make anything durable")
		})
	}
}

// Within a sector, what was synced stays next to what was not written.
func TestCrashKeepsSectorsWhole(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	require.NoError(t, Replace(d, "f", []byte("old")))
	onFile("f", func(f File) error { _, err := f.WriteAt([]byte("--and new"), 1); return err })(t, d)

	keep := func(answers ...bool) string {
		c := m.Crash(func() bool {
			answer := answers[0]
			answers = answers[1:]
			return answer
		})
		return content(t, openDir(t, c, "/"), "f")
	}
	require.Equal(t, "old", keep(false, false))
	require.Equal(t, "o--", keep(false, true))
	require.Equal(t, "old\x00\x00\x00\x00\x00\x00\x00", keep(true, false))
	require.Equal(t, "o--and new", keep(true, true))
}

// The kernel forgets what it could not write: the next sync returns nil and
// the data is in doubt all the same, until it is written again.
func TestCrashAfterFailedSync(t *testing.T) {
	cases := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"sync again", []step{syncs("f")}, []string{"f:A", "f:X"}},
		{"write again", []step{writes("f", 0, "X")}, []string{"f:A", "f:X"}},
		{"write again, sync", []step{writes("f", 0, "X"), syncs("f")}, []string{"f:X"}},
		{"append, sync", []step{writes("f", 1, "Y"), syncs("f")}, []string{"f:AY", "f:XY"}},
		{"cut, sync", []step{cuts("f", 0), syncs("f")}, []string{"f:"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem()
			d := openDir(t, m, "/")
			replaces("f", "A")(t, d)
			f, err := d.Open("f", true)
			require.NoError(t, err)
			writes("f", 0, "X")(t, d)
			m.FailNth(m.Ops()+1, EIO)
			require.ErrorIs(t, f.Sync(), EIO)
			for _, s := range c.steps {
				s(t, d)
			}
			require.Equal(t, c.want, afterCrashes(t, m))
			require.Equal(t, c.want, afterCrashes(t, m.Kill()))
		})
	}
}

func TestCrashOfMapping(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	f, err := d.Open("f", true)
	require.NoError(t, err)
	w, err := f.Map(2 * sectorBytes)
	require.NoError(t, err)
	for i := range w.Bytes[:sectorBytes] {
		w.Bytes[i] = 'X'
	}
	require.Equal(t, "f:A", show(t, m.Kill()), "a store counts when it is published")
	require.NoError(t, w.Publish(0, sectorBytes))
	require.Equal(t, "f:X", show(t, m.Kill()))
	require.Equal(t, []string{"f:A", "f:X"}, afterCrashes(t, m))
	require.NoError(t, f.Sync())
	require.Equal(t, []string{"f:X"}, afterCrashes(t, m))
	require.ErrorIs(t, w.Publish(sectorBytes, sectorBytes+1), errFault)

	k := m.Kill()
	g, err := openDir(t, k, "/").Open("f", true)
	require.NoError(t, err)
	_, err = g.Map(1)
	require.NoError(t, err, "a killed process maps nothing")
}

func TestCrashMakesAnotherMem(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	lock, err := d.Lock("LOCK", "first")
	require.NoError(t, err)
	m.OnOp(func(Op) error { return EIO })

	cases := []struct {
		name     string
		next     *Mem
		sameBoot bool
	}{
		{"crash", m.Crash(func() bool { return true }), false},
		{"kill", m.Kill(), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.sameBoot, m.BootID() == c.next.BootID())
			require.Zero(t, c.next.Ops())
			lock, err := openDir(t, c.next, "/").Lock("LOCK", "second")
			require.NoError(t, err)
			require.NoError(t, lock.Close())
		})
	}
	m.OnOp(nil)
	require.Equal(t, "first", content(t, d, "LOCK"))
	require.NoError(t, lock.Close(), "old handles go on in the old Mem")
}

// OpenDir with create promises that names are durable, but not those that
// somebody made further up without syncing.
func TestCrashAfterOpenDir(t *testing.T) {
	m := NewMem()
	openDir(t, m, "/a/b")
	require.Equal(t, []string{"a/ a/b/"}, afterCrashes(t, m))

	m = NewMem()
	d := openDir(t, m, "/")
	require.NoError(t, d.Mkdir("a"))
	openDir(t, m, "/a")
	require.Equal(t, []string{"a/"}, afterCrashes(t, m), "it was found, and is synced")

	m = NewMem()
	d = openDir(t, m, "/")
	require.NoError(t, d.Mkdir("a"))
	require.NoError(t, d.Mkdir("a/b"))
	openDir(t, m, "/a/b/c")
	require.Equal(t, []string{"", "a/ a/b/ a/b/c/"}, afterCrashes(t, m))
}

// A rename of which one directory was synced may leave a file with two names.
// It is still one file.
func TestCrashLeavesTwoNames(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	require.NoError(t, d.Mkdir("d"))
	require.NoError(t, d.Sync("."))
	require.NoError(t, d.Rename("f", "d/g"))
	require.NoError(t, d.Sync("d"))

	c := m.Crash(func() bool { return false })
	require.Equal(t, "d/ d/g:A f:A", show(t, c))
	writes("f", 0, "X")(t, openDir(t, c, "/"))
	require.Equal(t, "d/ d/g:X f:X", show(t, c))
	require.Equal(t, "d/ d/g:X f:X", show(t, c.Kill()))
}

// Crashing is random access to history: a hook may take a copy at any moment.
func TestCrashInHook(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	var seen []string
	m.OnOp(func(op Op) error {
		seen = append(seen, fmt.Sprintf("%v: %s", op.Kind, strings.Join(afterCrashes(t, m), ", ")))
		return nil
	})
	replaces("f", "B")(t, d)
	m.OnOp(nil)
	require.Equal(t, []string{
		"remove: f:A",
		"create: f:A",
		"write: f:A, f:A f.tmp:",
		"sync: f:A, f:A f.tmp:, f:A f.tmp:., f:A f.tmp:B",
		"close: f:A, f:A f.tmp:B",
		"rename: f:A, f:A f.tmp:B",
		"sync directory: f:A, f:A f.tmp:B, f:B",
	}, seen)
}

// Whatever succeeded before the machine halted is there afterwards, and nothing
// that failed.
func TestHalt(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/d")
	f, err := d.Create("f")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("synced"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, d.Sync("."))
	_, err = f.WriteAt([]byte("written"), 0)
	require.NoError(t, err)
	mapped, err := d.Create("mapped")
	require.NoError(t, err)
	require.NoError(t, mapped.Allocate(0, 8))
	window, err := mapped.Map(8)
	require.NoError(t, err)
	m.OnOp(func(op Op) error {
		if op.Kind == OpSync {
			m.Halt(ENOSPC) // in the middle of it
		}
		return nil
	})
	require.ErrorIs(t, f.Sync(), ENOSPC)
	for what, err := range map[string]error{
		"write":   onlyError(f.WriteAt([]byte("x"), 0)),
		"create":  onlyError(d.Create("g")),
		"publish": window.Publish(0, 1),
	} {
		require.ErrorIs(t, err, ENOSPC, what)
	}
	require.ErrorIs(t, f.Close(), ENOSPC)

	crashed := m.Crash(func() bool { return false })
	require.Equal(t, "synced", content(t, openDir(t, crashed, "/d"), "f"))
	killed := m.Kill()
	again := openDir(t, killed, "/d")
	require.Equal(t, "written", content(t, again, "f"))
	onFile("f", File.Sync)(t, again)
	crashed = killed.Crash(func() bool { return false })
	require.Equal(t, "written", content(t, openDir(t, crashed, "/d"), "f"), "the sync that was halted was not one that failed")
}

func onlyError[T any](_ T, err error) error { return err }

func TestOpenNamesWhatWasNotClosed(t *testing.T) {
	m := NewMem()
	d, err := m.OpenDir("/d", true)
	require.NoError(t, err)
	lock, err := d.Lock("LOCK", "me")
	require.NoError(t, err)
	create(t, d, "closed", "")
	f, err := d.Create("f")
	require.NoError(t, err)
	again, err := d.Open("f", false)
	require.NoError(t, err)
	require.Equal(t, []string{"/d", "/d/LOCK", "/d/f", "/d/f"}, m.Open())
	require.NoError(t, errors.Join(f.Close(), d.Sub("x").Close(), lock.Close()))
	require.Equal(t, []string{"/d", "/d/f"}, m.Open())
	m.FailFrom(1, EIO)
	require.ErrorIs(t, again.Close(), EIO)
	require.NoError(t, d.Close())
	require.Empty(t, m.Open(), "closed, though it failed")
}

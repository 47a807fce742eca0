package fs

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// states are all the trees that a power loss may leave, each once, sorted, of
// the first two options of sectors only if plain is set.
func states(t *testing.T, m *Mem, model DiskModel, plain bool) []string {
	t.Helper()
	l := m.PowerLoss(model)
	var all []string
	for picks := make([]int, len(l.Doubts)); ; {
		s := l.State(picks)
		all = append(all, show(t, s))
		require.Equal(t, s.Hash(), l.Hash(picks), "%v", picks)
		i := 0
		for ; i < len(picks); i++ {
			most := l.Doubts[i].Options
			if plain && l.Doubts[i].Sector {
				most = min(most, 2)
			}
			if picks[i]++; picks[i] < most {
				break
			}
			picks[i] = 0
		}
		if i == len(picks) {
			break
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// garbles fills part of a sector: it stays whole otherwise.
func garbles(name string, from, to int64, letter string) step {
	return onFile(name, func(f File) error {
		_, err := f.WriteAt([]byte(strings.Repeat(letter, int(to-from))), from)
		return err
	})
}

// In each case a file f of the sectors AB is durable before the steps.
func TestDiskModels(t *testing.T) {
	overwrite := []step{writes("f", 0, "XY")}
	rename := []step{creates("g"), syncsDir("."), renames("f", "h"), removes("g")}
	cases := []struct {
		name                   string
		steps                  []step
		ordered, journal, weak []string
	}{
		{"nothing done", nil,
			[]string{"f:AB"}, []string{"f:AB"}, []string{"f:AB"}},
		{"overwrite", overwrite,
			[]string{"f:AB", "f:XB", "f:XY"},
			[]string{"f:AB", "f:AY", "f:XB", "f:XY"},
			[]string{"f:AB", "f:AY", "f:XB", "f:XY"}},
		{"overwrite, sync", append(overwrite[:1:1], syncs("f")),
			[]string{"f:XY"}, []string{"f:XY"}, []string{"f:XY"}},
		{"append", []step{writes("f", 2, "CD")},
			[]string{"f:AB", "f:AB.", "f:ABC", "f:ABC.", "f:ABCD"},
			[]string{"f:AB", "f:AB.", "f:AB..", "f:AB.D", "f:ABC", "f:ABC.", "f:ABCD"},
			[]string{"f:AB", "f:AB.", "f:AB..", "f:AB.D", "f:ABC", "f:ABC.", "f:ABCD"}},
		{"cut, append", []step{cuts("f", 1), writes("f", 1, "X")},
			[]string{"f:A", "f:A.", "f:AB", "f:AX"},
			[]string{"f:A", "f:AB", "f:AX"},
			[]string{"f:A", "f:AB", "f:AX"}},
		{"names in order or not", rename,
			[]string{"f:AB g:", "g: h:AB", "h:AB"},
			[]string{"f:AB g:", "g: h:AB", "h:AB"},
			[]string{"f:AB", "f:AB g:", "f:AB g: h:AB", "f:AB h:AB", "g: h:AB", "h:AB"}},
		{"a later name synced", []step{mkdirs("d"), mkdirs("e"), syncsDir("."), creates("d/x"), creates("e/y"), creates("d/z"), syncsDir("e")},
			[]string{"d/ d/x: d/z: e/ e/y: f:AB"},
			[]string{"d/ d/x: d/z: e/ e/y: f:AB", "d/ d/x: e/ e/y: f:AB"},
			[]string{"d/ d/x: d/z: e/ e/y: f:AB", "d/ d/x: e/ e/y: f:AB", "d/ d/z: e/ e/y: f:AB", "d/ e/ e/y: f:AB"}},
		{"data and names", []step{writes("f", 0, "X"), renames("f", "h")},
			[]string{"f:AB", "f:XB", "h:XB"},
			[]string{"f:AB", "f:XB", "h:AB", "h:XB"},
			[]string{"f:AB", "f:AB h:AB", "f:XB", "f:XB h:XB", "h:AB", "h:XB"}},
		{"replace", []step{replaces("f", "X")},
			[]string{"f:X"}, []string{"f:X"}, []string{"f:X"}},
	}
	for _, c := range cases {
		for model, want := range map[DiskModel][]string{OrderedDisk: c.ordered, JournalDisk: c.journal, WeakDisk: c.weak} {
			t.Run(c.name+", "+model.String(), func(t *testing.T) {
				m := NewMem()
				m.Remember()
				d := openDir(t, m, "/")
				replaces("f", "A")(t, d)
				writes("f", 1, "B")(t, d)
				syncs("f")(t, d)
				for _, s := range c.steps {
					s(t, d)
				}
				now, hash := show(t, m), m.Hash()
				slices.Sort(want)
				require.Equal(t, want, states(t, m, model, true))
				require.Equal(t, now, show(t, m), "a power loss changes nothing in the old Mem")
				require.Equal(t, hash, m.Hash())
				require.Equal(t, want, states(t, m.Kill(), model, true), "kill -9 neither loses nor keeps anything")

				l := m.PowerLoss(model)
				replaces("later", "Q")(t, d)
				picks := make([]int, len(l.Doubts))
				for i, d := range l.Doubts {
					picks[i] = d.New
				}
				require.Equal(t, now, show(t, l.State(picks)), "everything may have got to the disk")
				require.Equal(t, hash, l.State(picks).Hash())
			})
		}
	}
}

// A sector may also hold what it held in between, zeros, garbage, and bytes of
// a file that was removed; but never is a byte changed that was synced and not
// written since.
func TestTornSectors(t *testing.T) {
	m := NewMem()
	m.Remember()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	require.NoError(t, Replace(d, "old", []byte(strings.Repeat("S", 2*sectorBytes))))
	removes("old")(t, d)
	syncsDir(".")(t, d)
	garbles("f", 100, 200, "X")(t, d)
	garbles("f", 100, 150, "Y")(t, d)

	l := m.PowerLoss(JournalDisk)
	var found []string
	for i, d := range l.Doubts {
		if !d.Sector {
			continue
		}
		for option := range d.Options {
			picks := make([]int, len(l.Doubts))
			picks[i] = option
			s := l.State(picks)
			require.Equal(t, s.Hash(), l.Hash(picks))
			got := content(t, openDir(t, s, "/"), "f")
			require.Len(t, got, sectorBytes)
			require.Equal(t, strings.Repeat("A", 100), got[:100], "synced, not written since")
			require.Equal(t, strings.Repeat("A", sectorBytes-200), got[200:])
			found = append(found, d.Names[option])
			want := map[string]string{
				"old": strings.Repeat("A", 100), "new": strings.Repeat("Y", 50) + strings.Repeat("X", 50),
				"in between": strings.Repeat("X", 100), "zeros": strings.Repeat("\x00", 100), "stale": strings.Repeat("S", 100),
			}[d.Names[option]]
			if want != "" {
				require.Equal(t, want, got[100:200], d.Names[option])
			}
		}
	}
	require.Equal(t, []string{"old", "new", "in between", "zeros", "garbage", "stale"}, found)
}

// What was synced and is written again as it was cannot be lost.
func TestASectorWrittenAgainIsNotTorn(t *testing.T) {
	m := NewMem()
	m.Remember()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	writes("f", 0, "A")(t, d)
	require.Equal(t, []string{"f:A"}, states(t, m, WeakDisk, false))
}

func TestAftermathsOfAFailedSync(t *testing.T) {
	cases := []struct {
		then Aftermath
		read string
		want []string
	}{
		{Cached, "f:XY", []string{"f:AB", "f:AY", "f:XB", "f:XY"}},
		{Reverted, "f:AB", []string{"f:AB"}},
		{HalfPersisted, "f:XY", []string{"f:XB", "f:XY"}},
	}
	for _, c := range cases {
		m := NewMem()
		d := openDir(t, m, "/")
		replaces("f", "A")(t, d)
		writes("f", 1, "B")(t, d)
		syncs("f")(t, d)
		writes("f", 0, "XY")(t, d)
		f, err := d.Open("f", true)
		require.NoError(t, err)
		m.FailNth(m.Ops()+1, &FailedSyncError{c.then, EIO})
		require.ErrorIs(t, f.Sync(), EIO)
		require.Equal(t, c.read, show(t, m))
		require.NoError(t, f.Sync(), "the next sync knows nothing of it")
		require.Equal(t, c.want, states(t, m, JournalDisk, true))
		require.NoError(t, f.Close())
	}
}

// Copies share bytes until one of them changes.
func TestCopiesAreApart(t *testing.T) {
	m := NewMem()
	d := openDir(t, m, "/")
	replaces("f", "A")(t, d)
	k := m.Kill()
	writes("f", 0, "X")(t, d)
	require.Equal(t, "f:A", show(t, k))
	writes("f", 1, "Y")(t, openDir(t, k, "/"))
	require.Equal(t, "f:X", show(t, m))
	require.Equal(t, "f:AY", show(t, k))
	require.NotEqual(t, m.Hash(), k.Hash())
	require.Equal(t, m.Hash(), m.Kill().Hash())
	require.Equal(t, m.HashOf("/f"), m.Kill().HashOf("/f"))
	require.Zero(t, m.HashOf("/none"))
}

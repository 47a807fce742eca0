package consumergroup

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// This file plays the life of a ledger and, before every operation on a file,
// has the process end or the power go, or the operation fail. What is found
// afterwards is compared with what was acknowledged by then.

// A ledgerStep is something done to a ledger, and what it changes, said once
// more in the words of a view.
type ledgerStep struct {
	name   string
	do     func(l *Ledger) error
	async  func(l *Ledger, done func(error)) error // in its place, if not nil
	effect func(v *ledgerView)
}

func (v *ledgerView) make(group string) {
	if v.committed[group] == nil && v.starts[group] == nil {
		v.committed[group], v.starts[group] = []Committed(nil), []Committed(nil)
	}
}

// put puts a position in a sorted list.
func put(all []Committed, c Committed) []Committed {
	i, found := slices.BinarySearchFunc(all, c, byPlace)
	if found {
		all = slices.Clone(all)
		all[i] = c
		return all
	}
	return slices.Insert(slices.Clone(all), i, c)
}

func without(all []Committed, drop func(Committed) bool) []Committed {
	all = slices.DeleteFunc(slices.Clone(all), drop)
	if len(all) == 0 {
		return nil
	}
	return all
}

func (v *ledgerView) commit(group string, all []Committed) {
	v.make(group)
	for _, c := range all {
		v.committed[group] = put(v.committed[group], c)
		v.starts[group] = without(v.starts[group], func(o Committed) bool { return byPlace(o, c) == 0 })
	}
}

func commits(group string, all ...Committed) ledgerStep {
	return ledgerStep{name: fmt.Sprint("commit ", group), do: func(l *Ledger) error { return l.Commit(ledgerContext, group, all) },
		effect: func(v *ledgerView) { v.commit(group, all) }}
}

func commitsAsync(group string, all ...Committed) ledgerStep {
	s := commits(group, all...)
	s.async = func(l *Ledger, done func(error)) error { return l.CommitAsync(group, all, done) }
	return s
}

func beginsAt(group string, all ...Committed) ledgerStep {
	return ledgerStep{name: fmt.Sprint("begin ", group), do: func(l *Ledger) error { return l.Begin(ledgerContext, group, all) },
		effect: func(v *ledgerView) {
			for _, c := range all {
				place := func(o Committed) bool { return byPlace(o, c) == 0 }
				if !slices.ContainsFunc(v.committed[group], place) && !slices.ContainsFunc(v.starts[group], place) {
					v.make(group)
					v.starts[group] = put(v.starts[group], c)
				}
			}
		}}
}

func opensWith(group string, s Spec) ledgerStep {
	return ledgerStep{name: fmt.Sprint("open ", group), do: func(l *Ledger) error { return l.SetSpec(ledgerContext, group, s) },
		effect: func(v *ledgerView) { v.make(group); v.specs[group] = s }}
}

func forgetsGroup(group string) ledgerStep {
	return ledgerStep{name: fmt.Sprint("delete ", group), do: func(l *Ledger) error {
		if err := l.DeleteGroup(ledgerContext, group); !errors.Is(err, ErrGroupNotFound) {
			return err
		}
		return nil // what made it failed
	}, effect: func(v *ledgerView) {
		delete(v.specs, group)
		delete(v.committed, group)
		delete(v.starts, group)
	}}
}

func forgetsTopic(n byte) ledgerStep {
	of := func(c Committed) bool { return c.TopicID == ledgerTopic(n) }
	return ledgerStep{name: fmt.Sprint("delete topic ", n), do: func(l *Ledger) error { return l.DeleteTopic(ledgerContext, ledgerTopic(n)) },
		effect: func(v *ledgerView) {
			for _, g := range slices.Collect(maps.Keys(v.committed)) {
				v.committed[g], v.starts[g] = without(v.committed[g], of), without(v.starts[g], of)
			}
		}}
}

// ledgerLife is long enough for several snapshots, rolls and trims.
func ledgerLife() []ledgerStep {
	noted := func(c Committed, n int) Committed {
		c.Metadata = []byte(strings.Repeat("m", n))
		return c
	}
	life := []ledgerStep{
		opensWith("a", Spec{Topics: []string{"topic-1", "topic-2"}, Start: StoredStart{Kind: StartLatest}}),
		beginsAt("a", at(1, 0, 10), at(1, 1, 20)),
		commits("a", at(1, 0, 11)),
		commits("c", at(3, 0, 5)),
	}
	for i := range 20 {
		n := int64(100 + i)
		life = append(life,
			commitsAsync("a", at(1, 0, n), noted(at(1, 1, n), 100)),
			commitsAsync("b", noted(at(2, i%3, n), 150)),
			commits("a", noted(at(2, 0, n), 10*i)))
		switch i {
		case 5:
			life = append(life, beginsAt("b", at(2, 1, 1), at(2, 9, 1)), opensWith("b", Spec{Topics: []string{}, Pattern: "topic-.*"}))
		case 9:
			life = append(life, forgetsGroup("c"), commits("d", at(1, 4, 4)))
		case 12:
			life = append(life, forgetsTopic(2))
		case 15:
			life = append(life, forgetsGroup("d"), commits("a", at(1, 0, 3))) // backwards
		}
	}
	return life
}

func (v *ledgerView) clone() ledgerView {
	return ledgerView{maps.Clone(v.specs), maps.Clone(v.committed), maps.Clone(v.starts)}
}

// A ledgerImage is what was on disk at some moment, how many steps were
// acknowledged then, and how many begun.
type ledgerImage struct {
	at             string
	m              *fs.Mem
	acked, offered int
}

func smallest(o *partition.Options, lo *LedgerOptions) { o.SegmentBytes, lo.SnapshotBytes = 4<<10, 900 }

func TestLedgerSurvivesACrashAtEveryOperation(t *testing.T) {
	life := ledgerLife()
	views := []ledgerView{newLedgerView()}
	for _, s := range life {
		v := views[len(views)-1].clone()
		s.effect(&v)
		views = append(views, v)
	}
	m := fs.NewMem()
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	acked, offered := 0, 0
	var images []ledgerImage
	m.OnOp(func(op fs.Op) error {
		switch op.Kind {
		case fs.OpReadAt, fs.OpOpen, fs.OpList, fs.OpSize, fs.OpClose:
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		before := fmt.Sprintf("before operation %d, %v", op.N, op)
		for how, left := range map[string]*fs.Mem{
			"killed":                m.Kill(),
			"crashed, all kept":     m.Crash(func() bool { return true }),
			"crashed, nothing kept": m.Crash(func() bool { return false }),
			"crashed, a part kept":  m.Crash(func() bool { return rng.IntN(2) == 0 }),
		} {
			images = append(images, ledgerImage{before + ", " + how, left, acked, offered})
		}
		return nil
	})
	l := openLedgerOn(t, m, smallest)
	for i, s := range life {
		mu.Lock()
		offered = i + 1
		mu.Unlock()
		told := func(err error) {
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
			mu.Lock()
			acked = max(acked, i+1)
			mu.Unlock()
		}
		if s.async != nil {
			require.NoError(t, s.async(l.Ledger, told))
			continue
		}
		told(s.do(l.Ledger))
		require.Equal(t, views[i+1], l.view(), s.name)
	}
	l.idle()
	m.OnOp(nil)
	require.Positive(t, l.p.Start(), "nothing was trimmed")
	l.close(t)
	images = append(images, ledgerImage{"closed", m, len(life), len(life)})
	require.Empty(t, l.trouble)
	for n := 0; n < len(images); n += ledgerStride {
		images[n].check(t, views, rng)
	}
}

// check opens what is left, through a second crash in the middle of that and of
// what comes then, and requires what was acknowledged and nothing that was not
// offered.
func (i *ledgerImage) check(t *testing.T, views []ledgerView, rng *rand.Rand) {
	copied := i.m.Kill()
	crashAt, count := 1+rng.Int64N(40), int64(0)
	var mu sync.Mutex
	var again *fs.Mem
	i.m.OnOp(func(fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count == crashAt {
			again = i.m.Crash(func() bool { return true })
		}
		return nil
	})
	l := openLedgerOn(t, i.m, smallest)
	require.NoError(t, l.Err(), i.at)
	got := l.view()
	require.True(t, i.isAView(got, views), "%s: acknowledged %d, offered %d, and there is %+v", i.at, i.acked, i.offered, got)
	require.NoError(t, l.Commit(ledgerContext, "late", []Committed{at(9, 0, 1)}), i.at)
	for n := range 12 { // a snapshot on top
		require.NoError(t, l.Commit(ledgerContext, "late", []Committed{at(9, 0, int64(n))}), i.at)
	}
	i.m.OnOp(nil)
	l.close(t)
	want := got.clone()
	want.commit("late", []Committed{at(9, 0, 11)})
	expectLedger(t, i.m, want, i.at+", and committed to")
	expectLedger(t, copied, got, i.at+", opened twice")
	expectLedger(t, copied, got, i.at+", opened, closed and opened")
	mu.Lock()
	defer mu.Unlock()
	if again != nil {
		l = openLedgerOn(t, again, smallest)
		require.NoError(t, l.Err(), i.at)
		second := l.view()
		delete(second.committed, "late")
		delete(second.starts, "late")
		require.Equal(t, got, second, "%s, and again", i.at)
		l.close(t)
	}
}

func (i *ledgerImage) isAView(got ledgerView, views []ledgerView) bool {
	for n := i.acked; n <= i.offered; n++ {
		if fmt.Sprint(got) == fmt.Sprint(views[n]) {
			return true
		}
	}
	return false
}

func expectLedger(t *testing.T, m *fs.Mem, want ledgerView, at string) {
	t.Helper()
	l := openLedgerOn(t, m, smallest)
	require.NoError(t, l.Err(), at)
	require.Equal(t, fmt.Sprint(want), fmt.Sprint(l.view()), at)
	l.close(t)
}

// Whatever operation fails: what was acknowledged is there, what was refused
// never comes, and on a disk that only was full commits go on.
func TestLedgerSurvivesTheFailureOfEveryOperation(t *testing.T) {
	for _, fault := range []error{fs.ENOSPC, fs.EIO} {
		t.Run(fault.Error(), func(t *testing.T) {
			for n := 1 + rand.Int64N(ledgerStride); failLedger(t, n, fault); n += ledgerStride {
			}
		})
	}
}

// failLedger plays the life of a ledger with operation n failing, and reports
// whether it came that far.
func failLedger(t *testing.T, n int64, fault error) bool {
	m := fs.NewMem()
	var mu sync.Mutex
	count, what := int64(0), ""
	l := openLedgerOn(t, m, smallest)
	m.OnOp(func(op fs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count == n {
			what = op.String()
			return fault
		}
		return nil
	})
	failed := func() string {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprintf("operation %d, %s", n, what)
	}
	v, open := newLedgerView(), newLedgerView() // with what is in doubt, and without
	inDoubt := false
	for _, s := range ledgerLife() {
		err := s.do(l.Ledger)
		if err != nil && !errors.Is(err, partition.ErrOutcomeUnknown) && l.Err() == nil {
			require.ErrorIs(t, err, fault, "%s, %s", s.name, failed())
			err = s.do(l.Ledger) // it goes on
			require.NoError(t, err, "%s, %s", s.name, failed())
		}
		if err == nil {
			require.False(t, inDoubt, "a commit after a failure")
			s.effect(&v)
			require.Equal(t, fmt.Sprint(v), fmt.Sprint(l.view()), "%s, %s", s.name, failed())
		} else if errors.Is(err, partition.ErrOutcomeUnknown) && !inDoubt {
			inDoubt, open = true, v.clone()
			s.effect(&open)
		}
		if err != nil {
			require.Error(t, l.Err(), "%s, %s: %v", s.name, failed(), err)
		}
		if fault == fs.ENOSPC && strings.Contains(failed(), ", write") {
			require.NoError(t, err, "a full disk is no failure")
		}
	}
	l.idle()
	mu.Lock()
	at := fmt.Sprintf("operation %d, %s, fails with %v", n, what, fault)
	came := count >= n
	mu.Unlock()
	m.OnOp(nil)
	images := []*fs.Mem{m.Kill(), m.Crash(func() bool { return false })}
	_ = l.Close() // it says what failed
	l.shared.Close()
	require.NoError(t, l.dir.Close())
	for _, m := range append(images, m) {
		l := openLedgerOn(t, m, smallest)
		require.NoError(t, l.Err(), at)
		got := fmt.Sprint(l.view())
		if !inDoubt || got != fmt.Sprint(open) {
			require.Equal(t, fmt.Sprint(v), got, at)
		}
		require.NoError(t, l.Commit(ledgerContext, "late", []Committed{{Topic: "t", TopicID: ledgerTopic(9)}}), at)
		l.close(t)
	}
	return came
}

// Whichever bit of the log is flipped: either nothing is missing, or the ledger
// says that something is, and after a repair it works.
func TestLedgerFindsEveryFlippedBit(t *testing.T) {
	m := fs.NewMem()
	l := openLedgerOn(t, m, smallest)
	for _, s := range ledgerLife() {
		require.NoError(t, s.do(l.Ledger))
	}
	l.idle()
	want := l.view()
	l.close(t)
	found, missing := 0, 0
	names, err := m.OpenDir("/store/groups", false)
	require.NoError(t, err)
	files, err := names.List(".")
	require.NoError(t, err)
	require.NoError(t, names.Close())
	for _, file := range files {
		for at := int64(0); at < file.Size; at += ledgerStride {
			damaged := m.Kill()
			flipIn(t, damaged, file.Name, at, byte(1<<(at%8)))
			l := openLedgerOn(t, damaged, smallest)
			what := fmt.Sprintf("bit %d of byte %d of %s", at%8, at, file.Name)
			if l.Err() == nil {
				require.Equal(t, want, l.view(), what)
				l.close(t)
				continue
			}
			found++
			require.Error(t, l.Commit(ledgerContext, "late", []Committed{{Topic: "t", TopicID: ledgerTopic(9)}}), what)
			if _, err := l.Repair(ledgerContext); err == nil {
				require.NoError(t, l.Commit(ledgerContext, "late", []Committed{{Topic: "t", TopicID: ledgerTopic(9)}}), what)
				if !slices.Contains(l.Groups(), "a") {
					missing++
				}
				repaired := l.view()
				l.close(t)
				expectLedger(t, damaged, repaired, what+", repaired")
				continue
			}
			require.Equal(t, "partition.json", file.Name, what)
			_ = l.Close() // it says what is wrong
			l.shared.Close()
			require.NoError(t, l.dir.Close())
		}
	}
	require.Positive(t, found)
	t.Logf("%d flips were found, %d cost a group", found, missing)
}

func flipIn(t *testing.T, m *fs.Mem, name string, at int64, bit byte) {
	d, err := m.OpenDir("/store/groups", false)
	require.NoError(t, err)
	f, err := d.Open(name, true)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= bit
	_, err = f.WriteAt(b, at)
	require.NoError(t, errors.Join(err, f.Close(), d.Close()))
}

package braidlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// newArchived returns a topic whose segments are moved to /archive.
func newArchived(t testing.TB) *keptTopic {
	return newKept(t, TopicConfig{Partitions: 2, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{Dir: "/archive"}})
}

// addNumbered appends records to both partitions in turn, and returns the
// number of the next.
func (k *keptTopic) addNumbered(from, n int) int {
	for i := from; i < from+n; i++ {
		_, err := k.AppendTo(bg, i%2, Record{Value: append(fmt.Appendf(nil, "%06d", i), make([]byte, 900)...)})
		require.NoError(k.t, err)
	}
	return from + n
}

// archivedAndKept reads both, and returns the numbers of what is where.
func archivedAndKept(t testing.TB, at string, m *fs.Mem) (archived, kept []int) {
	archive, err := Open("/archive", Options{fs: m, ReadOnly: true})
	if !errors.Is(err, fs.ErrNotExist) { // else nothing was archived yet
		require.NoError(t, err, at)
		archived = numbersIn(t, at, archive)
		require.NoError(t, archive.Close())
	}
	store, err := Open("/store", Options{fs: m, idle: true})
	require.NoError(t, err, at)
	kept = numbersIn(t, at, store)
	require.NoError(t, store.Close())
	return archived, kept
}

func numbersIn(t testing.TB, at string, s *Store) (all []int) {
	for _, name := range s.Topics() {
		topic, err := s.Topic(name)
		require.NoError(t, err, at)
		for rec, err := range topic.Records(bg, partition.First()) {
			require.NoError(t, err, at)
			var n int
			_, err = fmt.Sscanf(string(rec.Value[:6]), "%d", &n)
			require.NoError(t, err, at)
			require.Equal(t, n%2, rec.Partition, at)
			require.Equal(t, int64(n/2), rec.Offset, at)
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// requireAll requires that each of n records is archived or kept, or both, and
// nothing twice in one place.
func requireAll(t testing.TB, at string, n int, archived, kept []int) {
	for _, part := range [][]int{archived, kept} {
		require.Len(t, part, len(slices.Compact(slices.Clone(part))), at)
	}
	all := slices.Concat(archived, kept)
	slices.Sort(all)
	all = slices.Compact(all)
	require.Len(t, all, n, at)
	require.Equal(t, n-1, all[n-1], at)
}

// What was archived can be read as a store of its own, and with what was kept it
// is everything.
func TestArchiveDirectory(t *testing.T) {
	k := newArchived(t)
	n := k.addNumbered(0, 40)
	k.enforce()
	n = k.addNumbered(n, 40)
	k.reopen(k.c)
	k.enforce()
	require.Positive(t, k.Stats().Archived)
	starts := k.starts()
	require.NoError(t, k.s.Close())
	archived, kept := archivedAndKept(t, "", k.m)
	requireAll(t, "", n, archived, kept)
	require.Len(t, archived, int(starts[0]+starts[1]), "what was archived went")

	_, err := Open("/archive", Options{fs: k.m})
	require.ErrorIs(t, err, ErrReadOnly)
	require.ErrorContains(t, err, "open store /archive: read-only: it is an archive")
	archive, err := Open("/archive", Options{fs: k.m, ReadOnly: true})
	require.NoError(t, err)
	topic, err := archive.Topic("logs")
	require.NoError(t, err)
	_, err = topic.Append(bg, Record{})
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, archive.Close())
}

// What a trim removed is not in the archive; what it gave up of a segment that
// stayed is.
func TestArchiveOfWhatWasTrimmed(t *testing.T) {
	k := newArchived(t)
	n := k.addNumbered(0, 60)
	segs, _ := k.Partition(0).Sealed()
	require.NoError(t, k.Partition(0).Trim(bg, segs[2].From+1))
	k.enforce()
	start := k.starts()[0]
	require.Greater(t, start, segs[2].To)
	require.NoError(t, k.s.Close())
	archived, kept := archivedAndKept(t, "", k.m)
	odd := func(n int) bool { return n%2 != 0 } // those are in partition 1
	archived, kept = slices.DeleteFunc(archived, odd), slices.DeleteFunc(kept, odd)
	require.Equal(t, int(2*segs[2].From), archived[0])
	require.Equal(t, int(2*start), kept[0])
	require.Equal(t, n-2, kept[len(kept)-1])
}

// A directory that is not an archive of this topic, or is in the store, is
// refused, and nothing goes.
func TestArchiveDirectoryRefused(t *testing.T) {
	k := newKept(t, TopicConfig{Partitions: 1, Retention: Retention{PartitionBytes: 8 << 10}})
	k.addNumbered(0, 1)
	_, err := k.AppendTo(bg, 0, Record{Value: make([]byte, 900)})
	require.NoError(t, err)
	k.add(0, 20)
	other, err := Open("/other", Options{fs: k.m})
	require.NoError(t, err)
	require.NoError(t, other.Close())
	d, err := k.m.OpenDir("/full", true)
	require.NoError(t, err)
	require.NoError(t, d.Mkdir("things"))
	for dir, want := range map[string]string{
		"/store/old": "is in the store", "/store": "is in the store",
		"/other": "it has a store", "/full": "it is not empty, it has things",
	} {
		require.NoError(t, k.SetConfig(bg, TopicConfig{Archive: Archive{Dir: dir}}))
		err := k.Enforce(bg)
		require.ErrorIs(t, err, ErrInvalid, dir)
		require.ErrorContains(t, err, want)
		require.Equal(t, []int64{0}, k.starts())
	}
	require.NoError(t, k.SetConfig(bg, TopicConfig{Archive: Archive{Dir: "/archive"}}))
	k.enforce()
	at := k.starts()[0]
	require.Positive(t, at)
	require.NoError(t, k.s.DeleteTopic(bg, "logs"))
	again, err := k.s.CreateTopic(bg, "logs", TopicConfig{Partitions: 1, SegmentBytes: 4 << 10, Retention: Retention{PartitionBytes: 8 << 10}, Archive: Archive{Dir: "/archive"}})
	require.NoError(t, err)
	k.Topic = again
	k.add(0, 20)
	require.ErrorContains(t, k.Enforce(bg), "it has another topic of that name")
	require.Equal(t, []int64{0}, k.starts())
	require.NoError(t, k.s.Close())
}

// At every operation of archiving the process ends or the power goes: every
// record is in the archive or in the store, and archiving goes on.
func TestArchiveSurvivesACrashAtEveryOperation(t *testing.T) {
	for _, links := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(1, 2))
		k := newArchived(t)
		type image struct {
			at string
			m  *fs.Mem
			n  int
		}
		var mu sync.Mutex
		var images []image
		n := k.addNumbered(0, 30)
		k.m.OnOp(func(op fs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind == fs.OpLink && !links {
				return fs.ErrNoLink
			}
			if changes(op) {
				at := fmt.Sprintf("links %t, before operation %d, %v", links, op.N, op)
				images = append(images,
					image{at + ", killed", k.m.Kill(), n},
					image{at + ", nothing kept", k.m.Crash(func() bool { return false }), n},
					image{at + ", all kept", k.m.Crash(func() bool { return true }), n},
					image{at + ", a part kept", k.m.Crash(func() bool { return rng.IntN(2) == 0 }), n})
			}
			return nil
		})
		k.enforce()
		k.m.OnOp(nil)
		require.NoError(t, k.s.Close())
		require.NotEmpty(t, images)
		for i, img := range images {
			if racing && i%7 != 0 {
				continue
			}
			archived, kept := archivedAndKept(t, img.at, img.m)
			requireAll(t, img.at, img.n, archived, kept)
			again := &keptTopic{t: t, m: img.m, c: clock.Start()}
			again.s = openKept(t, img.m, again.c)
			var err error
			again.Topic, err = again.s.Topic("logs")
			require.NoError(t, err, img.at)
			require.NoError(t, again.Enforce(bg), img.at)
			starts := again.starts()
			require.NoError(t, again.s.Close(), img.at)
			archived, kept = archivedAndKept(t, img.at, img.m)
			requireAll(t, img.at, img.n, archived, kept)
			require.GreaterOrEqual(t, len(archived), int(starts[0]+starts[1]), img.at)
		}
	}
}

// Whatever operation of archiving fails, nothing is lost, and the next attempt
// succeeds.
func TestArchiveSurvivesTheFailureOfEveryOperation(t *testing.T) {
	for _, fault := range []error{fs.EIO, fs.ENOSPC} {
		for n := int64(1); ; n++ {
			k := newArchived(t)
			count := k.addNumbered(0, 20)
			first, failed := k.m.Ops()+n, ""
			var mu sync.Mutex
			k.m.OnOp(func(op fs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if op.N == first {
					failed = op.String()
					return fault
				}
				return nil
			})
			err := k.Enforce(bg)
			mu.Lock()
			at := fmt.Sprintf("operation %d, %s, %v", n, failed, fault)
			came := failed != ""
			mu.Unlock()
			k.m.OnOp(nil)
			if err != nil {
				require.ErrorContains(t, err, "enforce retention of logs: ", at)
				require.ErrorIs(t, err, fault, at)
			}
			require.NoError(t, k.Enforce(bg), at)
			starts := k.starts()
			require.NoError(t, k.s.Close(), at)
			archived, kept := archivedAndKept(t, at, k.m)
			requireAll(t, at, count, archived, kept)
			require.Len(t, archived, int(starts[0]+starts[1]), at)
			if !came {
				break
			}
		}
	}
}

package braidlog

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/braidlog/braidlog/partition"
)

// descriptorsEnv is set in the child that runs out of descriptors: that the
// whole process does not have them is nothing for other tests.
const descriptorsEnv = "BRAIDLOG_DESCRIPTORS"

// Whatever lacks a descriptor, with so many left at the beginning: nothing that
// was acknowledged is lost, every error says so, and with descriptors again
// everything goes on.
func TestWithoutDescriptors(t *testing.T) {
	if os.Getenv(descriptorsEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWithoutDescriptors$", "-test.parallel=1")
		cmd.Env = append(os.Environ(), descriptorsEnv+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	eachLevelAndWindow(t, func(t *testing.T, level Durability, heap bool) {
		step := 1
		if racing {
			step = 5
		}
		for free := 0; free < 25; free += step {
			runOut(t, level, heap, free)
		}
	})
}

// runOut works with so many descriptors free, and then with as many as there
// were.
func runOut(t *testing.T, level Durability, heap bool, free int) {
	at := fmt.Sprintf("%d descriptors", free)
	w := newWorld(t, heap, false, uint64(free))
	w.m, w.dir, w.mild = nil, quickDir(t)+"/store", true
	w.must(
		makes("orders", TopicConfig{Durability: level, Retention: Retention{PartitionBytes: 24 << 10}, Archive: Archive{Dir: w.dir + "-archive"}}),
		makes("refunds", TopicConfig{Durability: level}), appends("orders", 20, 900), appends("refunds", 5, 900))
	work := []step{
		appends("orders", 6, 900), reads("orders"), appends("refunds", 6, 900), batches("orders", 9, 700), asyncs("refunds", 5, 700), syncs("orders"),
		makes("third", TopicConfig{}), enforces("orders"), sets("refunds", Sync), trims("refunds", 4), verifies(), reads("refunds"),
		appends("refunds", 3, 900), deletes("third"), purges("orders"), appends("orders", 4, 900),
	}

	restore := w.leave(free)
	for _, s := range work {
		s(w)
	}
	restore()
	w.goesOn(at)
	w.holdsWhatItSaid(at)

	restore = w.leave(free)
	w.close()
	if w.open() {
		appends("orders", 6, 900)(w)
		w.close()
	}
	restore()
	w.goesOn(at)
	w.holdsWhatItSaid(at + ", opened again")
	w.must((*world).close)
}

// leave leaves the process so many descriptors, till restore is called.
func (w *world) leave(free int) (restore func()) {
	var was unix.Rlimit
	require.NoError(w.t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	used := map[int]bool{}
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(w.t, err)
	for _, e := range all {
		n, err := strconv.Atoi(e.Name())
		require.NoError(w.t, err)
		used[n] = true
	}
	limit := 0
	for n := -1; n < free; limit++ { // ReadDir had one itself
		if !used[limit] {
			n++
		}
	}
	now := was
	now.Cur = uint64(limit - 1)
	require.NoError(w.t, unix.Setrlimit(unix.RLIMIT_NOFILE, &now))
	w.cause = unix.EMFILE
	return func() {
		require.NoError(w.t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
		w.cause = nil
	}
}

// reads reads all records of a topic.
func reads(name string) step {
	return func(w *world) {
		k := w.find(name)
		if k == nil {
			return
		}
		for _, err := range k.topic.Records(bg, partition.First()) {
			w.ok(err, name)
		}
	}
}

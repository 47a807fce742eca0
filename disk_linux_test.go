package braidlog

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/braidlog/braidlog/partition"
)

// This file fills disks to the last byte, or the last file: small file systems
// that are mounted for the test. Mounting takes rights that not everybody has.

// mustMount says that a disk that cannot be mounted is a failure. Without it
// the test says that it was not run.
const mustMount = "BRAIDLOG_MUST_MOUNT"

// diskKinds are the disks there are, by what is scarce.
var diskKinds = []diskKind{
	{"bytes", mountTmpfs("size=5m"), pieceOfBytes, restOfBytes},
	{"inodes", mountTmpfs("size=64m,nr_inodes=120"), pieceOfFiles, restOfFiles},
	{"ext4", mountExt4, pieceOfBytes, restOfBytes},
}

type diskKind struct {
	name  string
	mount func(t *testing.T, dir string) error
	piece func(path string) error // takes some of what is scarce
	rest  func(path string) error // takes all that is left
}

func mountTmpfs(options string) func(*testing.T, string) error {
	return func(_ *testing.T, dir string) error { return unix.Mount("braidlog", dir, "tmpfs", 0, options) }
}

// mountExt4 mounts a file, where delayed allocation and a journal have their
// say.
func mountExt4(t *testing.T, dir string) error {
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 8<<20))
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", file}, {"mount", "-o", "loop", file, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

func pieceOfBytes(path string) error { return os.WriteFile(path, make([]byte, 400<<10), 0o600) }

func restOfBytes(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for n := 64 << 10; n > 0; n /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, n))
		}
	}
	return errors.Join(err, f.Close())
}

func pieceOfFiles(path string) error { return makeFiles(path, 15) }

func restOfFiles(path string) error { return makeFiles(path, 1<<20) }

func makeFiles(path string, n int) error {
	err := os.Mkdir(path, 0o700)
	for i := 0; err == nil && i < n; i++ {
		err = os.WriteFile(filepath.Join(path, fmt.Sprint(i)), nil, 0o600)
	}
	return err
}

// A disk is a small file system.
type disk struct {
	diskKind
	t       *testing.T
	dir     string
	ballast []string // pieces
	rests   []string
}

// eachDisk runs f with a disk of each kind that can be mounted.
func eachDisk(t *testing.T, f func(t *testing.T, d *disk)) {
	kinds := diskKinds
	if racing {
		kinds = kinds[:2]
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			d := &disk{diskKind: k, t: t, dir: t.TempDir()}
			if err := k.mount(t, d.dir); err != nil {
				d.notRun(err)
				return
			}
			t.Cleanup(func() { require.NoError(t, unix.Unmount(d.dir, unix.MNT_DETACH)) })
			for i := range 4 {
				path := filepath.Join(d.dir, fmt.Sprint("ballast-", i))
				require.NoError(t, d.piece(path))
				d.ballast = append(d.ballast, path)
			}
			f(t, d)
		})
	}
}

// notRun says, loudly, that there is no such disk.
func (d *disk) notRun(err error) {
	if os.Getenv(mustMount) == "1" && d.name != "ext4" { // that takes more than rights
		require.NoError(d.t, err, "%s=1", mustMount)
	}
	d.t.Logf("NOT RUN: no such disk can be mounted: %v", err)
	fmt.Fprintf(os.Stderr, "NOT RUN: %s: no such disk can be mounted: %v\n", d.t.Name(), err)
}

// brim takes all that is left.
func (d *disk) brim() {
	path := filepath.Join(d.dir, fmt.Sprint("rest-", len(d.rests)))
	d.rests = append(d.rests, path)
	require.ErrorIs(d.t, d.rest(path), unix.ENOSPC)
}

// drop gives back what brim took, and a piece of the ballast.
func (d *disk) drop() {
	last := len(d.ballast) - 1
	for _, path := range append(d.rests, d.ballast[last]) {
		require.NoError(d.t, os.RemoveAll(path))
	}
	d.ballast, d.rests = d.ballast[:last], nil
}

// fill appends to a topic in every way until there is no room for anything.
func (d *disk) fill(w *world, name string) {
	w.cause = ErrDiskFull
	for range 2 {
		for idle := 0; idle < 5; idle++ {
			before := w.acknowledged(name)
			for _, s := range []step{appends(name, 2, 6000), batches(name, 4, 3000), asyncs(name, 2, 5000)} {
				s(w)
			}
			if w.acknowledged(name) > before {
				idle = -1
			}
		}
		d.brim()
	}
	w.cause = nil
}

// acknowledged returns how many records of a topic were.
func (w *world) acknowledged(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.topics[name].records {
		if o.fate == acknowledged {
			n++
		}
	}
	return n
}

// must has a step succeed.
func (w *world) must(steps ...step) {
	w.strict = true
	for _, s := range steps {
		s(w)
	}
	w.strict = false
}

// holdsWhatItSaid requires that the store, which is open, has what was
// acknowledged and nothing that was refused.
func (w *world) holdsWhatItSaid(at string) {
	w.mu.Lock()
	i := image{at: at, topics: w.topics}
	w.mu.Unlock()
	i.judge(w.t, readStore(w.t, at, w.s), true)
}

func (w *world) requireWritable(at string) {
	for name, t := range w.s.topics {
		for _, p := range t.parts {
			require.True(w.t, p.Writable(), "%s: %s/%d", at, name, p.Number())
		}
	}
}

func eachLevelAndWindow(t *testing.T, f func(t *testing.T, level Durability, heap bool)) {
	for _, level := range []Durability{Sync, Interval, OS} {
		for _, heap := range []bool{true, false} {
			if level == Sync && !heap {
				continue
			}
			t.Run(fmt.Sprintf("%s, heap window %t", level, heap), func(t *testing.T) { t.Parallel(); f(t, level, heap) })
		}
	}
}

// On a disk that is full nothing that was acknowledged is lost, every error
// says so, and with room again everything goes on without a restart.
func TestFullDisk(t *testing.T) {
	eachLevelAndWindow(t, func(t *testing.T, level Durability, heap bool) {
		eachDisk(t, func(t *testing.T, d *disk) {
			w := newWorld(t, heap, false, 1)
			w.m, w.dir, w.mild = nil, d.dir+"/store", true
			config := TopicConfig{Durability: level, SegmentBytes: 64 << 10}
			w.must(makes("orders", config), makes("refunds", config), appends("refunds", 40, 6000))

			d.fill(w, "orders")
			w.requireWritable("full")
			w.holdsWhatItSaid("full")
			w.must(verifies())
			d.refusesChanges(w)

			d.drop()
			w.must(appends("orders", 30, 900), batches("orders", 9, 900), syncs("orders"), appends("refunds", 9, 900))
			d.fill(w, "orders")
			w.must(trims("orders", 20)) // it makes room itself
			w.must(appends("orders", 9, 900), syncs("orders"))
			w.holdsWhatItSaid("trimmed")

			d.fill(w, "orders")
			w.must(deletes("refunds"), appends("orders", 9, 900))
			d.fill(w, "orders")
			w.must(purges("orders"), appends("orders", 9, 900))
			w.requireWritable("purged")

			d.fill(w, "orders")
			w.cause = ErrDiskFull
			w.close() // not everything can be written then
			w.cause = nil
			w.must((*world).reopen)
			w.holdsWhatItSaid("opened on a full disk")
			d.drop()
			w.must(appends("orders", 9, 900), reopens(), appends("orders", 9, 900))
			w.holdsWhatItSaid("opened again")
			w.must((*world).close)
		})
	})
}

func (w *world) reopen() { require.True(w.t, w.open()) }

// refusesChanges requires that what takes space fails, says so and changes
// nothing.
func (d *disk) refusesChanges(w *world) {
	_, err := w.s.CreateTopic(bg, "third", TopicConfig{})
	require.ErrorIs(d.t, err, ErrDiskFull)
	require.ErrorContains(d.t, err, "create topic third: ")
	require.ErrorContains(d.t, err, unix.ENOSPC.Error())
	require.Equal(d.t, []string{"orders", "refunds"}, w.s.Topics())
	topic, err := w.s.Topic("refunds")
	require.NoError(d.t, err)
	before := topic.Config()
	err = topic.SetConfig(bg, TopicConfig{MaxKeyBytes: 99})
	require.ErrorIs(d.t, err, ErrDiskFull)
	require.ErrorContains(d.t, err, "configure topic refunds: ")
	require.Equal(d.t, settingsOf(before), settingsOf(topic.Config()))
}

// A process that is killed on a full disk leaves a store that can be opened
// there, with everything that was acknowledged, and that goes on when there is
// room again.
func TestKilledOnAFullDisk(t *testing.T) {
	eachLevelAndWindow(t, func(t *testing.T, level Durability, heap bool) {
		eachDisk(t, func(t *testing.T, d *disk) {
			p := &killer{t: t, plan: killPlan{dir: d.dir + "/store", level: level, heap: heap}}
			p.begin()
			p.fill(d)
			s, topic, err := p.plan.open()
			require.NoError(t, err)
			p.compare(topic)
			for _, r := range topic.Recovery() {
				require.Empty(t, r.Lost)
			}
			d.drop()
			for i := range topic.NumPartitions() {
				require.True(t, topic.Partition(i).Writable())
				_, err = topic.AppendTo(bg, i, rec("later", i))
				require.NoError(t, err)
			}
			require.NoError(t, s.Close())
		})
	})
}

// fill starts a child that fills the disk, takes down all it said, and kills
// it when there is not a byte left.
func (p *killer) fill(d *disk) {
	t := p.t
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fillEnv+"="+p.plan.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		if line == "full\n" {
			break
		}
		require.NotContains(t, line, "error")
		p.heard(line)
	}
	d.brim()
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// An archive on a disk that is full takes no more segments, and what it did not
// take stays.
func TestArchiveOnAFullDisk(t *testing.T) {
	eachDisk(t, func(t *testing.T, d *disk) {
		archive := d.dir + "/archive"
		w := newWorld(t, false, false, 1)
		w.m, w.dir, w.mild = nil, t.TempDir()+"/store", true
		w.must(makes("orders", TopicConfig{Durability: OS, SegmentBytes: 64 << 10,
			Retention: Retention{PartitionBytes: 128 << 10}, Archive: Archive{Dir: archive}}))
		w.cause = ErrDiskFull
		for range 2 {
			w.archiveUntilFull(archive)
			d.brim()
			w.archiveUntilFull(archive)
			d.drop()
			enforces("orders")(w)
			w.holdsWithArchive(archive)
		}
		w.must(appends("orders", 9, 900), (*world).close)
	})
}

// archiveUntilFull appends, and has segments archived, until one cannot be.
func (w *world) archiveUntilFull(archive string) {
	for err := error(nil); err == nil; {
		w.must(appends("orders", 20, 9000))
		err = w.topics["orders"].topic.Enforce(bg)
		w.must(gives("orders", (*partition.Partition).Start, func(*Topic) error { return nil })) // what went was asked for
		if err != nil {
			require.ErrorContains(w.t, err, "enforce retention of orders: archive segment ")
			w.ok(err, "orders")
		}
	}
	w.holdsWithArchive(archive)
}

// holdsWithArchive requires that what the store does not have any more is in
// the archive.
func (w *world) holdsWithArchive(archive string) {
	w.holdsWhatItSaid("archiving")
	s, err := Open(archive, Options{ReadOnly: true})
	require.NoError(w.t, err)
	topic, err := s.Topic("orders")
	require.NoError(w.t, err)
	for i := range topic.NumPartitions() {
		p := topic.Partition(i)
		require.GreaterOrEqual(w.t, p.End(), w.topics["orders"].topic.Partition(i).Start())
		next := int64(0)
		for rec, err := range p.Records(bg, partition.First()) {
			require.NoError(w.t, err)
			require.Equal(w.t, next, rec.Offset)
			next++
		}
		require.Equal(w.t, p.End(), next)
	}
	require.NoError(w.t, s.Close())
}

// A repair needs some room. Without it nothing is changed, and with room again
// the repair can be done.
func TestRepairOnAFullDisk(t *testing.T) {
	eachDisk(t, func(t *testing.T, d *disk) {
		w := newWorld(t, false, false, 1)
		w.m, w.dir, w.mild = nil, d.dir+"/store", true
		w.must(makes("orders", TopicConfig{SegmentBytes: 64 << 10}))
		d.fill(w, "orders")
		p := w.topics["orders"].topic.Partition(0)
		sealed, _ := p.Sealed()
		require.NotEmpty(t, sealed)
		spoilFile(t, w.dir+"/topics/orders/partitions/0/"+sealed[0].Name(), 3000)
		found, err := p.Verify(bg, nil)
		require.NoError(t, err)
		require.Len(t, found, 1)

		_, err = p.Repair(bg, partition.KeepIntact)
		require.ErrorIs(t, err, ErrDiskFull)
		require.ErrorContains(t, err, "repair orders/0: ")
		require.True(t, p.Writable())
		d.drop()
		report, err := p.Repair(bg, partition.KeepIntact)
		require.NoError(t, err)
		require.Len(t, report.GivenUp, 1)
		for range 9 {
			_, err = p.Append(bg, Record{Value: make([]byte, 900)})
			require.NoError(t, err)
		}

		// The same where appends go on.
		require.NoError(t, w.s.Close())
		d.brim()
		spoilFile(t, lastFile(t, w.dir+"/topics/orders/partitions/0"), 1100)
		d.brim()
		w.s, err = Open(w.dir, Options{Validate: ValidateFull})
		require.NoError(t, err)
		topic, err := w.s.Topic("orders")
		require.NoError(t, err)
		p = topic.Partition(0)
		require.False(t, p.Writable())
		_, err = p.Repair(bg, partition.CutAtDamage)
		require.ErrorIs(t, err, ErrDiskFull)
		d.drop()
		_, err = p.Repair(bg, partition.CutAtDamage)
		require.NoError(t, err)
		_, err = p.Append(bg, rec("later", 1))
		require.NoError(t, err)
		require.NoError(t, w.s.Close())
	})
}

func spoilFile(t *testing.T, path string, at int64) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, at)
	require.NoError(t, errors.Join(err, f.Close()))
}

// lastFile returns the last segment in a directory.
func lastFile(t *testing.T, dir string) string {
	all, err := filepath.Glob(dir + "/*.log")
	require.NoError(t, err)
	return slices.Max(all)
}

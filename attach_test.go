package braidlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// This file starts the test's own program as a child that writes a store while
// this process is attached to it for reading. The child does what it is told,
// line by line, and answers each line. It can be stopped between a write and
// its sync.

// writerEnv has the child's parameters; see writerPlan.
const writerEnv = "BRAIDLOG_WRITER"

// A writerPlan is what a child is told when it starts.
type writerPlan struct {
	level Durability
	heap  bool
	dir   string
}

func (w *writerPlan) String() string { return fmt.Sprintf("%d %t %s", w.level, w.heap, w.dir) }

func (w *writerPlan) parse(s string) error {
	_, err := fmt.Sscanf(s, "%d %t %s", &w.level, &w.heap, &w.dir)
	return err
}

// followedValue is the value of the record at an offset, written by the cycle-th
// child.
func followedValue(cycle int, offset int64) string {
	size := rand.New(rand.NewPCG(uint64(cycle), uint64(offset))).IntN(300)
	return fmt.Sprintf("%d %d %s", cycle, offset, bytes.Repeat([]byte{byte('a' + offset%26)}, size))
}

// writeAsTold is the child.
func writeAsTold() {
	var plan writerPlan
	err := plan.parse(os.Getenv(writerEnv))
	c := &child{fs: &gatedFS{open: make(chan struct{})}}
	if err == nil {
		c.store, err = Open(plan.dir, Options{fs: c.fs, forceHeap: plan.heap})
	}
	if err == nil {
		c.topic, err = c.store.EnsureTopic(context.Background(), "orders", TopicConfig{
			Partitions: 1, Durability: plan.level, SegmentBytes: 16 << 10, SyncEvery: SyncEvery{Records: 200},
		})
	}
	if err != nil {
		c.say("error %v", err)
		os.Exit(1)
	}
	c.fs.entered = func() { c.say("at the gate") }
	c.say("ready %d", c.topic.Partition(0).End())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err = c.obey(strings.Fields(lines.Text())); err != nil {
			c.say("error %v", err)
		}
	}
	os.Exit(0) // the parent is gone
}

// A child is what the child has.
type child struct {
	mu    sync.Mutex // held while a line is printed
	fs    *gatedFS
	store *Store
	topic *Topic
	cycle int
	tasks sync.WaitGroup
}

func (c *child) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// obey does one thing and says that it is done.
func (c *child) obey(words []string) error {
	n := 0
	if len(words) > 1 {
		var err error
		if n, err = strconv.Atoi(words[1]); err != nil {
			return err
		}
	}
	bg := context.Background()
	switch words[0] {
	case "cycle": // numbers what comes
		c.cycle = n
	case "append": // n records
		return c.append(n)
	case "forever": // until it is killed, and does not answer
		c.tasks.Go(func() {
			for c.append(1) == nil {
			}
		})
	case "gated": // one record, whose sync is stopped
		c.fs.gated.Store(true)
		c.tasks.Go(func() {
			if err := c.append(1); err != nil {
				c.say("error %v", err)
			}
		})
		return nil
	case "open": // lets it go on
		c.fs.gated.Store(false)
		c.fs.open <- struct{}{}
		return nil
	case "sync":
		if err := c.topic.Sync(bg); err != nil {
			return err
		}
	case "trim":
		if err := c.topic.Partition(0).Trim(bg, int64(n)); err != nil {
			return err
		}
	case "close":
		if err := c.store.Close(); err != nil {
			return err
		}
	}
	c.say("done")
	return nil
}

// append appends n records and says where the last one is.
func (c *child) append(n int) error {
	var pos Position
	for range n {
		// Nobody else appends, so it is known where the record will be.
		next := c.topic.Partition(0).End()
		value := followedValue(c.cycle, next)
		var err error
		if pos, err = c.topic.Append(context.Background(), Record{Value: []byte(value)}); err != nil {
			return err
		}
		if pos.Offset != next {
			return fmt.Errorf("offset %d, not %d", pos.Offset, next)
		}
	}
	c.say("appended %d", pos.Offset)
	return nil
}

// A gatedFS stops syncs of data files for as long as it is gated.
type gatedFS struct {
	fs.OS
	gated   atomic.Bool
	entered func()
	open    chan struct{}
}

func (g *gatedFS) OpenDir(path string, create bool) (fs.Dir, error) {
	d, err := g.OS.OpenDir(path, create)
	return gatedDir{d, g}, err
}

type gatedDir struct {
	fs.Dir
	g *gatedFS
}

func (d gatedDir) Sub(name string) fs.Dir { return gatedDir{d.Dir.Sub(name), d.g} }

func (d gatedDir) Create(name string) (fs.File, error) { return d.g.gate(d.Dir.Create(name)) }

func (d gatedDir) Open(name string, write bool) (fs.File, error) {
	return d.g.gate(d.Dir.Open(name, write))
}

func (g *gatedFS) gate(f fs.File, err error) (fs.File, error) {
	if err != nil {
		return nil, err
	}
	return gatedFile{f, g}, nil
}

type gatedFile struct {
	fs.File
	g *gatedFS
}

func (f gatedFile) Sync() error {
	if f.g.gated.Load() {
		f.g.entered()
		<-f.g.open
	}
	return f.File.Sync()
}

// A process is a child, as its parent sees it.
type process struct {
	t     testing.TB
	plan  writerPlan
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
	cycle int
	end   int64 // offset behind the last record that is known to be acknowledged
}

// start starts a child, which is killed at the end of the test.
func (w *process) start() {
	t := w.t
	require.NotContains(t, w.plan.dir, " ", "the child could not read its plan")
	w.cmd = exec.Command(os.Args[0])
	w.cmd.Env = append(os.Environ(), writerEnv+"="+w.plan.String())
	w.cmd.Stderr = os.Stderr
	var err error
	w.in, err = w.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, w.cmd.Start())
	w.lines = bufio.NewReader(out)
	var end int64
	_, err = fmt.Sscanf(w.hear(), "ready %d", &end)
	require.NoError(t, err)
	require.GreaterOrEqual(t, end, w.end, "lost what was acknowledged")
	w.end = end
	w.cycle++
	w.do("cycle %d", w.cycle)
}

// tell sends a line.
func (w *process) tell(format string, args ...any) {
	_, err := fmt.Fprintf(w.in, format+"\n", args...)
	require.NoError(w.t, err)
}

// hear returns the next line that the child says.
func (w *process) hear() string {
	line, err := w.lines.ReadString('\n')
	require.NoError(w.t, err, line)
	require.NotContains(w.t, line, "error")
	return strings.TrimSuffix(line, "\n")
}

// do sends a line and waits until it is done.
func (w *process) do(format string, args ...any) {
	w.tell(format, args...)
	require.Equal(w.t, "done", w.hear())
}

// append has n records appended.
func (w *process) append(n int) {
	w.tell("append %d", n)
	w.heard(w.hear())
}

// heard takes down an acknowledgement.
func (w *process) heard(line string) {
	var offset int64
	_, err := fmt.Sscanf(line, "appended %d", &offset)
	require.NoError(w.t, err, line)
	w.end = offset + 1
}

// kill kills the child and takes down what it still said.
func (w *process) kill() {
	require.NoError(w.t, w.cmd.Process.Kill())
	for {
		line, err := w.lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		require.NoError(w.t, err)
		if strings.HasPrefix(line, "appended") {
			w.heard(line)
		}
	}
	require.Error(w.t, w.cmd.Wait())
}

// attachTo opens the store of a child for reading.
func attachTo(t testing.TB, w *process) (*Store, *partition.Partition) {
	s, err := Open(w.plan.dir, Options{ReadOnly: true})
	require.NoError(t, err)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	return s, topic.Partition(0)
}

// inFiles reports whether a value is in any file of the partition.
func inFiles(t testing.TB, dir, value string) bool {
	found := false
	paths, err := filepath.Glob(filepath.Join(dir, "topics/orders/partitions/0/*.log"))
	require.NoError(t, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		found = found || bytes.Contains(b, []byte(value))
	}
	return found
}

// At level Sync a record that another process wrote and has not synced yet is
// not seen, neither by who was attached already nor by who comes now. Once it is
// synced, and something tells of that, it is.
func TestAttachedBetweenWriteAndSync(t *testing.T) {
	w := &process{t: t, plan: writerPlan{level: Sync, dir: t.TempDir()}}
	w.start()
	w.append(5)
	before, p := attachTo(t, w)
	r := p.NewReader(partition.First())
	for i := range int64(5) {
		rec := waitFor(t, r) // the last one when the marker was written
		require.Equal(t, followedValue(1, i), string(rec.Value))
	}
	w.tell("gated")
	require.Equal(t, "at the gate", w.hear())
	value := followedValue(1, 5)
	require.True(t, inFiles(t, w.plan.dir, value), "it is written")
	after, q := attachTo(t, w)
	for range 20 {
		for _, p := range []*partition.Partition{p, q} {
			require.EqualValues(t, 5, p.End())
			_, err := p.Record(bg, 5)
			require.ErrorIs(t, err, ErrOffsetOutOfRange)
			_, err = p.NewReader(partition.End()).TryNext()
			require.Equal(t, ErrEnd, err)
		}
		_, err := r.TryNext()
		require.Equal(t, ErrEnd, err)
	}
	w.tell("open")
	w.heard(w.hear())
	for _, r := range []*partition.Reader{r, q.NewReader(partition.End())} {
		require.Equal(t, value, string(waitFor(t, r).Value))
	}
	w.do("close")
	require.NoError(t, before.Close())
	require.NoError(t, after.Close())
	w.kill()
}

// The process dies between the write and the sync. The next one makes the
// record durable, or another one takes its place; either way those who were
// attached see what is there, once it is certain.
func TestAttachedWhenTheWriterDiesBeforeItsSync(t *testing.T) {
	w := &process{t: t, plan: writerPlan{level: Sync, dir: t.TempDir()}}
	w.start()
	w.append(5)
	s, p := attachTo(t, w)
	r := p.NewReader(partition.First())
	for range 5 {
		waitFor(t, r)
	}
	w.tell("gated")
	require.Equal(t, "at the gate", w.hear())
	w.kill()
	require.EqualValues(t, 5, p.End())
	_, err := r.TryNext()
	require.Equal(t, ErrEnd, err)
	w.start()
	require.EqualValues(t, 6, w.end, "it was in the page cache")
	w.append(2)
	for i := int64(5); i < 8; i++ {
		cycle := 1
		if i > 5 {
			cycle = 2
		}
		require.Equal(t, followedValue(cycle, i), string(waitFor(t, r).Value))
	}
	w.do("close")
	require.NoError(t, s.Close())
	w.kill()
}

// The writer rolls, trims, is killed and comes back; who is attached reads every
// record once and in order, and nothing that is not in the log.
func TestAttachedWhileTheWriterIsKilled(t *testing.T) {
	for _, plan := range []writerPlan{{level: Sync, heap: true}, {level: Interval}, {level: OS, heap: true}, {level: OS}} {
		t.Run(fmt.Sprintf("%v, heap %t", plan.level, plan.heap), func(t *testing.T) {
			t.Parallel()
			plan.dir = t.TempDir()
			w := &process{t: t, plan: plan}
			w.start()
			s, p := attachTo(t, w)
			r := p.NewReader(partition.First())
			read := map[int64]string{}
			last := int64(-1)
			follow := func(n int) {
				for range n {
					rec := waitFor(t, r)
					require.Greater(t, rec.Offset, last)
					if (fs.OS{}).BootID() != "" {
						require.Equal(t, last+1, rec.Offset)
					}
					last = rec.Offset
					read[rec.Offset] = string(rec.Value)
				}
			}
			for range 8 {
				w.tell("forever")
				follow(150) // while it is killed somewhere
				w.kill()
				w.start()
				w.append(3)
				w.do("sync")
				for last < w.end-2 { // of the last one nothing may tell yet
					follow(1)
				}
				w.do("trim %d", max(0, w.end-100))
				require.Equal(t, max(0, w.end-100), p.Start())
			}
			w.do("close")
			for last < w.end-1 {
				follow(1)
			}
			w.kill()
			require.NoError(t, s.Close())
			requireRead(t, &w.plan, read)
		})
	}
}

// requireRead requires that what is left of the log is what was read.
func requireRead(t *testing.T, plan *writerPlan, read map[int64]string) {
	s, err := Open(plan.dir, Options{})
	require.NoError(t, err)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	n := 0
	for rec, err := range topic.Records(bg, partition.First()) {
		require.NoError(t, err)
		require.Equal(t, read[rec.Offset], string(rec.Value))
		n++
	}
	require.Greater(t, n, 50)
	require.NoError(t, s.Close())
}

// Who holds no lock keeps nobody out: while the writer lives another one is
// refused, and when it is gone the next one comes, whoever is attached.
func TestAttachedTakesNoLockOfAnotherProcess(t *testing.T) {
	w := &process{t: t, plan: writerPlan{level: OS, dir: t.TempDir()}}
	w.start()
	w.append(1)
	s, p := attachTo(t, w)
	_, err := Open(w.plan.dir, Options{})
	var locked *LockedError
	require.True(t, errors.As(err, &locked))
	require.Equal(t, fmt.Sprint("pid ", w.cmd.Process.Pid), locked.Holder)
	w.kill()
	own, err := Open(w.plan.dir, Options{})
	require.NoError(t, err)
	topic, err := own.Topic("orders")
	require.NoError(t, err)
	_, err = topic.Append(bg, rec("a", 1))
	require.NoError(t, err)
	require.EqualValues(t, topic.Partition(0).End(), p.End())
	require.NoError(t, own.Close())
	require.NoError(t, s.Close())
}

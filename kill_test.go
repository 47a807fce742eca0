package braidlog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// This file starts the test's own program again and again as a child that
// appends and says what was acknowledged, kills it in the middle, and looks
// whether all of that is there.

// killEnv has the child's parameters; see killPlan.
const killEnv = "BRAIDLOG_KILL"

const (
	killCycles     = 60 // children a variant
	killWriters    = 4  // goroutines of a child
	killPartitions = 3
	killKeys       = 5      // keys a writer takes turns with
	killAsync      = 8      // asynchronous appends of a writer between two syncs
	killRecords    = 10_000 // records a topic grows to before a new one is begun
)

// A killPlan is what a child is told.
type killPlan struct {
	dir, topic string
	level      Durability
	heap       bool
	cycle      int
}

func (k *killPlan) String() string {
	return fmt.Sprintf("%d %d %t %s %s", k.cycle, k.level, k.heap, k.topic, k.dir)
}

func (k *killPlan) parse(s string) error {
	_, err := fmt.Sscanf(s, "%d %d %t %s %s", &k.cycle, &k.level, &k.heap, &k.topic, &k.dir)
	return err
}

func (k *killPlan) open() (*Store, *Topic, error) {
	s, err := Open(k.dir, Options{forceHeap: k.heap})
	if err != nil {
		return nil, nil, err
	}
	t, err := s.EnsureTopic(context.Background(), k.topic, TopicConfig{
		Partitions: killPartitions, Durability: k.level, SegmentBytes: 16 << 10,
		SyncEvery: SyncEvery{Records: 300},
	})
	return s, t, err
}

// killKey and killValue are the key and value of record seq of a writer. The
// value is known from the numbers alone, so that the parent can tell it from
// anything else.
func killKey(writer, seq int) []byte { return fmt.Appendf(nil, "key-%d-%d", writer, seq%killKeys) }

func killValue(cycle, writer, seq int) []byte {
	size := rand.New(rand.NewPCG(uint64(cycle), uint64(writer)<<32+uint64(seq))).IntN(400)
	return fmt.Appendf(nil, "%d %d %d %s", cycle, writer, seq, bytes.Repeat([]byte{byte('a' + seq%26)}, size))
}

// appendUntilKilled is the child. Each line it prints is an acknowledgement.
func appendUntilKilled() {
	var k killPlan
	err := k.parse(os.Getenv(killEnv))
	var topic *Topic
	if err == nil {
		_, topic, err = k.open()
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var printing sync.Mutex
	say := func(format string, args ...any) {
		printing.Lock()
		defer printing.Unlock()
		fmt.Printf(format, args...)
	}
	for writer := range killWriters {
		go func() {
			for seq := 0; ; seq++ {
				if err := k.append(topic, writer, seq, say); err != nil {
					say("error %v\n", err)
				}
			}
		}()
	}
	select {}
}

// append appends record seq: asynchronously most of the time if the writer is
// the last one. That one syncs now and then.
func (k *killPlan) append(t *Topic, writer, seq int, say func(string, ...any)) error {
	rec := Record{Key: killKey(writer, seq), Value: killValue(k.cycle, writer, seq)}
	ack := func(pos Position, err error) {
		if err != nil {
			say("error %v\n", err)
			return
		}
		say("ack %d %d %d %d\n", pos.Partition, pos.Offset, writer, seq)
	}
	bg := context.Background()
	if writer == killWriters-1 && seq%killAsync != 0 {
		return t.AppendAsync(bg, rec, ack)
	}
	if writer == killWriters-1 {
		if err := t.Sync(bg); err != nil {
			return err
		}
	}
	pos, err := t.Append(bg, rec)
	ack(pos, err)
	return nil
}

func TestNothingIsLostToKill(t *testing.T) {
	variants := []killPlan{
		{level: Sync, heap: true}, {level: Interval}, {level: Interval, heap: true}, {level: OS}, {level: OS, heap: true},
	}
	for _, k := range variants {
		window := "mapped"
		if k.heap {
			window = "heap"
		}
		t.Run(k.level.String()+" "+window, func(t *testing.T) {
			t.Parallel()
			k.dir = t.TempDir()
			require.NotContains(t, k.dir, " ", "the child could not read its plan")
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			p := &killer{t: t, plan: k, rng: rand.New(rand.NewPCG(seed, 0))}
			p.begin()
			cycles := killCycles
			if racing {
				cycles /= 4
			}
			for p.plan.cycle = range cycles {
				p.run()
				// Sometimes the next child is the first to find what this one left.
				if p.rng.IntN(3) > 0 || p.plan.cycle == cycles-1 {
					p.verify()
				}
			}
		})
	}
}

// A killBy says whose record it is: of which cycle, writer and key.
type killBy struct{ cycle, writer, key int }

func byOf(cycle, writer, seq int) killBy { return killBy{cycle, writer, seq % killKeys} }

// A killer is the parent.
type killer struct {
	t    *testing.T
	plan killPlan
	rng  *rand.Rand

	topics int
	acked  []map[int64]string // by partition and offset: the values acknowledged since the topic began
	read   [][]string         // by partition: the values read by the last look, in order
	most   map[killBy]int     // the greatest number acknowledged
	last   map[[2]int]int     // by cycle and writer: the greatest number acknowledged of any key
	next   map[killBy]int     // the number that comes behind those read, less the key's own
}

// begin goes on with a new topic.
func (p *killer) begin() {
	p.topics++
	p.plan.topic = fmt.Sprint("topic-", p.topics)
	p.acked = make([]map[int64]string, killPartitions)
	for i := range p.acked {
		p.acked[i] = map[int64]string{}
	}
	p.read = make([][]string, killPartitions)
	p.most, p.last, p.next = map[killBy]int{}, map[[2]int]int{}, map[killBy]int{}
}

// run starts a child, kills it after some acknowledgements, and takes down all
// it said.
func (p *killer) run() {
	t := p.t
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+p.plan.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	enough := 1 + p.rng.IntN(120)
	lines := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == enough {
			require.NoError(t, cmd.Process.Kill())
		}
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line without an end was not printed before the child died
		}
		require.NoError(t, err)
		if n < enough {
			require.NotContains(t, line, "error")
		}
		p.heard(line)
	}
	require.Error(t, cmd.Wait(), "the child ended by itself")
}

// heard takes down one acknowledgement.
func (p *killer) heard(line string) {
	n := numbers(p.t, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "ack "), 4)
	part, offset, writer, seq := n[0], int64(n[1]), n[2], n[3]
	_, taken := p.acked[part][offset]
	require.False(p.t, taken, "partition %d: offset %d was given twice", part, offset)
	p.acked[part][offset] = string(killValue(p.plan.cycle, writer, seq))
	by := byOf(p.plan.cycle, writer, seq)
	p.most[by] = max(p.most[by], seq)
	of := [2]int{by.cycle, writer}
	p.last[of] = max(p.last[of], seq)
}

// numbers returns the n numbers that a line begins with.
func numbers(t *testing.T, line string, n int) []int {
	all := make([]int, n)
	for i, word := range strings.SplitN(line, " ", n+1)[:n] {
		var err error
		all[i], err = strconv.Atoi(word)
		require.NoError(t, err, line)
	}
	return all
}

// verify opens the store and compares what is in it with what was said.
func (p *killer) verify() {
	s, topic, err := p.plan.open()
	require.NoError(p.t, err)
	if p.compare(topic) > killRecords {
		require.NoError(p.t, s.DeleteTopic(bg, p.plan.topic))
		p.begin()
	}
	require.NoError(p.t, s.Close())
}

// compare compares what is in the topic with what was said, and returns how
// many records there are.
func (p *killer) compare(topic *Topic) (total int) {
	t := p.t
	for i := range topic.NumPartitions() {
		all := p.readAll(topic.Partition(i))
		before := len(p.read[i])
		require.GreaterOrEqual(t, len(all), before, "records that were read once are gone")
		require.True(t, slices.Equal(p.read[i], all[:before]), "records that were read once are others now")
		p.read[i] = all
		for _, value := range all[before:] {
			p.offered(value)
		}
		total += len(all)
	}
	for by, seq := range p.most {
		require.Greater(t, p.next[by], seq-by.key, "%+v", by)
	}
	for by, next := range p.next {
		last, ok := p.last[[2]int{by.cycle, by.writer}]
		if !ok {
			last = -1
		}
		// Behind what it said last, a writer offers no more than the append that it
		// waits for next, and what it does not wait for until then.
		ahead := 1
		if by.writer == killWriters-1 {
			ahead = killAsync
		}
		require.LessOrEqual(t, next-killKeys+by.key, last+ahead, "%+v: more than was offered", by)
	}
	return total
}

// readAll returns a partition's values, and requires that those acknowledged
// are at their offsets and no offset is left out.
func (p *killer) readAll(part *partition.Partition) (all []string) {
	t, acked, found := p.t, p.acked[part.Number()], 0
	gapless := fs.OS{}.BootID() != ""
	for r, err := range part.Records(bg, partition.First()) {
		if err != nil || gapless && r.Offset != int64(len(all)) {
			require.FailNow(t, "unreadable, or an offset is left out", "%d: %v", r.Offset, err)
		}
		value := string(r.Value)
		if want, ok := acked[r.Offset]; ok {
			found++
			if want != value {
				require.FailNow(t, "not what was acknowledged", "partition %d, offset %d: %q, not %q", part.Number(), r.Offset, value, want)
			}
		}
		all = append(all, value)
	}
	require.Equal(t, len(acked), found, "partition %d: acknowledged and not there", part.Number())
	require.Empty(t, part.Recovery().Lost)
	if gapless {
		require.EqualValues(t, len(all), part.End())
	}
	return all
}

// offered requires that a value is one that a child offered, and the next of
// its writer and key: nothing is invented, repeated, left out or out of order.
func (p *killer) offered(value string) {
	n := numbers(p.t, value, 3)
	cycle, writer, seq := n[0], n[1], n[2]
	by := byOf(cycle, writer, seq)
	if value != string(killValue(cycle, writer, seq)) || p.next[by] != seq-by.key {
		require.FailNow(p.t, "not what comes next", "%+v: %q", by, value)
	}
	p.next[by] += killKeys
}

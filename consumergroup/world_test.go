package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

var (
	bg      = context.Background()
	errDisk = errors.New("the disk fails")
)

// A world is a Source on a disk in memory, with a ledger and groups.
type world struct {
	t      testing.TB
	mem    *fs.Mem
	shared *partition.Shared
	dir    fs.Dir
	ledger *Ledger

	mu      sync.Mutex
	topics  map[string]Topic
	made    byte
	groups  []*Group
	reports []error
	broken  bool // closing fails
}

func newWorld(t testing.TB) *world { return openWorld(t, fs.NewMem()) }

func openWorld(t testing.TB, mem *fs.Mem) *world {
	t.Helper()
	w := &world{t: t, mem: mem, topics: map[string]Topic{}}
	var err error
	w.shared, err = partition.NewShared(partition.SharedOptions{FS: mem})
	require.NoError(t, err)
	w.dir, err = mem.OpenDir("/store", true)
	require.NoError(t, err)
	p, err := partition.OpenIn(w.dir, "groups", partition.Options{Config: LedgerConfig(), Topic: LedgerName, TopicID: LedgerID, Shared: w.shared, SameBoot: true})
	require.NoError(t, err)
	w.ledger = OpenLedger(p, LedgerOptions{})
	return w
}

// inWorld runs a test in a bubble, where time passes when everybody waits. Who
// waits for ever fails soon.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		defer time.AfterFunc(1000*time.Hour, func() { panic(t.Name() + " hangs") }).Stop()
		w := newWorld(t)
		defer w.stopTimers()
		f(t, w)
		w.close()
	})
}

// stopTimers closes the groups of a test that failed: in the bubble their timers
// would fire for ever.
func (w *world) stopTimers() {
	if w.t.Failed() {
		for _, g := range w.groups {
			g.Close() //nolint:errcheck // it may be closed
		}
	}
}

// close closes everything, the groups first.
func (w *world) close() {
	w.t.Helper()
	for _, g := range w.groups {
		require.NoError(w.t, g.Close())
	}
	if err := w.ledger.Close(); !w.broken {
		require.NoError(w.t, err)
	}
	for _, t := range w.topics {
		for _, p := range t.Partitions {
			if err := p.Close(); !w.broken {
				require.NoError(w.t, err)
			}
		}
	}
	w.shared.Close()
	require.NoError(w.t, w.dir.Close())
}

// topic makes a topic, or opens it after a restart, and tells the groups.
func (w *world) topic(name string, partitions int, change ...func(*partition.Options)) Topic {
	w.t.Helper()
	w.made++
	t := Topic{Name: name, ID: TopicID{w.made}}
	for i := range partitions {
		o := partition.Options{
			Config: partition.Config{Durability: partition.OS, SegmentBytes: 8 << 10},
			Topic:  name, TopicID: t.ID, Number: i, Shared: w.shared, SameBoot: true,
		}
		for _, c := range change {
			c(&o)
		}
		p, err := partition.OpenIn(w.dir, fmt.Sprintf("%s-%d-%d", name, w.made, i), o)
		require.NoError(w.t, err)
		t.Partitions = append(t.Partitions, p)
	}
	w.mu.Lock()
	w.topics[name] = t
	w.mu.Unlock()
	for _, g := range w.groups {
		g.Refresh()
	}
	return t
}

// deleteTopic closes a topic's partitions and forgets it, as a store does.
func (w *world) deleteTopic(name string) {
	w.t.Helper()
	w.mu.Lock()
	t := w.topics[name]
	delete(w.topics, name)
	w.mu.Unlock()
	for _, p := range t.Partitions {
		require.NoError(w.t, p.Close())
	}
	for _, g := range w.groups {
		g.Refresh()
	}
}

func (w *world) group(name string, c Config) *Group {
	w.t.Helper()
	g, err := Open(name, w, w.ledger, c)
	require.NoError(w.t, err)
	w.groups = append(w.groups, g)
	return g
}

func (w *world) Topics() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.topics {
		names = append(names, name)
	}
	return names
}

var errNoTopic = fmt.Errorf("there is no such topic")

func (w *world) Topic(name string) (Topic, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t, ok := w.topics[name]; ok {
		return t, nil
	}
	return Topic{}, fmt.Errorf("topic %s: %w", name, errNoTopic)
}

func (w *world) Append(ctx context.Context, topic string, rec record.Record) error {
	t, err := w.Topic(topic)
	if err == nil {
		_, err = t.Partitions[0].Append(ctx, rec)
	}
	return err
}

func (w *world) Report(_ TopicPartition, _ string, err error) {
	w.mu.Lock()
	w.reports = append(w.reports, err)
	w.mu.Unlock()
}

// reported returns what was reported since it was called last.
func (w *world) reported() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.reports
	w.reports = nil
	return all
}

// add appends n records to a partition: value and key tell number and lane.
func add(t testing.TB, p *partition.Partition, n int) {
	t.Helper()
	for range n {
		_, err := p.Append(bg, record.Record{Key: fmt.Appendf(nil, "k%d", p.End()%5), Value: fmt.Appendf(nil, "%d", p.End())})
		require.NoError(t, err)
	}
}

// addAll appends n records to each partition of a topic.
func addAll(t testing.TB, topic Topic, n int) {
	t.Helper()
	for _, p := range topic.Partitions {
		add(t, p, n)
	}
}

func join(t testing.TB, g *Group, c ...MemberConfig) *Member {
	t.Helper()
	c = append(c, MemberConfig{})
	m, err := g.Join(bg, c[0])
	require.NoError(t, err)
	return m
}

// pollNow polls for what there is now; nothing is no error. In a bubble.
func pollNow(t testing.TB, m *Member, max int) []record.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Millisecond)
	defer cancel()
	recs, err := m.Poll(ctx, max)
	if err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	return recs
}

// pollAll polls until there is nothing more, and returns how many records came
// from each partition.
func pollAll(t testing.TB, m *Member) map[TopicPartition]int {
	t.Helper()
	got := map[TopicPartition]int{}
	for {
		recs := pollNow(t, m, 0)
		if len(recs) == 0 {
			return got
		}
		for _, r := range recs {
			got[TopicPartition{r.Topic, r.Partition}]++
		}
	}
}

// settle has members poll until none has anything to move any more.
func settle(t testing.TB, g *Group, members ...*Member) {
	t.Helper()
	for range 100 {
		for _, m := range members {
			pollNow(t, m, 1)
			require.NoError(t, m.Commit(bg))
		}
		if len(g.Describe().Handovers) == 0 {
			return
		}
	}
	require.Fail(t, "the group does not settle", "%+v", g.Describe())
}

// owned returns who has what, by the members' order, as text.
func owned(members ...*Member) (all []string) {
	for _, m := range members {
		all = append(all, fmt.Sprint(m.Assignment()))
	}
	return all
}

// of names partitions of a topic.
func of(topic string, partitions ...int) (tps []TopicPartition) {
	for _, i := range partitions {
		tps = append(tps, TopicPartition{topic, i})
	}
	return tps
}

func offsets(recs []record.Record) (all []int64) {
	for _, r := range recs {
		all = append(all, r.Offset)
	}
	return all
}

// committed returns the committed offset of a partition, -1 if there is none.
func (w *world) committed(g *Group, tp TopicPartition) int64 {
	t, err := w.Topic(tp.Topic)
	require.NoError(w.t, err)
	c, kind := w.ledger.Position(g.name, t.ID, tp.Partition)
	if kind != PositionCommitted {
		return -1
	}
	return c.Offset
}

func sorted(tps []TopicPartition) []TopicPartition {
	tps = slices.Clone(tps)
	slices.SortFunc(tps, compareTopicPartitions)
	return tps
}

// damage changes bytes of a segment of partition 0 of a topic, not of its
// first.
func (w *world) damage(topic string, segment int) {
	w.t.Helper()
	t, err := w.Topic(topic)
	require.NoError(w.t, err)
	dir := fmt.Sprintf("%s-%d-0", topic, t.ID[0])
	list, err := w.dir.List(dir)
	require.NoError(w.t, err)
	var logs []string
	for _, e := range list {
		if len(e.Name) > 4 && e.Name[len(e.Name)-4:] == ".log" {
			logs = append(logs, e.Name)
		}
	}
	slices.Sort(logs)
	f, err := w.dir.Open(dir+"/"+logs[segment], true)
	require.NoError(w.t, err)
	_, err = f.WriteAt([]byte("damage"), 3000)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

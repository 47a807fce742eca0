package damage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/testhook"
	"github.com/braidlog/braidlog/partition"
)

// dir is where stores are in their file system.
const dir = "/store"

const (
	partitions = 3
	segments   = 4 // that a partition has

	segmentBytes = 4 << 10
)

// A fixture is a store before it is spoiled.
type fixture struct {
	name  string
	mem   *fs.Mem
	paths []string          // of all files, from dir, sorted
	files map[string][]byte // by path; immutable
	parts []*part
	clean bool // it was closed

	ledger  *part  // the groups log, which is a partition too
	written []note // the ledger's records, by offset
}

// A part is a partition of a fixture.
type part struct {
	topic    string
	level    braidlog.Durability
	number   int
	dir      string
	segments []*segment
	start    int64
	records  []stored // by offset
}

// stored is a record as it was acknowledged.
type stored struct {
	key, value string
	at         time.Time
}

func (p *part) String() string { return fmt.Sprintf("%s/%d", p.topic, p.number) }
func (p *part) end() int64     { return int64(len(p.records)) }
func (p *part) last() *segment { return p.segments[len(p.segments)-1] }

// fixtures returns one store that was closed, and one whose process was killed.
func fixtures() ([]*fixture, error) {
	var all []*fixture
	for _, clean := range []bool{true, false} {
		f, err := newFixture(clean)
		if err != nil {
			return nil, fmt.Errorf("make a store: %w", err)
		}
		all = append(all, f)
	}
	return all, nil
}

// options are those of every store here: in memory, and with nothing going on
// beside what is asked for.
func options(m fs.FS, c *clock.Clock) (o braidlog.Options) {
	testhook.Enter(&o, testhook.World{FS: m, Clock: c, Heap: true, Idle: true, GroupsSegmentBytes: segmentBytes})
	return o
}

// began is when the fixtures' clocks begin: some time in the past.
var began = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func newFixture(clean bool) (*fixture, error) {
	f := &fixture{name: "killed", mem: fs.NewMem(), clean: clean}
	if clean {
		f.name = "closed"
	}
	c := clock.Still(began)
	s, err := braidlog.Open(dir, options(f.mem, c))
	if err != nil {
		return nil, err
	}
	open := map[*part]*partition.Partition{}
	for topic, level := range map[string]braidlog.Durability{"orders": braidlog.Sync, "audit": braidlog.Interval} {
		t, err := s.EnsureTopic(context.Background(), topic, braidlog.TopicConfig{
			Partitions: partitions, Durability: level, SegmentBytes: segmentBytes,
		})
		if err != nil {
			return nil, err
		}
		for n := range partitions {
			p := &part{topic: topic, level: level, number: n, dir: fmt.Sprintf("topics/%s/partitions/%d", topic, n)}
			if err = p.fill(t.Partition(n), c); err != nil {
				return nil, err
			}
			f.parts, open[p] = append(f.parts, p), t.Partition(n)
		}
	}
	slices.SortFunc(f.parts, func(a, b *part) int { return strings.Compare(a.dir, b.dir) })
	for _, p := range f.parts { // now, so that no time passes behind it, and no marker is written
		if err = p.append(open[p], 2); err != nil {
			return nil, err
		}
	}
	if err = f.commit(s); err != nil {
		return nil, err
	}
	if !clean {
		old := f.mem
		f.mem = old.Kill()
		old.Halt(errors.New("killed"))
		_ = s.Close() // it is dead
		return f, f.read()
	}
	if err = s.Close(); err != nil {
		return nil, err
	}
	return f, f.read()
}

// fill appends batches of different sizes to a partition, and rolls it. The
// first partition has been trimmed.
func (p *part) fill(to *partition.Partition, c *clock.Clock) error {
	ctx := context.Background()
	rolls := segments
	if p.number == 0 {
		rolls++
	}
	for seg := range rolls {
		if seg > 0 {
			c.Skip(time.Hour)
			if err := to.RollOld(ctx, to.Now().Add(-time.Minute)); err != nil {
				return err
			}
		}
		for _, size := range []int{1, 3, 1, 2} {
			c.Skip(time.Second)
			if err := p.append(to, size); err != nil {
				return err
			}
		}
	}
	if p.number == 0 { // away with the first segment, and with a batch of the second
		p.start = 8
		return to.Trim(ctx, p.start)
	}
	return nil
}

// append appends a batch.
func (p *part) append(to *partition.Partition, size int) error {
	recs := make([]braidlog.Record, size)
	for i := range recs {
		n := len(p.records) + i
		recs[i] = braidlog.Record{Key: fmt.Appendf(nil, "key %d", n%7), Value: fmt.Appendf(nil, "%s, record %d%s", p, n, strings.Repeat(".", n%5*7))}
		if n%4 == 1 {
			recs[i].Headers = []braidlog.Header{{Key: "h", Value: []byte("v")}}
			recs[i].ID = [16]byte{byte(n), 1} // #nosec G115 -- a few dozen
		}
	}
	if err := to.AppendBatch(context.Background(), recs); err != nil {
		return err
	}
	for _, r := range recs {
		p.records = append(p.records, stored{string(r.Key), string(r.Value), r.Timestamp})
	}
	return nil
}

// read takes down every file of the store.
func (f *fixture) read() error {
	var err error
	if f.files, err = snapshot(f.mem, dir, "."); err != nil {
		return err
	}
	for name := range f.files {
		f.paths = append(f.paths, name)
	}
	slices.Sort(f.paths)
	for _, p := range f.parts {
		if err = f.readPart(p, segments); err != nil {
			return err
		}
	}
	return f.readPart(f.ledger, groupsSegments)
}

// readPart takes down the segments of a partition.
func (f *fixture) readPart(p *part, segments int) error {
	for _, name := range f.paths {
		if path.Dir(name) != p.dir || path.Ext(name) != ".log" {
			continue
		}
		s, err := parse(name, f.files[name])
		if err != nil {
			return err
		}
		p.segments = append(p.segments, s)
	}
	if len(p.segments) != segments || p.last().to != p.end() {
		return fmt.Errorf("%s: %d segments to offset %d, want %d to %d", p, len(p.segments), p.last().to, segments, p.end())
	}
	return nil
}

// snapshot returns every file in or below a directory of the store at a path of
// m, by path from the store's. What is neither file nor directory has nil.
func snapshot(m fs.FS, at, below string) (map[string][]byte, error) {
	d, err := m.OpenDir(at, false)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	err = walk(d, below, all)
	return all, errors.Join(err, d.Close())
}

// maxFileBytes is more than any file here has.
const maxFileBytes = 8 << 20

func walk(d fs.Dir, at string, all map[string][]byte) error {
	entries, err := d.List(at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(at, e.Name)
		switch e.Kind {
		case fs.KindDir:
			err = walk(d, name, all)
		case fs.KindFile:
			all[name], err = fs.ReadFile(d, name, maxFileBytes)
		default:
			all[name] = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

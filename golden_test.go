package braidlog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
)

// The directories in testdata/golden are stores of every format version there
// was, which stay readable for ever. Beside each stands a listing of what is in
// it. Those of the version of today were written by
//
//	BRAIDLOG_GOLDEN=write go test -run TestGolden .
//
// and are not to be written again without a new version.
const (
	goldenEnv = "BRAIDLOG_GOLDEN"
	goldenDir = "testdata/golden"
)

// A goldenRecord is a record in a listing. JSON tells nil from empty; all
// bytes in it are text.
type goldenRecord struct {
	Offset  int64          `json:"offset"`
	Time    int64          `json:"time"`
	Key     *string        `json:"key"`
	Value   *string        `json:"value"`
	Headers []goldenHeader `json:"headers,omitempty"`
	ID      string         `json:"id,omitempty"`
	Origin  *int64         `json:"origin,omitempty"`
}

type goldenHeader struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

type goldenTopic struct {
	Durability string           `json:"durability"`
	Placement  string           `json:"placement"`
	Partitions [][]goldenRecord `json:"partitions"`
}

func TestGoldenStores(t *testing.T) {
	if os.Getenv(goldenEnv) == "write" {
		writeGolden(t)
	}
	stores, err := filepath.Glob(goldenDir + "/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, stores)
	for _, listing := range stores {
		name := strings.TrimSuffix(filepath.Base(listing), ".json")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(listing)
			require.NoError(t, err)
			var want map[string]goldenTopic
			require.NoError(t, json.Unmarshal(b, &want))
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, name))))
			s, err := Open(dir, Options{})
			require.NoError(t, err)
			require.Equal(t, want, list(t, s))
			torn := strings.Contains(name, "torn")
			for _, n := range s.Topics() {
				topic, err := s.Topic(n)
				require.NoError(t, err)
				requireGoldenRecovery(t, topic, torn)
			}
			require.NoError(t, s.Close())
			s, err = Open(dir, Options{})
			require.NoError(t, err)
			require.Equal(t, want, list(t, s), "and opened again")
			for _, n := range s.Topics() {
				topic, err := s.Topic(n)
				require.NoError(t, err)
				_, err = topic.Append(bg, rec("k", 1))
				require.NoError(t, err)
			}
			require.NoError(t, s.Close())
		})
	}
}

// requireGoldenRecovery requires that a clean store was vouched for and a torn
// one cut.
func requireGoldenRecovery(t *testing.T, topic *Topic, torn bool) {
	for i, r := range topic.Recovery() {
		require.Empty(t, r.Lost)
		require.Equal(t, torn, r.Cut != nil, "%s/%d: %+v", topic.Name(), i, r)
		require.Equal(t, !torn, r.Vouched, "%s/%d: %+v", topic.Name(), i, r)
	}
}

// list returns all there is in a store.
func list(t *testing.T, s *Store) map[string]goldenTopic {
	all := map[string]goldenTopic{}
	for _, name := range s.Topics() {
		topic, err := s.Topic(name)
		require.NoError(t, err)
		g := goldenTopic{Durability: topic.Config().Durability.String(), Placement: topic.Placement()}
		for i := range topic.NumPartitions() {
			recs := []goldenRecord{}
			for r, err := range topic.Partition(i).Records(bg, partition.First()) {
				require.NoError(t, err)
				recs = append(recs, golden(r))
			}
			g.Partitions = append(g.Partitions, recs)
		}
		all[name] = g
	}
	return all
}

func golden(r Record) goldenRecord {
	g := goldenRecord{Offset: r.Offset, Time: r.Timestamp.UnixNano(), Key: text(r.Key), Value: text(r.Value)}
	for _, h := range r.Headers {
		g.Headers = append(g.Headers, goldenHeader{h.Key, text(h.Value)})
	}
	if r.ID != [16]byte{} {
		g.ID = fmt.Sprintf("%x", r.ID)
	}
	if !r.OriginTime.IsZero() {
		n := r.OriginTime.UnixNano()
		g.Origin = &n
	}
	return g
}

func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// goldenLevels are a topic each.
var goldenLevels = []Durability{Sync, Interval, OS}

// writeGolden makes the stores of this version: one that was closed, and one
// whose process was killed in the middle of a write.
func writeGolden(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	for _, level := range goldenLevels {
		topic, err := s.CreateTopic(bg, "level-"+level.String(), TopicConfig{Partitions: 2, Durability: level, SegmentBytes: 4 << 10})
		require.NoError(t, err)
		appendGolden(t, topic)
	}
	require.NoError(t, s.Close())
	copyOut(t, m, "v1", 0)
	listGolden(t, "v1")

	s = openMem(t, m)
	for _, level := range goldenLevels {
		topic, err := s.Topic("level-" + level.String())
		require.NoError(t, err)
		for n := range 2 {
			for i := range 3 {
				_, err = topic.AppendTo(bg, n, rec("after the last close", i))
				require.NoError(t, err)
			}
		}
	}
	killed := m.Kill()
	require.NoError(t, s.Close())
	const torn = 11 // bytes of the last frame that were not written
	copyOut(t, killed, "v1-torn", torn)
	listGolden(t, "v1-torn")
}

// appendGolden appends records of every shape.
func appendGolden(t *testing.T, topic *Topic) {
	shapes := []Record{
		{},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("key"), Value: []byte("value")},
		{Value: []byte("no key")},
		{Key: []byte("no value")},
		{Key: []byte("headers"), Value: []byte("v"), Headers: []Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "", Value: nil}}},
		{Key: []byte("id"), ID: [16]byte{0: 1, 15: 0xff}},
		{Key: []byte("origin"), Value: []byte("v"), OriginTime: time.Date(1969, 7, 20, 20, 17, 40, 5, time.UTC)},
		{Key: []byte("all"), Value: []byte("v"), ID: [16]byte{9}, OriginTime: time.Unix(0, 0).UTC(), Headers: []Header{{Key: "h", Value: []byte("x")}}},
	}
	for n := range topic.NumPartitions() {
		for _, r := range shapes {
			_, err := topic.AppendTo(bg, n, r)
			require.NoError(t, err)
		}
		big := Record{Key: []byte("big"), Value: []byte(strings.Repeat("0123456789", 90))}
		for range 4 {
			_, err := topic.AppendTo(bg, n, big)
			require.NoError(t, err)
		}
	}
	batch := make([]Record, 25)
	for i := range batch {
		batch[i] = rec(fmt.Sprint("batch-", i%7), i)
	}
	require.NoError(t, topic.AppendBatch(bg, batch))
	require.NoError(t, topic.Sync(bg))
	for i := range 5 {
		_, err := topic.AppendTo(bg, i%2, rec("late", i))
		require.NoError(t, err)
	}
}

// copyOut writes a Mem's store to testdata. With torn set, segments that
// have space reserved behind their end lose it, and so many bytes more.
func copyOut(t *testing.T, m *fs.Mem, name string, torn int) {
	to := filepath.Join(goldenDir, name)
	require.NoError(t, os.RemoveAll(to))
	d, err := m.OpenDir("/store", false)
	require.NoError(t, err)
	copyDir(t, d, ".", to, torn)
}

func copyDir(t *testing.T, d fs.Dir, from, to string, torn int) {
	require.NoError(t, os.MkdirAll(to, 0o700))
	entries, err := d.List(from)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Kind == fs.KindDir {
			copyDir(t, d, from+"/"+e.Name, filepath.Join(to, e.Name), torn)
			continue
		}
		b, err := fs.ReadFile(d, from+"/"+e.Name, 1<<20)
		require.NoError(t, err)
		if used := strings.TrimRight(string(b), "\x00"); torn > 0 && len(used)+8 < len(b) {
			b = b[:len(used)-torn]
		}
		require.NoError(t, os.WriteFile(filepath.Join(to, e.Name), b, 0o600))
	}
}

// listGolden writes the listing of a golden store, as it is read from a copy.
func listGolden(t *testing.T, name string) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, name))))
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	b, err := json.Marshal(list(t, s))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	lines := strings.ReplaceAll(string(b), `{"offset"`, "\n"+`{"offset"`) // a record each
	require.NoError(t, os.WriteFile(filepath.Join(goldenDir, name+".json"), []byte(lines+"\n"), 0o600))
}

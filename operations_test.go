package braidlog_test

import (
	"bytes"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// The code of docs/OPERATIONS.md, which shows parts of these functions.

func Example_maximumDurability() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)

	store, err := braidlog.Open(dir, braidlog.Options{Validate: braidlog.ValidateFull})
	check(err)
	defer store.Close()
	payments, err := store.EnsureTopic(ctx, "payments", braidlog.TopicConfig{
		Durability: braidlog.Sync, // as it is if nothing is said
		Dedup:      braidlog.Dedup{Mode: braidlog.DedupRequired, Window: time.Hour},
	})
	check(err)

	rec := braidlog.Record{ID: [16]byte{17}, Value: []byte("paid")}
	for range 2 {
		pos, err := payments.Append(ctx, rec)
		check(err)
		fmt.Println("offset", pos.Offset, "repeat", pos.Duplicate)
	}
	// Output:
	// offset 0 repeat false
	// offset 0 repeat true
}

func Example_maximumThroughput() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	recs := make([]braidlog.Record, 1000)

	clicks, err := store.EnsureTopic(ctx, "clicks", braidlog.TopicConfig{Durability: braidlog.OS})
	check(err)
	check(clicks.AppendBatch(ctx, recs)) // hundreds of records at a time

	fmt.Println("appended", clicks.Stats().Records, "at level", clicks.Config().Durability)
	// Output: appended 1000 at level os
}

func Example_lowMemory() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)

	store, err := braidlog.Open(dir, braidlog.Options{MaxOpenFiles: 16})
	check(err)
	defer store.Close()
	readings, err := store.EnsureTopic(ctx, "readings", braidlog.TopicConfig{
		Partitions:     1,
		SegmentBytes:   8 << 20,
		MaxRecordBytes: 16 << 10,
		IndexCache:     braidlog.CacheNone,
	})
	check(err)

	_, err = readings.Append(ctx, braidlog.Record{Value: make([]byte, 16<<10+1)})
	fmt.Println(errors.Is(err, braidlog.ErrTooLarge))
	// Output: true
}

func Example_fastReads() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)

	store, err := braidlog.Open(dir, braidlog.Options{MaxOpenFiles: 4096})
	check(err)
	defer store.Close()
	prices, err := store.EnsureTopic(ctx, "prices", braidlog.TopicConfig{IndexCache: braidlog.CacheAll})
	check(err)
	check(prices.AppendBatch(ctx, []braidlog.Record{{Value: []byte("12.10")}, {Value: []byte("12.15")}}))

	total := 0
	for i := range prices.NumPartitions() {
		r := prices.Partition(i).NewReader(partition.First())
		for {
			rec, err := r.TryNext() // lives until the next call
			if err == braidlog.ErrEnd {
				break
			}
			check(err)
			total += len(rec.Value)
		}
		check(r.Close())
	}

	fmt.Println("read", total, "bytes")
	// Output: read 10 bytes
}

func Example_automaticCleanUp() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(filepath.Join(dir, "store"), braidlog.Options{})
	check(err)
	defer store.Close()
	archive := filepath.Join(dir, "archive")
	var done [6]atomic.Int64

	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{
		SegmentBytes: 64 << 20,
		Retention: braidlog.Retention{
			Age:           30 * 24 * time.Hour, // what is older goes,
			TopicBytes:    50 << 30,            // and the oldest, if there is more than this;
			HoldBackBytes: 20 << 30,            // what a reader still needs, if its partition has more
		},
		HoldBack: func(partition int) int64 { return done[partition].Load() },
		Archive:  braidlog.Archive{Dir: archive}, // on another disk
	})
	check(err)

	check(orders.Enforce(ctx)) // now, and not when the store comes by
	fmt.Println("keeps", orders.Config().Retention.Age, "and", orders.Config().Retention.TopicBytes>>30, "GiB")
	// Output: keeps 720h0m0s and 50 GiB
}

// A store in which offsets [3,4) are damaged.
func damagedStore() (dir string) {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1, SegmentBytes: 4 << 10})
	check(err)
	for i := range 9 { // three of these fill a segment
		_, err = orders.Append(ctx, braidlog.Record{Value: bytes.Repeat([]byte{byte(i)}, 900)})
		check(err)
	}
	check(store.Close())
	check(flipBit(segmentFiles(dir)[1], 1500))
	return dir
}

// segmentFiles returns the segments of orders/0, the oldest first.
func segmentFiles(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "topics", "orders", "partitions", "0", "*.log"))
	check(err)
	return files
}

func flipBit(name string, at int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(name, b, 0o600)
}

func Example_verifyAndRepair() {
	dir := damagedStore()
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()

	report, err := store.Verify(ctx)
	check(err)
	for _, damage := range report.Damaged {
		fmt.Printf("lost: %s/%d, offsets [%d,%d)\n", damage.Topic, damage.Partition, damage.FromOffset, damage.ToOffset)
		topic, err := store.Topic(damage.Topic)
		check(err)
		_, err = topic.Partition(damage.Partition).Repair(ctx, partition.KeepIntact)
		if !errors.Is(err, braidlog.ErrNotDamaged) { // the first repair of a partition was for all of it
			check(err)
		}
	}

	report, err = store.Verify(ctx)
	check(err)
	fmt.Println("damaged ranges left:", len(report.Damaged))
	// Output:
	// lost: orders/0, offsets [3,4)
	// damaged ranges left: 0
}

func Example_backUpAndVerify() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(filepath.Join(dir, "store"), braidlog.Options{})
	check(err)
	defer store.Close()
	backups := filepath.Join(dir, "backups")
	check(os.Mkdir(backups, 0o700))

	backup := filepath.Join(backups, time.Now().UTC().Format("20060102T150405Z"))
	check(store.Backup(ctx, backup))
	copied, err := braidlog.Open(backup, braidlog.Options{ReadOnly: true})
	check(err)
	report, err := copied.Verify(ctx)
	check(err)
	check(copied.Close())
	fmt.Println("damaged ranges:", len(report.Damaged))

	// Output: damaged ranges: 0
}

func Example_watching() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	logger := slog.New(slog.DiscardHandler)
	alerts := make(chan braidlog.Event, 10)
	vars := new(expvar.Map) // expvar.NewMap("braidlog") also publishes it

	store, err := braidlog.Open(dir, braidlog.Options{
		Logger: logger,
		OnEvent: func(e braidlog.Event) {
			if e.Kind == braidlog.Trouble || e.Kind == braidlog.Recovered {
				alerts <- e
			}
		},
	})
	check(err)
	defer store.Close()
	vars.Set("store", expvar.Func(func() any { return store.Stats() }))

	fmt.Println(vars, len(alerts))
	// Output: {"store": {"open_files":0,"topics":{}}} 0
}

// docs/OPERATIONS.md shows parts of these functions, word for word.
func TestOperationsShowsTestedCode(t *testing.T) {
	text, err := os.ReadFile("docs/OPERATIONS.md")
	require.NoError(t, err)
	tested, err := os.ReadFile("operations_test.go")
	require.NoError(t, err)
	blocks := strings.Split(string(text), "```go\n")[1:]
	require.Len(t, blocks, strings.Count(string(tested), "\nfunc Example_"))
	for _, block := range blocks {
		shown, _, found := strings.Cut(block, "```\n")
		require.True(t, found)
		shown = "\t" + strings.ReplaceAll(strings.TrimSpace(shown), "\n", "\n\t") + "\n"
		require.Contains(t, string(tested), strings.ReplaceAll(shown, "\n\t\n", "\n\n"))
	}
}

// A loss is what docs/OPERATIONS.md says of a file that is gone or damaged.
type loss struct {
	file    string // of several the one in the middle
	newest  bool   // the last one
	gone    bool   // else a bit flips
	options braidlog.Options
	opens   error // of the store
	topic   error
	appends error // to partition 0, and of reading there if it is no loss of records
	records int   // that are lost of partition 0
}

func TestWhatIsLostWithAFile(t *testing.T) {
	const part = "topics/orders/partitions/0/"
	full := braidlog.Options{Validate: braidlog.ValidateFull}
	for name, c := range map[string]loss{
		"bit in a full segment":            {file: part + "*.log", records: 1},
		"bit in a full segment, found":     {file: part + "*.log", records: 1, options: full},
		"bit in the newest segment":        {file: part + "*.log", newest: true, records: 1},
		"bit in the newest segment, found": {file: part + "*.log", newest: true, records: 1, options: full, appends: braidlog.ErrCorrupt},
		"segment gone":                     {file: part + "*.log", gone: true, records: 3},
		"bit in an index":                  {file: part + "*.index"},
		"index gone":                       {file: part + "*.index", gone: true},
		"bit in checkpoint":                {file: "checkpoint"},
		"checkpoint gone":                  {file: "checkpoint", gone: true},
		"bit in partition.json":            {file: part + "partition.json", appends: braidlog.ErrCorrupt},
		"bit in topic.json":                {file: "topics/orders/topic.json", topic: braidlog.ErrCorrupt},
		"topic.json gone":                  {file: "topics/orders/topic.json", gone: true, topic: braidlog.ErrCorrupt},
		"bit in store.json":                {file: "store.json", opens: braidlog.ErrCorrupt},
		"store.json gone":                  {file: "store.json", gone: true, opens: braidlog.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := twoTopics(t)
			require.NoError(t, c.happen(dir))
			store, err := braidlog.Open(dir, c.options)
			require.ErrorIs(t, err, c.opens)
			if err == nil {
				c.check(t, store)
				require.NoError(t, store.Close())
			}
		})
	}
}

// happen damages the store.
func (c loss) happen(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(c.file)))
	if err != nil {
		return err
	}
	file := files[len(files)/2]
	if c.newest {
		file = files[len(files)-1]
	}
	if c.gone {
		return os.Remove(file)
	}
	stat, err := os.Stat(file)
	if err != nil {
		return err
	}
	if filepath.Ext(file) == ".log" {
		return flipBit(file, 1500) // in the first record, whatever markers are behind it
	}
	return flipBit(file, int(stat.Size()/2))
}

// check requires that so much is lost, and nothing else.
func (c loss) check(t *testing.T, store *braidlog.Store) {
	requireWhole(t, store, "others", 0)
	orders, err := store.Topic("orders")
	require.ErrorIs(t, err, c.topic)
	if err != nil {
		return
	}
	requireWhole(t, store, "orders", 1)
	if c.appends != nil && c.records == 0 {
		_, err = orders.Partition(0).Record(ctx, trimmed)
		require.ErrorIs(t, err, c.appends)
	} else {
		n, lost := readAll(t, orders.Partition(0))
		require.Equal(t, c.records, lost)
		require.Equal(t, perPartition-trimmed-lost, n)
	}
	_, err = orders.AppendTo(ctx, 0, braidlog.Record{})
	require.ErrorIs(t, err, c.appends)
}

// readAll returns how many records can be read, and how many are named as
// lost.
func readAll(t *testing.T, p *partition.Partition) (n, lost int) {
	for _, err := range p.Records(ctx, partition.First()) {
		var damage *braidlog.CorruptError
		if errors.As(err, &damage) {
			lost += int(damage.ToOffset - damage.FromOffset)
			continue
		}
		require.NoError(t, err)
		n++
	}
	return n, lost
}

const (
	perPartition = 12 // records
	trimmed      = 1  // of partition 0 of orders
)

// twoTopics makes a store with topics orders and others, of two partitions
// each, in which three records fill a segment.
func twoTopics(t *testing.T) (dir string) {
	dir = t.TempDir()
	store, err := braidlog.Open(dir, braidlog.Options{})
	require.NoError(t, err)
	for _, name := range []string{"orders", "others"} {
		topic, err := store.CreateTopic(ctx, name, braidlog.TopicConfig{Partitions: 2, SegmentBytes: 4 << 10})
		require.NoError(t, err)
		for i := range 2 * perPartition {
			_, err = topic.AppendTo(ctx, i%2, braidlog.Record{Value: make([]byte, 900)})
			require.NoError(t, err)
		}
	}
	orders, err := store.Topic("orders")
	require.NoError(t, err)
	require.NoError(t, orders.Partition(0).Trim(ctx, trimmed)) // so that there is a partition.json
	require.NoError(t, store.Close())
	return dir
}

// requireWhole requires that partitions from number on have all their records
// and take another one.
func requireWhole(t *testing.T, store *braidlog.Store, name string, number int) {
	t.Helper()
	topic, err := store.Topic(name)
	require.NoError(t, err)
	for ; number < topic.NumPartitions(); number++ {
		n, lost := readAll(t, topic.Partition(number))
		require.Zero(t, lost)
		require.Equal(t, perPartition, n)
		_, err = topic.AppendTo(ctx, number, braidlog.Record{})
		require.NoError(t, err)
	}
}

// A damaged segment can be replaced by the same one from a backup, and a
// topic.json too.
func TestFilesFromABackup(t *testing.T) {
	dir := t.TempDir()
	live, backup, elsewhere := filepath.Join(dir, "live"), filepath.Join(dir, "backup"), filepath.Join(dir, "elsewhere")
	store, err := braidlog.Open(live, braidlog.Options{})
	require.NoError(t, err)
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1, SegmentBytes: 4 << 10})
	require.NoError(t, err)
	others, err := store.EnsureTopic(ctx, "others", braidlog.TopicConfig{Partitions: 1})
	require.NoError(t, err)
	fill := func(topic *braidlog.Topic) {
		for range 20 {
			_, err := topic.Append(ctx, braidlog.Record{Value: make([]byte, 900)})
			require.NoError(t, err)
		}
	}
	fill(orders)
	fill(others)
	require.NoError(t, store.Backup(ctx, backup))
	require.NoError(t, os.CopyFS(elsewhere, os.DirFS(backup))) // to another disk: it shares no file
	fill(orders)
	require.NoError(t, store.Close())

	segment := segmentFiles(live)[2]
	require.NoError(t, flipBit(segment, 1500))
	topicFile := filepath.Join("topics", "orders", "topic.json")
	require.NoError(t, flipBit(filepath.Join(live, topicFile), 40))
	store, err = braidlog.Open(live, braidlog.Options{})
	require.NoError(t, err)
	_, err = store.Topic("orders")
	require.ErrorIs(t, err, braidlog.ErrCorrupt)
	others, err = store.Topic("others")
	require.NoError(t, err)
	fill(others)
	require.NoError(t, store.Close())

	require.NoError(t, copyOver(filepath.Join(elsewhere, topicFile), filepath.Join(live, topicFile)))
	store, err = braidlog.Open(live, braidlog.Options{})
	require.NoError(t, err)
	report, err := store.Verify(ctx)
	require.NoError(t, err)
	require.Len(t, report.Damaged, 1)
	require.NoError(t, store.Close())

	require.NoError(t, copyOver(segmentFiles(elsewhere)[2], segment))
	store, err = braidlog.Open(live, braidlog.Options{Validate: braidlog.ValidateFull})
	require.NoError(t, err)
	report, err = store.Verify(ctx)
	require.NoError(t, err)
	require.Empty(t, report.Damaged)
	orders, err = store.Topic("orders")
	require.NoError(t, err)
	fill(orders)
	n := int64(0)
	for rec, err := range orders.Partition(0).Records(ctx, partition.First()) {
		require.NoError(t, err)
		require.Equal(t, n, rec.Offset)
		n++
	}
	require.EqualValues(t, 60, n)
	require.NoError(t, store.Close())
}

func copyOver(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

package braidlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

var ctx = context.Background()

// check ends an example at an error.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// The first steps; README.md shows them too.
func Example() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)

	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)
	pos, err := orders.Append(ctx, braidlog.Record{Key: []byte("order-17"), Value: []byte("paid")})
	check(err) // nil: it is on disk
	fmt.Println("partition", pos.Partition, "offset", pos.Offset)
	for rec, err := range orders.Key(ctx, []byte("order-17")) {
		check(err)
		fmt.Println(string(rec.Key), string(rec.Value))
	}
	// Output:
	// partition 2 offset 0
	// order-17 paid
}

// The topic is made the first time and found afterwards. What is fixed for
// life is compared.
func ExampleStore_EnsureTopic() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()

	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 4, Partitioner: partitioner.Kafka()})
	check(err)
	fmt.Println(topic.NumPartitions(), topic.Placement())

	topic, err = store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{}) // as stored
	check(err)
	fmt.Println(topic.NumPartitions(), topic.Placement())

	_, err = store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 12})
	fmt.Println(err)
	var mismatch *braidlog.MismatchError
	if errors.As(err, &mismatch) {
		fmt.Println("stored:", mismatch.Stored, "given:", mismatch.Given)
	}
	// Output:
	// 4 kafka
	// 4 kafka
	// open topic orders: partitions is 4, not 12
	// stored: 4 given: 12
}

// A directory has one store at a time.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()

	_, err = braidlog.Open(dir, braidlog.Options{})
	var locked *braidlog.LockedError
	if errors.As(err, &locked) {
		fmt.Println("held by this process:", locked.Holder == fmt.Sprint("pid ", os.Getpid()))
	}
	// Output: held by this process: true
}

// Another process looks into the store while it is written: a dashboard, a tool.
// Here it is the same one, to keep the example short.
func ExampleOpen_readOnly() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)

	outside, err := braidlog.Open(dir, braidlog.Options{ReadOnly: true})
	check(err)
	defer outside.Close()
	seen, err := outside.Topic("orders")
	check(err)
	_, err = orders.Append(ctx, braidlog.Record{Key: []byte("order-17"), Value: []byte("paid")})
	check(err)
	for rec, err := range seen.Tail(ctx, partition.First()) { // waits until it is seen to be durable
		check(err)
		fmt.Println(string(rec.Key), string(rec.Value))
		break
	}
	_, err = seen.Append(ctx, braidlog.Record{Key: []byte("order-17"), Value: []byte("shipped")})
	fmt.Println(err)
	// Output:
	// order-17 paid
	// append to orders: read-only
}

// Many records at once are much faster than one by one. Each learns where it
// went.
func ExampleTopic_AppendBatch() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)

	recs := []braidlog.Record{
		{Key: []byte("order-1"), Value: []byte("placed")},
		{Key: []byte("order-2"), Value: []byte("placed")},
		{Key: []byte("order-1"), Value: []byte("paid")},
	}
	check(topic.AppendBatch(ctx, recs))
	for _, rec := range recs {
		fmt.Printf("%s %s: partition %d, offset %d\n", rec.Key, rec.Value, rec.Partition, rec.Offset)
	}
	// Output:
	// order-1 placed: partition 1, offset 0
	// order-2 placed: partition 5, offset 0
	// order-1 paid: partition 1, offset 1
}

// AppendAsync does not wait for the disk. Sync does, once for all.
func ExampleTopic_AppendAsync() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1})
	check(err)

	outcomes := make(chan string, 3)
	for i := range 3 {
		rec := braidlog.Record{Value: fmt.Append(nil, i)}
		check(topic.AppendAsync(ctx, rec, func(pos braidlog.Position, err error) {
			outcomes <- fmt.Sprintln("offset", pos.Offset, err)
		}))
	}
	check(topic.Sync(ctx))
	fmt.Println("end", topic.Partition(0).End())
	for range 3 {
		fmt.Print(<-outcomes)
	}
	// Output:
	// end 3
	// offset 0 <nil>
	// offset 1 <nil>
	// offset 2 <nil>
}

// With Dedup an append can be tried again whatever came of it: the record is
// there once. Here the program ends in between, and never heard of the first.
func ExampleTopic_Append_retry() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	rec := braidlog.Record{Value: []byte("pay 20 to Ada")} // without a key it goes anywhere
	copy(rec.ID[:], "payment-17")

	for run := range 2 {
		store, err := braidlog.Open(dir, braidlog.Options{})
		check(err)
		topic, err := store.EnsureTopic(ctx, "payments", braidlog.TopicConfig{
			Partitioner: partitioner.RoundRobin(),
			Dedup:       braidlog.Dedup{Mode: braidlog.DedupOn},
		})
		check(err)
		for try := range 2 {
			pos, err := topic.Append(ctx, rec)
			check(err)
			fmt.Println("run", run, "try", try, "partition", pos.Partition, "offset", pos.Offset, "duplicate", pos.Duplicate)
		}
		fmt.Println("records", topic.Stats().Records)
		check(store.Close())
	}
	// Output:
	// run 0 try 0 partition 0 offset 0 duplicate false
	// run 0 try 1 partition 0 offset 0 duplicate true
	// records 1
	// run 1 try 0 partition 0 offset 0 duplicate true
	// run 1 try 1 partition 0 offset 0 duplicate true
	// records 1
}

// The caller picks the partition; the partitioner is not asked.
func ExampleTopic_AppendTo() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)

	pos, err := topic.AppendTo(ctx, 2, braidlog.Record{Value: []byte("end of day")})
	check(err)
	rec, err := topic.Partition(2).Record(ctx, pos.Offset)
	check(err)
	fmt.Println(pos.Partition, pos.Offset, string(rec.Value))
	// Output: 2 0 end of day
}

// Route tells where a record would go, and appends nothing.
func ExampleTopic_Route() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 3, Partitioner: partitioner.RoundRobin()})
	check(err)

	for range 3 {
		n, err := topic.Route(braidlog.Record{})
		check(err)
		fmt.Println("would go to", n)
	}
	pos, err := topic.Append(ctx, braidlog.Record{})
	check(err)
	fmt.Println("went to", pos.Partition)
	// Output:
	// would go to 0
	// would go to 0
	// would go to 0
	// went to 0
}

// A loop over Records ends where the topic ended when it began.
func ExampleTopic_Records() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1})
	check(err)
	for _, value := range []string{"placed", "paid", "shipped"} {
		_, err = topic.Append(ctx, braidlog.Record{Value: []byte(value)})
		check(err)
	}

	for rec, err := range topic.Records(ctx, partition.Last(2)) {
		check(err)
		fmt.Println(rec.Offset, string(rec.Value))
		_, err = topic.Append(ctx, braidlog.Record{Value: []byte("seen")})
		check(err)
	}
	// Output:
	// 1 paid
	// 2 shipped
}

// A loop over Tail waits for what is yet to come, until its context ends or
// it is left.
func ExampleTopic_Tail() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1})
	check(err)
	_, err = topic.Append(ctx, braidlog.Record{Value: []byte("placed")})
	check(err)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for rec, err := range topic.Tail(ctx, partition.First()) {
		if err != nil {
			fmt.Println(errors.Is(err, context.Canceled))
			break
		}
		fmt.Println(string(rec.Value))
		switch string(rec.Value) {
		case "placed": // the next record comes while the loop waits
			check(topic.AppendAsync(ctx, braidlog.Record{Value: []byte("paid")}, nil))
		case "paid":
			cancel()
		}
	}
	// Output:
	// placed
	// paid
	// true
}

// A reader's place is text, and goes on in another store, process or week.
func ExampleCursor_MarshalText() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1})
	check(err)
	for _, value := range []string{"placed", "paid", "shipped"} {
		_, err = topic.Append(ctx, braidlog.Record{Value: []byte(value)})
		check(err)
	}
	cursor := topic.NewCursor(partition.First())
	rec, err := cursor.Next(ctx)
	check(err)
	fmt.Println("first process:", string(rec.Value))
	place, err := cursor.MarshalText()
	check(err)
	check(cursor.Close())
	check(store.Close())

	store, err = braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err = store.Topic("orders")
	check(err)
	cursor = topic.NewCursor(partition.First())
	defer cursor.Close()
	check(cursor.UnmarshalText(place))
	for {
		rec, err := cursor.TryNext()
		if err == braidlog.ErrEnd {
			break
		}
		check(err)
		fmt.Println("second process:", string(rec.Value))
	}
	// Output:
	// first process: placed
	// second process: paid
	// second process: shipped
}

// A level of durability is a topic's setting and may change at any time.
func ExampleTopic_SetConfig() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "clicks", braidlog.TopicConfig{Durability: braidlog.Interval})
	check(err)

	fmt.Println(topic.Config().Durability, topic.Config().SyncEvery.Time)
	check(topic.SetConfig(ctx, braidlog.TopicConfig{Durability: braidlog.Sync}))
	fmt.Println(topic.Config().Durability, topic.Config().Partitions)
	// Output:
	// interval 1s
	// sync 6
}

// The callback hears of rolls, trims, recoveries and of trouble in the
// background. Nothing waits for it but Close.
func ExampleOptions() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	events := make(chan braidlog.Event, 10)
	store, err := braidlog.Open(dir, braidlog.Options{OnEvent: func(e braidlog.Event) { events <- e }})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 1, SegmentBytes: 4 << 10})
	check(err)
	for range 4 { // three of these fill a segment
		_, err = topic.Append(ctx, braidlog.Record{Value: make([]byte, 900)})
		check(err)
	}

	e := <-events
	fmt.Println(e.Kind, e.Topic, "partition", e.Partition, "at offset", e.From)
	// Output: rolled orders partition 0 at offset 3
}

// Figures are plain structs: expvar, and all else that takes JSON, can show
// them.
func ExampleStore_Stats() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 2})
	check(err)
	for _, partition := range []int{0, 1, 1, 1} {
		_, err = topic.AppendTo(ctx, partition, braidlog.Record{Value: []byte("placed")})
		check(err)
	}

	vars := new(expvar.Map) // expvar.NewMap("braidlog") also publishes it
	vars.Set("store", expvar.Func(func() any { return store.Stats() }))
	var shown struct {
		Store struct {
			Topics map[string]struct {
				Records int64
				Skew    float64
				Syncs   int64
			}
		}
	}
	check(json.Unmarshal([]byte(vars.String()), &shown))
	orders := shown.Store.Topics["orders"]
	fmt.Println("records", orders.Records, "skew", orders.Skew, "synced", orders.Syncs > 0)
	// Output: records 4 skew 1.5 synced true
}

// What a topic has if nothing is said.
func ExampleTopicConfig() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.CreateTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)

	c := topic.Config()
	fmt.Println("partitions     ", c.Partitions)
	fmt.Println("placement      ", topic.Placement())
	fmt.Println("durability     ", c.Durability)
	fmt.Println("sync every     ", c.SyncEvery.Time, c.SyncEvery.Records, c.SyncEvery.Bytes)
	fmt.Println("segment bytes  ", c.SegmentBytes)
	fmt.Println("segment age    ", c.SegmentAge)
	fmt.Println("max record size", c.MaxRecordBytes)
	fmt.Println("max key size   ", c.MaxKeyBytes)
	fmt.Println("index cache    ", c.IndexCache)
	// Output:
	// partitions      6
	// placement       key
	// durability      sync
	// sync every      1s 1024 1048576
	// segment bytes   134217728
	// segment age     168h0m0s
	// max record size 1048576
	// max key size    255
	// index cache     active
}

// A store is backed up while it is open, and the backup is a store.
func ExampleStore_Backup() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(filepath.Join(dir, "store"), braidlog.Options{})
	check(err)
	defer store.Close()
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)
	_, err = orders.Append(ctx, braidlog.Record{Key: []byte("order-17"), Value: []byte("before")})
	check(err)
	check(store.Backup(ctx, filepath.Join(dir, "backup")))
	_, err = orders.Append(ctx, braidlog.Record{Key: []byte("order-17"), Value: []byte("after")})
	check(err)

	backup, err := braidlog.Open(filepath.Join(dir, "backup"), braidlog.Options{})
	check(err)
	defer backup.Close()
	orders, err = backup.Topic("orders")
	check(err)
	for rec, err := range orders.Records(ctx, partition.First()) {
		check(err)
		fmt.Println(string(rec.Key), string(rec.Value))
	}
	// Output:
	// order-17 before
}

// README.md has a row for each setting, in order.
func TestReadmeShowsEverySetting(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, s := range []any{braidlog.TopicConfig{}, braidlog.Options{}} {
		typ := reflect.TypeOf(s)
		_, table, found := strings.Cut(string(readme), "| `"+typ.Name()+"` |")
		require.True(t, found, typ)
		table, _, _ = strings.Cut(table, "\n\n")
		var want, got []string
		for _, f := range reflect.VisibleFields(typ) {
			if f.IsExported() {
				want = append(want, f.Name)
			}
		}
		for _, row := range strings.Split(table, "\n")[2:] {
			got = append(got, strings.Split(row, "`")[1])
		}
		require.Equal(t, want, got)
	}
}

// README.md shows parts of examples, word for word.
func TestReadmeShowsExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var tested string
	for _, name := range []string{"example_test.go", "groups_doc_test.go"} {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		tested += strings.ReplaceAll(string(source), "\t", "")
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		shown, _, found := strings.Cut(block, "```\n")
		require.True(t, found)
		require.Contains(t, tested, strings.ReplaceAll(shown, "\t", ""))
	}
}

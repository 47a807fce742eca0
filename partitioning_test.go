package braidlog_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// The examples of docs/PARTITIONING.md, in its order.

// withTopic calls f with a new topic.
func withTopic(config braidlog.TopicConfig, f func(topic *braidlog.Topic)) {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	topic, err := store.EnsureTopic(ctx, "orders", config)
	check(err)
	f(topic)
}

func appendKeys(topic *braidlog.Topic, keys ...string) {
	recs := make([]braidlog.Record, len(keys))
	for i, key := range keys {
		recs[i] = braidlog.Record{Key: []byte(key), Value: fmt.Append(nil, i)}
	}
	check(topic.AppendBatch(ctx, recs))
}

func Example_partitioningPlan() {
	s, err := partitioner.Plan(partitioner.Capacity{
		RecordsPerSecond:         50_000, // at the busiest
		ConsumerRecordsPerSecond: 5_000,  // what the handler of one partition gets through
		Headroom:                 1.5,    // bursts, growth, skew
	})
	check(err)
	fmt.Println("needs", s.Needed, "suggests", s.Suggested)
	// Output:
	// needs 15 suggests 24
}

func Example_partitioningUneven() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		for range 10 {
			for range 7 {
				appendKeys(orders, "paid", "shipped", "shipped", "delivered", "delivered", "delivered")
			}
			appendKeys(orders, "returned")
		}
		analyze(orders)
	})
	// Output:
	// "key" over 6 partitions: 430 records, 4 keys
	//       0          0   0.0%
	//       1         10   2.3% ##
	//       2          0   0.0%
	//       3        210  48.8% ########################################
	//       4         70  16.3% #############
	//       5        140  32.6% ###########################
	// records: largest/mean 2.93, chi-squared 528.6 (p = 0.000), Gini 0.59
	// keys:    largest/mean 1.50, chi-squared 2.0 (p = 0.849), Gini 0.33
	// the top 4 keys have 100.0% of the records with a key:
	//    48.8% "delivered"
	//    32.6% "shipped"
	//    16.3% "paid"
	//     2.3% "returned"
	// doubled to 12: 50.0% of the keys and 81.4% of the records move, largest/mean 5.86
}

func analyze(orders *braidlog.Topic) {
	keys := func(yield func([]byte) bool) {
		for rec, err := range orders.Records(ctx, partition.First()) {
			check(err)
			if !yield(rec.Key) {
				return
			}
		}
	}
	a, err := partitioner.Analyze(partitioner.Key(), orders.NumPartitions(), keys)
	check(err)
	fmt.Print(a)
}

func Example_partitioningHotKeys() {
	withTopic(braidlog.TopicConfig{HotKeys: 100}, func(orders *braidlog.Topic) {
		for i := range 50 {
			appendKeys(orders, "customer-7", fmt.Sprint("customer-", 100+i), "customer-9", "customer-7")
		}
		for _, hot := range orders.Stats().HotKeys[:2] {
			fmt.Printf("%s has %.0f%% of the records\n", hot.Key, 100*hot.Share)
		}
	})
	// Output:
	// customer-7 has 50% of the records
	// customer-9 has 25% of the records
}

func Example_partitioningLag() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		c := orders.NewCursor(partition.First())
		defer c.Close()
		appendKeys(orders, "order-17", "order-17", "order-17")
		oldest, err := orders.Partition(2).Record(ctx, 0)
		check(err)
		lag(orders, c, oldest.Timestamp.Add(45*time.Second))
	})
	// Output:
	// partition 2: 3 records waiting, the oldest for 45s: warn
}

// lag tells what c has still to read. A cursor is for one goroutine: call it
// between two calls of Next.
func lag(topic *braidlog.Topic, c *braidlog.Cursor, now time.Time) {
	for i := range topic.NumPartitions() {
		waiting := topic.Partition(i).End() - c.Offset(i)
		if waiting <= 0 {
			continue
		}
		oldest, err := topic.Partition(i).Record(ctx, c.Offset(i))
		check(err) // an *OffsetError: retention was faster than the reader
		age := now.Sub(oldest.Timestamp)
		fmt.Printf("partition %d: %d records waiting, the oldest for %v: %s\n", i, waiting, age, trigger(age))
	}
}

func trigger(age time.Duration) string {
	switch {
	case age >= time.Minute:
		return "act"
	case age >= 30*time.Second:
		return "warn"
	case age >= 10*time.Second:
		return "watch"
	}
	return "fine"
}

func TestTriggers(t *testing.T) {
	for age, want := range map[time.Duration]string{
		0: "fine", 10*time.Second - 1: "fine", 10 * time.Second: "watch", 30*time.Second - 1: "watch",
		30 * time.Second: "warn", time.Minute - 1: "warn", time.Minute: "act", time.Hour: "act",
	} {
		require.Equal(t, want, trigger(age), "%v", age)
	}
}

func Example_partitioningKeysThatDiffer() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-18", "ORDER-17", "order-17 ", "order-17", "order-18")
		differing(orders)
	})
	// Output:
	// order-17: "ORDER-17" in partition 1, "order-17 " in partition 4, "order-17" in partition 2
}

func differing(orders *braidlog.Topic) {
	written := map[string][]string{} // by the key that was meant
	for rec, err := range orders.Records(ctx, partition.First()) {
		check(err)
		meant := strings.ToLower(strings.TrimSpace(string(rec.Key)))
		as := fmt.Sprintf("%q in partition %d", rec.Key, rec.Partition)
		if !slices.Contains(written[meant], as) {
			written[meant] = append(written[meant], as)
		}
	}
	for meant, as := range written {
		if len(as) > 1 {
			slices.Sort(as)
			fmt.Printf("%s: %s\n", meant, strings.Join(as, ", "))
		}
	}
}

// orderKey is the only place where keys of orders are made.
func orderKey(id int) []byte { return fmt.Appendf(nil, "order-%d", id) }

func Example_partitioningOneWayToMakeKeys() {
	fmt.Printf("%s\n", orderKey(17))
	// Output:
	// order-17
}

func Example_partitioningPlaces() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		dir, err := os.MkdirTemp("", "braidlog")
		check(err)
		defer os.RemoveAll(dir)
		appendKeys(orders, "order-17", "order-18")
		c := orders.NewCursor(partition.First())
		defer c.Close()
		_, err = c.Next(ctx)
		check(err)
		place, err := c.MarshalText()
		check(err)
		check(os.WriteFile(filepath.Join(dir, "billing"), place, 0o600))

		fmt.Println(resume(c, os.DirFS(dir), "billing", false))
		fmt.Println(resume(c, os.DirFS(dir), "biling", false))
	})
	// Output:
	// <nil>
	// no place is saved for "biling"
}

// resume goes on where name stopped. Beginning at the start is asked for in so
// many words, and not what happens when a name is misspelt.
func resume(c *braidlog.Cursor, places fs.FS, name string, begin bool) error {
	place, err := fs.ReadFile(places, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && begin:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no place is saved for %q", name)
	case err != nil:
		return err
	}
	return c.UnmarshalText(place)
}

func Example_partitioningHours() {
	withTopic(braidlog.TopicConfig{}, func(readings *braidlog.Topic) {
		now := time.Date(2026, 3, 1, 14, 5, 0, 0, time.UTC)
		for _, at := range []time.Duration{-70 * time.Minute, -10 * time.Minute, -4 * time.Minute} {
			t := now.Add(at)
			_, err := readings.Append(ctx, braidlog.Record{Key: hourKey("meter-3", t), OriginTime: t, Value: []byte(t.Format("15:04"))})
			check(err)
		}
		lastTwoHours(readings, "meter-3", now)
	})
	// Output:
	// 13:55 of "meter-3@2026-03-01T13"
	// 14:01 of "meter-3@2026-03-01T14"
}

// hourKey keeps what a device did within one hour together, in UTC: a local
// hour comes twice when clocks are set back.
func hourKey(device string, at time.Time) []byte {
	return at.UTC().AppendFormat([]byte(device+"@"), "2006-01-02T15")
}

// lastTwoHours reads across the boundary: one key for each hour, the older first.
func lastTwoHours(readings *braidlog.Topic, device string, now time.Time) {
	for _, hour := range []time.Time{now.Add(-time.Hour), now} {
		for rec, err := range readings.Key(ctx, hourKey(device, hour)) {
			check(err)
			fmt.Printf("%s of %q\n", rec.Value, rec.Key)
		}
	}
}

const partitioningDoc = "docs/PARTITIONING.md"

// Every block of code in the document is a part of this file, word for word,
// and every output the one of an example, here or of a program in examples, whose
// own test compares what it prints with the document.
func TestPartitioningShowsExamples(t *testing.T) {
	requireShown(t, partitioningDoc, "partitioning_test.go", 15)
}

// requireShown requires that what a document shows, at least so many blocks, is a
// part of a file of tests, or what a program prints.
func requireShown(t *testing.T, name, tests string, least int) {
	doc, err := os.ReadFile(name)
	require.NoError(t, err)
	source, err := os.ReadFile(tests)
	require.NoError(t, err)
	tested := strings.ReplaceAll(string(source), "\t", "")
	blocks := strings.Split("\n"+string(doc), "\n```")
	require.Greater(t, len(blocks), 2*least)
	for i := 1; i < len(blocks); i += 2 {
		language, shown, found := strings.Cut(blocks[i], "\n")
		require.True(t, found)
		switch language {
		case "go":
			shown = strings.ReplaceAll(shown, "\t", "")
		case "text":
			shown = "// Output:\n// " + strings.ReplaceAll(shown, "\n", "\n// ") + "\n}"
		case "console":
			requireProgram(t, shown)
			continue
		default:
			require.Fail(t, "neither code nor output", "%q", language)
		}
		require.Contains(t, tested, shown)
	}
}

// requireProgram requires that a program is run whose test looks at the document.
func requireProgram(t *testing.T, shown string) {
	command, _, _ := strings.Cut(shown, "\n")
	name, found := strings.CutPrefix(command, "$ go run ./examples/")
	require.True(t, found, command)
	test, err := os.ReadFile(filepath.Join("examples", name, "main_test.go"))
	require.NoError(t, err)
	require.Contains(t, string(test), "showtest.Check(t, program, ")
}

// Every partitioner there is has a row in the table.
func TestPartitioningTellsOfEveryPartitioner(t *testing.T) {
	doc, err := os.ReadFile(partitioningDoc)
	require.NoError(t, err)
	_, table, found := strings.Cut(string(doc), "| `partitioner.` |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []string
	for _, row := range strings.Split(table, "\n")[2:] {
		for _, name := range strings.Split(strings.Split(row, "|")[1], "`")[1:] {
			if name, _, isCall := strings.Cut(name, "("); isCall {
				rows = append(rows, name)
			}
		}
	}
	require.ElementsMatch(t, rows, partitioners(t))
}

// partitioners returns the names of all functions that return a Partitioner and
// nothing else.
func partitioners(t *testing.T) (names []string) {
	files, err := filepath.Glob("partitioner/*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results.NumFields() != 1 {
				continue
			}
			if of, ok := f.Type.Results.List[0].Type.(*ast.Ident); ok && of.Name == "Partitioner" {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

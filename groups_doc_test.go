package braidlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/partition"
)

// The examples of docs/GROUPS.md, in its order.

func Example_groupsPoll() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-17", "order-17")
		group, err := orders.Group("billing", consumergroup.Config{})
		check(err)
		member, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		for left := 3; left > 0; {
			recs, err := member.Poll(ctx, 0) // waits for a record, or for ctx
			check(err)
			for _, rec := range recs {
				fmt.Printf("%s: %s\n", rec.Key, rec.Value)
			}
			check(member.Commit(ctx)) // all of them are done, and that is on disk
			left -= len(recs)
		}
		check(member.Close(ctx))
	})
	// Output:
	// order-17: 0
	// order-17: 1
	// order-17: 2
}

func Example_groupsHandOff() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-18", "order-17", "order-19")
		group, err := orders.Group("billing", consumergroup.Config{})
		check(err)
		member, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		for left := 4; left > 0; {
			recs, err := member.Poll(ctx, 0)
			check(err)
			byKey := map[string][]braidlog.Record{}
			for _, rec := range recs {
				byKey[string(rec.Key)] = append(byKey[string(rec.Key)], rec)
			}
			var all errgroup.Group
			for _, recs := range byKey { // one goroutine for each key: their order stays
				all.Go(func() error { return bill(ctx, recs...) })
			}
			check(all.Wait())         // before the next Poll,
			check(member.Commit(ctx)) // and before the commit
			left -= len(recs)
		}
		fmt.Println("all billed")
	})
	// Output:
	// all billed
}

func bill(context.Context, ...braidlog.Record) error { return nil }

func Example_groupsRun() {
	withShop(func(store *braidlog.Store, orders *braidlog.Topic) {
		dead, err := store.EnsureTopic(ctx, "orders.dead", braidlog.TopicConfig{Partitions: 1})
		check(err)
		appendKeys(orders, "order-17", "order-18", "order-17", "order-19")
		running, stop := context.WithCancel(ctx)
		var all errgroup.Group
		all.Go(func() error { return runBilling(running, orders) })
		for rec, err := range dead.Tail(ctx, partition.First()) {
			check(err)
			fmt.Printf("%s:", rec.Key)
			for _, h := range rec.Headers {
				fmt.Printf(" %s=%q", strings.TrimPrefix(h.Key, "braidlog-"), h.Value)
			}
			fmt.Println()
			break
		}
		stop()
		fmt.Println(errors.Is(all.Wait(), context.Canceled))
	})
	// Output:
	// order-18: group="billing" topic="orders" partition="0" offset="0" attempts="3" error="no such customer"
	// true
}

func runBilling(ctx context.Context, orders *braidlog.Topic) error {
	group, err := orders.Group("billing", consumergroup.Config{})
	check(err)
	return group.Run(ctx, consumergroup.RunConfig{
		Workers:    8,             // records at a time, of all partitions together
		Attempts:   3,             // of each record;
		DeadLetter: "orders.dead", // then it goes here
	}, func(ctx context.Context, rec braidlog.Record) error {
		if string(rec.Key) == "order-18" {
			return errors.New("no such customer")
		}
		return bill(ctx, rec)
	})
}

// withShop calls f with a new store and a topic.
func withShop(f func(store *braidlog.Store, orders *braidlog.Topic)) {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	store, err := braidlog.Open(dir, braidlog.Options{})
	check(err)
	defer store.Close()
	orders, err := store.EnsureTopic(ctx, "orders", braidlog.TopicConfig{})
	check(err)
	f(store, orders)
}

func Example_groupsCommits() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-17", "order-17")
		group, err := orders.Group("billing", consumergroup.Config{
			Commit: consumergroup.CommitPolicy{Interval: time.Second, Records: 1000, Exhausted: true},
		})
		check(err)
		member, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		_, err = member.Poll(ctx, 2)
		check(err)
		fmt.Println("waiting:", waiting(group)) // what was just polled is not processed yet
		_, err = member.Poll(ctx, 2)            // now it is
		check(err)
		fmt.Println("waiting:", waiting(group))
	})
	// Output:
	// waiting: 3
	// waiting: 1
}

func waiting(group *consumergroup.Group) (n int64) {
	lags, err := group.Lag(ctx)
	check(err)
	for _, l := range lags {
		n += l.Records
	}
	return n
}

func Example_groupsLatest() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17")
		group, err := orders.Group("alerts", consumergroup.Config{Start: consumergroup.Latest()})
		check(err)
		appendKeys(orders, "order-17")
		member, err := group.Join(ctx, consumergroup.MemberConfig{}) // here it is decided, for good
		check(err)
		appendKeys(orders, "order-17")
		recs, err := member.Poll(ctx, 0)
		check(err)
		fmt.Println("first record:", recs[0].Offset)
	})
	// Output:
	// first record: 2
}

func Example_groupsReset() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-17", "order-17")
		group, err := orders.Group("billing", consumergroup.Config{Start: consumergroup.Latest()})
		check(err)
		member, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		check(member.Close(ctx))
		fmt.Println("waiting:", waiting(group))

		check(group.Reset(ctx, partition.First())) // all partitions: from the beginning
		fmt.Println("waiting:", waiting(group))
		check(group.Reset(ctx, partition.Last(1), consumergroup.TopicPartition{Topic: "orders", Partition: 2}))
		fmt.Println("waiting:", waiting(group))
	})
	// Output:
	// waiting: 0
	// waiting: 3
	// waiting: 1
}

func Example_groupsLag() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-17", "order-17", "order-17")
		group, err := orders.Group("billing", consumergroup.Config{})
		check(err)
		member, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		_, err = member.Poll(ctx, 2)
		check(err)
		check(member.Commit(ctx))
		tell(group)
	})
	// Output:
	// orders/2: committed 2 of 3, member-000001 has it: fine
}

func tell(group *consumergroup.Group) {
	lags, err := group.Lag(ctx)
	check(err)
	for _, l := range lags {
		if l.Records > 0 {
			fmt.Printf("%v: committed %d of %d, %s has it: %s\n", l.TopicPartition, l.Committed, l.End, l.Owner, trigger(l.Age))
		}
	}
}

func Example_groupsHandover() {
	withTopic(braidlog.TopicConfig{Partitions: 2}, func(orders *braidlog.Topic) {
		appendKeys(orders, "order-1", "order-2", "order-3", "order-4")
		group, err := orders.Group("billing", consumergroup.Config{})
		check(err)
		slow, err := group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		_, err = slow.Poll(ctx, 0)
		check(err)
		_, err = group.Join(ctx, consumergroup.MemberConfig{})
		check(err)
		for _, h := range group.Describe().Handovers {
			fmt.Printf("%v, from %s to %s, waits for %s\n", h.TopicPartition, h.From, h.To, h.Waits)
		}
	})
	// Output:
	// orders/1, from member-000001 to member-000002, waits for member-000001 to poll, commit or close
}

func Example_groupsStatic() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		group, err := orders.Group("billing", consumergroup.Config{})
		check(err)
		first, err := group.Join(ctx, consumergroup.MemberConfig{InstanceID: "desk-1"})
		check(err)
		_, err = group.Join(ctx, consumergroup.MemberConfig{InstanceID: "desk-1"})
		check(err)
		_, err = first.Poll(ctx, 0)
		fmt.Println(errors.Is(err, consumergroup.ErrFenced), "after", group.Describe().Generation, "rebalance")
	})
	// Output:
	// true after 1 rebalance
}

func Example_groupsHoldForGroups() {
	withTopic(braidlog.TopicConfig{}, func(orders *braidlog.Topic) {
		config := braidlog.TopicConfig{Retention: braidlog.Retention{
			Age:           30 * 24 * time.Hour,
			Groups:        braidlog.HoldForGroups, // what a group has not committed stays,
			HoldBackBytes: 20 << 30,               // unless its partition has more than this
		}}
		check(orders.SetConfig(ctx, config))
		fmt.Println(orders.Config().Retention.Groups == braidlog.HoldForGroups)
	})
	// Output:
	// true
}

const groupsDoc = "docs/GROUPS.md"

// Every block of code in the document is a part of this file, word for word, and
// every output the one of an example or of a program in examples.
func TestGroupsShowsExamples(t *testing.T) { requireShown(t, groupsDoc, "groups_doc_test.go", 15) }

// Every way to commit has a row in the table, and every field of Config and of
// MemberConfig and RunConfig is told of.
func TestGroupsTellsOfEverySetting(t *testing.T) {
	doc, err := os.ReadFile(groupsDoc)
	require.NoError(t, err)
	for _, config := range []any{consumergroup.Config{}, consumergroup.CommitPolicy{}, consumergroup.MemberConfig{}, consumergroup.RunConfig{}} {
		for field := range reflect.TypeOf(config).Fields() {
			require.Regexp(t, "`[^`]*"+field.Name+"[^`]*`", string(doc), "%T", config)
		}
	}
	_, table, found := strings.Cut(string(doc), "| `Config.Commit` |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []string
	for _, row := range strings.Split(table, "\n")[2:] {
		rows = append(rows, strings.Trim(strings.Split(row, "|")[1], " `"))
	}
	for field := range reflect.TypeOf(consumergroup.CommitPolicy{}).Fields() {
		require.True(t, slices.ContainsFunc(rows, func(row string) bool { return strings.HasPrefix(row, field.Name) }), "no row for %s: %q", field.Name, rows)
	}
}

package braidlogtest_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/braidlogtest"
	"github.com/braidlog/braidlog/partition"
)

// A test is what stands for the testing.T of a test, since an example has none.
type test struct {
	testing.TB
	cleanup func()
}

func (t *test) Helper()                        {}
func (t *test) Cleanup(f func())               { t.cleanup = f }
func (t *test) Failed() bool                   { return false }
func (t *test) Errorf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (t *test) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (t *test) end()                           { t.cleanup() }

// An Outbox is the program under test: messages that were put into it are sent
// at least once, whatever happens. What was sent is in a topic of its own.
type Outbox struct{ messages, sent *braidlog.Topic }

func OpenOutbox(ctx context.Context, store *braidlog.Store) (*Outbox, error) {
	one := braidlog.TopicConfig{Partitions: 1}
	messages, err := store.EnsureTopic(ctx, "outbox", one)
	if err != nil {
		return nil, err
	}
	sent, err := store.EnsureTopic(ctx, "sent", one)
	return &Outbox{messages, sent}, err
}

// Put promises that a message will be sent.
func (o *Outbox) Put(ctx context.Context, message string) error {
	_, err := o.messages.Append(ctx, braidlog.Record{Value: []byte(message)})
	return err
}

// Deliver sends every message that was not sent yet.
func (o *Outbox) Deliver(ctx context.Context, send func(message string)) error {
	next, err := o.next(ctx)
	if err != nil {
		return err
	}
	for rec, err := range o.messages.Partition(0).Records(ctx, partition.Offset(next)) {
		if err != nil {
			return err
		}
		send(string(rec.Value)) // before it is noted: the other way about it could be lost
		note := fmt.Append(nil, rec.Offset+1)
		if _, err = o.sent.Append(ctx, braidlog.Record{Value: note}); err != nil {
			return err
		}
	}
	return nil
}

// next returns the offset of the first message that was not sent.
func (o *Outbox) next(ctx context.Context) (next int64, err error) {
	r := o.sent.Partition(0).NewReader(partition.Last(1))
	defer r.Close()
	rec, err := r.TryNext()
	if errors.Is(err, partition.ErrEnd) {
		return 0, nil
	}
	if err == nil {
		_, err = fmt.Sscan(string(rec.Value), &next)
	}
	return next, err
}

// The power goes off, and what was promised is there.
func Example() {
	t := &test{} // of the test
	defer t.end()
	ctx := context.Background()

	s := braidlogtest.Open(t)
	outbox, err := OpenOutbox(ctx, s.Store)
	check(err)
	check(outbox.Put(ctx, "your order was shipped"))

	s.Crash()

	outbox, err = OpenOutbox(ctx, s.Store)
	check(err)
	check(outbox.Deliver(ctx, func(message string) { fmt.Println("sent:", message) }))
	// Output: sent: your order was shipped
}

// The power goes off at every operation on a file, one after the other. What
// the outbox promised before is sent in the end.
func ExampleEachCrash() {
	t := &test{} // of the test
	ctx := context.Background()

	var promised []string
	var sent map[string]int
	send := func(message string) { sent[message]++ }

	run := func(s *braidlogtest.Store) {
		promised, sent = nil, map[string]int{}
		outbox, err := OpenOutbox(ctx, s.Store)
		for i := 0; err == nil && i < 3; i++ {
			message := fmt.Sprint("message ", i)
			if err = outbox.Put(ctx, message); err == nil {
				promised = append(promised, message)
			}
		}
		if err == nil {
			err = outbox.Deliver(ctx, send)
		}
		if err != nil && !errors.Is(err, braidlogtest.ErrPowerOff) {
			t.Errorf("an error that is no power loss: %v", err)
		}
	}
	check := func(s *braidlogtest.Store) {
		outbox, err := OpenOutbox(ctx, s.Store)
		if err == nil {
			err = outbox.Deliver(ctx, send)
		}
		if err != nil {
			t.Errorf("after the crash: %v", err)
		}
		for _, message := range promised {
			if sent[message] == 0 {
				t.Errorf("%s was promised and not sent", message)
			}
		}
	}
	braidlogtest.EachCrash(t, run, check)
	fmt.Println("nothing that was promised is lost")
	// Output: nothing that was promised is lost
}

// An error of the disk comes at the right moment. A failed sync leaves open
// whether the record is there; the program is told so.
func ExampleStore_FailNext() {
	t := &test{} // of the test
	defer t.end()
	ctx := context.Background()

	s := braidlogtest.Open(t)
	outbox, err := OpenOutbox(ctx, s.Store)
	check(err)

	s.FailNext(braidlogtest.Write, syscall.ENOSPC)
	err = outbox.Put(ctx, "a")
	fmt.Println("disk full:", errors.Is(err, braidlog.ErrDiskFull))
	fmt.Println("again:", outbox.Put(ctx, "a"))

	s.FailNext(braidlogtest.Sync, syscall.EIO)
	err = outbox.Put(ctx, "b")
	fmt.Println("unknown:", errors.Is(err, braidlog.ErrOutcomeUnknown))
	// Output:
	// disk full: true
	// again: <nil>
	// unknown: true
}

// What is kept for a day is gone after two, and nobody has waited.
func ExampleClock_Advance() {
	t := &test{} // of the test
	defer t.end()
	ctx := context.Background()

	s := braidlogtest.Open(t, braidlogtest.At(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)))
	topic, err := s.EnsureTopic(ctx, "visits", braidlog.TopicConfig{
		Partitions: 1, Retention: braidlog.Retention{Age: 24 * time.Hour},
	})
	check(err)
	_, err = topic.Append(ctx, braidlog.Record{Value: []byte("somebody")})
	check(err)
	rec, err := topic.Partition(0).Record(ctx, 0)
	check(err)
	fmt.Println(rec.Timestamp)

	s.Clock.Advance(48 * time.Hour)
	check(topic.Enforce(ctx))
	_, err = topic.Partition(0).NewReader(partition.First()).TryNext()
	fmt.Println(err)
	// Output:
	// 2001-02-03 04:05:06 +0000 UTC
	// at the end
}

// check ends an example at an error.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

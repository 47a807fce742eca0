package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog"
)

const (
	customers = 500
	writers   = 8 // goroutines that append
)

// topics are the names of what is appended to: a payment comes after its
// order.
var topics = [...]string{"orders", "payments"}

// config has segments so small that a backup finds many of them full.
var config = braidlog.TopicConfig{Partitions: 4, SegmentBytes: 64 << 10}

// fill appends, and backs the store up in the middle. It returns what was
// appended, and how far each partition had come when the backup began.
func fill(ctx context.Context, dir, backup string, orders int, text io.Writer) (sent *ledger, least ends, err error) {
	store, err := braidlog.Open(dir, braidlog.Options{})
	if err != nil {
		return nil, least, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s := &shop{ledger: newLedger(), orders: orders, half: make(chan struct{}), done: make(chan struct{})}
	for i, name := range topics {
		if s.topics[i], err = store.CreateTopic(ctx, name, config); err != nil {
			return nil, least, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error { return s.write(ctx) })
	}
	g.Go(func() (err error) {
		defer close(s.done)
		select {
		case <-s.half:
		case <-ctx.Done():
			return ctx.Err()
		}
		least = s.ledger.ends()
		began := time.Now()
		if err = store.Backup(ctx, backup); err != nil {
			return err
		}
		fmt.Fprintf(text, "backed up %s to %s in %v, while %d goroutines appended\n", dir, backup, time.Since(began).Round(time.Microsecond), writers)
		return nil
	})
	return s.ledger, least, g.Wait()
}

// A shop is where orders come from.
type shop struct {
	topics [len(topics)]*braidlog.Topic
	ledger *ledger
	orders int           // that are taken at least
	half   chan struct{} // closed when half of them are
	done   chan struct{} // closed when the backup is made

	mu    sync.Mutex
	taken int // guarded by mu
}

// next returns the number of the next order, false if no more are taken: there
// are enough, and the backup is made.
func (s *shop) next() (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.orders {
		select {
		case <-s.done:
			return 0, false
		default:
		}
	}
	if s.taken == s.orders/2 {
		close(s.half)
	}
	s.taken++
	return s.taken - 1, true
}

// write appends an order and its payment, one after the other.
func (s *shop) write(ctx context.Context) error {
	for {
		n, ok := s.next()
		if !ok {
			return nil
		}
		for i, topic := range s.topics {
			rec := s.ledger.record(i, n)
			pos, err := topic.Append(ctx, rec)
			if err != nil {
				return err
			}
			s.ledger.note(i, n, pos, rec)
		}
	}
}

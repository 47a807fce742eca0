package consumergroup

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// A Handler processes one record. The record is its to keep. An error, or a
// panic, counts as a failed attempt. ctx ends with Run's, and when the member
// that Run made is fenced: what is done after that may be done twice.
type Handler func(ctx context.Context, rec record.Record) error

// Lanes says what Run keeps in order.
type Lanes uint8

// The lanes.
const (
	// ByKey processes the records of one key of a partition one after the
	// other, and those of different keys side by side. Records without a key
	// are in no order.
	ByKey Lanes = iota
	// ByPartition processes the records of one partition one after the other.
	ByPartition
)

func (l Lanes) String() string {
	switch l {
	case ByKey:
		return "by key"
	case ByPartition:
		return "by partition"
	}
	return fmt.Sprintf("lanes(%d)", uint8(l))
}

// A RunConfig says how Run processes records. The zero value is the
// recommended setting.
type RunConfig struct {
	// Workers is how many records are processed at a time. Zero: GOMAXPROCS; at
	// most 100,000.
	Workers int
	// Lanes is what is kept in order. Zero: ByKey.
	Lanes Lanes
	// Attempts is how often a record is tried before it is given up. Zero: 3.
	Attempts int
	// Backoff is the time between the first two attempts; it doubles, up to a
	// minute. The record's lane waits, and the member is alive meanwhile. Zero:
	// 100 ms; 1 ms or more.
	Backoff time.Duration
	// DeadLetter is the topic that records go to that were given up, with the
	// headers HeaderGroup and those after it added: its MaxRecordBytes should be
	// 2 KiB more. Once such a record is acknowledged there, it counts as
	// processed. It must not be one that the group reads. "": Run ends with a
	// *HandlerError, and the record comes again.
	DeadLetter string
	// Pending is how many records are in memory, from Poll until everything
	// before them in their partition is processed too. Zero: 1,000; at least
	// 1.
	Pending int
	// SkipDamage goes on behind offsets that hold no records because of
	// damage, and reports them. False: Run ends with the error.
	SkipDamage bool
	// Member is the member that Run makes.
	Member MemberConfig
}

// Headers of a dead letter.
const (
	HeaderGroup     = "braidlog-group"
	HeaderTopic     = "braidlog-topic"
	HeaderPartition = "braidlog-partition"
	HeaderOffset    = "braidlog-offset"
	HeaderAttempts  = "braidlog-attempts"
	HeaderError     = "braidlog-error"
)

// Defaults and limits of RunConfig.
const (
	DefaultAttempts = 3
	DefaultBackoff  = 100 * time.Millisecond
	DefaultPending  = 1000
	maxBackoff      = time.Minute
	maxWorkers      = 100_000
)

func (c RunConfig) withDefaults() (RunConfig, error) {
	setDefault(&c.Workers, runtime.GOMAXPROCS(0))
	setDefault(&c.Attempts, DefaultAttempts)
	setDefault(&c.Backoff, DefaultBackoff)
	setDefault(&c.Pending, DefaultPending)
	for _, f := range []struct {
		field              string
		value, least, most int
	}{
		{"Workers", c.Workers, 1, maxWorkers},
		{"Lanes", int(c.Lanes), int(ByKey), int(ByPartition)},
		{"Attempts", c.Attempts, 1, 1 << 30},
		{"Pending", c.Pending, 1, 1 << 30},
	} {
		if f.value < f.least || f.value > f.most {
			return c, fmt.Errorf("%w config: %s is %d, want %d to %d", ErrInvalid, f.field, f.value, f.least, f.most)
		}
	}
	if c.Backoff < time.Millisecond {
		return c, fmt.Errorf("%w config: Backoff is %v, want %v or more", ErrInvalid, c.Backoff, time.Millisecond)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A runner is what Run does: its goroutine polls, hands records to lanes and
// commits; workers process what is first in each lane.
type runner struct {
	group  *Group
	member *Member
	config RunConfig
	handle Handler

	works map[*claim]*work // changed by the runner's goroutine with Group.mu, read with either
	lanes *lanes
}

// Run joins as a member and has handle called with every record, by many
// workers at a time: each key is a lane, in which one record is processed after
// the other, in order. What is committed is, in each partition, the end of what
// is processed without a gap: by Config.Commit, or every 5 s if that is zero,
// before a partition goes to somebody else, and at the end.
//
// It returns when ctx ends, with its error, or when it cannot go on: with a
// *HandlerError, ErrFenced, ErrClosed, or what Poll failed with. Before that it
// waits for the records that are being processed, commits and closes the
// member. Call it several times, at the same time, for several members.
func (g *Group) Run(ctx context.Context, config RunConfig, handle Handler) error {
	if err := g.runAll(ctx, config, handle); err != nil {
		return fmt.Errorf("run group %s: %w", g.name, err)
	}
	return nil
}

func (g *Group) runAll(ctx context.Context, config RunConfig, handle Handler) error {
	config, err := config.withDefaults()
	if err == nil && handle == nil {
		err = fmt.Errorf("%w handler: nil", ErrInvalid)
	}
	if err == nil && config.DeadLetter != "" {
		err = g.checkDeadLetter(config.DeadLetter)
	}
	if err != nil {
		return err
	}
	config.Member.Reuse = false // handlers have records while others are polled
	m, err := g.join(ctx, config.Member)
	if err != nil {
		return err
	}
	r := &runner{group: g, member: m, config: config, handle: handle, works: map[*claim]*work{}}
	r.lanes = newLanes(config.Lanes)
	g.mu.Lock() // before the first poll; Describe looks at it
	m.run = r
	g.mu.Unlock()
	return r.run(ctx)
}

// checkDeadLetter returns why a topic cannot take dead letters.
func (g *Group) checkDeadLetter(topic string) error {
	if slices.Contains(g.config.Topics, topic) || g.match != nil && g.match.MatchString(topic) {
		return fmt.Errorf("%w config: DeadLetter is %s, which the group reads: what fails there would go there again and again", ErrInvalid, topic)
	}
	_, err := g.source.Topic(topic)
	return err
}

// run starts the workers, polls, and ends everything in turn.
func (r *runner) run(ctx context.Context) error {
	work, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.member.life, stop)()
	var workers sync.WaitGroup
	for range r.config.Workers {
		workers.Go(func() { r.work(work) })
	}
	err := r.loop(ctx)
	stop()
	r.lanes.close()
	workers.Wait()
	return errors.Join(err, r.finish(ctx))
}

// finish commits what is processed and closes the member. It does not end with
// ctx, which has ended: it waits for the disk.
func (r *runner) finish(ctx context.Context) error {
	r.advance()
	err := r.member.close(context.WithoutCancel(ctx))
	if errors.Is(err, ErrFenced) || errors.Is(err, ErrClosed) {
		return nil // the loop ended with that
	}
	return err
}

// loop polls until something ends it.
func (r *runner) loop(ctx context.Context) error {
	m := r.member
	if err := m.enter(false); err != nil {
		return err
	}
	defer func() {
		m.handed = m.handed[:0]
		m.leavePoll(nil, nil) // #nosec G104 -- err says why, if it was fenced
	}()
	every := time.NewTimer(r.every())
	defer every.Stop()
	for {
		if err := r.turn(ctx); err != nil {
			return err
		}
		select {
		case <-m.wake:
		case <-every.C:
			if err := r.commit(ctx); err != nil {
				return err
			}
			every.Reset(r.every())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// every returns how often is committed by time.
func (r *runner) every() time.Duration {
	p := r.group.config.Commit
	switch {
	case p == CommitPolicy{}:
		return DefaultRunInterval
	case p.Interval > 0:
		return p.Interval
	}
	return 24 * time.Hour
}

// turn polls and commits until there is nothing to do but wait.
func (r *runner) turn(ctx context.Context) error {
	m := r.member
	for {
		if err := errors.Join(ctx.Err(), r.lanes.err()); err != nil {
			return err
		}
		r.advance()
		if err := r.commitIfDue(ctx); err != nil {
			return err
		}
		recs, err := m.step(ctx, min(DefaultPollRecords, r.config.Pending-r.pending()))
		if partition.Skippable(err) && r.config.SkipDamage {
			m.group.source.Report(m.handed[0].slot.tp, "has offsets without records, which a group skipped", err)
			err = nil
		}
		if err != nil {
			return err
		}
		more := r.dispatch(recs)
		if !more && !r.more() {
			return nil
		}
	}
}

// more reports whether there is something to be read, and room for it. If not,
// the member is woken when there may be.
func (r *runner) more() bool {
	if r.pending() >= r.config.Pending {
		return false // a worker wakes it
	}
	r.member.watch()
	return r.member.available(1) > 0
}

// pending returns how many records are in memory.
func (r *runner) pending() (n int) {
	for _, w := range r.works {
		n += w.pending()
	}
	return n
}

// dispatch hands records to lanes, and takes note of how far a poll went.
func (r *runner) dispatch(recs []record.Record) bool {
	m := r.member
	var c *claim
	for i := range recs {
		rec := &recs[i]
		if c == nil || c.slot.tp.Partition != rec.Partition || c.slot.tp.Topic != rec.Topic {
			c = m.handedOf(rec)
		}
		w := r.workOf(c)
		if rec.Offset < w.end() { // Seek went back
			w.giveUp()
			w = r.newWork(c)
		}
		r.lanes.add(w, rec)
	}
	for _, c := range m.handed {
		r.workOf(c).reach(c.reader.Offset())
	}
	more := len(m.handed) > 0
	m.handed = m.handed[:0]
	return more
}

// handedOf returns the claim that a record was just read by.
func (m *Member) handedOf(rec *record.Record) *claim {
	for _, c := range m.handed {
		if c.slot.tp.Partition == rec.Partition && c.slot.tp.Topic == rec.Topic {
			return c
		}
	}
	return nil // not so: read notes every claim that it returns records of
}

func (r *runner) workOf(c *claim) *work {
	if w := r.works[c]; w != nil {
		return w
	}
	return r.newWork(c)
}

func (r *runner) newWork(c *claim) *work {
	r.group.mu.Lock()
	defer r.group.mu.Unlock()
	w := newWork(c.next)
	r.works[c] = w
	return w
}

// advance takes note of what the workers did: positions move, and so the member
// is alive.
func (r *runner) advance() {
	g, m := r.group, r.member
	g.mu.Lock()
	defer g.mu.Unlock()
	pending := 0
	for c, w := range r.works {
		if c.slot.claim != c || c.moved { // it is somebody else's, or Seek moved it
			if r.clearLocked(c) {
				m.changedLocked()
			} else {
				pending += w.pending()
			}
			continue
		}
		n, done := w.prefix()
		c.done, c.next, c.high = n, n, max(c.high, n)
		m.processed += done
		pending += w.pending()
		switch {
		case c.revoking && g.config.Commit.BeforeHandOut: // nobody gets them again
		case c.revoking:
			w.stop()
		case w.stopped() && w.idle(): // it stays after all: what was left out is read again
			delete(r.works, c)
			c.moved = true
			m.changedLocked()
		}
	}
	m.waiting = pending == 0
	if m.waiting || r.lanes.progressed() {
		m.progress = time.Now()
	}
}

// clearLocked gives up what was polled of a claim, and reports whether nothing of
// it is being processed any more. Only then is it read elsewhere: two records of a
// key would be processed at a time. Whoever finishes the last one wakes the member.
func (r *runner) clearLocked(c *claim) bool {
	w := r.works[c]
	if w == nil {
		return true
	}
	w.giveUp()
	if c.slot.claim == c && !w.idle() {
		return false
	}
	delete(r.works, c)
	return true
}

// busy reports whether records of a claim are being processed that are to be
// waited for before it is let go.
func (r *runner) busy(c *claim) bool {
	w := r.works[c]
	if w != nil && r.group.config.Commit.BeforeHandOut {
		return w.pending() > 0
	}
	return w != nil && !w.idle()
}

// commitIfDue commits by number, or when there is nothing left.
func (r *runner) commitIfDue(ctx context.Context) error {
	p, m := r.group.config.Commit, r.member
	if p.Records > 0 && m.processed >= p.Records || p.Exhausted && m.processed > 0 && r.pending() == 0 {
		return r.commit(ctx)
	}
	return nil
}

// commit commits what is processed.
func (r *runner) commit(ctx context.Context) error {
	r.advance()
	return r.member.commitNow(ctx)
}

// work processes records until the lanes are closed.
func (r *runner) work(ctx context.Context) {
	for {
		t, ok := r.lanes.next()
		if !ok {
			return
		}
		done, err := r.process(ctx, &t)
		r.lanes.finish(t, done, err)
		r.member.poke()
	}
}

// process has a record processed, or put with the dead letters. It is not done
// if ctx ended first, or its partition went.
func (r *runner) process(ctx context.Context, t *task) (done bool, err error) {
	rec, backoff := &t.rec, r.config.Backoff
	for attempt := 1; ; attempt++ {
		if err = r.try(ctx, rec); err == nil {
			return true, nil
		}
		if ctx.Err() != nil || t.work.isOver() {
			return false, nil // whoever ended it knows
		}
		if attempt == r.config.Attempts {
			break
		}
		if !r.rest(ctx, backoff) || t.work.isOver() {
			return false, nil
		}
		backoff = min(2*backoff, max(backoff, maxBackoff))
	}
	if r.config.DeadLetter == "" {
		return false, &HandlerError{TopicPartition{rec.Topic, rec.Partition}, rec.Offset, r.config.Attempts, err}
	}
	if err = r.bury(ctx, rec, err); err != nil && ctx.Err() == nil {
		return false, fmt.Errorf("dead letter: %w", err)
	}
	return err == nil, nil
}

// rest waits between two attempts, and reports whether ctx has not ended. The
// member is not stuck meanwhile, however long it takes: the handler returned.
func (r *runner) rest(ctx context.Context, d time.Duration) bool {
	for most := r.group.config.PollInterval / 2; ; {
		r.member.Heartbeat() // #nosec G104 -- if it was fenced, ctx has ended
		if d <= 0 {
			return true
		}
		step := min(d, most)
		d -= step
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return false
		}
	}
}

func (r *runner) try(ctx context.Context, rec *record.Record) (err error) {
	defer caught("handler", &err)
	return r.handle(ctx, *rec)
}

// bury appends a record to the topic of dead letters.
func (r *runner) bury(ctx context.Context, rec *record.Record, cause error) error {
	letter := rec.Clone()
	for _, h := range [][2]string{
		{HeaderGroup, r.group.name},
		{HeaderTopic, rec.Topic},
		{HeaderPartition, strconv.Itoa(rec.Partition)},
		{HeaderOffset, strconv.FormatInt(rec.Offset, 10)},
		{HeaderAttempts, strconv.Itoa(r.config.Attempts)},
		{HeaderError, shorten(cause.Error())},
	} {
		letter.Headers = append(letter.Headers, record.Header{Key: h[0], Value: []byte(h[1])})
	}
	return r.group.source.Append(ctx, r.config.DeadLetter, letter)
}

// mostErrorBytes is how much of an error goes with a dead letter.
const mostErrorBytes = 1 << 10

func shorten(s string) string {
	if len(s) > mostErrorBytes {
		return s[:mostErrorBytes]
	}
	return s
}

package consumergroup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/braidlog/braidlog/partition"
)

// Sentinels for errors.Is.
var (
	// ErrGroupNotFound: the ledger has no group of that name.
	ErrGroupNotFound = errors.New("group not found")
	// ErrNewerLedger: a newer braidlog wrote the ledger.
	ErrNewerLedger = errors.New("the groups log was written by a newer braidlog")
)

// LedgerName is what the partition that holds a ledger is called in errors and
// events. No topic can have this name.
const LedgerName = "(groups)"

// LedgerID is the topic id of the partition that holds a ledger.
var LedgerID = TopicID([]byte("braidlog/groups/"))

// MaxMetadataBytes is how much metadata one commit of one partition may have.
const MaxMetadataBytes = 4 << 10

// A TopicID tells topics of the same name apart: one that was deleted and made
// again has another.
type TopicID = [16]byte

// A Committed is how far a group is in one partition.
type Committed struct {
	Topic     string
	TopicID   TopicID
	Partition int
	Offset    int64     // exclusive: the next offset to be read
	Metadata  []byte    // at most MaxMetadataBytes; nil and empty differ
	Time      time.Time // when it was committed, UTC; set by the ledger
}

// A PositionKind says where a position comes from.
type PositionKind uint8

// The kinds of positions.
const (
	PositionNone      PositionKind = iota // the ledger knows nothing
	PositionStarted                       // where the group was decided to begin; nothing was committed
	PositionCommitted                     // the last commit
)

func (k PositionKind) String() string {
	switch k {
	case PositionNone:
		return "none"
	case PositionStarted:
		return "started"
	case PositionCommitted:
		return "committed"
	}
	return fmt.Sprintf("position(%d)", uint8(k))
}

// A Spec is what a group was opened with.
type Spec struct {
	Topics  []string // sorted
	Pattern string   // "" for none
	Start   StoredStart
}

// A StoredStart says where a group begins in a partition that it has no commit
// for. The zero StoredStart is the first record.
type StoredStart struct {
	Kind StartKind
	Time time.Time // of StartAt; else zero
}

// StartKind says what a StoredStart is.
type StartKind uint8

// The kinds of starts.
const (
	StartEarliest StartKind = iota // the first record there is
	StartLatest                    // the next record to come
	StartAt                        // the first record of a time or later
	StartFail                      // nowhere: it is an error
)

func (k StartKind) String() string {
	switch k {
	case StartEarliest:
		return "earliest"
	case StartLatest:
		return "latest"
	case StartAt:
		return "at"
	case StartFail:
		return "fail"
	}
	return fmt.Sprintf("start(%d)", uint8(k))
}

func (s StoredStart) String() string {
	if s.Kind == StartAt {
		return "at " + s.Time.UTC().Format(time.RFC3339Nano)
	}
	return s.Kind.String()
}

// A Ledger is the durable memory of consumer groups: what each was opened with,
// where it was decided to begin, and what it committed. It is kept in one
// partition of level Sync. All methods may be called from many goroutines, and
// take copies of what they are given.
//
// What the methods without a context return is in memory and durable: a commit
// is seen once it is on disk. Commits are in force in the order in which they
// were made; those of one partition that are made at the same time, in any
// order. The ledger stores what it is told: a commit may go backwards, and be
// for any partition.
//
// A ledger that is damaged or failed says so with Err, and every method that
// returns an error returns it. Look at Err before believing the others: they
// then tell what can still be read, which may be old.
type Ledger struct {
	p    *partition.Partition // immutable
	opts LedgerOptions        // immutable

	ctx    context.Context // immutable; ended by Close
	cancel func()
	// upkeep is held, one place, by who writes a snapshot and trims the log, and
	// by who does not want it trimmed.
	upkeep chan struct{}

	// mu is not held while something is written. With ReadOnly the log is read
	// under it.
	mu      sync.Mutex
	state   ledgerState // guarded by mu; of the records that are durable
	damage  error       // guarded by mu; why state is not to be relied on
	failed  error       // guarded by mu; why nothing is written any more
	commits int64       // guarded by mu; acknowledged
	closing bool        // guarded by mu

	snapshotBytes int64 // guarded by mu; of the last snapshot
	grown         int64 // guarded by mu; what the log has behind the beginning of that
	compacting    bool  // guarded by mu; a goroutine writes a snapshot

	gathering ledgerGather // guarded by mu

	calls   []func() // guarded by mu; callbacks to be run
	calling bool     // guarded by mu; a goroutine runs them

	reader *partition.Reader // guarded by mu; with ReadOnly, where following is
	replay *ledgerReplay     // guarded by mu; and what it read

	background sync.WaitGroup // snapshots
	callbacks  sync.WaitGroup
}

// LedgerOptions configure a ledger. The zero value is the recommended setting.
type LedgerOptions struct {
	// SnapshotBytes is how long the log grows behind a snapshot before the next
	// one is made, if that is more than four times the snapshot. Zero: 1 MiB.
	SnapshotBytes int64
	// ReadOnly says that the partition is: the ledger follows who writes it.
	ReadOnly bool
	// OnTrouble is told what failed in the background, on a goroutine of the
	// ledger and under no lock. Nil: nobody is told.
	OnTrouble func(what string, err error)
}

// DefaultSnapshotBytes is LedgerOptions.SnapshotBytes if nobody says.
const DefaultSnapshotBytes = 1 << 20

// LedgerConfig is how the partition of a ledger is to be opened.
func LedgerConfig() partition.Config {
	// A commit is one record, and that is at most a quarter of a segment.
	return partition.Config{Durability: partition.Sync, SegmentBytes: 4 << 20}
}

// OpenLedger reads the ledger that is in a partition of level Sync. From then
// on the partition is the ledger's, to append to, to trim and to close. One that
// stands for a partition that could not be opened, and one that is damaged,
// make a ledger whose Err says so.
func OpenLedger(p *partition.Partition, o LedgerOptions) *Ledger {
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = DefaultSnapshotBytes
	}
	l := &Ledger{p: p, opts: o, upkeep: make(chan struct{}, 1), state: ledgerState{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.ReadOnly {
		l.followLocked()
		return l
	}
	y := newReplay()
	l.damage = cmp.Or(read(y, p), y.result())
	if lost := p.Recovery().Lost; l.damage == nil && len(lost) > 0 && !p.Writable() {
		l.damage = lost[0] // what was lost is not missed, but nothing can be written
	}
	l.takeOverLocked(y)
	return l
}

// read reads the log from its beginning to its end.
func read(y *ledgerReplay, p *partition.Partition) error {
	if err := p.Recovery().Err; err != nil {
		return err
	}
	r := p.NewReader(partition.First())
	return errors.Join(y.read(r), r.Close())
}

func (l *Ledger) takeOverLocked(y *ledgerReplay) {
	l.state, l.snapshotBytes, l.grown = y.state, y.snapshotBytes, y.grown
}

// followLocked reads what somebody else wrote since. If the beginning of the
// log was trimmed away meanwhile, it begins anew. What is known stays until
// there is something whole to take its place.
func (l *Ledger) followLocked() {
	err := l.p.Recovery().Err
	for tries := 0; err == nil && tries < 2; tries++ {
		if l.reader == nil {
			l.reader, l.replay = l.p.NewReader(partition.First()), newReplay()
		}
		if err = l.replay.read(l.reader); err == nil {
			break
		}
		l.reader.Close() // #nosec G104 -- it gives back memory
		l.reader = nil
		switch {
		case errors.Is(err, partition.ErrClosed):
			return // what is known stays
		case errors.Is(err, partition.ErrOffsetOutOfRange) && tries == 0:
			err = nil // it was trimmed
		}
	}
	if err == nil {
		err = l.replay.result()
	}
	l.damage = err
	if l.replay != nil && (err == nil || len(l.state) == 0) {
		l.takeOverLocked(l.replay)
	}
}

// look locks the ledger and has it know what is on disk.
func (l *Ledger) look() (unlock func()) {
	l.mu.Lock()
	if l.opts.ReadOnly {
		l.followLocked()
	}
	return l.mu.Unlock
}

// Partition returns the partition that holds the ledger. It is the ledger's to
// close.
func (l *Ledger) Partition() *partition.Partition { return l.p }

// Groups returns the names of all groups, sorted.
func (l *Ledger) Groups() []string {
	defer l.look()()
	return slices.Sorted(maps.Keys(l.state))
}

// Spec returns what a group was opened with; ok is false if it never was.
func (l *Ledger) Spec(group string) (s Spec, ok bool) {
	defer l.look()()
	g := l.state[group]
	if g == nil || g.spec == nil {
		return Spec{}, false
	}
	s = *g.spec
	s.Topics = slices.Clone(s.Topics)
	return s, true
}

// Position returns a group's position in one partition. If kind is
// PositionNone, c is zero.
func (l *Ledger) Position(group string, topic TopicID, number int) (c Committed, kind PositionKind) {
	defer l.look()()
	g := l.state[group]
	if g == nil {
		return Committed{}, PositionNone
	}
	p := g.at[ledgerPlace{topic, number}]
	return p.clone(), p.kind
}

func (c Committed) clone() Committed {
	c.Metadata = bytes.Clone(c.Metadata)
	return c
}

// Positions returns what a group committed, sorted by topic, topic id and
// partition. Where it only began is not among it.
func (l *Ledger) Positions(group string) []Committed { return l.positions(group, PositionCommitted) }

// Starts returns where a group was decided to begin, in partitions that it did
// not commit since, sorted likewise.
func (l *Ledger) Starts(group string) []Committed { return l.positions(group, PositionStarted) }

func (l *Ledger) positions(group string, kind PositionKind) []Committed {
	defer l.look()()
	g := l.state[group]
	if g == nil {
		return nil
	}
	all := g.of(kind)
	for i := range all {
		all[i] = all[i].clone()
	}
	return all
}

// Durable returns the greatest offset that any group committed in a partition,
// 0 if none did. At level Sync every record below it was durable then.
func (l *Ledger) Durable(topic TopicID, number int) (offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.state {
		if p := g.at[ledgerPlace{topic, number}]; p.kind == PositionCommitted {
			offset = max(offset, p.Offset)
		}
	}
	return offset
}

// Err returns why the ledger is not to be relied on: the partition could not
// be opened, is damaged, or failed. Nil: it is sound.
func (l *Ledger) Err() error {
	defer l.look()()
	return l.errLocked()
}

func (l *Ledger) errLocked() error { return cmp.Or(l.damage, l.failed) }

// LedgerStats are figures of a ledger, counted since it was opened.
type LedgerStats struct {
	Groups  int   `json:"groups"`  // that there are
	Commits int64 `json:"commits"` // acknowledged, of any number of partitions each
	Syncs   int64 `json:"syncs"`   // of the log's files, for whatever reason
	Bytes   int64 `json:"bytes"`   // of the log
}

// Stats returns figures of the ledger as it is now.
func (l *Ledger) Stats() LedgerStats {
	p := l.p.Stats()
	defer l.look()()
	return LedgerStats{Groups: len(l.state), Commits: l.commits, Syncs: p.Syncs, Bytes: p.Bytes}
}

// Close makes everything that was committed durable, has the callbacks run, and
// closes the partition. A second Close returns partition.ErrClosed.
func (l *Ledger) Close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.cancel()
	l.background.Wait()
	err := l.p.Close()
	l.callbacks.Wait()
	return err
}

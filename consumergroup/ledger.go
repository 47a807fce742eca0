package consumergroup

import (
	"context"
	"errors"
	"fmt"
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

	mu sync.Mutex
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

// Groups returns the names of all groups, sorted.
func (l *Ledger) Groups() []string { panic("soon") }

// Spec returns what a group was opened with; ok is false if it never was.
func (l *Ledger) Spec(group string) (s Spec, ok bool) { panic("soon") }

// SetSpec stores what a group is opened with, and makes the group if it does
// not exist. It is durable when SetSpec returns nil.
func (l *Ledger) SetSpec(ctx context.Context, group string, s Spec) error { panic("soon") }

// Begin stores where a group was decided to begin, so that it cannot change
// later. It is not a commit. A partition that the ledger has a position of
// keeps that: what is in force, Position tells.
func (l *Ledger) Begin(ctx context.Context, group string, starts []Committed) error { panic("soon") }

// Commit stores how far a group is, all of c or nothing, and returns when that
// is durable; with all other commits of the store it shares one sync. If ctx
// ends meanwhile the error is partition.ErrOutcomeUnknown: it may be stored,
// and is in force if it was. No error but that one leaves it in doubt. None of
// c is stored if one of it is invalid, or all of it is larger than 1 MiB.
func (l *Ledger) Commit(ctx context.Context, group string, c []Committed) error { panic("soon") }

// CommitAsync is Commit that does not wait to be durable; it waits only for
// room in the buffers. done is called once, later, on a goroutine of the
// ledger, under no lock, in the order of the commits; it must not close the
// ledger. An error returned means that done is not called and nothing is
// stored. A nil done is allowed.
func (l *Ledger) CommitAsync(group string, c []Committed, done func(error)) error { panic("soon") }

// Position returns a group's position in one partition. If kind is
// PositionNone, c is zero.
func (l *Ledger) Position(group string, topic TopicID, number int) (c Committed, kind PositionKind) {
	panic("soon")
}

// Positions returns what a group committed, sorted by topic, topic id and
// partition. Where it only began is not among it.
func (l *Ledger) Positions(group string) []Committed { panic("soon") }

// DeleteGroup forgets a group. ErrGroupNotFound if there is none of that name.
func (l *Ledger) DeleteGroup(ctx context.Context, group string) error { panic("soon") }

// DeleteTopic forgets what groups know of a topic.
func (l *Ledger) DeleteTopic(ctx context.Context, id TopicID) error { panic("soon") }

// Durable returns the greatest offset that any group committed in a partition,
// 0 if none did. At level Sync every record below it was durable then.
func (l *Ledger) Durable(topic TopicID, number int) int64 { panic("soon") }

// Err returns why the ledger is not to be relied on: the partition could not
// be opened, is damaged, or failed. Nil: it is sound.
func (l *Ledger) Err() error { panic("soon") }

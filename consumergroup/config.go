package consumergroup

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says what a group reads and how. The zero value is the recommended
// setting, in a store for a topic's own Group method. A group that is opened
// again, in this process or a later one, keeps its topics: what is given must
// be the same or nothing.
type Config struct {
	// Topics are the names of the topics that the group reads. They must exist.
	Topics []string
	// Pattern is a regular expression of package regexp. The group also reads
	// every topic whose whole name matches, and those made later from their
	// first record on. "": none.
	Pattern string
	// Assignor decides who gets which partition. Nil: Range().
	Assignor Assignor

	// Start is where a group begins that is new. The zero StartPolicy is
	// Earliest(). It is decided once, when the first member joins, for all
	// partitions that there are, and stored: later ones begin with their first
	// record whatever it says.
	Start StartPolicy
	// Trimmed is where a member goes on whose next record was trimmed away. That
	// is decided once, stored as a commit, and told of by an event and by
	// Describe. Zero: Earliest().
	Trimmed StartPolicy

	// Commit says when positions are committed without being asked to. The
	// zero CommitPolicy is never for Poll, and 5 s after processing for Run.
	Commit CommitPolicy

	// PollInterval is how long a member may go without Poll, Commit or
	// Heartbeat before it is taken for stuck and loses its partitions. Waiting
	// in Poll counts as progress. It also bounds how long a partition that is
	// to move waits for its owner to commit. Zero: 5 minutes; 1 ms or more.
	PollInterval time.Duration
	// SessionTimeout is how long the place of a static member that was closed
	// is kept for one of the same InstanceID, its partitions standing still.
	// Zero: 45 s; 1 ms or more. After Open nobody is waited for.
	SessionTimeout time.Duration
}

// Defaults of Config, Poll and Run.
const (
	DefaultPollInterval   = 5 * time.Minute
	DefaultSessionTimeout = 45 * time.Second
	DefaultPollRecords    = 500
	DefaultRunInterval    = 5 * time.Second
)

// A CommitPolicy says when positions are committed by themselves: at the first
// of those that are set. A Poll commits only what the polls before it returned,
// since asking for more says that those were processed; what the last one
// returned is for the next Poll, or Member.Commit. The zero value commits
// nothing by itself.
type CommitPolicy struct {
	// Interval commits at the first Poll that comes so long after the last
	// commit. 1 ms or more; 0: not by time.
	Interval time.Duration
	// Records commits whenever so many records were processed; a Poll then
	// returns no more than are left until then. 1 is after each record. 0: not
	// by number.
	Records int
	// Exhausted commits when everything that a Poll returned was processed: at
	// the next one. For Run: whenever nothing is left to be processed.
	Exhausted bool
	// BeforeHandOut commits records before Poll returns them: at most once. A
	// crash then loses what was handed out and not yet processed, and so does
	// the end of Run what its handler was not called for yet, at most
	// RunConfig.Pending records. The other fields add nothing to it.
	BeforeHandOut bool
}

// A StartPolicy says where reading begins if no position says it. The zero
// StartPolicy is Earliest().
type StartPolicy = StoredStart

// Earliest begins with the first record there is.
func Earliest() StartPolicy { return StartPolicy{} }

// Latest begins with the next record to come. What was appended before the
// group's first member joined is never read.
func Latest() StartPolicy { return StartPolicy{Kind: StartLatest} }

// Since begins with the first record appended at t or later.
func Since(t time.Time) StartPolicy { return StartPolicy{Kind: StartAt, Time: t} }

// Fail does not begin: Join, or Poll after a trim, fails with ErrNoPosition
// until Group.Reset says where.
func Fail() StartPolicy { return StartPolicy{Kind: StartFail} }

// A MemberConfig describes a member. The zero value is a dynamic one that is
// told nothing.
type MemberConfig struct {
	// InstanceID makes the member a static one: when it is closed its place is
	// kept for SessionTimeout, and the next one of the same InstanceID gets its
	// partitions without a rebalance. A second one while the first lives takes
	// its place and fences it. At most 255 bytes. "": dynamic.
	InstanceID string

	// Reuse has Poll return records, and the slice of them, that live only until
	// the member's next Poll or Close, as those of a partition.Reader do. It
	// saves the fresh memory that records to keep need, which is a third of the
	// time of a Poll or more: Clone those to keep. A Poll may return fewer than there are.
	// Run does not look at it.
	Reuse bool

	// OnAssigned is called in Poll before the first record of partitions that
	// the member got. It may Seek.
	OnAssigned Callback
	// OnRevoked is called in Poll or Close before the member lets partitions
	// go. It may commit.
	OnRevoked Callback
	// OnLost is called when partitions are gone already: somebody else may have
	// them, and commits for them fail. It is called at once, from whichever
	// goroutine found out.
	OnLost Callback
}

// A Callback is told of partitions that a member got or lost, sorted. It is
// called under no lock, and what waits for it is the call of the member that it
// is called in. A panic is caught: the Poll or Close returns it as an error,
// and from OnLost it goes to the store's log. It must not close the group.
type Callback func(ctx context.Context, m *Member, partitions []TopicPartition)

const maxInstanceID = 255

// withDefaults returns c with its zeros replaced, or an error that names the
// field.
func (c Config) withDefaults() (Config, error) {
	c.Topics = sortedSet(c.Topics)
	for _, p := range []*StartPolicy{&c.Start, &c.Trimmed} {
		p.Time = p.Time.UTC().Round(0) // one moment is not two because of its zone
	}
	if c.Assignor == nil {
		c.Assignor = Range()
	}
	if c.PollInterval == 0 {
		c.PollInterval = DefaultPollInterval
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	return c, c.check()
}

func (c *Config) check() error {
	for _, f := range []struct {
		field string
		value time.Duration
	}{
		{"PollInterval", c.PollInterval},
		{"SessionTimeout", c.SessionTimeout},
		{"Commit.Interval", c.Commit.Interval},
	} {
		if f.value != 0 && f.value < time.Millisecond {
			return fmt.Errorf("%w config: %s is %v, want %v or more", ErrInvalid, f.field, f.value, time.Millisecond)
		}
	}
	for _, p := range []StartPolicy{c.Start, c.Trimmed} {
		if p.Kind > StartFail || (p.Kind == StartAt) == p.Time.IsZero() {
			return fmt.Errorf("%w config: Start or Trimmed is %v with time %v, want Earliest(), Latest(), Since(t) or Fail()", ErrInvalid, p, p.Time)
		}
	}
	if c.Commit.Records < 0 {
		return fmt.Errorf("%w config: Commit.Records is %d, want 0 or more", ErrInvalid, c.Commit.Records)
	}
	if _, err := c.pattern(); err != nil {
		return fmt.Errorf("%w config: Pattern: %w", ErrInvalid, err)
	}
	return nil
}

// pattern returns what whole names are matched with, nil if there is none.
func (c *Config) pattern() (*regexp.Regexp, error) {
	if c.Pattern == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(c.Pattern); err != nil {
		return nil, err // of what was given, not of what is made of it
	}
	return regexp.Compile(`^(?:` + c.Pattern + `)$`)
}

// reads returns what a group reads, for messages.
func reads(topics []string, pattern string) string {
	s := "topics [" + strings.Join(topics, " ") + "]"
	if pattern != "" {
		s += fmt.Sprintf(" and pattern %q", pattern)
	}
	return s
}

// sortedSet returns names in order, each once.
func sortedSet(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

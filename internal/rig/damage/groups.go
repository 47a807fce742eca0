package damage

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
)

// This file fills the groups log of a fixture, and says what is left of it after
// a change. The log is a partition of level Sync: which of its records are
// lost or torn, the same table tells as of any other.
//
// What cannot be told: in the store that was killed nothing but the log itself
// says that there is one. Its directory is made by the first commit, and store.json
// names no partition. So if all of its segments are gone, or are under each
// other's names, so that no header is believed, there is no durable mark: groups
// begin anew. If the last segment alone is gone, the one before says only that
// what came before its own last record was durable, and groups go on from the
// commits in it. Records come again then, and none is left out. In the store that was
// closed, the checkpoint names the log and where it ended, and the loss is told.

// groupsSegments is how many segments the groups log of a fixture has.
const groupsSegments = 2

// A place is where a group can be: a partition.
type place struct {
	group  string
	topic  string
	number int
}

// A position is how far a group is in a place.
type position struct {
	offset    int64
	committed bool // else it was decided to begin there
	metadata  string
}

// A note is one record of the groups log: what it says of some places. One
// that says what a group reads has none.
type note map[place]position

// A standing is what the groups log says in all.
type standing map[place]position

// takes has a note take effect: where a group begins is decided once.
func (s standing) takes(n note) {
	for at, p := range n {
		if _, decided := s[at]; p.committed || !decided {
			s[at] = p
		}
	}
}

// readers are the groups of a fixture, and the topics that they read.
var readers = []struct {
	group  string
	topics []string
}{
	{"billing", []string{"audit", "orders"}},
	{"shipping", []string{"orders"}},
}

// commits are what they commit, in this order. Offsets below zero count from
// behind the end. Commits of the last two records of orders/1, and of one of
// orders/2, are all that says that these are durable in the store that was
// killed. Those of audit say nothing: its level is less than Sync.
var commits = []struct {
	group string
	to    map[string]int64
}{
	{"billing", map[string]int64{"orders/0": 12, "orders/1": 5, "audit/2": 4}},
	{"shipping", map[string]int64{"orders/0": 20, "orders/2": 9}},
	{"billing", map[string]int64{"orders/1": 17, "audit/1": -1}},
	{"shipping", map[string]int64{"orders/2": -2}},
	{"billing", map[string]int64{"orders/0": 13, "orders/1": -1}},
	{"shipping", map[string]int64{"orders/0": 21}},
	{"billing", map[string]int64{"orders/0": 33, "audit/0": 8}},
}

// metadataBytes is how much goes with a commit: so much that the log rolls.
const metadataBytes = 380

// commit opens groups and has them commit, on this goroutine alone.
func (f *fixture) commit(s *braidlog.Store) error {
	f.ledger = &part{topic: "groups", dir: "groups", level: braidlog.Sync}
	members := map[string]*consumergroup.Member{}
	for _, r := range readers {
		m, err := f.join(s, r.group, r.topics)
		if err != nil {
			return err
		}
		members[r.group] = m
	}
	for i, c := range commits {
		n, offsets := f.offsets(i)
		if err := members[c.group].CommitOffsets(context.Background(), offsets...); err != nil {
			return err
		}
		f.wrote(n)
	}
	for _, m := range members {
		if err := m.Close(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// join makes a member of a new group that has all partitions: where the group
// begins and what it reads are written, in this order.
func (f *fixture) join(s *braidlog.Store, group string, topics []string) (*consumergroup.Member, error) {
	g, err := s.Group(group, consumergroup.Config{Topics: topics})
	if err != nil {
		return nil, err
	}
	m, err := g.Join(context.Background(), consumergroup.MemberConfig{})
	if err != nil {
		return nil, err
	}
	f.wrote(f.begins(group, topics))
	f.wrote(note{})
	_, err = m.Poll(context.Background(), 1)
	return m, err
}

// wrote takes down what a record of the groups log says.
func (f *fixture) wrote(n note) {
	f.written = append(f.written, n)
	f.ledger.records = append(f.ledger.records, stored{})
}

// begins returns where a new group begins.
func (f *fixture) begins(group string, topics []string) note {
	n := note{}
	for _, p := range f.parts {
		if slices.Contains(topics, p.topic) {
			n[p.place(group)] = position{offset: p.start}
		}
	}
	return n
}

// offsets returns what is committed by one of commits.
func (f *fixture) offsets(i int) (n note, offsets []consumergroup.Offset) {
	c := commits[i]
	n = note{}
	text := fmt.Sprintf("commit %d%s", i, strings.Repeat(".", metadataBytes/len(c.to)))
	for _, p := range f.parts {
		to, ok := c.to[p.String()]
		if !ok {
			continue
		}
		if to < 0 {
			to += p.end() + 1
		}
		n[p.place(c.group)] = position{to, true, text}
		offsets = append(offsets, p.offset(to, text))
	}
	return n, offsets
}

func (p *part) place(group string) place { return place{group, p.topic, p.number} }

func (p *part) offset(to int64, metadata string) consumergroup.Offset {
	tp := consumergroup.TopicPartition{Topic: p.topic, Partition: p.number}
	return consumergroup.Offset{TopicPartition: tp, Offset: to, Metadata: []byte(metadata)}
}

// logs are all partitions, the groups log included.
func (f *fixture) logs() []*part { return append(slices.Clip(f.parts), f.ledger) }

// standing returns what the first so many records of the groups log say.
func (f *fixture) standing(records int64) standing {
	s := standing{}
	for _, n := range f.written[:records] {
		s.takes(n)
	}
	return s
}

// touchesGroups reports whether a change is one of the groups log.
func (f *fixture) touchesGroups(c change) bool {
	for name := range c.files {
		if path.Dir(name) == f.ledger.dir {
			return true
		}
	}
	return false
}

// groupsGone is the groups log missing as a whole.
func (f *fixture) groupsGone() change {
	c := change{f.what(f.ledger.dir, "all files missing"), map[string]entry{}}
	for _, name := range f.paths {
		if path.Dir(name) == f.ledger.dir {
			c.files[name] = entry{form: missing}
		}
	}
	return c
}

// committed returns the greatest offset in a partition that the groups log
// still says was committed, behind damage too. At level Sync all below was
// durable.
func (f *fixture) committed(c change, p *part) (offset int64) {
	all := []item{{0, f.ledger.end(), true}}
	if f.touchesGroups(c) {
		all = f.expect(c, f.ledger).items
	}
	for _, it := range all {
		for i := it.from; it.record && i < it.to; i++ {
			for at, pos := range f.written[i] {
				if pos.committed && at == p.place(at.group) {
					offset = max(offset, pos.offset)
				}
			}
		}
	}
	return offset
}

// damaged reports whether a groups log of which this is expected cannot be
// used: a record of it is lost, or nothing can be appended.
func (x *expectation) damaged() bool {
	return x.refused || slices.ContainsFunc(x.items, func(it item) bool { return !it.record })
}

// leftover reports whether bytes stand behind the end of what is expected of a
// partition: to cut them off is to be told.
func (f *fixture) leftover(c change, p *part, x expectation) bool {
	for i, s := range p.segments {
		e := f.after(c, s.name)
		if e.form != regular || s.to <= x.end && s != p.last() {
			continue
		}
		if i > 0 && s.base > x.end || !headerIntact(e, s) {
			return true // the whole file goes
		}
		if len(bytes.Trim(e.bytes[min(s.at(x.end), int64(len(e.bytes))):], "\x00")) > 0 {
			return true
		}
	}
	return false
}

// at returns the position behind the batches that end at or below an offset.
func (s *segment) at(offset int64) int64 {
	pos := int64(headerBytes)
	for _, b := range s.batches {
		if b.to <= offset {
			pos = b.end
		}
	}
	return pos
}

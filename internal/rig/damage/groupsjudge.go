package damage

import (
	"context"
	"slices"
	"strings"

	"github.com/braidlog/braidlog/consumergroup"
)

// groups compares the groups log with what the table wants of it: all is as it
// was acknowledged, or as it was acknowledged earlier if the end was torn, or
// nothing can be done with a group.
func (v *visit) groups(uses bool) {
	x := v.f.expect(v.c, v.f.ledger)
	if x.torn {
		v.torn = append(v.torn, v.f.ledger)
	}
	r := v.s.Recovery().Groups
	switch {
	case r.Err != nil && !isDamage(r.Err), r.Err != nil && !x.damaged() && !x.unsure:
		v.say(falseCorruption, "the groups log: %v", r.Err)
	case r.Err != nil && v.moved == nil:
		v.refused()
		if uses && v.err == nil && !x.unsure {
			v.repair(x)
		}
	case r.Err != nil:
		v.say(falseCorruption, "the groups log behind a repair: %v", r.Err)
	case x.damaged() && v.moved == nil:
		v.say(undetected, "the groups log is taken for sound: want %v", x.items)
	case x.torn && !v.again && !r.Vouched && r.Cut == nil && v.f.leftover(v.c, v.f.ledger, x):
		v.say(undetected, "the groups log was cut at %d without a word", x.end)
	default:
		v.standing(v.expected(x))
		if uses && v.err == nil {
			v.use(x)
		}
	}
}

// expected returns where groups are to be.
func (v *visit) expected(x expectation) standing {
	if v.moved != nil {
		return v.moved
	}
	return v.f.standing(x.end)
}

// refused compares a groups log that is damaged: every use of a group says so.
func (v *visit) refused() {
	ctx := context.Background()
	for _, r := range readers {
		g, err := v.s.Group(r.group, consumergroup.Config{Topics: r.topics})
		if err == nil {
			_, lagErr := g.Lag(ctx)
			_, err = g.Join(ctx, consumergroup.MemberConfig{})
			if !isDamage(lagErr) {
				v.say(undetected, "lag of group %s in a damaged log: %v", r.group, lagErr)
			}
		}
		if !isDamage(err) && !v.spoilsTopics() {
			v.say(undetected, "group %s of a damaged log: %v", r.group, err)
		}
		if err = v.s.DeleteGroup(ctx, r.group); !isDamage(err) {
			v.say(undetected, "delete group %s in a damaged log: %v", r.group, err)
		}
	}
}

// repair has a damaged groups log repaired: groups are where its intact records
// say, and go on.
func (v *visit) repair(x expectation) {
	if _, err := v.s.RepairGroups(context.Background()); err != nil {
		v.say(falseCorruption, "%v", err)
		return
	}
	v.moved, v.repaired = standing{}, true
	for _, it := range x.items {
		if it.record {
			v.moved.takes(v.f.written[it.from])
		}
	}
	v.standing(v.moved)
	if v.err == nil {
		v.use(x)
	}
}

// spoilsTopics reports whether the change is one of topics too.
func (v *visit) spoilsTopics() bool {
	for name := range v.c.files {
		if strings.HasPrefix(name, "topics/") {
			return true
		}
	}
	return false
}

// standing compares where groups are.
func (v *visit) standing(want standing) {
	for _, r := range readers {
		g, err := v.s.Group(r.group, consumergroup.Config{Topics: r.topics})
		var lags []consumergroup.Lag
		if err == nil {
			lags, err = g.Lag(context.Background())
		}
		if err != nil {
			if !v.spoilsTopics() {
				v.say(falseCorruption, "%v", err)
			}
			continue
		}
		for i := range lags {
			v.position(r.group, &lags[i], want)
		}
		if n := len(r.topics) * partitions; len(lags) != n && !v.spoilsTopics() {
			v.say(lost, "group %s has %d partitions, want %d", r.group, len(lags), n)
		}
	}
}

// position compares where a group is in one partition.
func (v *visit) position(group string, l *consumergroup.Lag, all standing) {
	want, known := all[place{group, l.Topic, l.Partition}]
	if !known {
		want.offset = -1
	}
	got := position{l.Committed, l.Kind == consumergroup.PositionCommitted, string(l.Metadata)}
	if got == want && known == (l.Kind != consumergroup.PositionNone) {
		return
	}
	k := invented
	if got.offset < want.offset {
		k = lost
	}
	v.say(k, "group %s is at %+v in %v, want %+v", group, got, l.TopicPartition, want)
}

// use has a group go on: it gets what comes behind its positions, and commits.
func (v *visit) use(x expectation) {
	r := readers[1]
	was := v.expected(x)
	was.takes(v.f.begins(r.group, r.topics)) // if it is new
	g, err := v.s.Group(r.group, consumergroup.Config{Topics: r.topics})
	if err != nil {
		v.say(falseCorruption, "%v", err)
		return
	}
	m, err := g.Join(context.Background(), consumergroup.MemberConfig{})
	if err != nil {
		v.say(falseCorruption, "%v", err)
		return
	}
	p := v.polled(m, r.group, was)
	if v.err != nil {
		return
	}
	if err = m.CommitOffsets(context.Background(), p.offset(p.end(), "on")); err != nil {
		v.say(falseCorruption, "%v", err)
	}
	was[p.place(r.group)] = position{p.end(), true, "on"}
	if err = m.Close(context.Background()); err != nil {
		v.say(falseCorruption, "%v", err)
	}
	v.moved = was
}

// polled compares what a member gets, and returns a partition that it got
// something of.
func (v *visit) polled(m *consumergroup.Member, group string, want standing) (some *part) {
	recs, err := m.Poll(context.Background(), 0)
	if err != nil || len(recs) == 0 {
		v.say(falseCorruption, "poll: %d records: %v", len(recs), err)
		return nil
	}
	next := map[*part]int64{}
	for i := range recs {
		p := v.f.part(recs[i].Topic, recs[i].Partition)
		if _, begun := next[p]; !begun {
			next[p] = want[p.place(group)].offset
		}
		if recs[i].Offset != next[p] {
			v.say(lost, "group %s gets record %d of %s, want %d", group, recs[i].Offset, p, next[p])
		}
		if err = p.compare(&recs[i]); err != nil {
			v.say(invented, "%v", err)
		}
		next[p]++
		some = p
	}
	return some
}

// part returns a partition.
func (f *fixture) part(topic string, number int) *part {
	return f.parts[slices.IndexFunc(f.parts, func(p *part) bool { return p.topic == topic && p.number == number })]
}

// lookAtGroups looks at the groups log read-only.
func (v *visit) lookAtGroups() {
	x := v.f.expect(v.c, v.f.ledger)
	err := v.s.Recovery().Groups.Err
	switch {
	case err != nil && !isDamage(err), err != nil && !x.damaged() && !x.unsure:
		v.say(falseCorruption, "the groups log, read-only: %v", err)
	case err == nil && x.damaged():
		v.say(undetected, "the groups log is taken for sound, read-only: want %v", x.items)
	}
}

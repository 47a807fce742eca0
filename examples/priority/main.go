// Priority has urgent requests handled first, and lets nothing starve.
// partitioner.Priority keeps a partition for them; what is read first is the
// reader's business, and it has three ways: to take the partitions in turn, which
// makes urgent requests wait; to take urgent ones as long as there are any, which
// starves the others during a flood of them; and to take an ordinary one after
// four urgent ones in a row at the latest, which does neither.
//
//	go run ./examples/priority
package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partitioner"
)

const (
	partitions = 6
	urgent     = 0  // the partition
	seconds    = 60 // in which requests come
	capacity   = 10 // requests that are handled in a second
)

// classify says what is urgent.
var classify = partitioner.KeyPrefix("HIGH:")

// arriving returns how many requests come in a second: in the flood more urgent
// ones than can be handled.
func arriving(second int) (high, low int) {
	if second >= 20 && second < 40 {
		return 11, 4
	}
	return 2, 4
}

var program = show.Program{Name: "priority", Play: play}

func main() { program.Main() }

// figures are of requests that were read. Waits are the longest, in seconds.
type figures struct {
	Records          int `json:"records"` // handled in each way
	Urgent           int `json:"urgent"`
	InTurnUrgentWait int `json:"in_turn_urgent_wait"`
	StrictUrgentWait int `json:"strict_urgent_wait"`
	StrictStarved    int `json:"strict_starved"` // seconds in which others waited and none was handled
	FairUrgentWait   int `json:"fair_urgent_wait"`
	FairStarved      int `json:"fair_starved"`
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	ways := []way{{"in turn", 0}, {"urgent always first", math.MaxInt}, {"at most 4 urgent in a row", 4}}
	var outcomes []outcome
	for i, w := range ways {
		topic, err := store.CreateTopic(ctx, fmt.Sprintf("requests-%d", i), braidlog.TopicConfig{
			Partitions: partitions,
			Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
			Partitioner: partitioner.Priority(classify, []int{urgent}, partitioner.Key()),
		})
		if err != nil {
			return nil, err
		}
		o, err := simulate(ctx, s, topic, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		outcomes = append(outcomes, o)
	}
	draw(s, ways, outcomes)
	inTurn, strict, fair := outcomes[0], outcomes[1], outcomes[2]
	f := figures{fair.sum(), fair.handled[0], inTurn.wait[0], strict.wait[0], strict.starved, fair.wait[0], fair.starved}
	if f.FairStarved > 0 || f.StrictStarved == 0 || f.FairUrgentWait >= f.InTurnUrgentWait {
		return nil, fmt.Errorf("urgent requests should come first, and nothing should starve: %+v", f)
	}
	return f, nil
}

// An outcome is what became of requests: first those that are urgent.
type outcome struct {
	handled [2]int
	wait    [2]int // the longest
	starved int    // seconds in which others waited and none was handled
	others  []int  // handled, by second
}

// simulate appends what comes in a second and handles as much as it can, second
// by second, until nothing is left.
func simulate(ctx context.Context, s *show.Stage, topic *braidlog.Topic, w way) (o outcome, err error) {
	recs, came := newRequests()
	ledger, left := show.NewLedger(recs), s.Plant(recs)
	d := newDesk(topic, w)
	defer d.close()
	for second, before := 0, 0; second < seconds || o.sum() > before; second++ {
		n := len(left)
		if second < seconds-1 {
			high, low := arriving(second)
			n = min(n, high+low)
		}
		if err = topic.AppendBatch(ctx, left[:n]); err != nil {
			return o, err
		}
		left, before = left[n:], o.sum()
		if err = o.handle(d, ledger, came, second); err != nil {
			return o, err
		}
	}
	return o, ledger.End()
}

// handle spends a second at the desk.
func (o *outcome) handle(d *desk, ledger *show.Ledger, came []int, second int) error {
	before := o.handled[1]
	for range capacity {
		rec, err := d.next()
		if errors.Is(err, braidlog.ErrEnd) {
			break
		}
		if err == nil {
			err = ledger.Read(rec)
		}
		if err != nil {
			return err
		}
		kind := min(rec.Partition, 1) // the first partition is the urgent one
		o.handled[kind]++
		o.wait[kind] = max(o.wait[kind], second-came[show.Number(rec)])
	}
	o.others = append(o.others, o.handled[1]-before)
	if o.handled[1] == before && d.waiting() {
		o.starved++
	}
	return nil
}

func (o *outcome) sum() int { return o.handled[0] + o.handled[1] }

// newRequests returns all that come, and when.
func newRequests() (recs []braidlog.Record, came []int) {
	for second := range seconds {
		high, low := arriving(second)
		for i := range high + low {
			key := fmt.Sprintf("customer-%d", len(recs)%50)
			if i < high {
				key = "HIGH:" + key
			}
			recs = append(recs, braidlog.Record{Key: []byte(key), Value: fmt.Appendf(nil, "request %d", len(recs))})
			came = append(came, second)
		}
	}
	return recs, came
}

// draw shows what became of requests, and how many ordinary ones were handled as
// time went by.
func draw(s *show.Stage, ways []way, outcomes []outcome) {
	table := show.Table{{"way", "urgent wait up to", "others wait up to", "others starve for"}}
	for i, o := range outcomes {
		table.Add(ways[i].name, sec(o.wait[0]), sec(o.wait[1]), sec(o.starved))
	}
	table.Print(s)
	s.Say("\nordinary requests handled, in 5 seconds each; the flood is from 20 to 40:\n")
	table = show.Table{{"from", ways[1].name, ways[2].name}}
	for from := 0; from < seconds; from += 5 {
		line := []any{fmt.Sprintf("%3d s", from)}
		for _, o := range outcomes[1:] {
			n := 0
			for _, others := range o.others[from:min(from+5, len(o.others))] {
				n += others
			}
			line = append(line, fmt.Sprintf("%3d %s", n, show.Bar(n, 80)))
		}
		table.Add(line...)
	}
	table.Print(s)
	s.Say("")
}

func sec(n int) string { return fmt.Sprintf("%d s", n) }

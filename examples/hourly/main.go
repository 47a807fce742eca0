// Hourly gives each hour a partition: partitioner.TimeWindow goes by when
// something happened, not by when it was appended, and takes the partitions in
// turn. Whoever wants one hour reads one partition. A few readings come an hour
// late and land in the hour they are of; what they cost is that an hour is not
// complete when the next one begins.
//
//	go run ./examples/hourly
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

const (
	partitions = 6
	late       = 70 * time.Minute // that some readings are under way
)

var midnight = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

var program = show.Program{Name: "hourly", Play: play}

func main() { program.Main() }

// figures are of readings that were read back.
type figures struct {
	Records    int   `json:"records"`
	Partitions []int `json:"partitions"` // readings of each
	Hours      int   `json:"hours"`
	Together   int   `json:"together"`       // hours that are in one partition
	At1430     int   `json:"partition_1430"` // where 14:30 is
	Hour       int   `json:"hour_records"`   // readings from 14:00 to 15:00
	Read       int   `json:"hour_read"`      // that were read to find them
	Late       int   `json:"hour_late"`      // of these, those that came when it was over
}

func play(ctx context.Context, s *show.Stage) (_ any, err error) {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	readings, err := store.CreateTopic(ctx, "readings", braidlog.TopicConfig{
		Partitions: partitions, Partitioner: partitioner.TimeWindow(time.Hour, time.UTC),
		Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
	})
	if err != nil {
		return nil, err
	}
	recs := newReadings()
	ledger := show.NewLedger(recs)
	if err = readings.AppendBatch(ctx, s.Plant(recs)); err != nil {
		return nil, err
	}
	got, err := ledger.ReadBack(ctx, readings)
	if err != nil {
		return nil, err
	}
	f := figures{Records: len(got), Partitions: show.Count(got, partitions)}
	f.Hours, f.Together = draw(s, got)
	over := slices.IndexFunc(got, func(rec braidlog.Record) bool { return rec.OriginTime.Hour() == 15 })
	if err = f.readHour(ctx, readings, midnight.Add(14*time.Hour), over); err != nil {
		return nil, err
	}
	s.Say("14:30 is in partition %d. The hour has %d readings, among the %d of the partition;", f.At1430, f.Hour, f.Read)
	s.Say("%d of them came when it was over: wait before you close an hour.\n", f.Late)
	if f.Together != f.Hours || f.Hour != hourly(14) || f.Late == 0 {
		return nil, fmt.Errorf("the hours are not what was appended: %+v", f)
	}
	return f, nil
}

// hourly returns how many readings an hour has: more at noon.
func hourly(hour int) int { return 20 + (12-max(hour-12, 12-hour))*6 }

// newReadings makes those of a day, in the order in which they come.
func newReadings() (recs []braidlog.Record) {
	arrives := func(rec braidlog.Record) time.Time {
		if rec.OriginTime.UnixNano()/1e9%23 == 0 {
			return rec.OriginTime.Add(late)
		}
		return rec.OriginTime
	}
	for hour := range 24 {
		for i := range hourly(hour) {
			at := midnight.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Hour/time.Duration(hourly(hour)))
			at = at.Truncate(time.Second)
			recs = append(recs, braidlog.Record{
				Key: fmt.Appendf(nil, "meter-%d", i%7), Value: at.AppendFormat(nil, "15:04:05"), OriginTime: at,
			})
		}
	}
	slices.SortStableFunc(recs, func(a, b braidlog.Record) int { return arrives(a).Compare(arrives(b)) })
	return recs
}

// readHour reads an hour's readings from its partition. Those behind number over
// are late.
func (f *figures) readHour(ctx context.Context, readings *braidlog.Topic, from time.Time, over int) (err error) {
	if f.At1430, err = readings.Route(braidlog.Record{OriginTime: from.Add(30 * time.Minute)}); err != nil {
		return err
	}
	for rec, err := range readings.Partition(f.At1430).Records(ctx, partition.First()) {
		if err != nil {
			return err
		}
		f.Read++
		if !rec.OriginTime.Truncate(time.Hour).Equal(from) {
			continue
		}
		f.Hour++
		if show.Number(&rec) > over {
			f.Late++
		}
	}
	return nil
}

// draw shows each hour. It returns how many there are, and how many of them are
// in one partition.
func draw(s *show.Stage, got []braidlog.Record) (hours, together int) {
	counts := make([]map[int]int, 24) // of each hour, by partition
	for _, rec := range got {
		hour := rec.OriginTime.Hour()
		if counts[hour] == nil {
			counts[hour] = map[int]int{}
		}
		counts[hour][rec.Partition]++
	}
	table := show.Table{{"hour", "partition", "readings", ""}}
	for hour, in := range counts {
		for p, n := range in {
			table.Add(fmt.Sprintf("%02d:00", hour), p, n, show.Bar(n, 92))
		}
		if hours++; len(in) == 1 {
			together++
		}
	}
	table.Print(s)
	s.Say("")
	return hours, together
}

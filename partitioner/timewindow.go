package partitioner

import (
	"strconv"
	"time"

	"github.com/braidlog/braidlog/record"
)

const timeWindowPlacement = "timewindow"

// TimeWindow returns a partitioner that cuts time into windows of a size and
// sends each window's records to one partition, the next window's to the next
// one: with an hour and 6 partitions, what happens at 14:30 UTC goes to
// partition 2. A record's time is its OriginTime, or the clock's if that is
// not set. Windows are numbered from 1 January 1970, 0:00, on the clocks of
// zone, nil for UTC; where a day has 23 or 25 hours, a window of a day has too,
// and shorter ones are left out or come twice. Keys are ignored: records of one
// key are in order within a window, if their times are, and not across two.
//
// At the edge of a window the partition changes under the feet of whoever
// counts per window: records arrive late, so leave a while before a window is
// taken to be complete. And all that is appended now goes to one partition.
//
// A size of 0 or less makes Check and Partition fail, and so does time.Local,
// which is another zone on another machine. The placement is
// `timewindow(1h0m0s,"UTC",0,0)`: the numbers are the seconds that zone was
// ahead of UTC on 1 January and 1 July 2024, since names of zones can be made
// up. It can be rebuilt where the zone's name is known.
//
// Predecessors: any, since keys have no partition.
func TimeWindow(size time.Duration, zone *time.Location) Partitioner {
	if zone == nil {
		zone = time.UTC
	}
	w := &timeWindow{size: size, zone: zone, now: time.Now}
	w.placement = form(timeWindowPlacement, size.String(), quote(zone.String()), offsetOn(zone, time.January), offsetOn(zone, time.July))
	switch {
	case size <= 0:
		return newInvalid(w.placement, "the window is %v, want more than 0", size)
	case zone == time.Local:
		return newInvalid(w.placement, "the zone is time.Local, which differs between machines: want one with a name")
	}
	return w
}

func offsetOn(zone *time.Location, month time.Month) string {
	_, seconds := time.Date(2024, month, 1, 0, 0, 0, 0, time.UTC).In(zone).Zone()
	return strconv.Itoa(seconds)
}

// timeWindow is immutable. Since it remembers nothing it needs not be a Router.
type timeWindow struct {
	placement string
	size      time.Duration
	zone      *time.Location
	now       func() time.Time
}

func (w *timeWindow) Placement() string { return w.placement }

func (w *timeWindow) Check(n int) error { return checkCount(w.placement, n) }

func (w *timeWindow) Partition(rec record.Record, n int) (int, error) {
	if err := checkCount(w.placement, n); err != nil {
		return 0, err
	}
	at := rec.OriginTime
	if at.IsZero() {
		at = w.now()
	}
	p := w.window(at) % int64(n)
	if p < 0 {
		p += int64(n)
	}
	return int(p), nil
}

// window returns the number of the window of a time, below 0 before 1970.
func (w *timeWindow) window(at time.Time) int64 {
	_, ahead := at.In(w.zone).Zone()
	nanos := at.UnixNano() + int64(ahead)*int64(time.Second)
	number := nanos / int64(w.size)
	if nanos%int64(w.size) < 0 {
		number--
	}
	return number
}

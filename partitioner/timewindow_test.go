package partitioner

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestTimeWindow(t *testing.T) {
	plus := time.FixedZone("plus", int(90*time.Minute/time.Second))
	day := func(hour, minute int) time.Time { return time.Date(2026, 3, 9, hour, minute, 0, 0, time.UTC) }
	for _, c := range []struct {
		size time.Duration
		zone *time.Location
		at   time.Time
		n    int
		want int
	}{
		{time.Hour, nil, day(14, 30), 6, 2},
		{time.Hour, time.UTC, day(14, 59), 6, 2},
		{time.Hour, nil, day(15, 0), 6, 3},
		{time.Hour, nil, day(14, 30).In(plus), 6, 2},
		{time.Hour, plus, day(14, 30), 6, 4}, // 16:00 there
		{time.Hour, plus, day(14, 29), 6, 3},
		{24 * time.Hour, nil, time.Unix(0, 0), 7, 0},
		{24 * time.Hour, nil, time.Unix(-1, 0), 7, 6},
		{24 * time.Hour, nil, time.Unix(-86400, 0), 7, 6},
		{24 * time.Hour, nil, time.Unix(-86401, 0), 7, 5},
		{24 * time.Hour, nil, time.Unix(8*86400, 0), 7, 1},
	} {
		p := TimeWindow(c.size, c.zone)
		for _, key := range [][]byte{nil, []byte("k")} {
			require.Equal(t, c.want, mustPartition(t, p, record.Record{Key: key, OriginTime: c.at}, c.n), "%+v", c)
		}
	}
}

func TestTimeWindowGoesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC, 1 January 2000
		p := TimeWindow(time.Hour, nil)
		for hour := range 30 {
			require.Equal(t, hour%6, mustPartition(t, p, record.Record{}, 6))
			time.Sleep(time.Hour)
		}
	})
}

// Names of zones can be made up; their offsets are compared too.
func TestTimeWindowsOfZonesOfOneName(t *testing.T) {
	one, two := TimeWindow(time.Hour, time.FixedZone("UTC", 3600)), TimeWindow(time.Hour, time.FixedZone("UTC", 7200))
	require.NotEqual(t, Placement(one), Placement(two))
	_, ok := ByPlacement(Placement(one))
	require.False(t, ok, "UTC is something else here")
}

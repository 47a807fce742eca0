package clock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockFollowsTheWallClock(t *testing.T) {
	c := Start()
	before := time.Now().UnixNano()
	now := c.Now()
	require.InDelta(t, before, now, float64(time.Minute))
	require.GreaterOrEqual(t, c.Now(), now)
}

func TestSuspendIsAddedOnce(t *testing.T) {
	c := Start()
	slept := int64(0)
	c.asleep = func() int64 { return c.before + slept }
	slept = int64(time.Hour)
	c.Wake()
	require.Greater(t, c.Now(), c.wall+slept)
	c.Wake()
	require.Less(t, c.Now(), c.wall+slept+int64(time.Minute))
	slept = int64(time.Minute) // a clock that was set back
	c.Wake()
	require.Greater(t, c.Now(), c.wall+int64(time.Hour))
}

package clock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fired reports whether c is closed by now.
func fired(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestTimersGoByTheClock(t *testing.T) {
	clocks := map[string]func() *Clock{
		"started":   Start,
		"following": Follow,
		"still":     func() *Clock { return Still(time.Now()) },
	}
	for name, start := range clocks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start()
				before := c.Now()
				minute, hour, now := c.After(time.Minute), c.After(time.Hour), c.After(0)
				require.True(t, fired(now))
				c.Skip(59 * time.Second)
				require.False(t, fired(minute))
				c.Skip(time.Second)
				require.True(t, fired(minute))
				require.False(t, fired(hour))
				time.Sleep(time.Hour)
				require.Equal(t, name != "still", fired(hour))
				if name == "still" {
					require.Equal(t, before+int64(time.Minute), c.Now())
					c.Skip(time.Hour)
					require.True(t, fired(hour))
				}
			})
		})
	}
}

func TestStoppedTimersStayQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Follow()
		calls := 0
		timer := c.AfterFunc(time.Second, func() { calls++ })
		require.True(t, timer.Stop())
		require.False(t, timer.Stop())
		c.Skip(time.Hour)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, calls)

		timer.Reset(time.Second)
		c.Skip(time.Hour)
		time.Sleep(time.Hour) // the timer of package time must not fire it again
		synctest.Wait()
		require.Equal(t, 1, calls)
		require.False(t, timer.Stop())
	})
}

package partitioner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

type bare struct{}

func (*bare) Partition(record.Record, int) (int, error) { return 0, nil }

// Placements are on disk: these strings stay as they are.
func TestPlacement(t *testing.T) {
	for want, p := range map[string]Partitioner{
		"key":                    Key(),
		"kafka":                  Kafka(),
		"roundrobin":             RoundRobin(),
		"sticky":                 Sticky(StickyConfig{}),
		"func:by-country-2":      Func("by-country-2", nil),
		"type:*partitioner.bare": &bare{},
		"type:<nil>":             nil,
	} {
		require.Equal(t, want, Placement(p))
	}
	require.Equal(t, "sticky", Placement(Sticky(StickyConfig{Bytes: 1, Linger: time.Hour})), "sizes are tuning")
}

func TestByPlacement(t *testing.T) {
	for _, placement := range []string{"key", "kafka", "roundrobin", "sticky"} {
		p, ok := ByPlacement(placement)
		require.True(t, ok, placement)
		require.Equal(t, placement, Placement(p))
		mustPartition(t, p, record.Record{}, 6)

		q, _ := ByPlacement(placement)
		require.NotSame(t, p, q, "topics share no state")
	}
	for _, placement := range []string{"", "Key", "key ", "func:", "func:key", "type:*partitioner.bare", "keys"} {
		p, ok := ByPlacement(placement)
		require.False(t, ok, placement)
		require.Nil(t, p)
	}
}

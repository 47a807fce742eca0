package faults

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/rig/history"
	"github.com/braidlog/braidlog/internal/rig/report"
)

func TestSomeFaults(t *testing.T) {
	r := report.New()
	Run(context.Background(), Options{Seed: 1, Every: 97}, r, func(string, ...any) {})
	require.Empty(t, r.Findings())
	require.Greater(t, r.Count(Points), int64(300))
}

func TestScripts(t *testing.T) {
	require.Len(t, scripts, 20)
	for _, s := range scripts {
		h, err := history.Parse(s)
		require.NoError(t, err)
		require.Equal(t, s, h.String())
	}
}

func TestParse(t *testing.T) {
	n := 0
	each(func(f Fault) bool {
		again, err := parse(f.String())
		require.NoError(t, err)
		require.Equal(t, f, again)
		n++
		return n < 500
	})
	r := report.New()
	for _, bad := range []string{"", "sync,heap,1:a x EIO on", "sync,heap,1:a 3 EOOPS on", "nonsense 3 EIO on"} {
		require.Error(t, Again(bad, 1, r), bad)
	}
}

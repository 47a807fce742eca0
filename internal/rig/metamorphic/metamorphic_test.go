package metamorphic

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
)

func TestSettingsDoNotShow(t *testing.T) {
	require.GreaterOrEqual(t, len(Settings()), 13)
	seeds := []uint64{2, rand.Uint64()}
	compared, findings, err := Run(t.Context(), seeds, 50)
	require.NoError(t, err)
	require.Empty(t, findings)
	require.Greater(t, compared, 1000)
}

// What does show must be found.
func TestADifferenceIsFound(t *testing.T) {
	want, err := Play(t.Context(), Settings()[0], 1, 60)
	require.NoError(t, err)
	for what, s := range map[string]Setting{
		"a record too many": {Between: every(20, func(p *player) error {
			_, err := p.topic.AppendTo(p.ctx, 0, braidlog.Record{})
			return err
		})},
		"a record lost": {Between: every(20, func(p *player) error {
			part := p.topic.Partition(1)
			return part.Trim(p.ctx, min(part.Start()+1, part.End()))
		})},
		"another time": {Between: every(20, func(p *player) error { p.clock.Skip(1); return nil })},
	} {
		got, err := Play(t.Context(), s, 1, 60)
		require.NoError(t, err)
		require.NotEmpty(t, difference(want, got), what)
	}
	require.Empty(t, difference(want, want))
	require.Contains(t, difference(want, want[:1]), "missing")
	require.True(t, strings.HasPrefix(difference(want[:1], want), "more"))
}

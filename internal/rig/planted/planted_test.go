package planted

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// Every bug has a place in the code as it is, and says what finds it.
func TestBugsHaveTheirPlace(t *testing.T) {
	names := map[string]bool{}
	late := 0
	for _, b := range Bugs {
		require.False(t, names[b.Name], b.Name)
		names[b.Name] = true
		source, err := os.ReadFile(filepath.Join(root, b.File))
		require.NoError(t, err)
		spoiled, err := b.apply(source)
		require.NoError(t, err, b.Name)
		require.NotEqual(t, source, spoiled, b.Name)
		require.NotEmpty(t, b.Tests, b.Name)
		if b.Shows == Crash || b.Shows == Failure || b.Shows == Schedule {
			late++
		}
	}
	require.GreaterOrEqual(t, len(Bugs), 30)
	require.GreaterOrEqual(t, late, 15)
}

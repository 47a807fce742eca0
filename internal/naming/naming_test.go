package naming

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{"a", "_", "0", "Orders.2024-01", "COM0", "COM10", "console", strings.Repeat("a", MaxBytes)} {
		require.NoError(t, Check(name), name)
	}
	for _, name := range []string{"", ".", "..", "-a", ".a", "a/b", `a\b`, "a b", "ä", "a\x00", "(groups)", "con", "NUL.txt", "lpt9", "Com1.x", strings.Repeat("a", MaxBytes+1)} {
		require.Error(t, Check(name), name)
	}
	require.Less(t, len(Check(strings.Repeat("a", 1<<20)).Error()), 300)
}

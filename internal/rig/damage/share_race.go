//go:build race

package damage

// The race detector is slow, and looks for other things.
const (
	share       = 2111
	shareOfRest = 53
)

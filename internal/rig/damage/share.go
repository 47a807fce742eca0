//go:build !race

package damage

// A quick sweep tries one in so many bits and lengths, and of everything else.
// They are prime, so that all bits of a byte have their turn.
const (
	share       = 211
	shareOfRest = 5
)

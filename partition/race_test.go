//go:build race

package partition

// flipEvery is how many bits of a file are passed over for one that is
// flipped: a prime, so that all places in a byte have their turn.
const flipEvery = 41

//go:build race

package consumergroup

// ledgerStride is how many operations are left out between two that fail: under
// the race detector all is slow.
const ledgerStride = 15

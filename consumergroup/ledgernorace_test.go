//go:build !race

package consumergroup

const ledgerStride = 1

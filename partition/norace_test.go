//go:build !race

package partition

const flipEvery = 1

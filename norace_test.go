//go:build !race

package braidlog

const racing = false

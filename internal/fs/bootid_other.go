//go:build !linux && !darwin

package fs

func bootID() string { return "" }

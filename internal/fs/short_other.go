//go:build !windows && !plan9

package fs

func isPlatformNoSpace(error) bool { return false }

func isPlatformNoFiles(error) bool { return false }

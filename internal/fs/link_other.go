//go:build !linux

package fs

import "os"

func linkFile(*os.File, *osDir, string) error { return ErrNoLink }

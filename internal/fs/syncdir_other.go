//go:build !windows

package fs

import "os"

func syncDir(f *os.File) error { return f.Sync() }

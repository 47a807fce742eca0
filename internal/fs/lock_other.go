//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package fs

import (
	"fmt"
	"os"
	"runtime"
)

func tryLock(*os.File) error {
	return fmt.Errorf("locking files is not supported on %s", runtime.GOOS)
}

func tryLockDir(*os.File) error { return nil }

func unlockDir(*os.File) error { return nil }

func unlock(*os.File) error { return nil }

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package damage

import "golang.org/x/sys/unix"

// forms are what can be put in the place of a file here.
var forms = []form{missing, directory, symlink, pipe}

func makePipe(name string) error { return unix.Mkfifo(name, 0o600) }

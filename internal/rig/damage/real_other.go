//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package damage

import "errors"

// forms are what can be put in the place of a file here.
var forms = []form{missing, directory}

func makePipe(string) error { return errors.ErrUnsupported }

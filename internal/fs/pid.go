package fs

import "os"

// PID returns the number of this process, for locks to name their holder.
func PID() int { return os.Getpid() }

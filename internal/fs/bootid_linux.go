package fs

import (
	"os"
	"strings"
)

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // unknown, as in a container without /proc
	}
	return strings.TrimSpace(string(b))
}

package braidlog

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain plays the part of a child if this process was started as one.
// Otherwise it runs the tests, and fails if they left a goroutine of this module
// behind.
func TestMain(m *testing.M) {
	if os.Getenv(killEnv) != "" {
		appendUntilKilled()
	}
	if os.Getenv(killGroupsEnv) != "" {
		commitUntilKilled()
	}
	if os.Getenv(killMembersEnv) != "" {
		processUntilKilled()
	}
	if os.Getenv(fillEnv) != "" {
		fillUntilKilled()
	}
	if os.Getenv(writerEnv) != "" {
		writeAsTold()
	}
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines were left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of goroutines that run code of the module
// beside this one, once those that are about to end had time to.
func goroutinesLeft() (left string) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
		left = ""
		for _, s := range stacks[1:] {
			if strings.Contains(s, "braidlog/") {
				left += s + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
	}
	return left
}

package braidlogtest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
)

// A leakCheck knows goroutines that were started since it began, by the one
// that began it or by those that it started: they inherit its label.
type leakCheck struct{ label string }

// leakKey is the name of the label.
const leakKey = "braidlogtest"

func watchGoroutines() *leakCheck {
	l := &leakCheck{}
	l.label = fmt.Sprintf("%p", l)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(leakKey, l.label)))
	return l
}

// leakTries bounds how often left looks again: a goroutine that is awaited has
// said that it is done before it ends.
const leakTries = 2000

// left returns the stacks of those goroutines that are in code of braidlog,
// and takes the label off the one that it runs on.
func (l *leakCheck) left() (left string) {
	pprof.SetGoroutineLabels(context.Background())
	for range leakTries {
		if left = l.stacks(); left == "" {
			return ""
		}
		runtime.Gosched()
	}
	return left
}

func (l *leakCheck) stacks() (left string) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error()
	}
	mine := fmt.Sprintf("%q:%q", leakKey, l.label)
	for stack := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(stack, mine) && strings.Contains(stack, "github.com/braidlog/braidlog") {
			left += stack + "\n\n"
		}
	}
	return left
}

package braidlog

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// fillEnv has the parameters of a child that appends until the disk is full,
// says so, and waits to be killed; see killPlan.
const fillEnv = "BRAIDLOG_FILL"

// fillUntilKilled is the child. Each line it prints but the last is an
// acknowledgement.
func fillUntilKilled() {
	var k killPlan
	err := k.parse(os.Getenv(fillEnv))
	var topic *Topic
	if err == nil {
		_, topic, err = k.open()
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var printing sync.Mutex
	say := func(format string, args ...any) {
		printing.Lock()
		defer printing.Unlock()
		fmt.Printf(format, args...)
	}
	var g sync.WaitGroup
	for writer := range killWriters {
		g.Go(func() { k.fill(topic, writer, say) })
	}
	g.Wait()
	say("full\n")
	select {}
}

// fill appends the records of a writer until one was refused a few times.
func (k *killPlan) fill(t *Topic, writer int, say func(string, ...any)) {
	for seq, refused := 0, 0; refused < 5; {
		pos, err := t.Append(bg, Record{Key: killKey(writer, seq), Value: killValue(k.cycle, writer, seq)})
		switch {
		case err == nil:
			say("ack %d %d %d %d\n", pos.Partition, pos.Offset, writer, seq)
			seq, refused = seq+1, 0
		case errors.Is(err, ErrDiskFull):
			refused++ // it is not in the log, and can be tried again
		default:
			say("error %v\n", err)
			return
		}
	}
}

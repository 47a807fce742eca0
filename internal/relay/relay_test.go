package relay

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A told is what a listener was told.
type told struct{ thing, dropped int }

// listener returns a relay of so many, and what its listener was told, which
// is to be looked at after Close.
func listener(most int, hear func(thing int)) (*Relay[int], *[]told) {
	all := new([]told)
	r := New(most, func(thing, dropped int) {
		*all = append(*all, told{thing, dropped})
		hear(thing)
	})
	r.Start()
	return r, all
}

func nothing(int) {}

func things(from, to int) (all []told) {
	for i := from; i < to; i++ {
		all = append(all, told{i, 0})
	}
	return all
}

func TestThingsAreToldInOrder(t *testing.T) {
	r, all := listener(1000, nothing)
	for i := range 1000 {
		r.Tell(i)
	}
	r.Close()
	require.Equal(t, things(0, 1000), *all)
	r.Tell(1000)
	r.Close()
	require.Len(t, *all, 1000, "told after Close")
}

func TestASlowListenerMakesNobodyWait(t *testing.T) {
	began, goOn := make(chan int, 1), make(chan int)
	r, all := listener(10, func(thing int) {
		if thing == 0 {
			began <- thing
			<-goOn
		}
	})
	r.Tell(0)
	<-began
	for i := range 15 {
		r.Tell(1 + i)
	}
	close(goOn)
	r.Close()
	want := things(0, 11)
	want[1].dropped = 5
	require.Equal(t, want, *all)
}

func TestAListenerThatFails(t *testing.T) {
	r, all := listener(10, func(thing int) {
		switch thing {
		case 1:
			panic("oh no")
		case 3:
			runtime.Goexit()
		}
	})
	for i := range 6 {
		r.Tell(i)
	}
	r.Close()
	require.Equal(t, things(0, 6), *all)
}

func TestNothingIsToldBeforeStart(t *testing.T) {
	for _, start := range []bool{true, false} {
		var heard []int
		r := New(10, func(thing, _ int) { heard = append(heard, thing) })
		r.Tell(1)
		r.Tell(2)
		if start {
			r.Start()
		}
		r.Close()
		if start {
			require.Equal(t, []int{1, 2}, heard)
		} else {
			require.Empty(t, heard)
		}
	}
}

func TestNilRelay(t *testing.T) {
	var r *Relay[int]
	r.Start()
	r.Tell(1)
	r.Close()
}

// Whoever tells, each one's things come in order, and one at a time.
func TestTellingFromManyGoroutines(t *testing.T) {
	const tellers, each = 8, 200
	next := [tellers]int{}
	r := New(tellers*each, func(thing [2]int, dropped int) {
		require.Zero(t, dropped)
		require.Equal(t, next[thing[0]], thing[1])
		next[thing[0]]++
	})
	r.Start()
	var wg sync.WaitGroup
	for i := range tellers {
		wg.Go(func() {
			for j := range each {
				r.Tell([2]int{i, j})
			}
		})
	}
	wg.Wait()
	r.Close()
	for i, n := range next {
		require.Equal(t, each, n, "of teller %d", i)
	}
}

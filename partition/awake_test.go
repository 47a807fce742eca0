package partition

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// Whatever comes and goes, the one that is due first is taken first, and none
// that is not due.
func TestAwake(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a awake
	all := make([]*Partition, 50)
	for i := range all {
		all[i] = &Partition{}
	}
	want := map[*Partition]int64{}
	for range 20_000 {
		p, at := all[rng.IntN(len(all))], rng.Int64N(1000)
		switch rng.IntN(3) {
		case 0:
			a.enter(p, at)
			if old, listed := want[p]; !listed || at < old {
				want[p] = at
			}
		case 1:
			a.leave(p)
			delete(want, p)
		case 2:
			first := int64(never)
			for _, due := range want {
				first = min(first, due)
			}
			require.Equal(t, first, a.next())
			p = a.take(at)
			require.Equal(t, first <= at, p != nil)
			if p != nil {
				require.Equal(t, first, want[p])
				want[p] = never
			}
		}
		require.Len(t, a, len(want))
	}
}

// Who gave the file back is nothing for the timer to look after: long before
// the partition would count as idle it is off the list.
func TestDetachedSleeps(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		for round := range 3 {
			appendN(t, p, round, 1)
			for !p.tryDetach() {
				quiet(p)
			}
			for end := time.Now().Add(idleDelay / 2); listed(p.shared) > 0; runtime.Gosched() {
				require.True(t, time.Now().Before(end))
			}
		}
		require.NoError(t, p.Close())
	})
}

func listed(s *Shared) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.awake)
}

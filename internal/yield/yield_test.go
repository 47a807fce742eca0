package yield

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHookIsCalledAtEveryMark(t *testing.T) {
	var m Mutex
	var met []*sync.Mutex
	Hook(func(mutex *sync.Mutex, woken bool) {
		require.Equal(t, len(met) == 2, woken)
		met = append(met, mutex)
		if mutex != nil {
			require.True(t, mutex.TryLock(), "it is called before the lock is taken")
			mutex.Unlock()
		}
	})
	Point()
	m.Lock()
	require.False(t, m.TryLock())
	m.Unlock()
	Woken()
	Hook(nil)
	Woken()
	Point()
	m.Lock()
	defer m.Unlock()
	require.Equal(t, []*sync.Mutex{nil, &m.Mutex, nil}, met)
}

func BenchmarkLock(b *testing.B) {
	n := 0
	b.Run("sync", func(b *testing.B) {
		var m sync.Mutex
		for b.Loop() {
			m.Lock()
			n++
			m.Unlock()
		}
	})
	b.Run("yield", func(b *testing.B) {
		var m Mutex
		for b.Loop() {
			m.Lock()
			n++
			m.Unlock()
		}
	})
}

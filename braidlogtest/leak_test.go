package braidlogtest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A listener is a test that is told of errors.
type listener struct {
	testing.TB
	said []string
}

func (l *listener) Helper() {}
func (l *listener) Errorf(format string, a ...any) {
	l.said = append(l.said, fmt.Sprintf(format, a...))
}

func TestFilesLeftOpenAreReported(t *testing.T) {
	l := &listener{TB: t}
	s := Open(t)
	s.t = l
	dir, err := s.mem.OpenDir(Dir, false)
	require.NoError(t, err)
	file, err := dir.Open("store.json", false)
	require.NoError(t, err)
	s.Reopen()
	require.Equal(t, []string{"braidlogtest: /store was left open", "braidlogtest: /store/store.json was left open"}, l.said)
	require.NoError(t, file.Close())
	require.NoError(t, dir.Close())
	l.said = nil
	s.Reopen()
	require.Empty(t, l.said)
}

// Goroutines are this store's only if they were started after it was opened, by
// this test.
func TestLeakCheckKnowsItsOwn(t *testing.T) {
	stay, done := make(chan struct{}), make(chan struct{}, 2)
	wait := func() { <-stay; done <- struct{}{} }
	go wait()
	l := watchGoroutines()
	go wait()
	left := l.left()
	require.Contains(t, left, "1 @ ", "the second, and not the first")
	require.NotContains(t, left, "2 @ ")
	require.NotContains(t, left, "tRunner", "nor the one that looks")
	close(stay)
	<-done
	<-done
	require.Empty(t, l.left())
}

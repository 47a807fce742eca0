package segment

import (
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/stretchr/testify/require"
)

// A counted file knows whether it is open.
type counted struct {
	fs.File
	closed atomic.Bool
	live   *atomic.Int64
}

func (c *counted) Close() error {
	if c.closed.Swap(true) {
		panic("closed twice")
	}
	c.live.Add(-1)
	return nil
}

// A shelf is files that are opened through one table.
type shelf struct {
	t        *testing.T
	table    *Files
	handles  []*handle
	live     atomic.Int64 // files open now
	pressed  atomic.Int64 // calls of pressure
	fail     atomic.Bool  // opening fails
	most     int64        // descriptors there are; 0: as many as wanted
	attempts atomic.Int64 // calls of open
}

func newShelf(t *testing.T, files, budget int) *shelf {
	s := &shelf{t: t}
	s.table = NewFiles(budget, func() { s.pressed.Add(1) })
	for range files {
		s.handles = append(s.handles, &handle{table: s.table, open: s.open})
	}
	return s
}

func (s *shelf) open() (fs.File, error) {
	s.attempts.Add(1)
	if s.fail.Load() {
		return nil, fs.EIO
	}
	if s.most > 0 && s.live.Load() >= s.most {
		return nil, fs.EMFILE
	}
	s.live.Add(1)
	return &counted{live: &s.live}, nil
}

// isOpen lists the files that are open.
func (s *shelf) isOpen() string {
	out := ""
	for i, h := range s.handles {
		if h.file != nil {
			out += fmt.Sprint(i)
		}
	}
	return out
}

// TestFiles is a table of steps: "+1" borrows file 1, "-1" gives it back, "x1"
// closes it, "z1" closes it for good.
func TestFiles(t *testing.T) {
	for _, c := range []struct {
		name    string
		budget  int
		steps   []string
		want    string // what is open then
		pressed int64
	}{
		{"nothing is closed while there is room", 3, []string{"+0", "-0", "+1", "-1", "+2", "-2"}, "012", 0},
		{"one is closed for the next", 2, []string{"+0", "-0", "+1", "-1", "+2", "-2"}, "02", 0},
		{"used again, it stays", 3, []string{"+0", "-0", "+1", "-1", "+2", "-2", "+3", "-3", "+0", "-0", "+4", "-4"}, "034", 0},
		{"what is lent stays", 1, []string{"+0", "+1", "-1", "+2", "-2"}, "02", 2},
		{"everything lent: more than the budget", 2, []string{"+0", "+1", "+2", "+3"}, "0123", 2},
		{"back to the budget when there is something to close", 2, []string{"+0", "+1", "+2", "+3", "-0", "-1", "-2", "-3", "+4"}, "34", 2},
		{"lent twice, given back once", 1, []string{"+0", "+0", "-0", "+1"}, "01", 1},
		{"closed", 3, []string{"+0", "-0", "x0"}, "", 0},
		{"closed while lent", 3, []string{"+0", "x0"}, "0", 0},
		{"closed when not open", 3, []string{"x0"}, "", 0},
		{"opened again", 3, []string{"+0", "-0", "x0", "+0"}, "0", 0},
		{"closed for good", 3, []string{"+0", "-0", "z0"}, "", 0},
		{"closed for good while lent", 3, []string{"+0", "+0", "z0", "-0"}, "0", 0},
		{"closed for good while lent, and given back", 3, []string{"+0", "+0", "z0", "-0", "-0"}, "", 0},
		{"a budget of nothing", 0, []string{"+0", "-0", "+1"}, "1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShelf(t, 5, c.budget)
			for _, step := range c.steps {
				h := s.handles[step[1]-'0']
				switch step[0] {
				case '+':
					f, err := h.borrow()
					require.NoError(t, err)
					require.False(t, f.(*counted).closed.Load())
				case '-':
					h.release()
				case 'x':
					h.close(false)
				case 'z':
					h.close(true)
				}
				require.Equal(t, int(s.live.Load()), s.table.Open())
			}
			require.Equal(t, c.want, s.isOpen())
			require.Equal(t, c.pressed, s.pressed.Load(), "calls of pressure")
		})
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	s := newShelf(t, 1, 1)
	s.fail.Store(true)
	for range 3 {
		_, err := s.handles[0].borrow()
		require.ErrorIs(t, err, fs.EIO)
		require.Zero(t, s.table.Open())
	}
	s.fail.Store(false)
	_, err := s.handles[0].borrow()
	require.NoError(t, err)
	require.Equal(t, 1, s.table.Open())
}

// With no descriptors left, files that nobody has borrowed go, whatever the
// budget.
func TestFilesWithoutDescriptors(t *testing.T) {
	s := newShelf(t, 5, 100)
	s.most = 3
	for _, h := range s.handles {
		_, err := h.borrow()
		require.NoError(t, err)
		h.release()
	}
	require.EqualValues(t, 5, s.attempts.Load()-1, "one was tried twice: others made room for two more")
	require.Equal(t, "34", s.isOpen())
	for _, h := range s.handles[:3] {
		_, err := h.borrow()
		require.NoError(t, err)
	}
	_, err := s.handles[3].borrow()
	require.ErrorIs(t, err, fs.EMFILE, "all are borrowed")
	require.Equal(t, "012", s.isOpen())
	for _, h := range s.handles[:3] {
		h.release()
	}
	_, err = s.handles[3].borrow()
	require.NoError(t, err)
	s.handles[3].release()
}

func TestFileClosedForGood(t *testing.T) {
	s := newShelf(t, 1, 1)
	s.handles[0].close(true)
	_, err := s.handles[0].borrow()
	require.ErrorIs(t, err, iofs.ErrClosed)
	require.Zero(t, s.attempts.Load())
}

// Who closes a file for good may remove it, before or after somebody opened it
// who came before. Found by schedule "3:1 14:1" of empty+read/os-files.
func TestFileClosedForGoodWhileItIsOpened(t *testing.T) {
	for _, cause := range []error{nil, iofs.ErrNotExist} {
		s := newShelf(t, 1, 1)
		h := s.handles[0]
		f, err := h.borrowBy(func() (fs.File, error) {
			h.close(true)
			if cause != nil {
				return nil, cause
			}
			return s.open()
		})
		if cause != nil {
			require.Equal(t, iofs.ErrClosed, err)
			continue
		}
		require.NoError(t, err)
		require.NotNil(t, f)
		h.release()
		require.Zero(t, s.live.Load())
	}
}

// TestFilesTogether runs under the race detector: nobody ever has a file in
// hand that is closed, and what nobody has can be closed.
func TestFilesTogether(t *testing.T) {
	const files, budget, workers = 12, 4, 6
	s := newShelf(t, files, budget)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for range 2000 {
				s.fail.Store(rnd.IntN(50) == 0)
				h := s.handles[rnd.IntN(files)]
				f, err := h.borrow()
				if err != nil {
					continue
				}
				if f.(*counted).closed.Load() {
					t.Error("borrowed a closed file")
				}
				if rnd.IntN(10) == 0 {
					h.close(false)
				}
				if f.(*counted).closed.Load() {
					t.Error("a borrowed file was closed")
				}
				h.release()
			}
		})
	}
	wg.Wait()
	require.Equal(t, int(s.live.Load()), s.table.Open())
	for _, h := range s.handles {
		h.close(false)
	}
	require.Zero(t, s.table.Open())
	require.Zero(t, s.live.Load())
}

// TestOneFileIsOpenedOnce: of those who want it at the same time, one opens
// it and the others wait.
func TestOneFileIsOpenedOnce(t *testing.T) {
	s := newShelf(t, 1, 1)
	inside, goOn := make(chan struct{}), make(chan struct{})
	open := s.handles[0].open
	s.handles[0].open = func() (fs.File, error) {
		close(inside)
		<-goOn
		return open()
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.handles[0].borrow(); err != nil {
				t.Error(err)
			}
		})
	}
	<-inside
	s.handles[0].close(false) // does not wait, and closes nothing
	close(goOn)
	wg.Wait()
	require.Equal(t, int64(1), s.attempts.Load())
	require.Equal(t, 1, s.table.Open())
}

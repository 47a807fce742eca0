package partition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// trimmable returns a world of 12 records in four segments or more.
func trimmable(t *testing.T, v variant) *world {
	w := newWorld(t, v)
	for range 4 {
		batch(3, 900)(w)
	}
	syncs()(w)
	require.GreaterOrEqual(t, len(w.p.all()), 4)
	return w
}

func TestTrimRefuses(t *testing.T) {
	w := trimmable(t, variant{Sync, true})
	before := contentsOf(t, w.m, "/s/0")
	for _, offset := range []int64{-1, 13, 1 << 40} {
		err := w.p.Trim(bg, offset)
		var o *OffsetError
		require.ErrorAs(t, err, &o)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		require.EqualError(t, err, fmt.Sprintf("trim partition 0: offset %d is out of range [0, 12)", offset))
		require.Equal(t, [2]int64{0, 12}, [2]int64{o.Start, o.End})
	}
	gone, cancel := context.WithCancel(bg)
	cancel()
	require.ErrorIs(t, w.p.Trim(gone, 5), context.Canceled)
	require.NoError(t, w.p.Trim(bg, 0))
	require.Equal(t, before, contentsOf(t, w.m, "/s/0"))
	require.Zero(t, w.p.Start())
	require.NoError(t, w.p.Close())
	require.ErrorIs(t, w.p.Trim(bg, 5), ErrClosed)
}

// Files of segments wholly below the start go, with their indexes; when all
// records are trimmed, the active one's too.
func TestTrimFreesSpace(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := trimmable(t, v)
		second := w.p.all()[1]
		require.NoError(t, w.p.Trim(bg, second.Base+1))
		for name := range contentsOf(t, w.m, "/s/0") {
			require.False(t, strings.HasPrefix(name, "00000000000000000000."), name)
		}
		require.Equal(t, second, w.p.all()[0])
		require.NoError(t, w.p.Trim(bg, 12))
		require.Len(t, w.p.all(), 1)
		require.LessOrEqual(t, len(contentsOf(t, w.m, "/s/0")), 3, "a segment, its index, partition.json")
		require.LessOrEqual(t, w.p.Bytes(), int64(1<<10)+markerBytes)
		require.Equal(t, int64(12), w.p.Start())
		appends(1, 100)(w)
		reopens(true)(w)
		require.Equal(t, []entry{{12, 12}}, readEntries(t, "", w.p))
		require.NoError(t, w.p.Close())
	})
}

// A reader in a segment that is trimmed finishes its piece and is then told
// the range; so is one that begins, and one that waits.
func TestReadersOfWhatIsTrimmed(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := trimmable(t, v)
		r := w.p.NewReader(First())
		rec, err := r.Next(bg)
		require.NoError(t, err)
		require.Zero(t, rec.Offset)
		require.NoError(t, w.p.Trim(bg, 11))
		for err == nil {
			if rec, err = r.Next(bg); err == nil {
				require.Less(t, number(t, rec), 11)
			}
		}
		for range 2 { // and it stays so
			var o *OffsetError
			require.ErrorAs(t, err, &o)
			require.Equal(t, OffsetError{"", 0, r.Offset(), 11, 12, ""}, *o)
			require.Less(t, o.Offset, int64(11))
			_, err = r.TryNext()
		}
		_, err = w.p.Record(bg, 10)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		require.ErrorIs(t, w.p.NewReader(Offset(10)).Err(), ErrOffsetOutOfRange)
		for rec, err := range w.p.Records(bg, At(time.Unix(0, 0))) {
			require.NoError(t, err)
			require.Equal(t, int64(11), rec.Offset)
		}
		require.NoError(t, w.p.Close())
	})
}

// What could not be removed is removed by the next trim, or after the next
// Open; nobody reads it meanwhile.
func TestTrimTriesAgain(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		w := trimmable(t, variant{Sync, true})
		w.m.OnOp(func(op fs.Op) error {
			if op.Kind == fs.OpRemove && strings.HasSuffix(op.Name, ".log") {
				return fs.EIO
			}
			return nil
		})
		require.ErrorIs(t, w.p.Trim(bg, 11), fs.EIO)
		require.Equal(t, int64(11), w.p.Start())
		require.Equal(t, []entry{{11, 11}}, readEntries(t, "", w.p))
		w.m.OnOp(nil)
		require.Contains(t, contentsOf(t, w.m, "/s/0"), "00000000000000000000.log")
		if reopen {
			reopens(true)(w)
		}
		require.NoError(t, w.p.Trim(bg, 11))
		require.NotContains(t, contentsOf(t, w.m, "/s/0"), "00000000000000000000.log")
		require.Equal(t, []entry{{11, 11}}, readEntries(t, "", w.p))
		require.NoError(t, w.p.Close())
	}
}

// On a disk that is full to the last byte a trim makes room.
func TestTrimOnAFullDisk(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := trimmable(t, v)
		var mu sync.Mutex
		full := true
		w.m.OnOp(func(op fs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			switch op.Kind {
			case fs.OpTruncate, fs.OpRemove:
				full = false
			case fs.OpCreate, fs.OpAllocate, fs.OpWriteAt:
				if full {
					return fs.ENOSPC
				}
			}
			return nil
		})
		require.NoError(t, w.p.Trim(bg, 11))
		w.m.OnOp(nil)
		appends(3, 900)(w)
		require.NoError(t, w.p.Close())
	})
}

// Whatever operation of a trim fails, what was to stay is there, and the next
// one succeeds.
func TestTrimFailsAtEveryOperation(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, to := range []int64{7, 12} {
			for n := int64(1); ; n++ {
				w := trimmable(t, v)
				first, failed := w.m.Ops()+n, ""
				var mu sync.Mutex
				w.m.OnOp(func(op fs.Op) error {
					mu.Lock()
					defer mu.Unlock()
					if op.N == first {
						failed = op.String()
						return fs.EIO
					}
					return nil
				})
				err := w.p.Trim(bg, to)
				mu.Lock()
				at := failed
				mu.Unlock()
				w.m.OnOp(nil)
				if err != nil {
					require.ErrorIs(t, err, fs.EIO, at)
					require.ErrorContains(t, err, "trim partition 0: ", at)
				}
				left := readEntries(t, at, w.p)
				require.Len(t, left, 12-int(w.p.Start()), at)
				require.Contains(t, []int64{0, to}, w.p.Start(), at)
				if w.p.Writable() {
					require.NoError(t, w.p.Trim(bg, to), at)
					require.Len(t, readEntries(t, at, w.p), 12-int(to), at)
					appends(2, 900)(w)
					require.NoError(t, w.p.Close(), at)
				} else {
					require.Error(t, w.p.Close(), at)
				}
				if at == "" {
					break
				}
			}
		}
	})
}

// Appends, readers, trims and syncs side by side: nobody reads a wrong record,
// and every error is that of a trim.
func TestTrimUnderway(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := newWorld(t, v)
		ctx, cancel := context.WithCancel(bg)
		var g sync.WaitGroup
		for range 3 {
			g.Go(func() {
				r := w.p.NewReader(First())
				for ctx.Err() == nil {
					rec, err := r.TryNext()
					switch {
					case err == nil:
						if int(rec.Offset) != number(t, rec) {
							t.Error("wrong record", rec.Offset)
						}
					case err == ErrEnd:
					default:
						var o *OffsetError
						if !errors.As(err, &o) || o.Offset >= o.Start {
							t.Error(err)
						}
						r = w.p.NewReader(First())
					}
				}
			})
		}
		g.Go(func() {
			for ctx.Err() == nil {
				if err := w.p.Trim(bg, max(w.p.End()-4, 0)); err != nil {
					t.Error(err)
				}
				if _, err := w.p.Verify(bg, nil); err != nil {
					t.Error(err)
				}
			}
		})
		for i := range 300 {
			appends(1, 200+i)(w)
		}
		cancel()
		g.Wait()
		require.NoError(t, w.p.Trim(bg, 296))
		reopens(true)(w)
		require.Len(t, readEntries(t, "", w.p), 4)
		require.NoError(t, w.p.Close())
	})
}

// A segment that is active when a trim looks for it, and ended by an append before
// it looks again, goes too. Found by schedule "23:1" of roll+empty/sync.
func TestTrimOfWhatIsEndedMeanwhile(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		w := trimmable(t, v)
		last := w.p.all()[len(w.p.all())-1]
		w.m.OnOp(func(op fs.Op) error {
			for op.Kind == fs.OpRemove && strings.HasSuffix(op.Name, ".log") && w.p.all()[len(w.p.all())-1] == last {
				_, err := w.p.Append(bg, numbered(0, 900))
				require.NoError(t, err)
			}
			return nil
		})
		require.NoError(t, w.p.Trim(bg, 12))
		w.m.OnOp(nil)
		require.NotContains(t, w.p.all(), last)
		require.False(t, w.p.Littered())
		require.NoError(t, w.p.Close())
	})
}

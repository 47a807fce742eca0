//go:build !race && (amd64 || arm64)

package partition

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
	"github.com/braidlog/braidlog/segment"
)

// Somebody cuts the file under the window: the append that touches what is
// gone fails, and so does the partition, but not the process.
func TestMappedFileCutUnderneath(t *testing.T) {
	dir := t.TempDir()
	p, err := Open(dir, Options{Config: Config{Durability: OS}})
	require.NoError(t, err)
	require.True(t, p.mapped)
	_, err = p.Append(bg, value(0))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(dir, segment.Name(0)), 0))
	// The page that is in memory may take some more.
	big := record.Record{Value: make([]byte, 20<<10)}
	for range 4 {
		if _, err = p.Append(bg, big); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorContains(t, err, segment.Name(0))
	require.ErrorContains(t, err, "memory fault at position")
	require.False(t, errors.Is(err, ErrOutcomeUnknown))
	_, err = p.Record(bg, 0)
	require.Error(t, err)
	require.False(t, p.Writable())
	_, err = p.Append(bg, value(1))
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, p.Close(), ErrFailed)
}

// Readers meet the same as an error: those that keep what they read, and the
// others.
func TestReadersOfAMappedFileCutUnderneath(t *testing.T) {
	dir := t.TempDir()
	p, err := Open(dir, Options{Config: Config{Durability: OS}})
	require.NoError(t, err)
	for range 4 {
		_, err = p.Append(bg, record.Record{Value: make([]byte, 20<<10)})
		require.NoError(t, err)
	}
	require.True(t, p.mapped)
	require.NoError(t, os.Truncate(filepath.Join(dir, segment.Name(0)), 0))
	for _, keep := range []bool{false, true} {
		r := p.NewReader(First())
		if keep {
			r.Keep()
		}
		for err = nil; err == nil; {
			_, err = r.TryNext()
		}
		require.ErrorContains(t, err, "memory fault at position", "keep: %v", keep)
		require.NoError(t, r.Close())
	}
	require.Error(t, p.Close())
}

// The same partition on a real disk, in both windows.
func TestOnDisk(t *testing.T) {
	for _, v := range variants {
		t.Run(v.String(), func(t *testing.T) {
			dir := t.TempDir()
			for round := range 3 {
				shared, err := NewShared(SharedOptions{ForceHeap: v.heap})
				require.NoError(t, err)
				p, err := Open(dir, Options{Shared: shared, SameBoot: true, Config: Config{Durability: v.level, SegmentBytes: 16 << 10}})
				require.NoError(t, err)
				appendN(t, p, round*200, 200)
				readAll(t, p, round*200+200)
				require.NoError(t, p.Close())
				require.Zero(t, shared.OpenFiles())
				shared.Close()
			}
		})
	}
}

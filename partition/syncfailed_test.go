package partition

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// Whoever keeps the boot id is told of a failed sync before anybody else hears of
// it, under no lock: what readers saw below level Sync may be gone. Where nobody
// was shown anything, and where no sync was tried, there is nothing to tell.
func TestWhoIsToldOfAFailedSync(t *testing.T) {
	rows := []struct {
		what  string
		fails map[fs.OpKind]error
		do    func(p *Partition) error
		told  bool
	}{
		{"Sync", map[fs.OpKind]error{fs.OpSync: fs.EIO}, func(p *Partition) error { return p.Sync(bg) }, true},
		{"Close", map[fs.OpKind]error{fs.OpSync: fs.EIO}, (*Partition).Close, true},
		{"a roll", map[fs.OpKind]error{fs.OpSync: fs.EIO}, func(p *Partition) error {
			return errors.Join(p.RollOld(bg, p.Now().Add(time.Hour)), p.Sync(bg))
		}, true},
		{"a failed write that cannot be cut back", map[fs.OpKind]error{fs.OpSync: fs.EIO, fs.OpWriteAt: fs.EIO}, func(p *Partition) error {
			_, err := p.Append(bg, numbered(1, 50))
			return errors.Join(err, p.Sync(bg))
		}, true},
		{"a directory", map[fs.OpKind]error{fs.OpSyncDir: fs.EIO}, func(p *Partition) error { p.dirtyDir = true; return p.Sync(bg) }, true},
		{"a sync that cannot be tried", map[fs.OpKind]error{fs.OpSyncDir: fs.EMFILE}, func(p *Partition) error { p.dirtyDir = true; return p.Sync(bg) }, false},
		{"a cut", map[fs.OpKind]error{fs.OpTruncate: fs.EIO}, (*Partition).Close, false},
	}
	eachVariant(t, func(t *testing.T, v variant) {
		for _, row := range rows {
			m, told := fs.NewMem(), 0
			var p *Partition
			shared, err := NewShared(SharedOptions{FS: m, ForceHeap: v.heap, SyncFailed: func() {
				told++
				require.NotErrorIs(t, p.failure(), ErrFailed, "%s: it is told first", row.what)
			}})
			require.NoError(t, err)
			p, err = Open("/p", Options{Shared: shared, Config: Config{Durability: v.level}})
			require.NoError(t, err)
			_, err = p.Append(bg, numbered(0, 50))
			require.NoError(t, err)
			m.OnOp(func(op fs.Op) error { return row.fails[op.Kind] })
			_ = row.do(p) // at some levels there is nothing left to fail
			m.OnOp(nil)
			_ = p.Close()
			shared.Close()
			require.Equal(t, row.told && v.level != Sync, told > 0, row.what)
		}
	})
}

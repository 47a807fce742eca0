package partition

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

func TestBacklog(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		b, err := p.Backlog(0)
		require.NoError(t, err)
		require.Equal(t, Backlog{}, b)
		appendN(t, p, 0, 500)
		require.Greater(t, len(p.all()), 2)
		before := p.Bytes() + 1
		for _, offset := range []int64{-3, 0, 1, 250, 499} {
			b, err = p.Backlog(offset)
			require.NoError(t, err)
			require.Equal(t, 500-max(0, offset), b.Records, "from %d", offset)
			require.Less(t, b.Bytes, before)
			require.Positive(t, b.Bytes)
			rec, err := p.Record(bg, max(0, offset))
			require.NoError(t, err)
			require.Equal(t, rec.Timestamp, b.Since)
			before = b.Bytes + 1
		}
		for _, offset := range []int64{500, 600} {
			b, err = p.Backlog(offset)
			require.NoError(t, err)
			require.Equal(t, Backlog{}, b)
		}
		require.NoError(t, p.Close())
	})
}

// Offsets that were never given out are no records.
func TestBacklogLeavesGapsOut(t *testing.T) {
	m := fs.NewMem()
	v := variant{OS, false}
	p := open(t, m, v)
	appendN(t, p, 0, 5)
	require.NoError(t, p.Sync(bg))
	p.Append(bg, value(5)) //nolint:errcheck // it is to be lost
	left := m.Crash(func() bool { return false })
	p.Close() //nolint:errcheck // its disk is gone
	p = open(t, left, v, func(o *Options) { o.SameBoot = false })
	_, err := p.Append(bg, value(6))
	require.NoError(t, err)
	require.Greater(t, p.End(), int64(7))
	b, err := p.Backlog(3)
	require.NoError(t, err)
	require.Equal(t, int64(3), b.Records)
	require.NoError(t, p.Close())
}

func TestReadBefore(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		for i := range 50 {
			rec := value(i)
			if i%3 == 0 {
				rec.Headers = []record.Header{{Key: "h", Value: []byte{byte(i)}}}
			}
			_, err := p.Append(bg, rec)
			require.NoError(t, err)
		}
		var want, got []record.Record
		for rec, err := range p.Records(bg, First()) {
			require.NoError(t, err)
			want = append(want, rec)
		}
		r := p.NewReader(First())
		r.Keep()
		for {
			recs := make([]record.Record, 7)
			n, err := r.ReadBefore(recs, 45)
			got = append(got, recs[:n]...)
			if err != nil {
				require.Equal(t, ErrEnd, err)
				require.Less(t, n, 7)
				break
			}
			require.Equal(t, 7, n)
		}
		require.Equal(t, want[:45], got)
		require.NoError(t, p.Close())
	})
}

// TestReadBeforeHeld reads records that live until the next call: those that
// came together are whole together, whatever pieces the file is read in.
func TestReadBeforeHeld(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		p := open(t, fs.NewMem(), v)
		var batch []record.Record
		for i := range 300 {
			rec := value(i)
			rec.Headers = []record.Header{{Key: "h", Value: bytes.Repeat([]byte{byte(i)}, i)}}
			if i%2 == 0 {
				_, err := p.Append(bg, rec)
				require.NoError(t, err)
			} else if batch = append(batch, rec); len(batch) == 10 {
				require.NoError(t, p.AppendBatch(bg, batch))
				batch = nil
			}
		}
		var want []record.Record
		for rec, err := range p.Records(bg, First()) {
			require.NoError(t, err)
			want = append(want, rec)
		}
		r, recs, short := p.NewReader(First()), make([]record.Record, 60), 0
		for {
			n, err := r.ReadBefore(recs, p.End())
			if err != nil {
				require.Equal(t, ErrEnd, err)
				require.Zero(t, n)
				break
			}
			require.NotZero(t, n)
			require.Equal(t, want[:n], recs[:n])
			want = want[n:]
			if n < len(recs) {
				short++
			}
		}
		require.Empty(t, want)
		require.Greater(t, short, 1, "no piece ended before recs did")
		require.NoError(t, p.Close())
	})
}

// Segments go while they are looked at, by a trim or with the partition.
func TestSegmentsGoMeanwhile(t *testing.T) {
	looks := map[string]func(p *Partition, s Sealed) error{
		"backlog": func(p *Partition, s Sealed) error {
			b, err := p.Backlog(s.From + 1)
			if err == nil {
				require.Equal(t, p.End()-p.Start(), b.Records)
				require.False(t, b.Since.IsZero())
			}
			return err
		},
		"time": func(p *Partition, s Sealed) error {
			n, err := p.Resolve(At(time.Unix(0, 1)))
			if err == nil {
				require.Equal(t, p.Start(), n)
			}
			return err
		},
		"first": func(p *Partition, s Sealed) error { _, err := s.FirstAppended(); return err },
		"last":  func(p *Partition, s Sealed) error { _, err := s.LastAppended(); return err },
		"copy": func(p *Partition, s Sealed) error {
			d, err := fs.NewMem().OpenDir("/archive", true) // where nothing can be linked to
			require.NoError(t, err)
			defer d.Close() //nolint:errcheck // it is in memory
			return s.CopyTo(bg, d)
		},
		"open": func(p *Partition, s Sealed) error {
			_, done, err := s.Open()
			if err == nil {
				done()
			}
			return err
		},
	}
	goes := map[string]func(p *Partition) error{
		"trim":  func(p *Partition) error { return p.Trim(bg, p.End()-2) },
		"close": (*Partition).Close,
	}
	for name, look := range looks {
		for how, going := range goes {
			t.Run(name+" "+how, func(t *testing.T) {
				m := fs.NewMem()
				p := open(t, m, variant{OS, true})
				appendN(t, p, 0, 300)
				require.NoError(t, p.Close())
				p = open(t, m, variant{OS, true}) // nothing is remembered of segments
				all, _ := p.Sealed()
				require.Greater(t, len(all), 2)
				for _, s := range p.all() {
					s.CloseFile()
				}
				var begun atomic.Bool
				went := make(chan error, 1)
				m.OnOp(func(op fs.Op) error {
					if op.Kind == fs.OpOpen && begun.CompareAndSwap(false, true) {
						went <- going(p)
					}
					return nil
				})
				err := look(p, all[0])
				require.NoError(t, <-went)
				m.OnOp(nil)
				if how == "close" || name != "backlog" && name != "time" {
					require.ErrorIs(t, err, ErrClosed)
					require.ErrorContains(t, err, "partition 0: closed")
				} else {
					require.NoError(t, err)
				}
				if how != "close" {
					require.NoError(t, p.Close())
				}
			})
		}
	}
}

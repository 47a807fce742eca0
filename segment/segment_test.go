package segment

import (
	"math/rand/v2"
	"testing"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/stretchr/testify/require"
)

func newPlace(t testing.TB, m *fs.Mem) Place {
	t.Helper()
	d, err := m.OpenDir("d", true)
	require.NoError(t, err)
	return Place{Dir: d, Files: NewFiles(8, nil)}
}

// put makes a file of these bytes.
func put(t testing.TB, d fs.Dir, name string, b []byte) {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// A piece is a batch to be written: count records whose values have size
// bytes, appended at time.
type piece struct {
	count, size int
	time        int64
}

// layOut encodes pieces behind a segment's header.
func layOut(s *Segment, pieces []piece) (b []byte, batches []record.Batch) {
	b = s.Header.encode()
	next := s.Base
	for _, p := range pieces {
		run := record.Run{Records: make([]record.Record, p.count)}
		for i := range run.Records {
			run.Records[i].Value = make([]byte, p.size)
		}
		head, _, n := cut(run, record.MaxFrameBytes, p.count)
		at := len(b)
		b = append(b, make([]byte, n)...)
		head.Encode(b[at:], head.Len(), record.Stamp{Salt: s.Salt(), Position: int64(at), Base: next, Time: p.time})
		batch, err := record.Parse(b[at:], s.Salt(), int64(at))
		if err != nil {
			panic(err)
		}
		batches = append(batches, batch)
		next = batch.End()
	}
	return b, batches
}

// begin makes a segment with these batches, as its writer has it: not sealed.
// The file stays borrowed.
func begin(t testing.TB, place Place, pieces []piece) (*Segment, fs.File, []record.Batch) {
	t.Helper()
	s := Plan(place, sampleHeader)
	b, batches := layOut(s, pieces)
	f, err := s.Create(int64(len(b)))
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	end := s.Base
	for _, batch := range batches {
		s.Note(batch.Base, batch.Position, batch.Time)
		end = batch.End()
	}
	s.Publish(int64(len(b)), end)
	return s, f, batches
}

// open opens what is on disk, up to its end.
func open(t testing.TB, place Place, batches []record.Batch) *Segment {
	t.Helper()
	s, err := Open(place, sampleHeader.Base)
	require.NoError(t, err)
	position, end := int64(FirstFrame), s.Base
	for _, b := range batches {
		position, end = b.Next(), b.End()
	}
	s.Publish(position, end)
	return s
}

// pieces returns n batches of all sizes: markers, single records, many, large
// ones; now and then several of the same time.
func pieces(seed uint64, n int) []piece {
	rnd := rand.New(rand.NewPCG(seed, 1))
	out := make([]piece, n)
	now := int64(5000)
	for i := range out {
		now += []int64{0, 0, 1, 100}[rnd.IntN(4)]
		out[i] = piece{count: []int{0, 1, 1, 3, 12}[rnd.IntN(5)], size: []int{0, 10, 100, 800}[rnd.IntN(4)], time: now}
	}
	return out
}

// same is how a batch is told from others.
func same(a, b record.Batch) bool {
	return a.Position == b.Position && a.Base == b.Base && a.Count == b.Count && a.Time == b.Time && a.Length == b.Length
}

func requireBatches(t testing.TB, want, got []record.Batch) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if !same(want[i], got[i]) {
			t.Fatalf("batch %d: want offset %d at position %d, got offset %d at position %d",
				i, want[i].Base, want[i].Position, got[i].Base, got[i].Position)
		}
	}
}

func TestSegmentWrittenAndReadBack(t *testing.T) {
	place := newPlace(t, fs.NewMem())
	s, f, batches := begin(t, place, pieces(1, 50))
	requireBatches(t, batches, scanAll(t, s))
	require.NoError(t, f.Sync())
	require.NoError(t, s.Seal())
	s.Release()
	s.CloseFile()
	require.Zero(t, place.Files.Open())

	s = open(t, place, batches)
	require.Equal(t, sampleHeader, s.Header)
	requireBatches(t, batches, scanAll(t, s))
	first, err := s.FirstTime()
	require.NoError(t, err)
	require.Equal(t, firstTime(batches), first)
}

func firstTime(batches []record.Batch) int64 {
	for _, b := range batches {
		if b.Count > 0 {
			return b.Time
		}
	}
	return 0
}

// TestMappedWindow writes through the window what else goes to the file.
func TestMappedWindow(t *testing.T) {
	for name, system := range map[string]fs.FS{"memory": fs.NewMem(), "system": fs.OS{}} {
		t.Run(name, func(t *testing.T) {
			if !system.CanMap() {
				return
			}
			d, err := system.OpenDir(t.TempDir(), true)
			require.NoError(t, err)
			defer d.Close() //nolint:errcheck // of a test
			place := Place{Dir: d, Files: NewFiles(8, nil)}
			s := Plan(place, sampleHeader)
			f, err := s.Create(64 << 10)
			require.NoError(t, err)
			require.NoError(t, s.Map(f, 1<<20))
			run := record.Run{Records: []record.Record{{Value: []byte("hello")}}}
			run, _, n := cut(run, 1<<20, 1)
			require.NoError(t, s.EncodeMapped(&run, run.Len(), n, record.Stamp{Salt: s.Salt(), Position: FirstFrame, Base: 1000, Time: 1}))
			s.Publish(FirstFrame+int64(n), 1001)
			require.Len(t, scanAll(t, s), 1)
			require.NoError(t, s.Unmap())
			require.NoError(t, s.Unmap(), "twice is once")
			require.Len(t, scanAll(t, s), 1, "from the file")

			require.NoError(t, s.Map(f, 1<<20))
			require.NoError(t, s.Touch(FirstFrame, 64<<10))
			require.Len(t, scanAll(t, s), 1, "from the window")
			// Behind the end of the file there is no page to write to.
			require.Error(t, s.EncodeMapped(&run, run.Len(), n, record.Stamp{Salt: s.Salt(), Position: 512 << 10}))
			require.NoError(t, s.Unmap())
			s.Release()
			s.CloseFile()
		})
	}
}

// TestCreateLeavesNothingBehind fails each operation on the new file once.
func TestCreateLeavesNothingBehind(t *testing.T) {
	for _, kind := range []fs.OpKind{fs.OpCreate, fs.OpAllocate, fs.OpWriteAt} {
		m := fs.NewMem()
		place := newPlace(t, m)
		s := Plan(place, sampleHeader)
		m.OnOp(func(op fs.Op) error {
			if op.Kind == kind {
				return fs.EIO
			}
			return nil
		})
		_, err := s.Create(64 << 10)
		m.OnOp(nil)
		require.ErrorIs(t, err, fs.EIO, kind)
		require.Zero(t, place.Files.Open())
		entries, err := place.Dir.List(".")
		require.NoError(t, err)
		require.Empty(t, entries, kind)
	}
}

// TestMapWaitsForReadersOfTheWindowBefore: a file is mapped once at a time.
func TestMapWaitsForReadersOfTheWindowBefore(t *testing.T) {
	d, err := fs.NewMem().OpenDir("d", true)
	require.NoError(t, err)
	s := Plan(Place{Dir: d, Files: NewFiles(8, nil)}, sampleHeader)
	f, err := s.Create(64 << 10)
	require.NoError(t, err)
	require.NoError(t, s.Map(f, 64<<10))
	inside := s.window.Load()
	require.True(t, inside.borrow())
	require.NoError(t, s.Unmap())
	mapped := make(chan error)
	go func() { mapped <- s.Map(f, 64<<10) }()
	select {
	case err := <-mapped:
		require.Fail(t, "mapped twice", "%v", err)
	case <-inside.gone:
		require.Fail(t, "unmapped under a reader")
	default:
	}
	require.NoError(t, inside.release())
	require.NoError(t, <-mapped)
	require.NoError(t, s.Unmap())
	s.Release()
	s.CloseFile()
}

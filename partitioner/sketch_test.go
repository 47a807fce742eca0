package partitioner

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func newSketch(t *testing.T, size int) *Sketch {
	t.Helper()
	s, err := NewSketch(size)
	require.NoError(t, err)
	return s
}

func TestSketchBadSize(t *testing.T) {
	for _, size := range []int{-1, 0, MaxSketchSize + 1} {
		_, err := NewSketch(size)
		require.EqualError(t, err, fmt.Sprintf("make sketch: size is %d, want 1 to 65536", size))
	}
	newSketch(t, MaxSketchSize)
}

// As long as there is room counts are exact.
func TestSketchOfFewKeysIsExact(t *testing.T) {
	s := newSketch(t, 1)
	require.Empty(t, s.Top(10))
	for i, key := range []string{"", "a", "b", "a/b", strings.Repeat("long", 100), "\x00", "\xff"} {
		for range i + 1 {
			s.Add([]byte(key))
		}
	}
	s.Add(nil)
	require.Equal(t, []HotKey{
		{"\xff", 7, 0, 0.25}, {"\x00", 6, 0, 6.0 / 28}, {strings.Repeat("long", 100), 5, 0, 5.0 / 28},
		{"a/b", 4, 0, 4.0 / 28}, {"b", 3, 0, 3.0 / 28}, {"a", 2, 0, 2.0 / 28}, {"", 1, 0, 1.0 / 28},
	}, s.Top(10))
	require.Len(t, s.Top(2), 2)
	require.Empty(t, s.Top(0))
	require.Empty(t, s.Top(-1))
}

// The ninth key of a set takes the place of the rarest, and carries its count
// on.
func TestSketchReplacesTheRarest(t *testing.T) {
	s := newSketch(t, 1) // one set of eight
	for i := range 8 {
		for range 10 + i {
			s.Add([]byte{byte(i)})
		}
	}
	s.Add([]byte("new"))
	require.Contains(t, s.Top(8), HotKey{"new", 11, 10, 11.0 / 109})
	s.Add([]byte("new"))
	s.Add([]byte("newer")) // 1 has the least now
	top := s.Top(8)
	require.Contains(t, top, HotKey{"new", 12, 10, 12.0 / 111})
	require.Contains(t, top, HotKey{"newer", 12, 11, 12.0 / 111})
	for _, k := range top {
		require.NotContains(t, []string{"\x00", "\x01"}, k.Key)
	}
}

// The bounds, against true counts, of streams of every shape.
func TestSketchKeepsItsBounds(t *testing.T) {
	const size, records = 100, 100_000
	random := rand.New(rand.NewPCG(4, 4))
	for name, next := range map[string]func() uint64{
		"zipf 1.1": rand.NewZipf(random, 1.1, 1, 1<<30).Uint64,
		"zipf 2":   rand.NewZipf(random, 2, 1, 1<<30).Uint64,
		"uniform":  func() uint64 { return random.Uint64N(100_000) },
		"few":      func() uint64 { return random.Uint64N(30) },
		"half is one key": func() uint64 {
			if random.Uint64N(2) == 0 {
				return 0
			}
			return random.Uint64()
		},
	} {
		s, counts := newSketch(t, size), map[string]int64{}
		for range records {
			key := fmt.Sprint(next())
			counts[key]++
			s.Add([]byte(key))
		}
		listed, total := map[string]bool{}, int64(0)
		for _, k := range s.Top(sketchRoom * size) {
			listed[k.Key] = true
			total += k.Count
			require.GreaterOrEqual(t, k.Count, counts[k.Key], "%s: %+v", name, k)
			require.LessOrEqual(t, k.Count-k.Error, counts[k.Key], "%s: %+v", name, k)
			require.LessOrEqual(t, k.Error, int64(records/size), "%s: %+v", name, k)
			require.InDelta(t, float64(k.Count)/records, k.Share, 1e-12)
		}
		require.EqualValues(t, records, total, name)
		for key, n := range counts {
			require.True(t, listed[key] || n <= records/size, "%s: %s came %d times", name, key, n)
		}
	}
}

// Two keys of one tag are two keys.
func TestSketchTellsKeysOfOneTagApart(t *testing.T) {
	var set sketchSet
	for i := range set.packed {
		set.packed[i] = int64(i)
	}
	for i := range 8 {
		for range i + 1 {
			set.addLocked(7, []byte{byte(i)})
		}
	}
	for i, k := range set.list(nil) {
		require.Equal(t, HotKey{Key: string([]byte{byte(i)}), Count: int64(i + 1)}, k)
	}
}

func TestEqualBytesMissesNone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		word, b := random.Uint64(), byte(random.Uint32())
		at := 8 * random.IntN(8)
		word = word&^(0xff<<at) | uint64(b)<<at
		require.NotZero(t, equalBytes(word, b)&(0x80<<at), "%x in %x", b, word)
		require.Zero(t, equalBytes(0, b|1), "no byte of it is %x", b|1)
	}
}

func TestSketchOfManyGoroutines(t *testing.T) {
	s := newSketch(t, 10)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				s.Add([]byte("hot"))
				s.Add(fmt.Append(nil, g, i))
				if i%100 == 0 {
					s.Top(3)
				}
			}
		})
	}
	wg.Wait()
	top := s.Top(1)[0]
	require.Equal(t, "hot", top.Key)
	require.GreaterOrEqual(t, top.Count, int64(4000))
	require.LessOrEqual(t, top.Count-top.Error, int64(4000))
}

func TestSketchDoesNotAllocate(t *testing.T) {
	s := newSketch(t, 10)
	keys := sketchKeys(1000)
	i := 0
	require.Zero(t, testing.AllocsPerRun(5000, func() {
		s.Add(keys[i%len(keys)])
		i++
	}))
}

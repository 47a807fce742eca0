package partitioner

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// The hash key ranges of a stream with 3 shards, as CreateStream makes them.
func TestKinesisRangesAreThoseOfShards(t *testing.T) {
	requireHashKeys(t, 3, map[string]int{
		"0": 0,
		"113427455640312821154458202477256070484": 0,
		"113427455640312821154458202477256070485": 1,
		"226854911280625642308916404954512140969": 1,
		"226854911280625642308916404954512140970": 2,
		maxUint128: 2,
	})
}

func requireHashKeys(t *testing.T, n int, want map[string]int) {
	t.Helper()
	p := Kinesis(KinesisConfig{HashKey: func(rec record.Record) string { return string(rec.Value) }})
	for text, partition := range want {
		require.Equal(t, partition, mustPartition(t, p, record.Record{Key: []byte("k"), Value: []byte(text)}, n), text)
		require.Equal(t, partition, mustRoute(t, p, record.Record{Value: []byte(text)}, n), text)
	}
}

// Ranges against arbitrary precision: the edges of each range, and any number.
func TestKinesisRangesByTheBook(t *testing.T) {
	all := new(big.Int).Lsh(big.NewInt(1), 128)
	chance := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 5, 6, 7, 12, 48, 64, 100, 997, 1 << 20, 100_000} {
		width := new(big.Int).Quo(all, big.NewInt(int64(n)))
		check := func(x *big.Int) {
			if x.Sign() < 0 || x.Cmp(all) >= 0 {
				return
			}
			want := min(new(big.Int).Quo(x, width).Int64(), int64(n)-1)
			u, err := parseUint128(x.String())
			require.NoError(t, err)
			require.Equal(t, int(want), u.rangeOf(n), "%v, n = %d", x, n)
		}
		for range 200 {
			edge := new(big.Int).Mul(width, big.NewInt(chance.Int64N(int64(n)+1)))
			for d := int64(-1); d <= 1; d++ {
				check(new(big.Int).Add(edge, big.NewInt(d)))
			}
			x := new(big.Int).SetUint64(chance.Uint64())
			check(x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(chance.Uint64())))
		}
		check(new(big.Int).Sub(all, big.NewInt(1)))
	}
}

func TestKinesisWithoutExplicitHashKey(t *testing.T) {
	p := Kinesis(KinesisConfig{HashKey: func(record.Record) string { return "" }})
	byKey := Kinesis(KinesisConfig{})
	for i := range 100 {
		rec := record.Record{Key: fmt.Appendf(nil, "k%d", i)}
		require.Equal(t, mustPartition(t, byKey, rec, 48), mustPartition(t, p, rec, 48))
	}
	p.(*explicit).byKey.keyless.intN = func(int) int { return 7 }
	require.Equal(t, 7, mustPartition(t, p, record.Record{}, 48))
	require.NotImplements(t, (*KeyPartitioner)(nil), p)
}

func TestBadHashKeys(t *testing.T) {
	long := strings.Repeat("9", 100)
	for text, want := range map[string]string{
		"x":    `partition with "kinesis(hashkey)": explicit hash key "x" is no decimal number`,
		"-1":   `partition with "kinesis(hashkey)": explicit hash key "-1" is no decimal number`,
		"0x10": `partition with "kinesis(hashkey)": explicit hash key "0x10" is no decimal number`,
		"1 ":   `partition with "kinesis(hashkey)": explicit hash key "1 " is no decimal number`,
		"340282366920938463463374607431768211456": `partition with "kinesis(hashkey)": explicit hash key "340282366920938463463374607431768211456" is too large, want at most 340282366920938463463374607431768211455`,
		"340282366920938463463374607431768211460": `partition with "kinesis(hashkey)": explicit hash key "340282366920938463463374607431768211460" is too large, want at most 340282366920938463463374607431768211455`,
		long: `partition with "kinesis(hashkey)": explicit hash key "` + long[:64] + `…" is too large, want at most 340282366920938463463374607431768211455`,
	} {
		p := Kinesis(KinesisConfig{HashKey: func(record.Record) string { return text }})
		_, err := p.Partition(record.Record{Key: []byte("k")}, 6)
		require.EqualError(t, err, want)
		_, again := p.(Router).Route(record.Record{Key: []byte("k")}, 6)
		require.Equal(t, err, again)
	}
}

func FuzzParseUint128(f *testing.F) {
	f.Add(maxUint128)
	f.Add("340282366920938463463374607431768211456")
	f.Add("000")
	f.Add("12a")
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") || strings.Contains(text, "_") {
			return // big.Int takes signs
		}
		got, err := parseUint128(text)
		want, ok := new(big.Int).SetString(text, 10)
		if ok = ok && want.BitLen() <= 128; ok != (err == nil) {
			t.Fatalf("parseUint128(%q): %v, want ok: %v", text, err, ok)
		}
		if ok {
			x := new(big.Int).SetUint64(got.hi)
			if x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(got.lo)).Cmp(want) != 0 {
				t.Fatalf("parseUint128(%q) = %v", text, got)
			}
		}
	})
}

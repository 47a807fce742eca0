package partitioner

import (
	"crypto/md5" // #nosec G501 -- Kinesis spreads keys with it; nothing is kept secret
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/braidlog/braidlog/record"
)

const kinesisPlacement = "kinesis"

// KinesisConfig configures [Kinesis]. The zero value goes by the key alone.
type KinesisConfig struct {
	// HashKey, if not nil, returns the explicit hash key of a record: a
	// decimal number below 2¹²⁸, which is taken instead of the key's hash. ""
	// is none. It is called once for each record, by many goroutines at once,
	// and must be pure.
	HashKey func(rec record.Record) string
	// Name stands for what HashKey does in the placement, as that of [Func]
	// does: give another one whenever HashKey would answer otherwise than
	// before. It may be empty, and without HashKey it must be.
	Name string
}

// Kinesis returns a partitioner that sends a key to the partition that has the
// place of its shard in an Amazon Kinesis stream of n shards of equal width, as
// CreateStream makes them: the MD5 sum of the key, taken as a number of 128
// bits, big endian, lies in one of n equal ranges. The last range is larger by
// the remainder. An explicit hash key, see [KinesisConfig], overrides the key.
// An empty key is a key like any other, though Kinesis takes none. Records
// without a key, those whose Key is nil, and without an explicit hash key go
// where [Sticky] with its default sizes sends them; Kinesis refuses them.
//
// The rule is that of the API reference of Kinesis Data Streams, PutRecord
// (PartitionKey, ExplicitHashKey) and CreateStream. The placement is "kinesis",
// with HashKey "kinesis(hashkey)" or `kinesis(hashkey,"name")`. It is a
// [KeyPartitioner] unless there is HashKey: then a key may be anywhere.
//
// An explicit hash key that is no number, or too large, fails that append.
//
// Predecessors: the old partitions whose range overlaps that of the new one;
// all, if there is HashKey.
func Kinesis(config KinesisConfig) Partitioner {
	if config.HashKey == nil {
		if config.Name != "" {
			return newInvalid(kinesisPlacement, "Name is %q, but there is no HashKey", config.Name)
		}
		return newRuled(kinesisPlacement, md5Rule{})
	}
	args := []string{"hashkey"}
	if config.Name != "" {
		args = append(args, quote(config.Name))
	}
	return &explicit{newRuled(form(kinesisPlacement, args...), md5Rule{}), config.HashKey}
}

// explicit asks each record for its hash key before it goes by the key.
type explicit struct {
	byKey   *ruled
	hashKey func(rec record.Record) string
}

func (e *explicit) Placement() string { return e.byKey.placement }

func (e *explicit) Check(n int) error { return e.byKey.Check(n) }

func (e *explicit) Partition(rec record.Record, n int) (int, error) {
	return e.choose(rec, n, e.byKey.Partition)
}

func (e *explicit) Route(rec record.Record, n int) (int, error) {
	return e.choose(rec, n, e.byKey.Route)
}

func (e *explicit) choose(rec record.Record, n int, byKey func(record.Record, int) (int, error)) (int, error) {
	if n < 1 {
		return 0, checkCount(e.byKey.placement, n)
	}
	text := e.hashKey(rec)
	if text == "" {
		return byKey(rec, n)
	}
	hash, err := parseUint128(text)
	if err != nil {
		return 0, wrong(e.byKey.placement, "explicit hash key %w", err)
	}
	return hash.rangeOf(n), nil
}

func (e *explicit) BatchEnd(partition, records, bytes int) {
	e.byKey.BatchEnd(partition, records, bytes)
}

type md5Rule struct{}

func (md5Rule) check(int) error { return nil }

func (md5Rule) locate(key []byte, n int) int {
	sum := md5.Sum(key) // #nosec G401 -- likewise
	hash := uint128{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
	return hash.rangeOf(n)
}

// predecessors are those from the first number of p's range to its last.
func (md5Rule) predecessors(old, n, p int) []int {
	width := rangeWidth(n)
	first := width.times(uint64(p)).rangeOf(old)
	last := old - 1
	if p < n-1 {
		last = width.times(uint64(p + 1)).minus(uint128{0, 1}).rangeOf(old)
	}
	return upTo(first, last+1)
}

// uint128 is a number of 128 bits.
type uint128 struct{ hi, lo uint64 }

func (u uint128) less(v uint128) bool { return u.hi < v.hi || u.hi == v.hi && u.lo < v.lo }

func (u uint128) minus(v uint128) uint128 {
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	hi, _ := bits.Sub64(u.hi, v.hi, borrow)
	return uint128{hi, lo}
}

// times must not overflow.
func (u uint128) times(f uint64) uint128 {
	hi, lo := bits.Mul64(u.lo, f)
	return uint128{hi + u.hi*f, lo}
}

// rangeWidth returns 2¹²⁸/n, rounded down; for n = 1, where that does not fit,
// one less.
func rangeWidth(n int) uint128 {
	all := uint128{^uint64(0), ^uint64(0)}
	if n == 1 {
		return all
	}
	hi, rest := all.hi/uint64(n), all.hi%uint64(n)
	lo, rest := bits.Div64(rest, all.lo, uint64(n))
	if rest+1 == uint64(n) { // n divides 2¹²⁸, and this was one less
		lo, rest = bits.Add64(lo, 1, 0)
		hi += rest
	}
	return uint128{hi, lo}
}

// rangeOf returns which of n ranges u is in. Multiplying by n and dropping 128
// bits is that, or one less: the ranges begin a little before n-ths of it all.
func (u uint128) rangeOf(n int) int {
	carry, _ := bits.Mul64(u.lo, uint64(n))
	p, middle := bits.Mul64(u.hi, uint64(n))
	_, over := bits.Add64(middle, carry, 0)
	p += over
	if next := p + 1; next < uint64(n) && !u.less(rangeWidth(n).times(next)) {
		p = next
	}
	return int(p)
}

// maxUint128 is 2¹²⁸-1.
const maxUint128 = "340282366920938463463374607431768211455"

// parseUint128 reads a decimal number.
func parseUint128(text string) (u uint128, err error) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return u, fmt.Errorf("%q is no decimal number", shorten(text))
		}
		tenfold := u.times(10)
		lo, carry := bits.Add64(tenfold.lo, uint64(c-'0'), 0)
		hi, over := bits.Add64(tenfold.hi, 0, carry)
		if overflow, _ := bits.Mul64(u.hi, 10); overflow > 0 || over > 0 || (uint128{hi, lo}).less(u) {
			return u, fmt.Errorf("%q is too large, want at most %s", shorten(text), maxUint128)
		}
		u = uint128{hi, lo}
	}
	return u, nil
}

// shorten keeps a text of any length out of an error message.
func shorten(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

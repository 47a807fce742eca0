package partitioner

import (
	"errors"
	"fmt"
	"math"

	"github.com/twmb/murmur3"
)

const rendezvousPlacement = "rendezvous"

// Rendezvous returns a partitioner by weighted rendezvous hashing, also called
// highest random weight: each partition draws a number for the key, and the
// best wins. weights[i] is that of partition i, a partition beyond them has
// weight 1; none at all make all equal. A partition gets keys, not records, in
// proportion to its weight, and none if that is 0. An empty key is a key like
// any other. Records without a key, those whose Key is nil, go where [Sticky]
// with its default sizes sends them, whatever the weights.
//
// When n grows, or one weight does, a key stays where it is or goes to the
// partition that is new or has gained. So [Jump] and this one move equally few;
// this one has weights, and costs some 10 ns a partition for each record.
//
// A weight below 0, more weights than partitions, or a sum of 0 make Check and
// Partition fail. The algorithm is by Thaler and Ravishankar, "Using
// Name-Based Mappings to Increase Hit Rates", 1998, with the logarithms of
// Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005. The
// placement is "rendezvous", with weights "rendezvous(2,1,1)".
//
// Predecessors: as of [Jump], without partitions of weight 0.
func Rendezvous(weights ...int) Partitioner {
	placement := form(rendezvousPlacement, numbers(weights)...)
	r := &rendezvousRule{weights: make([]float64, len(weights))}
	for i, w := range weights {
		if w < 0 {
			return newInvalid(placement, "weight %d is %d, want at least 0", i, w)
		}
		r.weights[i] = float64(w)
		r.any = r.any || w > 0
	}
	return newRuled(placement, r)
}

type rendezvousRule struct {
	weights []float64
	any     bool // one of them is more than 0
}

func (r *rendezvousRule) check(n int) error {
	if len(r.weights) > n {
		return fmt.Errorf("there are %d weights, but n is %d", len(r.weights), n)
	}
	if !r.any && len(r.weights) == n {
		return errors.New("the weights sum to 0, want more")
	}
	return nil
}

func (r *rendezvousRule) weight(p int) float64 {
	if p < len(r.weights) {
		return r.weights[p]
	}
	return 1
}

// locate has each partition wait for a time of exponential distribution, the
// shorter the larger its weight. The first one wins.
func (r *rendezvousRule) locate(key []byte, n int) int {
	hash := murmur3.Sum64(key)
	best, first := 0, math.Inf(1)
	for p := range n {
		w := r.weight(p)
		if w == 0 {
			continue
		}
		draw := float64(mix64(hash+uint64(p+1)*goldenGamma)>>12) + 0.5 // below 2⁵², and exact
		if wait := -logarithm(draw*0x1p-52) / w; wait < first {
			best, first = p, wait
		}
	}
	return best
}

func (r *rendezvousRule) predecessors(old, n, p int) []int {
	if r.weight(p) == 0 {
		return nil
	}
	var ps []int
	for q := range old {
		if r.weight(q) > 0 && (q == p || p >= old || q >= n) {
			ps = append(ps, q)
		}
	}
	return ps
}

// goldenGamma and mix64 are those of SplitMix64 by Steele, Lea and Flood.
const goldenGamma = 0x9e3779b97f4a7c15

func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// logarithm returns the natural logarithm of x, 0 < x ≤ 1, to about 15 digits.
// What decides where keys go must be the same to the last bit everywhere, and
// math.Log is not: some machines have their own, some multiply and add in one
// step. Here every product is rounded by its conversion. With m the mantissa
// and s = (m-1)/(m+1), log m is 2·(s + s³/3 + s⁵/5 …).
func logarithm(x float64) float64 {
	m, exponent := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, exponent = 2*m, exponent-1
	}
	s := (m - 1) / (m + 1)
	square := s * s
	sum := 1.0 / 21
	for _, c := range [...]float64{1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1} {
		sum = float64(sum*square) + c
	}
	return float64(float64(exponent)*math.Ln2) + float64(2*s*sum)
}

package partitioner

import (
	"bytes"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
)

// The texts that implementations of xxHash test themselves with.
func TestXXH32(t *testing.T) {
	for text, want := range map[string]uint32{
		"":     0x02cc5d05,
		"a":    0x550d7456,
		"as":   0x9d5a0464,
		"asd":  0x3d83552b,
		"asdf": 0x5e702c32,
		"abc":  0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		require.Equal(t, want, xxh32([]byte(text)), "%q", text)
	}
}

// xxh32Reference follows the steps of the specification one by one.
func xxh32Reference(data []byte) uint32 {
	const p1, p2, p3, p4, p5 = uint32(2654435761), uint32(2246822519), uint32(3266489917), uint32(668265263), uint32(374761393)
	word := func(i int) uint32 {
		return uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 | uint32(data[i+3])<<24
	}
	acc, at := p5, 0
	if len(data) >= 16 {
		var a [4]uint32
		a[0] += p1
		a[0] += p2
		a[1] += p2
		a[3] -= p1
		for ; len(data)-at >= 16; at += 16 {
			for i := range a {
				a[i] += word(at+4*i) * p2
				a[i] = a[i]<<13 | a[i]>>19
				a[i] *= p1
			}
		}
		acc = (a[0]<<1 | a[0]>>31) + (a[1]<<7 | a[1]>>25) + (a[2]<<12 | a[2]>>20) + (a[3]<<18 | a[3]>>14)
	}
	acc += uint32(len(data))
	for ; len(data)-at >= 4; at += 4 {
		acc += word(at) * p3
		acc = bits.RotateLeft32(acc, 17)
		acc *= p4
	}
	for ; at < len(data); at++ {
		acc += uint32(data[at]) * p5
		acc = bits.RotateLeft32(acc, 11)
		acc *= p1
	}
	acc ^= acc >> 15
	acc *= p2
	acc ^= acc >> 13
	acc *= p3
	return acc ^ acc>>16
}

func FuzzXXH32(f *testing.F) {
	for n := range 70 {
		f.Add(bytes.Repeat([]byte{0xfe, byte(n)}, n))
	}
	f.Add([]byte("order-123456"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := xxh32(data), xxh32Reference(data); got != want {
			t.Fatalf("xxh32(%x) = %08x, want %08x", data, got, want)
		}
	})
}

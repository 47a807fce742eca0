package partitionertest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/braidlog/braidlog/record"
)

// How many numbered keys each check asks with, and that of predecessors.
const (
	someKeys = 30
	manyKeys = 1000
)

// defaultKeys returns keys of all kinds: none, an empty one, short and long
// ones, some with separators, some that are not text, and numbered ones.
func defaultKeys() [][]byte {
	keys := [][]byte{nil, {}, {0}, {0xff}, []byte(":"), []byte("HIGH:"), bytes.Repeat([]byte{0xfe, 0x80}, 300), []byte(strings.Repeat("a:", 100))}
	for i := range someKeys {
		keys = append(keys, fmt.Appendf(nil, "order-%d", i))
	}
	for i := range 10 {
		keys = append(keys, fmt.Appendf(nil, "tenant-%d:order:%d", i%5, i))
	}
	return keys
}

// manyKeys returns more keys, but none that is nil; those that were given if any
// were.
func (s *suite) manyKeys() [][]byte {
	keys := slices.DeleteFunc(slices.Clone(s.keys), func(key []byte) bool { return key == nil })
	for i := someKeys; i < manyKeys && !s.ownKeys; i++ {
		keys = append(keys, fmt.Appendf(nil, "order-%d", i))
	}
	return keys
}

// variants returns records of one key that differ in everything else. Each has
// a copy of the key.
func variants(key []byte) []record.Record {
	return []record.Record{
		{Key: bytes.Clone(key)},
		{Key: bytes.Clone(key), Value: []byte{}},
		{Key: bytes.Clone(key), Value: []byte("!value"), ID: [16]byte{1}},
		{Key: bytes.Clone(key), Value: make([]byte, 100), Headers: []record.Header{{Key: "name", Value: []byte("x")}, {Key: ""}}},
		{Key: bytes.Clone(key), OriginTime: time.Date(1901, 2, 3, 4, 5, 6, 7, time.UTC)},
		{Key: bytes.Clone(key), OriginTime: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)},
	}
}

// same reports whether two records have the same key, value and headers.
func same(a, b *record.Record) bool {
	if !sameBytes(a.Key, b.Key) || !sameBytes(a.Value, b.Value) || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		if a.Headers[i].Key != b.Headers[i].Key || !sameBytes(a.Headers[i].Value, b.Headers[i].Value) {
			return false
		}
	}
	return true
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

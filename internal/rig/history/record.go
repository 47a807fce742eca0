package history

import (
	"bytes"
	"fmt"

	"github.com/braidlog/braidlog"
)

// NewRecord returns the record of a number, whose value has about so many bytes.
func NewRecord(number, size int) braidlog.Record {
	v := fmt.Appendf(make([]byte, 0, size), "%d %d ", number, size)
	for i := len(v); i < size; i++ {
		v = append(v, byte('!'+(number*31+i*7)%90))
	}
	return braidlog.Record{Key: fmt.Appendf(nil, "k%d", number%3), Value: v}
}

// numberOf returns the number of a record, or an error if it is none that
// NewRecord returned, byte for byte.
func numberOf(r *braidlog.Record) (int, error) {
	number, rest, ok := leadingInt(r.Value)
	size, _, sized := leadingInt(rest)
	if !ok || !sized || size > 1<<20 {
		return 0, fmt.Errorf("a record that was never offered: %.40q", r.Value)
	}
	if want := NewRecord(number, size); !bytes.Equal(want.Value, r.Value) || !bytes.Equal(want.Key, r.Key) || len(r.Headers) > 0 {
		return 0, fmt.Errorf("a record that is not as it was offered: key %q, value %.40q", r.Key, r.Value)
	}
	return number, nil
}

// leadingInt reads digits and the space behind them.
func leadingInt(b []byte) (n int, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == ' ' && i > 0:
			return n, b[i+1:], true
		case c < '0' || c > '9' || i > 9:
			return 0, nil, false
		}
		n = 10*n + int(c-'0')
	}
	return 0, nil, false
}

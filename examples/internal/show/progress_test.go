package show

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	began := time.Unix(1_000_000_000, 0)
	now := began
	p := &Progress{w: &b, now: func() time.Time { return now }, began: began}
	bar := func(full int) string {
		return "\rappend [" + strings.Repeat("#", full) + strings.Repeat(" ", 30-full) + "] "
	}
	for _, c := range []struct {
		at   time.Duration
		done int
		want string
	}{
		{0, 1, ""},
		{999 * time.Millisecond, 20, ""},
		{time.Second, 50, bar(15) + "50 of 100 records"},
		{1099 * time.Millisecond, 60, ""},
		{1100 * time.Millisecond, 70, bar(21) + "70 of 100 records"},
		{2 * time.Second, 100, bar(30) + "100 of 100 records"},
		{3 * time.Second, 101, bar(30) + "101 of 100 records"},
	} {
		now = began.Add(c.at)
		p.Show("append", c.done, 100)
		require.Equal(t, c.want, b.String(), "at %v", c.at)
		b.Reset()
	}
	p.Clear()
	require.Equal(t, "\r"+strings.Repeat(" ", 79)+"\r", b.String())
	b.Reset()
	p.Clear()
	require.Empty(t, b.String(), "cleared already")
}

func TestProgressIsForTerminals(t *testing.T) {
	require.Nil(t, newProgress(&bytes.Buffer{}).w)
	(&Progress{}).Show("append", 1, 2)
	(&Progress{}).Clear()
}

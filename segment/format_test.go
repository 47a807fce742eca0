package segment

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
	"github.com/stretchr/testify/require"
)

// The example of docs/FORMAT.md, as its text describes it.
var (
	exampleHeader = Header{ID: counting(0x00, 1), Topic: counting(0x10, 1), Partition: 3, Base: 1000, PrevEnd: 1000, Durable: 1000}
	exampleTime   = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	exampleEpoch  = uint32(7)
)

func exampleRecords() []record.Record {
	return []record.Record{
		{Key: []byte("ab"), Value: []byte("hello")},
		{Value: []byte{}, Headers: []record.Header{{Key: "h", Value: []byte("1")}},
			OriginTime: exampleTime.Add(-time.Second), ID: counting(0xff, -0x11)},
	}
}

func counting(first, by int) (id [16]byte) {
	for i := range id {
		id[i] = byte(first + i*by)
	}
	return id
}

// writeExample writes the example's file with the library.
func writeExample(t *testing.T, place Place) []byte {
	t.Helper()
	s := Plan(place, exampleHeader)
	run, _, n := cut(record.Run{Records: exampleRecords()}, 1<<20, 2)
	frame := make([]byte, n)
	run.Encode(frame, run.Len(), record.Stamp{Salt: s.Salt(), Position: FirstFrame, Base: 1000,
		Time: exampleTime.UnixNano(), Durable: 1000, Epoch: exampleEpoch})
	f, err := s.Create(FirstFrame)
	require.NoError(t, err)
	_, err = f.WriteAt(frame, FirstFrame)
	require.NoError(t, err)
	s.Release()
	s.CloseFile()
	return readFile(t, place.Dir, s.Name())
}

// TestFormatDump compares docs/FORMAT.md with what the library writes, byte
// by byte, and reads the document's bytes back.
func TestFormatDump(t *testing.T) {
	document, err := os.ReadFile("../docs/FORMAT.md")
	require.NoError(t, err)
	_, example, ok := strings.Cut(string(document), "### Example\n")
	require.True(t, ok)
	_, example, ok = strings.Cut(example, "```\n")
	require.True(t, ok)
	dump, _, ok := strings.Cut(example, "```\n")
	require.True(t, ok)

	written := writeExample(t, newPlace(t, fs.NewMem()))
	require.Equal(t, hexdump(written), dump)
	bytes := parseDump(t, dump)
	require.Equal(t, written, bytes)

	place := newPlace(t, fs.NewMem())
	put(t, place.Dir, Name(1000), bytes)
	s, err := Open(place, 1000)
	require.NoError(t, err)
	require.Equal(t, exampleHeader, s.Header)
	s.Publish(int64(len(bytes)), 1002)
	batches := scanAll(t, s)
	require.Len(t, batches, 1)
	require.Equal(t, exampleEpoch, batches[0].Epoch)
	require.Equal(t, int64(1000), batches[0].Durable)
	d := batches[0].Records()
	for i, want := range exampleRecords() {
		var got record.Record
		require.NoError(t, d.Next(&got))
		want.Offset, want.Timestamp = 1000+int64(i), exampleTime
		require.Equal(t, want, got)
	}
	require.Zero(t, d.Left())
}

// hexdump prints b as hexdump -C does.
func hexdump(b []byte) string {
	var out strings.Builder
	last, starred := "", false
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if string(line) == last && at+16 < len(b) {
			if !starred {
				out.WriteString("*\n")
			}
			starred = true
			continue
		}
		last, starred = string(line), false
		fmt.Fprintf(&out, "%08x", at)
		for i := range 16 {
			if i%8 == 0 {
				out.WriteByte(' ')
			}
			if i < len(line) {
				fmt.Fprintf(&out, " %02x", line[i])
			} else {
				out.WriteString("   ")
			}
		}
		out.WriteString("  |" + strings.Map(printable, string(latin(line))) + "|\n")
	}
	fmt.Fprintf(&out, "%08x\n", len(b))
	return out.String()
}

// latin makes a rune of each byte.
func latin(b []byte) []rune {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return out
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '.'
	}
	return r
}

// parseDump is hexdump backwards: a star repeats the line before it up to the
// position of the next.
func parseDump(t *testing.T, dump string) (b []byte) {
	t.Helper()
	var last []byte
	for line := range strings.Lines(dump) {
		line = strings.TrimSuffix(line, "\n")
		if line == "*" {
			continue
		}
		at, err := strconv.ParseInt(line[:8], 16, 64)
		require.NoError(t, err)
		for int64(len(b)) < at {
			b = append(b, last...)
		}
		digits, _, _ := strings.Cut(line[8:], "|")
		last, err = hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		require.NoError(t, err)
		b = append(b, last...)
	}
	return b
}

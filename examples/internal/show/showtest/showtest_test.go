package showtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// ofKeys returns a record for each letter, which is its key; "-" has none.
func ofKeys(letters string) (recs []braidlog.Record) {
	for i := range letters {
		rec := braidlog.Record{Value: []byte{byte('0' + i)}}
		if letters[i] != '-' {
			rec.Key = []byte{letters[i]}
		}
		recs = append(recs, rec)
	}
	return recs
}

func values(recs []braidlog.Record) (s string) {
	for _, rec := range recs {
		s += string(rec.Value)
	}
	return s
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ keys, drop, repeat, swap string }{
		{"abcba", "0134", "012234", "41230"},     // c is alone: the first and the last of all
		{"aabba", "0134", "012234", "01324"},     // the middle one's key is b
		{"-----", "0134", "012234", "41230"},     // all have the same: none
		{"abcbaa", "01245", "0123345", "032145"}, // b is at 1 and 3
	} {
		for i, want := range []string{c.drop, c.repeat, c.swap} {
			require.Equal(t, want, values(faults[i].plant(ofKeys(c.keys))), "%s of %s", faults[i].name, c.keys)
		}
	}
}

// A program that checks what it reads fails with each fault.
func TestFaultsArePlantedInEveryAppend(t *testing.T) {
	planted := 0
	p := show.Program{Name: "demo", Play: func(_ context.Context, s *show.Stage) (any, error) {
		for range 2 {
			l := show.NewLedger(ofKeys("abcab"))
			sent := ofKeys("abcab")
			show.NewLedger(sent)
			got := s.Plant(sent)
			for i := range got {
				if err := l.Read(&got[i]); err != nil {
					planted++
					return nil, err
				}
			}
			if err := l.End(); err != nil {
				planted++
				return nil, err
			}
		}
		s.Say("all there")
		return struct{}{}, nil
	}}
	checkFaults(t, p)
	require.Equal(t, 2*len(faults), planted)
}

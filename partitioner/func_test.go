package partitioner

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestFuncPassesEverythingOn(t *testing.T) {
	failure := errors.New("no country")
	rec := record.Record{Key: []byte("k"), Value: []byte("v")}
	p := Func("by-country", func(got record.Record, n int) (int, error) {
		require.Equal(t, rec, got)
		return n + 1, failure // out of range: the topic's to notice
	})
	got, err := p.Partition(rec, 6)
	require.Equal(t, 7, got)
	require.Same(t, failure, err)
}

func TestFuncWithoutNameOrFunction(t *testing.T) {
	f := func(record.Record, int) (int, error) { return 0, nil }
	for _, c := range []struct {
		p    Partitioner
		want string
	}{
		{Func("", f), `partition with "func:": the name is empty`},
		{Func("", nil), `partition with "func:": the name is empty`},
		{Func("mine", nil), `partition with "func:mine": the function is nil`},
	} {
		_, err := c.p.Partition(record.Record{}, 6)
		require.EqualError(t, err, c.want)
	}
}

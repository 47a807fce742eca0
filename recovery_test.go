package braidlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// The store tells what Open found in every topic, for as long as it lives.
func TestRecoveryOfAStore(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	require.Empty(t, s.Recovery().Topics)
	for _, name := range []string{"bad", "torn", "whole"} {
		topic, err := s.CreateTopic(bg, name, TopicConfig{Partitions: 3, Durability: OS})
		require.NoError(t, err)
		for i := range 30 {
			_, err = topic.AppendTo(bg, i%3, rec("k", i))
			require.NoError(t, err)
		}
	}
	require.Empty(t, s.Recovery().Topics, "what was made since is not in it")
	m2 := m.Kill()
	require.NoError(t, s.Close())
	m = m2
	change(t, m, "/store/topics/bad/topic.json", func(b []byte) []byte { return b[:10] })
	tear(t, m, "/store/topics/torn/partitions/2/00000000000000000000.log")
	m.OnOp(func(op fs.Op) error {
		if strings.HasPrefix(op.Name, "/store/topics/torn/partitions/1") {
			return fs.EIO
		}
		return nil
	})
	var e ear
	s = openMem(t, m, e.hears)
	check := func() {
		t.Helper()
		r := s.Recovery()
		require.Len(t, r.Topics, 2)
		require.Len(t, r.Broken, 1)
		require.ErrorIs(t, r.Broken["bad"], ErrCorrupt)
		torn := r.Topics["torn"]
		require.Len(t, torn, 3)
		require.Nil(t, torn[0].Cut)
		require.NoError(t, torn[0].Err)
		require.ErrorIs(t, torn[1].Err, fs.EIO)
		require.NotNil(t, torn[2].Cut)
		require.Less(t, torn[2].Cut.Offset, int64(10))
		for _, p := range r.Topics["whole"] {
			require.Nil(t, p.Cut)
			require.NoError(t, p.Err)
			require.Positive(t, p.ReadBytes)
		}
	}
	check()
	torn, err := s.Topic("torn")
	require.NoError(t, err)
	require.Equal(t, s.Recovery().Topics["torn"], torn.Recovery())
	delete(s.Recovery().Topics, "torn") // of a copy
	m.OnOp(nil)
	require.NoError(t, s.DeleteTopic(bg, "torn"))
	require.NoError(t, s.DeleteTopic(bg, "bad"))
	check()
	cut := s.Recovery().Topics["torn"][2].Cut
	require.NoError(t, s.Close())
	check()
	require.Len(t, e.heard(Trouble), 2)
	require.Len(t, e.heard(Recovered), 1)
	told := e.heard(Recovered)[0]
	require.Equal(t, Event{
		Kind: Recovered, Topic: "torn", Partition: 2, Time: told.Time, From: cut.Offset, To: cut.Offset,
		Bytes: cut.ToByte - cut.FromByte, What: "had a torn end", Err: told.Err,
	}, told)
	require.ErrorContains(t, told.Err, fmt.Sprint(cut.Offset))
	s = openMem(t, m)
	require.Empty(t, s.Recovery().Broken)
	require.True(t, s.Recovery().Topics["whole"][0].Vouched)
	require.NoError(t, s.Close())
}

// tear spoils the last record of a segment file that nobody synced.
func tear(t *testing.T, m *fs.Mem, name string) {
	t.Helper()
	change(t, m, name, func(b []byte) []byte {
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != 0 {
				b[i] ^= 1
				break
			}
		}
		return b
	})
}

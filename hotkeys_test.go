package braidlog

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partitioner"
)

func keyCounts(topic *Topic) map[string]int64 {
	counts := map[string]int64{}
	for _, k := range topic.Stats().HotKeys {
		counts[k.Key] = k.Count
	}
	return counts
}

// A key counts however it is appended, once, and not if nothing is appended.
func TestHotKeysOfEveryWayToAppend(t *testing.T) {
	for _, mode := range []DedupMode{DedupOff, DedupOn} {
		for _, level := range []Durability{Sync, OS} {
			s := openMem(t, fs.NewMem())
			topic := ensure(t, s, TopicConfig{HotKeys: 10, Durability: level, Dedup: Dedup{Mode: mode}})
			id := [16]byte{1}
			for range 2 { // the second time repeats, with Dedup
				_, err := topic.Append(bg, Record{Key: []byte("append"), ID: id})
				require.NoError(t, err)
			}
			_, err := topic.AppendTo(bg, 1, Record{Key: []byte("append to")})
			require.NoError(t, err)
			_, err = topic.AppendTo(bg, 1, Record{Key: []byte("append to"), ID: [16]byte{2}})
			require.NoError(t, err)
			require.NoError(t, topic.AppendAsync(bg, Record{Key: []byte("async")}, nil))
			told := make(chan error, 1)
			require.NoError(t, topic.AppendAsync(bg, Record{Key: []byte("async"), ID: [16]byte{3}}, func(_ Position, err error) { told <- err }))
			require.NoError(t, <-told)
			require.NoError(t, topic.AppendBatch(bg, []Record{
				{Key: []byte("batch")}, {Key: nil}, {Key: []byte{}}, {Key: []byte("batch"), ID: [16]byte{4}}, {Key: []byte("append"), ID: id},
			}))
			_, err = topic.Append(bg, Record{Key: make([]byte, 300)})
			require.ErrorIs(t, err, ErrTooLarge)
			_, err = topic.Partition(0).Append(bg, Record{Key: []byte("not by the topic")})
			require.NoError(t, err)

			want := map[string]int64{"append": 3, "append to": 2, "async": 2, "batch": 2, "": 1}
			if mode == DedupOn {
				want["append"] = 1
			}
			require.Equal(t, want, keyCounts(topic), "%v, %v", mode, level)
			require.NoError(t, s.Close())
		}
	}
}

func TestHotKeysAreOffUnlessAskedFor(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{})
	_, err := topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	require.Nil(t, topic.Stats().HotKeys)
	require.Equal(t, NoHotKeys, topic.Config().HotKeys)
	text, err := json.Marshal(topic.Stats())
	require.NoError(t, err)
	require.NotContains(t, string(text), "hot_keys")
	require.NoError(t, s.Close())
}

// The setting is kept, the figures are not.
func TestHotKeysAreASetting(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, TopicConfig{HotKeys: 2})
	for i := range 6 {
		for range i + 1 {
			_, err := topic.Append(bg, rec(fmt.Sprint(i), i))
			require.NoError(t, err)
		}
	}
	want := []HotKey{{Key: "5", Count: 6, Share: 6.0 / 21}, {Key: "4", Count: 5, Share: 5.0 / 21}}
	require.Equal(t, want, topic.Stats().HotKeys)
	require.NoError(t, topic.SetConfig(bg, TopicConfig{MaxKeyBytes: 100}))
	require.Equal(t, want, topic.Stats().HotKeys, "another setting disturbs nothing")
	require.NoError(t, topic.SetConfig(bg, TopicConfig{HotKeys: 3}))
	require.Empty(t, topic.Stats().HotKeys, "begun anew")
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic, err := s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, 3, topic.Config().HotKeys)
	_, err = topic.Append(bg, rec("k", 1))
	require.NoError(t, err)
	require.Equal(t, []HotKey{{Key: "k", Count: 1, Share: 1}}, topic.Stats().HotKeys)
	require.NoError(t, topic.SetConfig(bg, TopicConfig{HotKeys: NoHotKeys}))
	require.Nil(t, topic.Stats().HotKeys)
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, NoHotKeys, topic.Config().HotKeys)
	require.NoError(t, s.Close())
}

func TestHotKeysOutOfRange(t *testing.T) {
	s := openMem(t, fs.NewMem())
	for _, n := range []int{-2, partitioner.MaxSketchSize + 1} {
		_, err := s.CreateTopic(bg, "hot", TopicConfig{HotKeys: n})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("HotKeys is %d, want 1 to 65536, or NoHotKeys", n))
	}
	require.NoError(t, s.Close())
}

// Whoever counts and whoever changes the setting do not disturb each other.
func TestHotKeysWhileSettingsChange(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{HotKeys: 1, Durability: OS})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 200 {
				_, err := topic.Append(bg, rec("k", i))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		require.NoError(t, topic.SetConfig(bg, TopicConfig{HotKeys: []int{NoHotKeys, 1, 5}[i%3]}))
		topic.Stats()
	}
	wg.Wait()
	n := 0
	for _, err := range topic.Key(bg, []byte("k")) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 600, n)
	require.NoError(t, s.Close())
}

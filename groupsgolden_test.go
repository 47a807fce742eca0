package braidlog

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/fs"
)

// Beside the stores in testdata/golden that have groups stands what those know.
// The one of today was written by
//
//	BRAIDLOG_GOLDEN=groups go test -run TestGoldenGroups .
const goldenGroups = "v1-groups"

// A goldenGroup is a group in a listing.
type goldenGroup struct {
	Spec      *consumergroup.Spec
	Committed []consumergroup.Committed
	Starts    []consumergroup.Committed
}

func listGroups(s *Store) map[string]goldenGroup {
	all := map[string]goldenGroup{}
	for _, name := range s.Groups() {
		g := goldenGroup{Committed: s.ledger.Positions(name), Starts: s.ledger.Starts(name)}
		if spec, ok := s.ledger.Spec(name); ok {
			g.Spec = &spec
		}
		all[name] = g
	}
	return all
}

func TestGoldenGroups(t *testing.T) {
	if os.Getenv(goldenEnv) == "groups" {
		writeGoldenGroups(t)
	}
	b, err := os.ReadFile(filepath.Join(goldenDir, goldenGroups+".groups"))
	require.NoError(t, err)
	var want map[string]goldenGroup
	require.NoError(t, json.Unmarshal(b, &want))
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, goldenGroups))))
	for range 2 {
		s, err := Open(dir, Options{})
		require.NoError(t, err)
		require.NoError(t, s.ledger.Err())
		require.Equal(t, want, listGroups(s))
		topic, err := s.Topic("level-sync")
		require.NoError(t, err)
		require.NoError(t, commitTo(s, "workers", topic, 1, 7), "it is what was committed")
		want["workers"] = listGroups(s)["workers"]
		require.NoError(t, s.Close())
	}
}

// writeGoldenGroups makes a store whose groups log has records of every kind.
func writeGoldenGroups(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m, smallGroups)
	topic, err := s.CreateTopic(bg, "level-sync", TopicConfig{Partitions: 2, SegmentBytes: 4 << 10})
	require.NoError(t, err)
	appendGolden(t, topic)
	l := s.ledger
	at := func(n int, offset int64) consumergroup.Committed {
		return consumergroup.Committed{Topic: topic.name, TopicID: topic.id, Partition: n, Offset: offset}
	}
	noted := at(0, 5)
	noted.Metadata = []byte("a note")
	gone := consumergroup.Committed{Topic: "gone", TopicID: consumergroup.TopicID{1}, Offset: 3}
	start := consumergroup.StoredStart{Kind: consumergroup.StartAt, Time: time.Unix(3, 4).UTC()}
	for l.Partition().Start() == 0 { // until there was a snapshot
		require.NoError(t, l.Commit(bg, "workers", []consumergroup.Committed{at(1, 1)}))
	}
	for _, err := range []error{
		l.SetSpec(bg, "workers", consumergroup.Spec{Topics: []string{"level-sync"}}),
		l.SetSpec(bg, "audit", consumergroup.Spec{Topics: []string{}, Pattern: "level-.*", Start: start}),
		l.Begin(bg, "audit", []consumergroup.Committed{at(0, 2), at(1, 4)}),
		l.Commit(bg, "workers", []consumergroup.Committed{noted, at(1, 6), gone}),
		l.Commit(bg, "left", []consumergroup.Committed{at(0, 1)}),
		l.DeleteTopic(bg, gone.TopicID),
		l.DeleteGroup(bg, "left"),
	} {
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	copyOut(t, m, goldenGroups, 0)
	listGolden(t, goldenGroups)
	b, err := json.MarshalIndent(listGroups(s), "", "\t")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(goldenDir, goldenGroups+".groups"), append(b, '\n'), 0o600))
}

package braidlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/consumergroup"
)

// This file starts a child that appends and commits, and says what was
// acknowledged, kills it in the middle, and looks whether groups are where they
// were.

// killGroupsEnv has the child's directory.
const killGroupsEnv = "BRAIDLOG_KILL_GROUPS"

const (
	killGroupsCycles  = 25
	killGroupsMembers = 6 // goroutines of a child: a partition each
)

func openToCommit(dir string) (*Store, *Topic, error) {
	s, err := Open(dir, Options{groupsSegment: 8 << 10, groupsSnapshot: 4 << 10})
	if err != nil {
		return nil, nil, err
	}
	t, err := s.EnsureTopic(bg, "orders", TopicConfig{Partitions: killGroupsMembers, SegmentBytes: 16 << 10})
	return s, t, err
}

// commitUntilKilled is the child. Each line it prints is an acknowledgement.
func commitUntilKilled() {
	s, topic, err := openToCommit(os.Getenv(killGroupsEnv))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var printing sync.Mutex
	for n := range killGroupsMembers {
		go func() {
			for {
				pos, err := topic.AppendTo(bg, n, Record{Value: []byte("something to do")})
				if err == nil {
					err = commitTo(s, fmt.Sprint("group-", n%2), topic, n, pos.Offset+1)
				}
				printing.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Printf("ack %d %d\n", n, pos.Offset+1)
				}
				printing.Unlock()
			}
		}()
	}
	select {}
}

func TestNoCommitIsLostToKill(t *testing.T) {
	dir, seed := t.TempDir(), rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cycles := killGroupsCycles
	if racing {
		cycles /= 4
	}
	acked := make([]int64, killGroupsMembers)
	for cycle := range cycles {
		untilKilled(t, killGroupsEnv+"="+dir, 1+rng.IntN(400), func(line string) {
			said := numbers(t, strings.TrimPrefix(line, "ack "), 2)
			require.Greater(t, int64(said[1]), acked[said[0]], "a partition's offset was given twice")
			acked[said[0]] = int64(said[1])
		})
		if rng.IntN(3) == 0 && cycle < cycles-1 {
			continue // the next child is the first to find what this one left
		}
		s, topic, err := openToCommit(dir)
		require.NoError(t, err)
		require.NoError(t, s.ledger.Err())
		for n, least := range acked {
			c := max(0, committed(s, fmt.Sprint("group-", n%2), topic, n))
			require.GreaterOrEqual(t, c, least, "cycle %d, partition %d", cycle, n)
			require.LessOrEqual(t, c, topic.Partition(n).End(), "cycle %d, partition %d", cycle, n)
			require.Empty(t, topic.Recovery()[n].Lost)
			acked[n] = c
		}
		require.NoError(t, s.Close())
	}
}

// untilKilled starts a child, kills it after some lines, and passes on all it
// said.
func untilKilled(t *testing.T, env string, enough int, told func(line string)) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == enough {
			require.NoError(t, cmd.Process.Kill())
		}
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line without an end was not printed before the child died
		}
		require.NoError(t, err)
		require.NotContains(t, line, "error")
		told(strings.TrimSuffix(line, "\n"))
	}
	require.Error(t, cmd.Wait(), "the child ended by itself")
}

// killMembersEnv has the directory of a child whose members process records.
const killMembersEnv = "BRAIDLOG_KILL_MEMBERS"

// processUntilKilled is the child: it appends, and members that come, go and
// stall poll and commit. Before a commit a line says what was processed, and one
// behind it that it was acknowledged.
func processUntilKilled() {
	_, topic, err := openToCommit(os.Getenv(killMembersEnv))
	var g *consumergroup.Group
	if err == nil {
		g, err = topic.Group("workers", consumergroup.Config{PollInterval: 20 * time.Millisecond})
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var printing sync.Mutex
	say := func(format string, a ...any) {
		printing.Lock()
		defer printing.Unlock()
		fmt.Printf(format+"\n", a...)
	}
	for range 3 {
		go func() {
			for {
				if err := processOnce(g, say); err != nil && !errors.Is(err, consumergroup.ErrFenced) {
					say("error %v", err)
				}
			}
		}()
	}
	for n := 0; ; n++ {
		if _, err := topic.AppendTo(bg, n%killGroupsMembers, Record{Value: []byte("something to do")}); err != nil {
			say("error %v", err)
		}
	}
}

// processOnce is the life of a member, which is closed or forgotten in the end.
func processOnce(g *consumergroup.Group, say func(string, ...any)) error {
	m, err := g.Join(bg, consumergroup.MemberConfig{})
	if err != nil {
		return err
	}
	for range 1 + rand.IntN(20) {
		recs, err := m.Poll(bg, 1+rand.IntN(20))
		if err != nil {
			return err
		}
		runs := runsOf(recs)
		for _, r := range runs {
			say("got %d %d %d", r[0], r[1], r[2])
		}
		if err = m.Commit(bg); err != nil {
			return err
		}
		for _, r := range runs {
			say("ack %d %d", r[0], r[2])
		}
	}
	if rand.IntN(3) > 0 {
		return m.Close(bg)
	}
	return nil
}

// runsOf returns partition, first offset and end of the records of each
// partition, which stand together.
func runsOf(recs []Record) (runs [][3]int64) {
	for i, r := range recs {
		if i == 0 || recs[i-1].Partition != r.Partition {
			runs = append(runs, [3]int64{int64(r.Partition), r.Offset})
		}
		runs[len(runs)-1][2] = r.Offset + 1
	}
	return runs
}

// Members process every record in order and are killed with their process: none
// is left out, no commit is lost, and none is invented.
func TestNoRecordIsLostToKill(t *testing.T) {
	dir, seed := t.TempDir(), rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cycles := killGroupsCycles
	if racing {
		cycles /= 4
	}
	acked, processed := make([]int64, killGroupsMembers), make([]int64, killGroupsMembers)
	for cycle := range cycles {
		untilKilled(t, killMembersEnv+"="+dir, 1+rng.IntN(400), func(line string) {
			if got, ok := strings.CutPrefix(line, "got "); ok {
				said := numbers(t, got, 3)
				require.LessOrEqual(t, int64(said[1]), processed[said[0]], "cycle %d: partition %d: some were left out", cycle, said[0])
				processed[said[0]] = max(processed[said[0]], int64(said[2]))
				return
			}
			said := numbers(t, strings.TrimPrefix(line, "ack "), 2)
			acked[said[0]] = max(acked[said[0]], int64(said[1]))
		})
		if rng.IntN(3) == 0 && cycle < cycles-1 {
			continue // the next child is the first to find what this one left
		}
		s, topic, err := openToCommit(dir)
		require.NoError(t, err)
		require.NoError(t, s.ledger.Err())
		for n := range acked {
			c := max(0, committed(s, "workers", topic, n))
			require.GreaterOrEqual(t, c, acked[n], "cycle %d, partition %d", cycle, n)
			require.LessOrEqual(t, c, processed[n], "cycle %d, partition %d", cycle, n)
		}
		require.NoError(t, s.Close())
	}
	require.Positive(t, slices.Max(acked))
}

package braidlog

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
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
		commitsUntilKilled(t, dir, 1+rng.IntN(400), acked)
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

// commitsUntilKilled starts a child, kills it after some acknowledgements, and
// takes down all it said.
func commitsUntilKilled(t *testing.T, dir string, enough int, acked []int64) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killGroupsEnv+"="+dir)
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
		said := numbers(t, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "ack "), 2)
		require.Greater(t, int64(said[1]), acked[said[0]], "a partition's offset was given twice")
		acked[said[0]] = int64(said[1])
	}
	require.Error(t, cmd.Wait(), "the child ended by itself")
}

package show

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
)

// run runs a program in a temporary directory, of which it leaves nothing behind.
func run(t *testing.T, p Program, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, temp)
	}
	var out, errs bytes.Buffer
	status = p.Run(context.Background(), args, &out, &errs)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
	return status, out.String(), errs.String()
}

func TestProgram(t *testing.T) {
	p := Program{Name: "demo", Play: func(_ context.Context, s *Stage) (any, error) {
		s.Say("once upon %s", "a time")
		return struct {
			A int     `json:"a"`
			B string  `json:"b"`
			C []int   `json:"c"`
			D float64 `json:"d"`
		}{1, "x", []int{2, 3}, 0.5}, os.WriteFile(filepath.Join(s.Dir, "file"), nil, 0o600)
	}}
	status, stdout, stderr := run(t, p)
	require.Zero(t, status)
	require.Equal(t, "once upon a time\nok demo a=1 b=x c=[2,3] d=0.5\n", stdout)
	require.Empty(t, stderr)
	status, stdout, _ = run(t, p, "-json")
	require.Zero(t, status)
	require.Equal(t, `{"a":1,"b":"x","c":[2,3],"d":0.5}`+"\n", stdout)
}

func TestProgramThatReportsByItself(t *testing.T) {
	var times int
	p := Program{
		Name: "demo", DirUsage: "go `there`",
		Flags: func(f *flag.FlagSet) { f.IntVar(&times, "times", 1, "so `often`") },
		Play: func(_ context.Context, s *Stage) (any, error) {
			fmt.Fprint(s.Stdout, times)
			return nil, nil
		},
	}
	status, stdout, stderr := run(t, p, "-times", "3")
	require.Equal(t, []any{0, "3", ""}, []any{status, stdout, stderr})
	status, stdout, stderr = run(t, p, "-h")
	require.Equal(t, []any{0, ""}, []any{status, stdout})
	for _, want := range []string{"Usage of demo:\n", "-dir there\n", "-times often\n", "-json"} {
		require.Contains(t, stderr, want)
	}
	for _, args := range [][]string{{"-times", "x"}, {"-no"}, {"here"}} {
		status, stdout, stderr = run(t, p, args...)
		require.Equal(t, []any{2, ""}, []any{status, stdout})
		require.Contains(t, stderr, "Usage of demo:\n")
	}
}

func TestProgramThatFails(t *testing.T) {
	p := Program{Name: "demo", Play: func(_ context.Context, s *Stage) (any, error) {
		return nil, errors.Join(errors.New("this"), errors.New("that"))
	}}
	status, stdout, stderr := run(t, p)
	require.Equal(t, []any{1, "", "demo: this; that\n"}, []any{status, stdout, stderr})
	p.Play = func(_ context.Context, s *Stage) (any, error) {
		s.Say("once")
		return map[string]int{"lost": 1}, errors.New("this")
	}
	status, stdout, stderr = run(t, p)
	require.Equal(t, []any{1, "once\nFAILED demo lost=1\n", "demo: this\n"}, []any{status, stdout, stderr})
	status, stdout, stderr = run(t, p, "-json")
	require.Equal(t, []any{1, `{"lost":1}` + "\n", "demo: this\n"}, []any{status, stdout, stderr})
	p.Play = func(context.Context, *Stage) (any, error) { return 7, nil }
	status, stdout, stderr = run(t, p)
	require.Equal(t, []any{1, "", "demo: report: the figures are no object: 7\n"}, []any{status, stdout, stderr})
	p.Play = func(context.Context, *Stage) (any, error) { return func() {}, nil }
	status, stdout, _ = run(t, p)
	require.Equal(t, []any{1, ""}, []any{status, stdout})
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	var got string
	p := Program{Name: "demo", Play: func(_ context.Context, s *Stage) (any, error) {
		got = s.Dir
		return nil, os.WriteFile(filepath.Join(s.Dir, storeFile), nil, 0o600)
	}}
	status, _, _ := run(t, p, "-dir", dir)
	require.Zero(t, status)
	require.Equal(t, dir, got)
	require.FileExists(t, filepath.Join(dir, storeFile))
	status, _, stderr := run(t, p, "-dir", dir)
	require.Equal(t, 1, status)
	require.Equal(t, "demo: -dir is "+dir+", which has a store.json already\n", stderr)
	p.Makes = []string{"other"}
	status, _, _ = run(t, p, "-dir", dir)
	require.Zero(t, status)
	p.Makes = []string{"other", storeFile}
	status, _, _ = run(t, p, "-dir", dir)
	require.Equal(t, 1, status)
	p.Makes = []string{}
	status, _, _ = run(t, p, "-dir", dir)
	require.Zero(t, status)
}

func TestPlant(t *testing.T) {
	recs := []braidlog.Record{{Value: []byte("a")}, {Value: []byte("b")}}
	require.Equal(t, recs, (&Stage{}).Plant(recs))
	s := Stage{plant: func(recs []braidlog.Record) []braidlog.Record { return slices.Delete(recs, 0, 1) }}
	require.Len(t, s.Plant(recs), 1)
	require.Equal(t, "a", string(recs[0].Value), "what is expected stays")
}

func TestPartitions(t *testing.T) {
	var b bytes.Buffer
	Partitions(&b, []int{80, 1, 0, 40})
	require.Equal(t, "partition  0      80 "+strings.Repeat("#", 40)+"\n"+
		"partition  1       1\npartition  2       0\n"+
		"partition  3      40 "+strings.Repeat("#", 20)+"\n", b.String())
	b.Reset()
	Partitions(&b, slices.Repeat([]int{1}, barsShown+2))
	require.Equal(t, barsShown+1, strings.Count(b.String(), "\n"))
	require.True(t, strings.HasSuffix(b.String(), "and 2 partitions more\n"))
}

func TestTable(t *testing.T) {
	table := Table{{"who", "of many", "x", ""}}
	table.Add("Zoë", 7, 1.0, "##")
	table.Add("Al", 12345678, 0.333, "")
	var b bytes.Buffer
	table.Print(&b)
	require.Equal(t, ""+
		"who   of many     x\n"+
		"Zoë         7  1.00  ##\n"+
		"Al   12345678  0.33\n", b.String())
}

func TestSkew(t *testing.T) {
	require.Equal(t, 1.0, Skew([]int{4, 4}))
	require.Equal(t, 3.0, Skew([]int{0, 9, 0}))
	require.Equal(t, 1.33, Skew([]int{2, 1, 1, 2}))
}

// Records 0 to 5 are in partitions 0 and 1 in turn. What is read is written as
// number and partition.
func TestLedger(t *testing.T) {
	at := time.Unix(1_000_000_000, 0)
	for _, c := range []struct{ read, want string }{
		{"00 20 40 11 31 51", ""},
		{"11 00 31 20 51 40", ""},
		{"00 20 40 31 51", "1 records are not there that were appended, the first of them number 1"},
		{"", "6 records are not there that were appended, the first of them number 0"},
		{"00 20 20 40 11 31 51", "orders, partition 0, offset 9: record 2 again"},
		{"00 40 20 11 31 51", "orders, partition 0, offset 9: record 2 comes after record 4"},
		{"00 60", `orders, partition 0, offset 9: a record that was never appended: ""`},
	} {
		sent := make([]braidlog.Record, 6)
		for i := range sent {
			sent[i] = braidlog.Record{Key: fmt.Append(nil, i%2), Value: fmt.Append(nil, i), OriginTime: at}
		}
		l := NewLedger(sent)
		err := func() error {
			for _, s := range strings.Fields(c.read) {
				var rec braidlog.Record
				if n := int(s[0] - '0'); n < len(sent) {
					rec = sent[n]
					require.Equal(t, n, Number(&rec))
				}
				rec.Topic, rec.Partition, rec.Offset, rec.OriginTime = "orders", int(s[1]-'0'), 9, rec.OriginTime.UTC()
				if err := l.Read(&rec); err != nil {
					return err
				}
			}
			return l.End()
		}()
		if c.want == "" {
			require.NoError(t, err, c.read)
		} else {
			require.EqualError(t, err, c.want)
		}
	}
}

func TestKeyLedger(t *testing.T) {
	sent := []braidlog.Record{{Key: []byte("a")}, {Key: []byte("b")}, {Key: []byte("a")}}
	l := NewKeyLedger(sent)
	require.NoError(t, l.Read(&sent[2]))
	require.NoError(t, l.Read(&sent[1]), "of another key")
	require.ErrorContains(t, l.Read(&sent[0]), ": record 0 comes after record 2")
}

func TestBehind(t *testing.T) {
	ctx := context.Background()
	store, err := braidlog.Open(t.TempDir(), braidlog.Options{})
	require.NoError(t, err)
	defer store.Close()
	topic, err := store.CreateTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 3})
	require.NoError(t, err)
	require.NoError(t, topic.AppendBatch(ctx, make([]braidlog.Record, 20)))
	group, err := topic.Group("readers", consumergroup.Config{})
	require.NoError(t, err)
	m, err := group.Join(ctx, consumergroup.MemberConfig{})
	require.NoError(t, err)
	recs, err := m.Poll(ctx, 7)
	require.NoError(t, err)
	for _, want := range []int{20, 20 - len(recs)} {
		n, err := Behind(ctx, group)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.NoError(t, m.Commit(ctx))
	}
}

func TestLedgerComparesWhatWasSent(t *testing.T) {
	for name, change := range map[string]func(rec *braidlog.Record){
		"key":        func(rec *braidlog.Record) { rec.Key = []byte("b") },
		"no key":     func(rec *braidlog.Record) { rec.Key = nil },
		"value":      func(rec *braidlog.Record) { rec.Value = nil },
		"OriginTime": func(rec *braidlog.Record) { rec.OriginTime = time.Unix(1, 0) },
	} {
		sent := []braidlog.Record{{Key: []byte{}, Value: []byte("a")}}
		l := NewLedger(sent)
		rec := sent[0]
		change(&rec)
		require.ErrorContains(t, l.Read(&rec), ": record 0 was changed: ", name)
	}
}

func TestReadBack(t *testing.T) {
	ctx := context.Background()
	store, err := braidlog.Open(t.TempDir(), braidlog.Options{})
	require.NoError(t, err)
	defer store.Close()
	topic, err := store.CreateTopic(ctx, "orders", braidlog.TopicConfig{Partitions: 3, Durability: braidlog.OS})
	require.NoError(t, err)
	var recs []braidlog.Record
	for i := range 20 {
		recs = append(recs, braidlog.Record{Key: fmt.Append(nil, i)})
	}
	l := NewLedger(recs)
	require.NoError(t, topic.AppendBatch(ctx, slices.Clone(recs)))
	got, err := l.ReadBack(ctx, topic)
	require.NoError(t, err)
	for i, rec := range got {
		require.Equal(t, recs[i].Key, rec.Key)
		p, err := topic.Route(recs[i])
		require.NoError(t, err)
		require.Equal(t, p, rec.Partition)
	}
	counts := Count(got, 3)
	require.Equal(t, 20, counts[0]+counts[1]+counts[2])
	for i, n := range counts {
		require.EqualValues(t, topic.Partition(i).End(), n)
	}
	_, err = NewLedger(append(recs, braidlog.Record{})).ReadBack(ctx, topic)
	require.EqualError(t, err, "orders: 1 records are not there that were appended, the first of them number 20")
	_, err = l.ReadBack(ctx, topic)
	require.ErrorContains(t, err, "record ")
}

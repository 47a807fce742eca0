package braidlog

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// A partitioner that cannot work is refused when it is given, in one line, and
// no topic is made for it.
func TestPartitionersThatCannotWork(t *testing.T) {
	s := openMem(t, fs.NewMem())
	for cause, p := range map[string]partitioner.Partitioner{
		`partition with "weighted(0,0)": the weights sum to 0, want more`:                                     partitioner.Weighted(0, 0),
		`partition with "weighted(1,2)": there are 2 weights, but n is 6`:                                     partitioner.Weighted(1, 2),
		`partition with "timewindow(0s,\"UTC\",0,0)": the window is 0s, want more than 0`:                     partitioner.TimeWindow(0, nil),
		`partition with "lookup(\"eu\",6,\"key\")": key "eu" is to go to partition 6, but n is 6`:             partitioner.Lookup(map[string]int{"eu": 6}, nil),
		`partition with "split(101,\"key\",\"jump\")": the percentage is 101, want 0 to 100`:                  partitioner.Split(101, nil, partitioner.Jump()),
		`partition with "rendezvous(0,0,0,0,0,0)": the weights sum to 0, want more`:                           partitioner.Rendezvous(0, 0, 0, 0, 0, 0),
		`partition with "weighted(5,-1,0,0,0,0)": weight 1 is -1, want at least 0`:                            partitioner.Weighted(5, -1, 0, 0, 0, 0),
		`partition with "salted(0,\"key\")": the number of buckets is 0, want at least 1`:                     partitioner.Salted(nil, 0, func([]byte) bool { return true }),
		`partition with "priority(\"keyprefix:HIGH:\",6,\"key\")": partition 6 is to be urgent, but n is 6`:   partitioner.Priority(partitioner.KeyPrefix("HIGH:"), []int{6}, nil),
		`partition with "lookup(\"eu\",-1,\"key\")": key "eu" is to go to partition -1, which does not exist`: partitioner.Prefix(":", 1, partitioner.Lookup(map[string]int{"eu": -1}, nil)),
		`it panicked: no idea`: &picky{check: func(int) error { panic("no idea") }},
	} {
		c := TopicConfig{Partitions: 6, Partitioner: p}
		_, err := s.CreateTopic(bg, "orders", c)
		require.ErrorIs(t, err, ErrInvalid)
		require.EqualError(t, err, "create topic orders: invalid config: Partitioner: "+cause)
		_, again := s.EnsureTopic(bg, "orders", c)
		require.EqualError(t, again, err.Error())
		require.NotContains(t, err.Error(), "\n")
	}
	require.Empty(t, s.Topics())
	require.NoError(t, s.Close())
}

// calledBy has a placement that it is given.
type calledBy struct {
	partitioner.Partitioner
	placement string
}

func (p calledBy) Placement() string { return p.placement }

// A placement that would not be the same when it is read again would shut its
// own partitioner out for ever: no topic is made with it.
func TestPlacementsThatCannotBeStored(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	for placement, want := range map[string]string{
		"":               "its placement is empty",
		"caf\xe9":        `its placement, "caf\xe9", is not UTF-8`,
		"\xed\xa0\x80.1": `its placement, "\xed\xa0\x80.1", is not UTF-8`,
	} {
		_, err := s.CreateTopic(bg, "orders", TopicConfig{Partitioner: calledBy{partitioner.Key(), placement}})
		require.ErrorIs(t, err, ErrInvalid)
		require.EqualError(t, err, "create topic orders: invalid config: Partitioner: "+want)
	}
	require.Empty(t, s.Topics())
	for i, placement := range []string{"\x00", "<a&b>\u2028\\\"", "\ufffd", strings.Repeat("ü", 1<<20)} {
		c := TopicConfig{Partitions: 1, Partitioner: calledBy{partitioner.Key(), placement}}
		name := fmt.Sprintf("topic-%d", i)
		_, err := s.CreateTopic(bg, name, c)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		s = openMem(t, m)
		_, err = s.EnsureTopic(bg, name, c)
		require.NoError(t, err, "%.20q", placement)
	}
	require.NoError(t, s.Close())
}

// picky has a say in everything that a topic asks.
type picky struct {
	check func(n int) error
	keys  func(key []byte, n int) []int
}

func (p *picky) Placement() string                     { return "picky" }
func (p *picky) Partition(Record, int) (int, error)    { return 0, nil }
func (p *picky) PartitionKey([]byte, int) int          { return -1 }
func (p *picky) Check(n int) error                     { return p.check(n) }
func (p *picky) KeyPartitions(key []byte, n int) []int { return p.keys(key, n) }

// Also a topic that exists asks; and what it finds later than that.
func TestPartitionersThatCannotWorkLater(t *testing.T) {
	s := openMem(t, fs.NewMem())
	var wrong error
	p := &picky{check: func(n int) error { return wrong }}
	topic := ensure(t, s, TopicConfig{Partitions: 2, Partitioner: p})
	wrong = errors.New("the table is empty")
	_, err := s.EnsureTopic(bg, "orders", TopicConfig{Partitioner: p})
	require.ErrorIs(t, err, ErrInvalid)
	require.EqualError(t, err, "configure topic orders: invalid config: Partitioner: the table is empty")
	require.EqualError(t, topic.SetConfig(bg, TopicConfig{Partitioner: p}), err.Error())
	_, err = topic.Append(bg, rec("k", 1))
	require.ErrorIs(t, err, ErrPartitioner)
	require.EqualError(t, err, `append to orders: the partitioner failed: "picky": the table is empty`)
	require.NoError(t, s.Close())
}

// fragile panics at some keys, whichever way it is asked.
type fragile struct{}

func (fragile) Placement() string { return "fragile" }

func (fragile) Partition(r Record, n int) (int, error) {
	if string(r.Key) == "bad" {
		panic("no idea")
	}
	return len(r.Key) % n, nil
}

type fragileByKey struct{ fragile }

func (f fragileByKey) PartitionKey(key []byte, n int) int {
	p, _ := f.Partition(Record{Key: key}, n)
	return p
}

type fragileByLoad struct{ fragile }

func (f fragileByLoad) PartitionLoad(r Record, load []partitioner.Load) (int, error) {
	return f.Partition(r, len(load))
}

// A panic fails the append that it happened in, of a batch all of it, and no
// other: every partition goes on.
func TestPartitionerThatPanicsFailsOneAppend(t *testing.T) {
	for _, p := range []partitioner.Partitioner{fragile{}, fragileByKey{}, fragileByLoad{}, partitioner.Prefix(":", 1, fragile{})} {
		s := openMem(t, fs.NewMem())
		topic := ensure(t, s, TopicConfig{Partitions: 3, Partitioner: p})
		good, bad := []string{"a", "ab", "abc"}, rec("bad", 0)
		for i := range 5 {
			for name, call := range map[string]func() error{
				"Append":      func() error { _, err := topic.Append(bg, bad); return err },
				"AppendBatch": func() error { return topic.AppendBatch(bg, []Record{rec("a", i), bad, rec("ab", i)}) },
				"AppendAsync": func() error { return topic.AppendAsync(bg, bad, func(Position, error) { t.Error("called") }) },
				"Route":       func() error { _, err := topic.Route(bad); return err },
			} {
				err := call()
				require.ErrorIs(t, err, ErrPartitioner, name)
				require.ErrorContains(t, err, `it panicked: no idea`, name)
				require.NotContains(t, err.Error(), "\n")
			}
			for _, key := range good {
				_, err := topic.Append(bg, rec(key, i))
				require.NoError(t, err)
			}
		}
		require.NoError(t, topic.Sync(bg))
		require.EqualValues(t, 15, topic.Stats().Records, "nothing of what failed")
		for _, st := range topic.Stats().Partitions {
			require.EqualValues(t, 5, st.End)
			require.True(t, st.Writable)
		}
		require.Len(t, values(t, topic.Key(bg, []byte("ab"))), 5)
		require.NoError(t, s.Close())
	}
}

func TestBadHashKeyFailsOneAppend(t *testing.T) {
	s := openMem(t, fs.NewMem())
	p := partitioner.Kinesis(partitioner.KinesisConfig{HashKey: func(r Record) string { return string(r.Value) }})
	topic := ensure(t, s, TopicConfig{Partitions: 2, Partitioner: p})
	for _, bad := range []string{"seven", "340282366920938463463374607431768211456"} {
		_, err := topic.Append(bg, Record{Value: []byte(bad)})
		require.ErrorIs(t, err, ErrPartitioner)
		require.ErrorContains(t, err, bad)
	}
	pos, err := topic.Append(bg, Record{Value: []byte("340282366920938463463374607431768211455")})
	require.NoError(t, err)
	require.Equal(t, Position{Partition: 1}, pos)
	require.Equal(t, int64(1), topic.Stats().Records)
	require.NoError(t, s.Close())
}

// Placements say all there is: after a reopen the topic routes as before, and
// takes no partitioner with other parameters.
func TestComposedPartitionersSurviveAReopen(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	mine := func(percent int) partitioner.Partitioner {
		return partitioner.Prefix(":", 1, partitioner.Split(percent, partitioner.Jump(), partitioner.Lookup(map[string]int{"acme": 3}, nil)))
	}
	topic := ensure(t, s, TopicConfig{Partitioner: mine(50)})
	keys := make([]Record, 100)
	for i := range keys {
		keys[i] = rec(fmt.Sprintf("tenant-%d:x", i), i)
	}
	require.NoError(t, topic.AppendBatch(bg, slices.Clone(keys)))
	require.NoError(t, s.Close())

	s = openMem(t, m)
	_, err := s.EnsureTopic(bg, "orders", TopicConfig{Partitioner: mine(51)})
	var mismatch *MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Contains(t, mismatch.Stored, "split(50,")
	require.Contains(t, mismatch.Given, "split(51,")

	topic, err = s.Topic("orders")
	require.NoError(t, err)
	for i, r := range keys {
		_, err = topic.Append(bg, r)
		require.NoError(t, err)
		want := fmt.Sprintf("tenant-%d:x %d", i, i)
		require.Equal(t, []string{want, want}, values(t, topic.Key(bg, r.Key)))
	}
	require.NoError(t, s.Close())
}

// The records of a salted key come back in the order in which they were
// appended, while it is hot, when it no longer is, and after a reopen.
func TestSaltedKeysAreReadInOrder(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	hot := true
	salted := func() partitioner.Partitioner {
		return partitioner.Salted(nil, 4, func(key []byte) bool { return hot && string(key) == "hot" })
	}
	topic := ensure(t, s, TopicConfig{Partitions: 6, Partitioner: salted(), Durability: OS})
	var want []string
	used := map[int]bool{}
	add := func(n int) {
		for range n {
			r := rec("hot", len(want))
			pos, err := topic.Append(bg, r)
			require.NoError(t, err)
			used[pos.Partition] = true
			want = append(want, string(r.Value))
			_, err = topic.Append(bg, rec("other", len(want)))
			require.NoError(t, err)
		}
	}
	add(100)
	require.Len(t, used, 4)
	hot = false
	add(50)
	require.Equal(t, want, values(t, topic.Key(bg, []byte("hot"))))
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic = ensure(t, s, TopicConfig{Partitioner: salted()})
	add(10)
	require.Equal(t, want, values(t, topic.Key(bg, []byte("hot"))))
	require.Len(t, values(t, topic.Key(bg, []byte("other"))), 160)
	for r, err := range topic.Key(bg, []byte("hot")) { // leaving early ends all readers
		require.NoError(t, err)
		require.Equal(t, want[0], string(r.Value))
		break
	}
	require.NoError(t, s.Close())
}

// Only the partitions that are told are read; what is put elsewhere by hand is
// not found.
func TestKeyReadsThePartitionsItIsTold(t *testing.T) {
	s := openMem(t, fs.NewMem())
	p := &picky{check: func(int) error { return nil }}
	topic := ensure(t, s, TopicConfig{Partitions: 4, Partitioner: p})
	for n := range 4 {
		_, err := topic.AppendTo(bg, n, rec("k", n))
		require.NoError(t, err)
	}
	for _, c := range []struct {
		told []int
		want []string
	}{
		{[]int{2}, []string{"k 2"}},
		{[]int{1, 3}, []string{"k 1", "k 3"}},
		{nil, []string{"k 0", "k 1", "k 2", "k 3"}},
		{[]int{}, []string{"k 0", "k 1", "k 2", "k 3"}},
	} {
		p.keys = func([]byte, int) []int { return c.told }
		require.Equal(t, c.want, values(t, topic.Key(bg, []byte("k"))), "%v", c.told)
	}
	for want, keys := range map[string]func([]byte, int) []int{
		`read key of orders: the partitioner failed: "picky" returned partition 4 of 4`: func([]byte, int) []int { return []int{0, 4} },
		`read key of orders: the partitioner failed: "picky": it panicked: oh no`:       func([]byte, int) []int { panic("oh no") },
	} {
		p.keys = keys
		for _, err := range topic.Key(bg, []byte("k")) {
			require.EqualError(t, err, want)
		}
	}
	require.NoError(t, s.Close())
}

// A partitioner that looks at load sees where appends cannot go.
func TestPartitionersByLoad(t *testing.T) {
	s := openMem(t, fs.NewMem())
	topic := ensure(t, s, TopicConfig{Partitions: 4, Partitioner: partitioner.LeastLoaded()})
	for i := range 40 {
		want, err := topic.Route(rec("k", i))
		require.NoError(t, err)
		require.Contains(t, []int{0, 1, 2, 3}, want)
		_, err = topic.Append(bg, rec("k", 0))
		require.NoError(t, err)
	}
	for _, p := range topic.Stats().Partitions {
		require.Equal(t, int64(10), p.End, "records of one size")
	}

	topic, err := s.CreateTopic(bg, "adaptive", TopicConfig{Partitions: 4, Partitioner: partitioner.Adaptive(nil, partitioner.AdaptiveConfig{})})
	require.NoError(t, err)
	for i := range 40 {
		_, err = topic.Append(bg, rec("k", i))
		require.NoError(t, err)
		_, err = topic.Append(bg, Record{})
		require.NoError(t, err)
	}
	require.Len(t, values(t, topic.Key(bg, []byte("k"))), 40)
	require.NoError(t, s.Close())
}

// yielded is what a sequence yields: a record of that time, or an error.
type yielded struct {
	at  int64
	err error
}

func TestMerge(t *testing.T) {
	skip, end := &partition.GapError{}, errors.New("disk")
	for name, c := range map[string]struct {
		all  [][]yielded
		want string
	}{
		"none":              {[][]yielded{nil, nil}, ""},
		"one is empty":      {[][]yielded{nil, {{at: 1}, {at: 2}}}, "1:1 1:2"},
		"by time":           {[][]yielded{{{at: 1}, {at: 4}, {at: 6}}, {{at: 2}, {at: 3}, {at: 9}}, {{at: 5}}}, "0:1 1:2 1:3 0:4 2:5 0:6 1:9"},
		"equal times":       {[][]yielded{{{at: 2}, {at: 2}}, {{at: 2}}, {{at: 1}, {at: 2}}}, "2:1 0:2 0:2 1:2 2:2"},
		"errors come first": {[][]yielded{{{at: 1}, {at: 5}}, {{at: 2}, {err: skip}, {at: 3}}, {{err: end}}}, "2:disk 0:1 1:2 1:gap 1:3 0:5"},
	} {
		t.Run(name, func(t *testing.T) {
			open := 0
			var all []iter.Seq2[Record, error]
			for i, steps := range c.all {
				all = append(all, stepping(i, steps, &open))
			}
			for most := range 10 {
				var got []string
				for r, err := range merge(all) {
					switch {
					case errors.As(err, new(*partition.GapError)):
						got = append(got, "1:gap")
					case err != nil:
						got = append(got, "2:"+err.Error())
					default:
						got = append(got, fmt.Sprintf("%d:%d", r.Partition, r.Timestamp.UnixNano()))
					}
					if len(got) == most {
						break
					}
				}
				require.Zero(t, open, "all sequences have ended")
				want := strings.Fields(c.want)
				if most > 0 {
					want = want[:min(most, len(want))]
				}
				require.Equal(t, strings.Join(want, " "), strings.Join(got, " "))
			}
		})
	}
}

// stepping counts itself as open while it is looped over.
func stepping(n int, steps []yielded, open *int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		*open++
		defer func() { *open-- }()
		for _, s := range steps {
			if !yield(Record{Partition: n, Timestamp: time.Unix(0, s.at)}, s.err) {
				return
			}
		}
	}
}

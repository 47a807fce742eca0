package partitioner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

// What is wrong is told by Check and by Partition alike, in one line with the
// value. n is 6.
func TestBadParameters(t *testing.T) {
	urgent := KeyPrefix("HIGH:")
	rec := record.Record{Key: []byte("k")}
	for want, p := range map[string]Partitioner{
		`partition with "weighted": the weights sum to 0, want more`:                                                                   Weighted(),
		`partition with "weighted(0,0)": the weights sum to 0, want more`:                                                              Weighted(0, 0),
		`partition with "weighted(3,-1)": weight 1 is -1, want at least 0`:                                                             Weighted(3, -1),
		`partition with "weighted(1073741824,1)": the weights sum to more than 1073741824`:                                             Weighted(1<<30, 1),
		`partition with "weighted(1,2)": there are 2 weights, but n is 6`:                                                              Weighted(1, 2),
		`partition with "rendezvous(1,-2)": weight 1 is -2, want at least 0`:                                                           Rendezvous(1, -2),
		`partition with "rendezvous(0,0,0,0,0,0)": the weights sum to 0, want more`:                                                    Rendezvous(0, 0, 0, 0, 0, 0),
		`partition with "linear(0)": the base is 0, want at least 1`:                                                                   Linear(0),
		`partition with "linear(7)": n is 6, want at least the base, 7`:                                                                Linear(7),
		`partition with "timewindow(0s,\"UTC\",0,0)": the window is 0s, want more than 0`:                                              TimeWindow(0, nil),
		`partition with "timewindow(-1s,\"UTC\",0,0)": the window is -1s, want more than 0`:                                            TimeWindow(-time.Second, nil),
		`partition with "salted(0,\"key\")": the number of buckets is 0, want at least 1`:                                              Salted(nil, 0, everyKey),
		`partition with "salted(2,\"key\")": isHot is nil`:                                                                             Salted(nil, 2, nil),
		`partition with "split(101,\"key\",\"key\")": the percentage is 101, want 0 to 100`:                                            Split(101, nil, nil),
		`partition with "split(-1,\"key\",\"key\")": the percentage is -1, want 0 to 100`:                                              Split(-1, nil, nil),
		`partition with "prefix(\"\",1,\"key\")": the separator is empty`:                                                              Prefix("", 1, nil),
		`partition with "prefix(\":\",0,\"key\")": the number of fields is 0, want at least 1`:                                         Prefix(":", 0, nil),
		`partition with "lookup(\"k\",6,\"key\")": key "k" is to go to partition 6, but n is 6`:                                        Lookup(map[string]int{"k": 6}, nil),
		`partition with "lookup(\"k\",-1,\"key\")": key "k" is to go to partition -1, which does not exist`:                            Lookup(map[string]int{"k": -1}, nil),
		`partition with "priority(\"keyprefix:HIGH:\",6,\"key\")": partition 6 is to be urgent, but n is 6`:                            Priority(urgent, []int{6}, nil),
		`partition with "priority(\"keyprefix:HIGH:\",-1,\"key\")": partition -1 is to be urgent, which does not exist`:                Priority(urgent, []int{-1}, nil),
		`partition with "priority(\"keyprefix:HIGH:\",2,2,\"key\")": partition 2 is urgent twice`:                                      Priority(urgent, []int{2, 2}, nil),
		`partition with "priority(\"keyprefix:HIGH:\",\"key\")": no partitions are urgent`:                                             Priority(urgent, nil, nil),
		`partition with "priority(\"keyprefix:HIGH:\",0,1,2,3,4,5,\"key\")": all 6 partitions are urgent, none is left for the others`: Priority(urgent, upTo(0, 6), nil),
		`partition with "priority(\"\",0,\"key\")": the classifier "" has no name or no function`:                                      Priority(Classifier{}, []int{0}, nil),
		`partition with "priority(\"c\",0,\"key\")": the classifier "c" has no name or no function`:                                    Priority(ClassifyKey("c", nil), []int{0}, nil),
		`partition with "priority(\"keyprefix:a\",0,\"key\")": the classifier "keyprefix:a" has a name that is KeyPrefix's`:            Priority(ClassifyKey("keyprefix:a", everyKey), []int{0}, nil),
		`partition with "priority(\"keyprefix:\",0,\"key\")": the classifier "keyprefix:" has a name that is KeyPrefix's`:              Priority(Classify("keyprefix:", func(record.Record) bool { return true }), []int{0}, nil),
		`partition with "adaptive(\"key\")": the threshold is -1, want at least 0`:                                                     Adaptive(nil, AdaptiveConfig{Threshold: -1}),
		`partition with "kinesis": Name is "x", but there is no HashKey`:                                                               Kinesis(KinesisConfig{Name: "x"}),
		`configure sticky partitioner: Bytes is -1, want at least 0`:                                                                   Sticky(StickyConfig{Bytes: -1}),
		`partition with "func:": the name is empty`:                                                                                    Func("", nil),
	} {
		require.EqualError(t, p.(Checker).Check(6), want)
		_, err := p.Partition(rec, 6)
		require.EqualError(t, err, want)
		if l, ok := p.(LoadAware); ok {
			_, err = l.PartitionLoad(rec, make([]Load, 6))
			require.EqualError(t, err, want)
		}
		if r, ok := p.(Router); ok {
			_, err = r.Route(rec, 6)
			require.EqualError(t, err, want)
		}
		if k, ok := p.(KeyPartitioner); ok {
			require.Equal(t, -1, k.PartitionKey(rec.Key, 6))
		}
		for _, around := range []Partitioner{
			Prefix(":", 1, p), Split(100, p, nil), Lookup(map[string]int{"other": 0}, p), Adaptive(p, AdaptiveConfig{}), Salted(p, 2, everyKey),
		} {
			require.EqualError(t, around.(Checker).Check(6), want)
			_, err = around.Partition(rec, 6)
			require.EqualError(t, err, want, Placement(around))
		}
	}
	require.ErrorContains(t, TimeWindow(time.Hour, time.Local).(Checker).Check(6), "the zone is time.Local, which differs between machines")
}

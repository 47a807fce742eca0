package partitioner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

type bare struct{}

func (*bare) Partition(record.Record, int) (int, error) { return 0, nil }

// Placements are on disk: these strings stay as they are.
func TestPlacement(t *testing.T) {
	for want, p := range map[string]Partitioner{
		"key":                    Key(),
		"kafka":                  Kafka(),
		"roundrobin":             RoundRobin(),
		"sticky":                 Sticky(StickyConfig{}),
		"func:by-country-2":      Func("by-country-2", nil),
		"type:*partitioner.bare": &bare{},
		"type:<nil>":             nil,
	} {
		require.Equal(t, want, Placement(p))
	}
	require.Equal(t, "sticky", Placement(Sticky(StickyConfig{Bytes: 1, Linger: time.Hour})), "sizes are tuning")
}

// rebuildable returns partitioners under their placements, which are on disk
// and stay as they are.
func rebuildable(t *testing.T) map[string]Partitioner {
	vienna, err := time.LoadLocation("Europe/Vienna")
	require.NoError(t, err)
	high := KeyPrefix("HIGH:")
	return map[string]Partitioner{
		"key":                                   Key(),
		"kafka":                                 Kafka(),
		"roundrobin":                            RoundRobin(),
		"sticky":                                Sticky(StickyConfig{}),
		"iggy":                                  Iggy(),
		"sarama":                                Sarama(),
		"sarama-reference":                      SaramaReference(),
		"librdkafka":                            Librdkafka(),
		"kinesis":                               Kinesis(KinesisConfig{}),
		"jump":                                  Jump(),
		"leastloaded":                           LeastLoaded(),
		"linear(6)":                             Linear(6),
		"rendezvous":                            Rendezvous(),
		"rendezvous(2,0,1)":                     Rendezvous(2, 0, 1),
		"weighted(35,35,10,10,10)":              Weighted(35, 35, 10, 10, 10),
		`prefix(":",1,"key")`:                   Prefix(":", 1, nil),
		`prefix("\",(",2,"jump")`:               Prefix(`",(`, 2, Jump()),
		`lookup("key")`:                         Lookup(nil, nil),
		`lookup("eu",0,"us",1,"key")`:           Lookup(map[string]int{"us": 1, "eu": 0}, nil),
		`lookup("a\"),b",3,"\xff",2,"kafka")`:   Lookup(map[string]int{`a"),b`: 3, "\xff": 2}, Kafka()),
		`split(10,"key","jump")`:                Split(10, nil, Jump()),
		`priority("keyprefix:HIGH:",3,5,"key")`: Priority(high, []int{5, 3}, nil),
		`timewindow(1h0m0s,"UTC",0,0)`:          TimeWindow(time.Hour, nil),
		`timewindow(24h0m0s,"Europe/Vienna",3600,7200)`: TimeWindow(24*time.Hour, vienna),
		`adaptive("key")`:           Adaptive(nil, AdaptiveConfig{Threshold: 7}),
		`adaptive(keysleave,"key")`: Adaptive(nil, AdaptiveConfig{GiveUpOrderOfKeys: true}),
		`prefix(":",1,"split(50,\"linear(2)\",\"weighted(1,2)\")")`: Prefix(":", 1, Split(50, Linear(2), Weighted(1, 2))),
	}
}

func TestByPlacement(t *testing.T) {
	for placement, given := range rebuildable(t) {
		require.Equal(t, placement, Placement(given))
		p, ok := ByPlacement(placement)
		require.True(t, ok, placement)
		require.Equal(t, placement, Placement(p))
		require.IsType(t, given, p)

		q, _ := ByPlacement(placement)
		require.NotSame(t, p, q, "topics share no state")
		for i := range 10 {
			for _, key := range [][]byte{numbered(i), []byte("eu"), []byte("HIGH:x:y")} {
				for n := 1; n < 8; n++ {
					require.Equal(t, check(given, n), check(p, n))
					if check(p, n) == nil {
						require.Equal(t, keyPartitions(given, key, n), keyPartitions(p, key, n), placement)
					}
				}
			}
		}
	}
}

func TestNotByPlacement(t *testing.T) {
	mine := Func("mine", func(record.Record, int) (int, error) { return 0, nil })
	for _, p := range []Partitioner{
		mine, Prefix(":", 1, mine), Split(1, Key(), mine), Salted(nil, 2, everyKey), Adaptive(mine, AdaptiveConfig{}),
		Priority(urgentValue, []int{0}, nil), Priority(KeyPrefix("HIGH:"), []int{0}, mine),
		Kinesis(KinesisConfig{HashKey: func(record.Record) string { return "" }}),
		Kinesis(KinesisConfig{HashKey: func(record.Record) string { return "" }, Name: "v1"}),
		Weighted(0), TimeWindow(time.Hour, time.FixedZone("nowhere", 60)), Linear(0), &bare{},
	} {
		requireNoPartitioner(t, Placement(p))
	}
	for _, placement := range []string{
		"", "Key", "key ", "func:", "func:key", "keys", "key()", "key(", "(", ")", "()", "linear", "linear()", "linear(2", "linear(2))", "linear(02)", "linear(2,)",
		"linear(2,2)", "linear(a)", "linear(99999999999999999999)", "weighted", "weighted()", "weighted(1,,2)", "weighted(1, 2)", "rendezvous()",
		`prefix(":",1)`, `prefix(":",1,key)`, `prefix(":",1,"key"`, `prefix(":",1,"nokey")`, `prefix(:,1,"key")`, "prefix(`:`,1,\"key\")", `prefix(":",1,"key","key")`,
		`prefix(":"1,"key")`, `lookup()`, `lookup("a","key")`, `lookup("b",1,"a",2,"key")`, `lookup("a",1,"a",1,"key")`, `split(10,"key")`, `priority("mine",1,"key")`,
		`timewindow(1h,"UTC",0,0)`, `timewindow(1h0m0s,"UTC",0)`, `timewindow(1h0m0s,"UTC",0,1)`, `timewindow(1h0m0s,"../etc",0,0)`, `timewindow(1h0m0s,"",0,0)`,
		`adaptive(keysleave)`, `adaptive(x,"key")`, `salted(2,"key")`,
	} {
		requireNoPartitioner(t, placement)
	}
}

func requireNoPartitioner(t *testing.T, placement string) {
	t.Helper()
	p, ok := ByPlacement(placement)
	require.False(t, ok, placement)
	require.Nil(t, p)
}

// Inner placements are quoted: however they are put, two different ones never
// become one.
func TestNestedPlacementsAreUnambiguous(t *testing.T) {
	named := func(name string) Partitioner { return Func(name, nil) }
	require.NotEqual(t,
		Placement(Split(1, named(`a","func:b`), named("c"))),
		Placement(Split(1, named("a"), named(`b","func:c`))))
	require.NotEqual(t,
		Placement(Prefix(`:",1,"x`, 1, nil)),
		Placement(Prefix(":", 1, named("x"))))
}

// A placement comes from a file: whatever it is, either it is made again or
// there is none.
func FuzzByPlacement(f *testing.F) {
	f.Add(`prefix(":",1,"split(50,\"linear(2)\",\"weighted(1,2)\")")`)
	f.Add(`lookup("a",1,"key")`)
	f.Add(`timewindow(1h0m0s,"UTC",0,0)`)
	f.Add(`priority("keyprefix:HIGH:",3,5,"adaptive(keysleave,\"key\")")`)
	f.Add(`rendezvous(1,,"`)
	f.Fuzz(func(t *testing.T, placement string) {
		p, ok := ByPlacement(placement)
		if ok != (p != nil) || ok && Placement(p) != placement {
			t.Fatalf("ByPlacement(%q) = %v, %v", placement, p, ok)
		}
	})
}

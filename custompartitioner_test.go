package braidlog_test

import (
	"fmt"
	"hash/crc32"
	"os"
	"testing"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/partitionertest"
)

// byAirport keeps what leaves from one airport in order: the key is a flight
// such as "VIE-JFK-7". Its placement is its name and the one parameter.
type byAirport struct{ letters int }

func (b byAirport) Placement() string { return fmt.Sprintf("airport-%d", b.letters) }

func (b byAirport) Partition(rec braidlog.Record, n int) (int, error) {
	if len(rec.Key) < b.letters {
		return 0, fmt.Errorf("key %q is no flight", rec.Key)
	}
	return int(crc32.ChecksumIEEE(rec.Key[:b.letters]) % uint32(n)), nil
}

func TestByAirportKeepsTheContract(t *testing.T) {
	again := func() partitioner.Partitioner { return byAirport{3} }
	partitionertest.Run(t, again(), partitionertest.Again(again), partitionertest.NoAllocations(),
		partitionertest.Keys([]byte("VIE-JFK-7"), []byte("VIE-LHR-1"), []byte("JFK-VIE-8"), []byte("LHR")))
}

// A partitioner of one's own. Its placement is stored with the topic: after a
// reopen the same one is taken, and one with another parameter is refused,
// since it would look for keys elsewhere.
func Example_customPartitioner() {
	dir, err := os.MkdirTemp("", "braidlog")
	check(err)
	defer os.RemoveAll(dir)
	for _, mine := range []byAirport{{3}, {3}, {4}} {
		store, err := braidlog.Open(dir, braidlog.Options{})
		check(err)
		flights, err := store.EnsureTopic(ctx, "flights", braidlog.TopicConfig{Partitions: 12, Partitioner: mine})
		if err != nil {
			fmt.Println(err)
		} else {
			for _, key := range []string{"VIE-JFK-7", "VIE-LHR-1", "?"} {
				pos, err := flights.Append(ctx, braidlog.Record{Key: []byte(key)})
				fmt.Println(key, pos.Partition, pos.Offset, err)
			}
		}
		check(store.Close())
	}
	// Output:
	// VIE-JFK-7 3 0 <nil>
	// VIE-LHR-1 3 1 <nil>
	// ? -1 -1 append to flights: the partitioner failed: "airport-3": key "?" is no flight
	// VIE-JFK-7 3 2 <nil>
	// VIE-LHR-1 3 3 <nil>
	// ? -1 -1 append to flights: the partitioner failed: "airport-3": key "?" is no flight
	// open topic flights: placement is "airport-3", not "airport-4"
}

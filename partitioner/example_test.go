package partitioner_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/braidlog/braidlog/partitioner"
	"github.com/braidlog/braidlog/record"
)

// Records of one key share a partition.
func ExampleKey() {
	p := partitioner.Key()
	for _, key := range []string{"order-123", "order-124", "order-123"} {
		n, err := p.Partition(record.Record{Key: []byte(key)}, 12)
		fmt.Println(key, n, err)
	}
	// Output:
	// order-123 1 <nil>
	// order-124 6 <nil>
	// order-123 1 <nil>
}

// A Kafka topic of 12 partitions has these keys in the same ones.
func ExampleKafka() {
	p := partitioner.Kafka()
	for _, key := range []string{"order-123", "order-124", "order-123"} {
		n, err := p.Partition(record.Record{Key: []byte(key)}, 12)
		fmt.Println(key, n, err)
	}
	// Output:
	// order-123 1 <nil>
	// order-124 11 <nil>
	// order-123 1 <nil>
}

func ExampleRoundRobin() {
	p := partitioner.RoundRobin()
	for range 4 {
		n, _ := p.Partition(record.Record{Key: []byte("order-123")}, 3)
		fmt.Print(n, " ")
	}
	// Output: 0 1 2 0
}

// Records that come together go together, here 1 MiB of them or a minute's.
func ExampleSticky() {
	p := partitioner.Sticky(partitioner.StickyConfig{Bytes: 1 << 20, Linger: time.Minute})
	first, _ := p.Partition(record.Record{Value: []byte("a")}, 6)
	second, _ := p.Partition(record.Record{Value: []byte("b")}, 6)
	fmt.Println(first == second)
	// Output: true
}

// Keys are "tenant/order": all orders of a tenant stay in order.
func ExampleFunc() {
	byKey := partitioner.Key()
	p := partitioner.Func("by-tenant-1", func(rec record.Record, n int) (int, error) {
		tenant, _, found := bytes.Cut(rec.Key, []byte("/"))
		if !found {
			return 0, fmt.Errorf("key %q has no tenant", rec.Key)
		}
		return byKey.Partition(record.Record{Key: tenant}, n)
	})

	for _, key := range []string{"acme/1", "acme/2", "globex/1", "orphan"} {
		n, err := p.Partition(record.Record{Key: []byte(key)}, 12)
		fmt.Println(key, n, err)
	}
	fmt.Println(partitioner.Placement(p))
	// Output:
	// acme/1 8 <nil>
	// acme/2 8 <nil>
	// globex/1 2 <nil>
	// orphan 0 key "orphan" has no tenant
	// func:by-tenant-1
}

// One customer orders half of everything: the keys spread well, the records do
// not.
func ExampleAnalyze() {
	keys := func(yield func([]byte) bool) {
		for i := range 1000 {
			if !yield(fmt.Appendf(nil, "customer-%d", i)) || !yield([]byte("customer-7")) {
				return
			}
		}
	}
	a, err := partitioner.Analyze(partitioner.Key(), 6, keys)
	if err != nil {
		panic(err)
	}
	fmt.Print(a)
	// Output:
	// "key" over 6 partitions: 2000 records, 1000 keys
	//       0        176   8.8% ######
	//       1        183   9.2% ######
	//       2        189   9.4% #######
	//       3        156   7.8% #####
	//       4       1138  56.9% ########################################
	//       5        158   7.9% ######
	// records: largest/mean 3.41, chi-squared 2333.6 (p = 0.000), Gini 0.42
	// keys:    largest/mean 1.13, chi-squared 11.2 (p = 0.048), Gini 0.06
	// the top 10 keys have 50.5% of the records with a key:
	//    50.0% "customer-7"
	//     0.1% "customer-0"
	//     0.1% "customer-1"
	//     0.1% "customer-10"
	//     0.1% "customer-100"
	//     0.1% "customer-101"
	//     0.1% "customer-102"
	//     0.1% "customer-103"
	//     0.1% "customer-104"
	//     0.1% "customer-105"
	// doubled to 12: 50.8% of the keys and 75.4% of the records move, largest/mean 6.41
}

func ExamplePlan() {
	s, err := partitioner.Plan(partitioner.Capacity{RecordsPerSecond: 50_000, ConsumerRecordsPerSecond: 5_000, Headroom: 1.5})
	fmt.Println(s.Needed, s.Suggested, err)
	// Output: 15 24 <nil>
}

// One key in four is of the same device.
func ExampleSketch() {
	s, err := partitioner.NewSketch(100)
	if err != nil {
		panic(err)
	}
	for i := range 3000 {
		s.Add(fmt.Appendf(nil, "device-%d", i))
		if i%3 == 0 {
			s.Add([]byte("device-7"))
		}
	}
	hot := s.Top(1)[0]
	fmt.Printf("%s has about %.0f%% of the records\n", hot.Key, 100*hot.Share)
	// Output: device-7 has about 25% of the records
}

func ExampleByPlacement() {
	for _, placement := range []string{"kafka", "func:by-tenant-1"} {
		p, ok := partitioner.ByPlacement(placement)
		fmt.Println(placement, p != nil, ok)
	}
	// Output:
	// kafka true true
	// func:by-tenant-1 false false
}

package partitioner

import "github.com/braidlog/braidlog/record"

// A Router is a [Partitioner] that can tell where a record would go without
// that counting as having been asked. It is for partitioners that remember
// something; for the others Partition itself does no harm.
//
// Route returns what a call of Partition with the same record and n would
// return now, errors included. It changes no later answer, of Partition or of
// Route, however often it is called, and is called under the same contract, by
// many goroutines at once. The answer may be old when it is used: other
// records may come first, and time passes. A partitioner that chooses by
// chance may choose at once, and must then keep to it.
//
// The partitioners of this package that remember something are Routers, but for
// those that look at the load of partitions. [Func] is none: a topic's Route
// calls the function as an append would.
type Router interface {
	Route(rec record.Record, n int) (int, error)
}

package partitioner

import "github.com/braidlog/braidlog/record"

// A Router tells where a record would go without that counting as having
// been asked. Optional: for partitioners that keep state, so that a topic's
// Route disturbs nothing.
type Router interface {
	Route(rec record.Record, n int) (int, error)
}

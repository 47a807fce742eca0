package partitioner

import "github.com/braidlog/braidlog/record"

// A part is a partitioner that another one is built around, together with what
// it can do. Who embeds it passes on everything, and overrides what differs.
type part struct {
	Partitioner
	byKey  KeyPartitioner // nil if it is none, or LoadAware: then a key alone may not decide
	byLoad LoadAware      // nil if it is none
	router Router         // nil if it is none
}

// partOf returns p as a part; nil stands for Key.
func partOf(p Partitioner) part {
	if p == nil {
		p = Key()
	}
	in := part{Partitioner: p}
	in.byLoad, _ = p.(LoadAware)
	in.router, _ = p.(Router)
	if in.byLoad == nil {
		in.byKey, _ = p.(KeyPartitioner)
	}
	return in
}

// quoted returns the placement for use in another one.
func (in *part) quoted() string { return quote(Placement(in.Partitioner)) }

// route does not count the record if the partitioner is a Router.
func (in *part) route(rec record.Record, n int) (int, error) {
	if in.router != nil {
		return in.router.Route(rec, n)
	}
	return in.Partition(rec, n)
}

func (in *part) partitionKey(key []byte, n int) int { return in.byKey.PartitionKey(key, n) }

// partitionLoad looks at the load if the partitioner does.
func (in *part) partitionLoad(rec record.Record, load []Load) (int, error) {
	if in.byLoad != nil {
		return in.byLoad.PartitionLoad(rec, load)
	}
	return in.Partition(rec, len(load))
}

func (in *part) BatchEnd(partition, records, bytes int) {
	if b, ok := in.Partitioner.(Batcher); ok {
		b.BatchEnd(partition, records, bytes)
	}
}

func (in *part) KeyPartitions(key []byte, n int) []int {
	return keyPartitions(in.Partitioner, key, n)
}

// Predecessors returns all old partitions if the partitioner cannot tell.
func (in *part) Predecessors(old, n, p int) []int {
	if ps, ok := in.Partitioner.(Predecessors); ok {
		return ps.Predecessors(old, n, p)
	}
	return anyOf(old, n, p)
}

// anyOf returns all old partitions, nil if there are none or no partition p.
func anyOf(old, n, p int) []int {
	if p < 0 || p >= n {
		return nil
	}
	return upTo(0, old)
}

func (in *part) Check(n int) error { return check(in.Partitioner, n) }

// A whole is a partitioner built around others: what it can do depends on what
// they can.
type whole interface {
	Partitioner
	Placer
	Batcher
	KeyPartitions
	Predecessors
	Checker
	route(rec record.Record, n int) (int, error)
	partitionKey(key []byte, n int) int
	partitionLoad(rec record.Record, load []Load) (int, error)
}

// compose returns w with the interfaces that it has with these parts: it is
// LoadAware if one of them is, and else a Router, and a KeyPartitioner too if
// all of them are. A LoadAware one is no Router, since it would not look.
func compose(w whole, parts ...*part) Partitioner {
	keys := true
	for _, in := range parts {
		if in.byLoad != nil {
			return &wholeByLoad{w}
		}
		keys = keys && in.byKey != nil
	}
	if keys {
		return &wholeByKey{wholeRouter{w}}
	}
	return &wholeRouter{w}
}

type wholeRouter struct{ whole }

func (w *wholeRouter) Route(rec record.Record, n int) (int, error) { return w.route(rec, n) }

type wholeByKey struct{ wholeRouter }

func (w *wholeByKey) PartitionKey(key []byte, n int) int {
	if n < 1 {
		return -1
	}
	return w.partitionKey(key, n)
}

type wholeByLoad struct{ whole }

func (w *wholeByLoad) PartitionLoad(rec record.Record, load []Load) (int, error) {
	return w.partitionLoad(rec, load)
}

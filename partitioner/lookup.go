package partitioner

import (
	"maps"
	"slices"
	"strconv"

	"github.com/braidlog/braidlog/record"
)

const lookupPlacement = "lookup"

// Lookup returns a partitioner that sends the keys of a table to the partitions
// that stand there, and leaves all others to inner, records without a key too.
// inner nil is [Key]. It is for what has a place of its own: a region, a large
// tenant. Inside [Prefix] it is asked about the first fields of a key. The
// partitions of the table are not kept free: inner sends keys there as well.
//
// The table is copied. A partition that does not exist makes Check and
// Partition fail, whatever the key. The placement is
// `lookup("eu",0,"us",1,"key")`, in order of keys; so every change of the
// table is another placement.
//
// Records of one key stay in order if inner keeps them so. Predecessors: those
// of inner, and the partition itself if it is in the table.
func Lookup(table map[string]int, inner Partitioner) Partitioner {
	l := &lookup{part: partOf(inner), table: maps.Clone(table)}
	var params []string
	for i, key := range slices.Sorted(maps.Keys(table)) {
		p := table[key]
		params = append(params, quote(key), strconv.Itoa(p))
		if i == 0 || p > l.most {
			l.most, l.mostKey = p, key
		}
		if i == 0 || p < l.least {
			l.least, l.leastKey = p, key
		}
	}
	l.placement = form(lookupPlacement, append(params, l.quoted())...)
	if l.least < 0 {
		return newInvalid(l.placement, "key %q is to go to partition %d, which does not exist", shorten(l.leastKey), l.least)
	}
	return compose(l, &l.part)
}

// lookup is immutable.
type lookup struct {
	part
	placement         string
	table             map[string]int
	most, least       int // of the partitions in the table; 0 if it is empty
	mostKey, leastKey string
}

func (l *lookup) Placement() string { return l.placement }

func (l *lookup) Check(n int) error {
	if err := l.checkTable(n); err != nil {
		return err
	}
	return l.part.Check(n)
}

func (l *lookup) checkTable(n int) error {
	if err := checkCount(l.placement, n); err != nil {
		return err
	}
	if l.most >= n {
		return wrong(l.placement, "key %q is to go to partition %d, but n is %d", shorten(l.mostKey), l.most, n)
	}
	return nil
}

// find returns the partition of a key that is in the table.
func (l *lookup) find(key []byte) (p int, found bool) {
	if key == nil {
		return 0, false
	}
	p, found = l.table[string(key)]
	return p, found
}

func (l *lookup) Partition(rec record.Record, n int) (int, error) {
	if err := l.checkTable(n); err != nil {
		return 0, err
	}
	if p, found := l.find(rec.Key); found {
		return p, nil
	}
	return l.part.Partition(rec, n)
}

func (l *lookup) route(rec record.Record, n int) (int, error) {
	if err := l.checkTable(n); err != nil {
		return 0, err
	}
	if p, found := l.find(rec.Key); found {
		return p, nil
	}
	return l.part.route(rec, n)
}

func (l *lookup) partitionKey(key []byte, n int) int {
	if l.most >= n {
		return -1
	}
	if p, found := l.find(key); found {
		return p
	}
	return l.part.partitionKey(key, n)
}

func (l *lookup) partitionLoad(rec record.Record, load []Load) (int, error) {
	if err := l.checkTable(len(load)); err != nil {
		return 0, err
	}
	if p, found := l.find(rec.Key); found {
		return p, nil
	}
	return l.part.partitionLoad(rec, load)
}

func (l *lookup) KeyPartitions(key []byte, n int) []int {
	if p, found := l.find(key); found {
		return []int{p}
	}
	return l.part.KeyPartitions(key, n)
}

func (l *lookup) Predecessors(old, n, p int) []int {
	ps := l.part.Predecessors(old, n, p)
	if p < 0 || p >= min(old, n) {
		return ps
	}
	for _, q := range l.table {
		if q == p {
			return union(ps, []int{p})
		}
	}
	return ps
}

// union returns what is in one of two ascending lists, ascending.
func union(a, b []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

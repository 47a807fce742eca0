package partitioner

import (
	"slices"
	"sync"

	"github.com/twmb/murmur3"

	"github.com/braidlog/braidlog/record"
)

const priorityPlacement = "priority"

// Priority returns a partitioner that keeps partitions for urgent records, so
// that whoever reads those first need not pass by the others. Urgent records go
// to the partitions in urgent and to no other; all others go where inner sends
// them among the rest, which it is shown as if there were no more. inner nil is
// [Key].
//
// Urgent records with a key are spread by their key, as by [Key]; those without
// as by [Sticky] with its default sizes. Records of one key stay in order as
// far as the key decides what is urgent and inner goes by keys; where the
// content decides, see [Classify]. Nothing here reads urgent partitions first:
// readers do, and must not forget the others.
//
// Partitions in urgent that do not exist or are there twice, none in urgent or
// none left for the others, and a Classifier without name or function, or with
// the name of another one, make Check and Partition fail. The placement is
// `priority("keyprefix:HIGH:",5,"key")`, where 5 is in urgent. It can be
// rebuilt if the Classifier is a [KeyPrefix] and inner can.
//
// Predecessors: if the key decides, those of inner among the others, and of an
// urgent partition itself; else any.
func Priority(classify Classifier, urgent []int, inner Partitioner) Partitioner {
	p := &priority{part: partOf(inner), classify: classify, urgent: slices.Clone(urgent), keyless: newSticky(StickyConfig{})}
	slices.Sort(p.urgent)
	params := append([]string{quote(classify.name)}, numbers(p.urgent)...)
	p.placement = form(priorityPlacement, append(params, p.quoted())...)
	if err := p.checkParams(); err != nil {
		return &invalid{p.placement, err}
	}
	switch {
	case p.byLoad != nil:
		return &wholeByLoad{p}
	case p.byKey != nil && classify.byKey:
		return &wholeByKey{wholeRouter{p}}
	}
	return &wholeRouter{p}
}

type priority struct {
	part
	placement string     // immutable
	classify  Classifier // immutable
	urgent    []int      // immutable; ascending
	keyless   *sticky    // urgent records without a key, among the urgent partitions
	loads     sync.Pool  // of *[]Load
}

func (p *priority) checkParams() error {
	switch {
	case p.classify.name == "" || p.classify.f == nil:
		return wrong(p.placement, "the classifier %q has no name or no function", p.classify.name)
	case p.classify.misnamed():
		return wrong(p.placement, "the classifier %q has a name that is KeyPrefix's", p.classify.name)
	case len(p.urgent) == 0:
		return wrong(p.placement, "no partitions are urgent")
	case p.urgent[0] < 0:
		return wrong(p.placement, "partition %d is to be urgent, which does not exist", p.urgent[0])
	}
	for i := 1; i < len(p.urgent); i++ {
		if p.urgent[i] == p.urgent[i-1] {
			return wrong(p.placement, "partition %d is urgent twice", p.urgent[i])
		}
	}
	return nil
}

func (p *priority) Placement() string { return p.placement }

func (p *priority) Check(n int) error {
	if err := p.checkUrgent(n); err != nil {
		return err
	}
	return p.part.Check(n - len(p.urgent))
}

// checkUrgent returns why n partitions are not enough.
func (p *priority) checkUrgent(n int) error {
	if err := checkCount(p.placement, n); err != nil {
		return err
	}
	if last := p.urgent[len(p.urgent)-1]; last >= n {
		return wrong(p.placement, "partition %d is to be urgent, but n is %d", last, n)
	}
	if len(p.urgent) == n {
		return wrong(p.placement, "all %d partitions are urgent, none is left for the others", n)
	}
	return nil
}

func (p *priority) Partition(rec record.Record, n int) (int, error) {
	if err := p.checkUrgent(n); err != nil {
		return 0, err
	}
	if !p.classify.f(rec) {
		return p.other(p.part.Partition(rec, n-len(p.urgent)))
	}
	if rec.Key == nil {
		return p.urgent[p.keyless.take(recordBytes(&rec), len(p.urgent))], nil
	}
	return p.urgentKey(rec.Key), nil
}

func (p *priority) route(rec record.Record, n int) (int, error) {
	if err := p.checkUrgent(n); err != nil {
		return 0, err
	}
	if !p.classify.f(rec) {
		return p.other(p.part.route(rec, n-len(p.urgent)))
	}
	if rec.Key == nil {
		return p.urgent[p.keyless.peek(recordBytes(&rec), len(p.urgent))], nil
	}
	return p.urgentKey(rec.Key), nil
}

func (p *priority) urgentKey(key []byte) int {
	return p.urgent[modulo(murmur3.Sum32(key), len(p.urgent))]
}

// other returns the partition that stands for number i among those that are
// not urgent. A number that inner made up stays wrong.
func (p *priority) other(i int, err error) (int, error) {
	if err != nil || i < 0 {
		return i, err
	}
	for _, u := range p.urgent {
		if u <= i {
			i++
		}
	}
	return i, nil
}

// number is the reverse of other; false for an urgent partition.
func (p *priority) number(q int) (i int, ok bool) {
	before, found := slices.BinarySearch(p.urgent, q)
	return q - before, !found
}

func (p *priority) partitionKey(key []byte, n int) int {
	if p.checkUrgent(n) != nil {
		return -1
	}
	if p.classify.f(record.Record{Key: key}) {
		return p.urgentKey(key)
	}
	i, _ := p.other(p.part.partitionKey(key, n-len(p.urgent)), nil)
	return i
}

func (p *priority) partitionLoad(rec record.Record, load []Load) (int, error) {
	n := len(load)
	if err := p.checkUrgent(n); err != nil {
		return 0, err
	}
	if p.classify.f(rec) {
		return p.Partition(rec, n)
	}
	others, ok := p.loads.Get().(*[]Load)
	if !ok {
		others = new([]Load)
	}
	defer p.loads.Put(others)
	*others = (*others)[:0]
	for q := range load {
		if _, ok := p.number(q); ok {
			*others = append(*others, load[q])
		}
	}
	return p.other(p.part.partitionLoad(rec, *others))
}

// BatchEnd tells whoever chose that partition, in its own numbers.
func (p *priority) BatchEnd(partition, records, bytes int) {
	if i, ok := p.number(partition); ok {
		p.part.BatchEnd(i, records, bytes)
		return
	}
	p.keyless.BatchEnd(slices.Index(p.urgent, partition), records, bytes)
}

func (p *priority) KeyPartitions(key []byte, n int) []int {
	if p.checkUrgent(n) != nil {
		return nil
	}
	urgent := []int{p.urgentKey(key)}
	if p.classify.byKey && p.classify.f(record.Record{Key: key}) {
		return urgent
	}
	others := p.part.KeyPartitions(key, n-len(p.urgent))
	switch {
	case others == nil:
		return nil
	case p.classify.byKey:
		return p.others(others)
	}
	return union(urgent, p.others(others))
}

// others is other for several.
func (p *priority) others(all []int) []int {
	for i := range all {
		all[i], _ = p.other(all[i], nil)
	}
	return all
}

func (p *priority) Predecessors(old, n, q int) []int {
	if p.checkUrgent(old) != nil || p.checkUrgent(n) != nil || q < 0 || q >= n {
		return nil
	}
	i, ok := p.number(q)
	switch {
	case !p.classify.byKey:
		return anyOf(old, n, q)
	case !ok:
		return []int{q}
	}
	return p.others(p.part.Predecessors(old-len(p.urgent), n-len(p.urgent), i))
}

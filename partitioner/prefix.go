package partitioner

import (
	"bytes"
	"strconv"

	"github.com/braidlog/braidlog/record"
)

const prefixPlacement = "prefix"

// Prefix returns a partitioner that shows another one only the first fields of
// each key, which sep separates: with ":" and 1, "acme:order-7" is routed as
// "acme". So all records whose keys begin with the same fields share a
// partition, if inner goes by keys, and are in order among each other. A key of
// no more fields is shown whole; one that is nil or empty stays so. inner nil
// is [Key].
//
// This is how multi-tenant topics are usually keyed: tenant:entity. The
// placement is `prefix(":",1,"key")`. An empty sep, or fields less than 1, make
// Check and Partition fail.
//
// Predecessors: those of inner.
func Prefix(sep string, fields int, inner Partitioner) Partitioner {
	p := &prefix{part: partOf(inner), sep: []byte(sep), fields: fields}
	p.placement = form(prefixPlacement, quote(sep), strconv.Itoa(fields), p.quoted())
	switch {
	case sep == "":
		return newInvalid(p.placement, "the separator is empty")
	case fields < 1:
		return newInvalid(p.placement, "the number of fields is %d, want at least 1", fields)
	}
	return compose(p, &p.part)
}

// prefix is immutable.
type prefix struct {
	part
	placement string
	sep       []byte
	fields    int
}

func (p *prefix) Placement() string { return p.placement }

// cut returns the first fields of a key.
func (p *prefix) cut(key []byte) []byte {
	end := 0
	for range p.fields {
		i := bytes.Index(key[end:], p.sep)
		if i < 0 {
			return key
		}
		end += i + len(p.sep)
	}
	return key[:end-len(p.sep)]
}

func (p *prefix) Partition(rec record.Record, n int) (int, error) {
	rec.Key = p.cut(rec.Key)
	return p.part.Partition(rec, n)
}

func (p *prefix) route(rec record.Record, n int) (int, error) {
	rec.Key = p.cut(rec.Key)
	return p.part.route(rec, n)
}

func (p *prefix) partitionKey(key []byte, n int) int { return p.part.partitionKey(p.cut(key), n) }

func (p *prefix) partitionLoad(rec record.Record, load []Load) (int, error) {
	rec.Key = p.cut(rec.Key)
	return p.part.partitionLoad(rec, load)
}

func (p *prefix) KeyPartitions(key []byte, n int) []int { return p.part.KeyPartitions(p.cut(key), n) }

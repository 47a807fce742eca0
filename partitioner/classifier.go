package partitioner

import (
	"bytes"
	"strings"

	"github.com/braidlog/braidlog/record"
)

// A Classifier tells urgent records from others, for [Priority]. It has a name,
// which stands for what it does in placements. Make one with [KeyPrefix],
// [ClassifyKey] or [Classify]; the zero Classifier is refused.
type Classifier struct {
	name     string
	byKey    bool // the key alone decides
	byPrefix bool // it is a KeyPrefix: the name says all there is
	f        func(rec record.Record) bool
}

const keyPrefixName = "keyprefix:"

// KeyPrefix returns a Classifier for which records are urgent whose keys begin
// with a prefix, such as "HIGH:". A key may be the prefix and no more, or
// shorter than that; a nil key is never urgent.
func KeyPrefix(prefix string) Classifier {
	want := []byte(prefix)
	c := ClassifyKey(keyPrefixName+prefix, func(key []byte) bool { return bytes.HasPrefix(key, want) })
	c.byPrefix = true
	return c
}

// ClassifyKey returns a Classifier for which records are urgent for whose key f
// returns true. A nil key is never urgent: f is not asked about it. f is called
// by many goroutines at once, must be pure, and neither modify nor keep the
// key. Give another name whenever f would answer otherwise than before: else
// records of a key end up in two partitions. Names that begin with "keyprefix:"
// are those of KeyPrefix, and refused.
func ClassifyKey(name string, f func(key []byte) bool) Classifier {
	if f == nil {
		return Classifier{name: name}
	}
	return Classifier{name: name, byKey: true, f: func(rec record.Record) bool { return rec.Key != nil && f(rec.Key) }}
}

// Classify returns a Classifier for which records are urgent for which f
// returns true. f is called by many goroutines at once and must be pure, and
// neither modify nor keep what is in the record. Records of one key then are in
// order among those that are urgent and among those that are not. Names are as of
// ClassifyKey.
func Classify(name string, f func(rec record.Record) bool) Classifier {
	return Classifier{name: name, f: f}
}

// misnamed reports whether a topic would take it for a KeyPrefix when it is
// opened without a partitioner.
func (c *Classifier) misnamed() bool {
	return strings.HasPrefix(c.name, keyPrefixName) && !c.byPrefix
}

// classifierByName makes a Classifier again if its name says all there is.
func classifierByName(name string) (c Classifier, ok bool) {
	prefix, ok := strings.CutPrefix(name, keyPrefixName)
	return KeyPrefix(prefix), ok
}

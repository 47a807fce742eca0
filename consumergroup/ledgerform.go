package consumergroup

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/partition"
)

// ledgerVersion is the version of the records that are written, and the only
// one that is read. docs/FORMAT.md describes them.
const ledgerVersion = 1

// A ledgerKind says what a record of the log is.
type ledgerKind byte

const (
	ledgerSpec        ledgerKind = iota + 1
	ledgerBegin                  // positions
	ledgerCommit                 // positions
	ledgerDeleteGroup            //
	ledgerDeleteTopic            //
	ledgerSnapshot               // a snapshot begins
	ledgerPart                   // some of it
	ledgerEnd                    // it is whole
	ledgerSettled                // and on disk
)

// A ledgerRecord is a record of the log. What is not of its kind is zero.
type ledgerRecord struct {
	kind  ledgerKind
	group string         // of all kinds up to ledgerDeleteGroup
	spec  Spec           // of ledgerSpec
	at    []Committed    // of ledgerBegin and ledgerCommit: sorted
	topic TopicID        // of ledgerDeleteTopic
	begun int64          // of ledgerPart and behind: offset of the record that the snapshot begins with
	items []ledgerRecord // of ledgerPart: of the kinds ledgerSpec, ledgerBegin and ledgerCommit
	parts int64          // of ledgerEnd: how many there were
}

// byPlace orders positions as records have them.
func byPlace(a, b Committed) int {
	return cmp.Or(byTopic(a, b), cmp.Compare(a.Partition, b.Partition))
}

func byTopic(a, b Committed) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), bytes.Compare(a.TopicID[:], b.TopicID[:]))
}

// encode returns the record's bytes.
func (r *ledgerRecord) encode() []byte {
	b := []byte{ledgerVersion, byte(r.kind)}
	switch r.kind {
	case ledgerDeleteTopic:
		return append(b, r.topic[:]...)
	case ledgerSnapshot:
		return b
	case ledgerEnd:
		return binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.begun)), uint64(r.parts))
	case ledgerSettled:
		return binary.AppendUvarint(b, uint64(r.begun))
	case ledgerPart:
		b = binary.AppendUvarint(b, uint64(r.begun))
		for i := range r.items {
			b = append(b, byte(r.items[i].kind))
			b = r.items[i].appendBody(b, true)
		}
		return b
	}
	return r.appendBody(b, false)
}

// appendBody appends what kinds that are of a group have behind their kind.
func (r *ledgerRecord) appendBody(b []byte, times bool) []byte {
	b = appendText(b, r.group)
	switch r.kind {
	case ledgerSpec:
		return r.spec.append(b)
	case ledgerBegin, ledgerCommit:
		return appendPositions(b, r.at, times)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func (s *Spec) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.Topics)))
	for _, t := range s.Topics {
		b = appendText(b, t)
	}
	b = append(appendText(b, s.Pattern), byte(s.Start.Kind))
	if s.Start.Kind == StartAt {
		b = appendTime(b, s.Start.Time)
	}
	return b
}

func appendPositions(b []byte, at []Committed, times bool) []byte {
	b = binary.AppendUvarint(b, uint64(countTopics(at)))
	for len(at) > 0 {
		n := 1
		for n < len(at) && byTopic(at[0], at[n]) == 0 {
			n++
		}
		b = append(appendText(b, at[0].Topic), at[0].TopicID[:]...)
		b = binary.AppendUvarint(b, uint64(n))
		for i := range at[:n] {
			b = appendPosition(b, &at[i], times)
		}
		at = at[n:]
	}
	return b
}

func countTopics(at []Committed) (n int) {
	for i := range at {
		if i == 0 || byTopic(at[i-1], at[i]) != 0 {
			n++
		}
	}
	return n
}

func appendPosition(b []byte, c *Committed, times bool) []byte {
	b = binary.AppendUvarint(b, uint64(c.Partition))
	b = binary.AppendUvarint(b, uint64(c.Offset))
	if c.Metadata == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(len(c.Metadata))+1)
		b = append(b, c.Metadata...)
	}
	if times {
		b = appendTime(b, c.Time)
	}
	return b
}

// decodeLedger returns the record that b is. What it holds are copies. Bytes
// that no record has are an error that wraps partition.ErrCorrupt, those of a
// later version one that wraps ErrNewerLedger.
func decodeLedger(b []byte) (r ledgerRecord, err error) {
	d := ledgerDecoder{left: b}
	version := d.byte()
	r.kind = ledgerKind(d.byte())
	switch {
	case d.err != nil:
		return r, d.err
	case version != ledgerVersion || r.kind < ledgerSpec || r.kind > ledgerSettled:
		return r, fmt.Errorf("%w: a record of version %d and kind %d, known are version %d and kinds up to %d", ErrNewerLedger, version, r.kind, ledgerVersion, ledgerSettled)
	}
	d.record(&r)
	if len(d.left) > 0 {
		d.fail("%d bytes too many", len(d.left))
	}
	return r, d.err
}

// A ledgerDecoder takes a record apart. The first error stays, and nothing is
// left then.
type ledgerDecoder struct {
	left []byte
	err  error
}

func (d *ledgerDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: a record of the groups log: %w", partition.ErrCorrupt, fmt.Errorf(format, args...))
	}
	d.left = nil
}

var errShort = errors.New("too short")

// take returns the next n bytes, n zeros after an error.
func (d *ledgerDecoder) take(n int) []byte {
	if n > len(d.left) {
		d.fail("%w", errShort)
		return nil
	}
	b := d.left[:n]
	d.left = d.left[n:]
	return b
}

func (d *ledgerDecoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// number returns a uvarint of at most most.
func (d *ledgerDecoder) number(most int64) int64 {
	v, n := binary.Uvarint(d.left)
	if n <= 0 || v > uint64(most) {
		d.fail("a number that is not 0 to %d", most)
		return 0
	}
	d.left = d.left[n:]
	return int64(v)
}

// count returns how many things follow that take at least size bytes each.
func (d *ledgerDecoder) count(size int) int { return int(d.number(int64(len(d.left) / size))) }

func (d *ledgerDecoder) text() string { return string(d.take(int(d.number(int64(len(d.left)))))) }

func (d *ledgerDecoder) name() string {
	s := d.text()
	if err := naming.Check(s); d.err == nil && err != nil {
		d.fail("name: %w", err)
	}
	return s
}

func (d *ledgerDecoder) id() (id TopicID) {
	copy(id[:], d.take(len(id)))
	return id
}

func (d *ledgerDecoder) time() time.Time {
	b := d.take(8)
	if b == nil {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(b))).UTC()
}

func (d *ledgerDecoder) record(r *ledgerRecord) {
	switch r.kind {
	case ledgerDeleteTopic:
		r.topic = d.id()
	case ledgerSnapshot:
	case ledgerPart:
		r.begun = d.number(math.MaxInt64)
		for len(d.left) > 0 {
			item := ledgerRecord{kind: ledgerKind(d.byte())}
			if item.kind != ledgerSpec && item.kind != ledgerBegin && item.kind != ledgerCommit {
				d.fail("%w: kind %d in a snapshot", ErrNewerLedger, item.kind)
				return
			}
			d.body(&item, true)
			r.items = append(r.items, item)
		}
	case ledgerEnd:
		r.begun, r.parts = d.number(math.MaxInt64), d.number(math.MaxInt64)
	case ledgerSettled:
		r.begun = d.number(math.MaxInt64)
	default:
		d.body(r, false)
	}
}

// body is the reverse of appendBody.
func (d *ledgerDecoder) body(r *ledgerRecord, times bool) {
	r.group = d.name()
	switch r.kind {
	case ledgerSpec:
		r.spec = d.spec()
	case ledgerBegin, ledgerCommit:
		r.at = d.positions(times)
	}
}

func (d *ledgerDecoder) spec() (s Spec) {
	n := d.count(1)
	s.Topics = make([]string, 0, n)
	for range n {
		s.Topics = append(s.Topics, d.name())
	}
	if !rising(s.Topics, strings.Compare) {
		d.fail("topics that do not rise")
	}
	s.Pattern = d.text()
	s.Start.Kind = StartKind(d.byte())
	switch {
	case s.Start.Kind > StartFail:
		d.fail("%w: start %d", ErrNewerLedger, s.Start.Kind)
	case s.Start.Kind == StartAt:
		s.Start.Time = d.time()
	}
	return s
}

// Least lengths of what positions are made of.
const (
	leastTopic    = 1 + 16 + 1 // a name of no byte, an id, no partitions
	leastPosition = 3          // a byte each
)

func (d *ledgerDecoder) positions(times bool) (at []Committed) {
	for range d.count(leastTopic) {
		c := Committed{Topic: d.name(), TopicID: d.id()}
		n := d.count(leastPosition)
		at = slices.Grow(at, n)
		for range n {
			d.position(&c, times)
			at = append(at, c)
		}
	}
	if !rising(at, byPlace) {
		d.fail("positions that do not rise")
	}
	return at
}

func (d *ledgerDecoder) position(c *Committed, times bool) {
	c.Partition = int(d.number(math.MaxInt32))
	c.Offset = d.number(math.MaxInt64)
	c.Metadata = nil
	if n := d.number(MaxMetadataBytes + 1); n > 0 {
		c.Metadata = append([]byte{}, d.take(int(n-1))...)
	}
	if times {
		c.Time = d.time()
	}
}

// rising reports whether each of s is behind the one before.
func rising[T any](s []T, compare func(a, b T) int) bool {
	for i := 1; i < len(s); i++ {
		if compare(s[i-1], s[i]) >= 0 {
			return false
		}
	}
	return true
}

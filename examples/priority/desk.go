package main

import (
	"errors"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// A way to choose what is handled next.
type way struct {
	name string
	most int // urgent ones in a row; 0: nobody asks what is urgent
}

// A desk is where requests are handled.
type desk struct {
	topic *braidlog.Topic
	parts []*partition.Reader
	way   way
	turn  int // the partition that was read last, but for urgent ones
	row   int // urgent ones in a row
}

func newDesk(topic *braidlog.Topic, w way) *desk {
	d := &desk{topic: topic, way: w}
	for i := range topic.NumPartitions() {
		d.parts = append(d.parts, topic.Partition(i).NewReader(partition.First()))
	}
	return d
}

func (d *desk) close() {
	for _, r := range d.parts {
		r.Close() // #nosec G104 -- closing a reader does not fail
	}
}

// next returns what is handled next, ErrEnd if nothing waits.
func (d *desk) next() (*braidlog.Record, error) {
	if d.row < d.way.most {
		rec, err := d.parts[urgent].TryNext()
		if !errors.Is(err, braidlog.ErrEnd) {
			d.row++
			return rec, err
		}
	}
	d.row = 0
	for range d.parts {
		d.turn = (d.turn + 1) % partitions
		rec, err := d.parts[d.turn].TryNext()
		if !errors.Is(err, braidlog.ErrEnd) {
			return rec, err
		}
	}
	return nil, braidlog.ErrEnd
}

// waiting reports whether requests wait that are not urgent.
func (d *desk) waiting() bool {
	for i, r := range d.parts {
		if i != urgent && r.Offset() < d.topic.Partition(i).End() {
			return true
		}
	}
	return false
}

package braidlog

import (
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// A HotKey is a key that many records of a topic have.
type HotKey = partitioner.HotKey

// sketch returns what counts keys from now on: what did so before, if it is of
// the same size. The caller holds store.mu or is the only one to have t.
func (t *Topic) sketch(size int) *partitioner.Sketch {
	if size == NoHotKeys {
		return nil
	}
	if old := t.state.Load(); old != nil && old.config.HotKeys == size {
		return old.hot
	}
	s, _ := partitioner.NewSketch(size) // the size was checked with the configuration
	return s
}

// countKey counts the key of a record that its partition took.
func (st *topicState) countKey(rec *Record) {
	if st.hot != nil {
		st.hot.Add(rec.Key)
	}
}

// countKeys counts the keys of those records of a batch that their partitions
// took. What becomes of them is not known yet: a few that a failed write takes
// back do no harm to the figures.
func (st *topicState) countKeys(b *batch, recs []Record) {
	if st.hot == nil {
		return
	}
	b.pending.Each(func(i int, _ partition.Pending, err error) {
		if err == nil {
			st.hot.Add(recs[i].Key)
		}
	})
}

func (st *topicState) hotKeys() []HotKey {
	if st.hot == nil {
		return nil
	}
	return st.hot.Top(st.config.HotKeys)
}

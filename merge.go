package braidlog

import "iter"

// A run is one of several sequences that are merged, and its next record.
type run struct {
	pull func() (Record, error, bool)
	stop func()
	rec  Record
	err  error
	more bool
}

func (r *run) next() { r.rec, r.err, r.more = r.pull() }

// before reports whether r's turn is before that of s: an error's at once, and
// of records the earlier one's.
func (r *run) before(s *run) bool {
	if !r.more || !s.more {
		return r.more
	}
	if r.err != nil || s.err != nil {
		return r.err != nil
	}
	return r.rec.Timestamp.Before(s.rec.Timestamp)
}

// merge returns the records of several sequences, each of which is in order of
// Timestamp, in that order. Of the same time, those of the sequence that stands
// first come first. It holds one record of each.
func merge(all []iter.Seq2[Record, error]) iter.Seq2[Record, error] {
	if len(all) == 1 {
		return all[0]
	}
	return func(yield func(Record, error) bool) {
		runs := make([]run, len(all))
		for i, seq := range all {
			r := &runs[i]
			r.pull, r.stop = iter.Pull2(seq)
			defer r.stop()
			r.next()
		}
		for {
			first := &runs[0]
			for i := range runs {
				if runs[i].before(first) {
					first = &runs[i]
				}
			}
			if !first.more || !yield(first.rec, first.err) {
				return
			}
			first.next()
		}
	}
}

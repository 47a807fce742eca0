package show

import (
	"context"

	"github.com/braidlog/braidlog"
)

// A batch is this many records at most, or as many as have this many bytes.
const (
	batchRecords = 1000
	batchBytes   = 1 << 20
)

// AppendAll appends the records in batches. Each is on disk when its call
// returns, and has its partition, offset and time filled in.
func AppendAll(ctx context.Context, topic *braidlog.Topic, recs []braidlog.Record, bar *Progress) error {
	defer bar.Clear()
	for from := 0; from < len(recs); {
		to, size := from, 0
		for to < len(recs) && to-from < batchRecords && size < batchBytes {
			size += len(recs[to].Value)
			to++
		}
		if err := topic.AppendBatch(ctx, recs[from:to]); err != nil {
			return err
		}
		bar.Show("append", to, len(recs))
		from = to
	}
	return nil
}

package partition

import "errors"

// Broken returns a partition that stands for one that could not be opened:
// everything asked of it fails with err. A topic has one in the place of a
// partition whose disk failed, so that the others work.
func Broken(opts Options, err error) *Partition {
	config, bad := opts.Config.WithDefaults()
	p := newPartition(opts, config)
	p.broken = err
	p.report.Store(&Recovery{Err: err})
	p.failed = errors.Join(err, bad)
	return p
}

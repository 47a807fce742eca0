package partition

import (
	"errors"

	"github.com/braidlog/braidlog/segment"
)

// Broken returns a partition that stands for one that could not be opened:
// everything asked of it fails with err. A topic has one in the place of a
// partition whose disk failed, so that the others work.
func Broken(opts Options, err error) *Partition {
	p := &Partition{opts: opts, shared: opts.Shared, broken: err}
	config, bad := opts.Config.WithDefaults()
	p.config.Store(&config)
	p.segments.Store(&[]*segment.Segment{})
	p.failed = errors.Join(err, bad)
	return p
}

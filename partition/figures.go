package partition

// Closed reports whether Close was called and readers are to stop.
func (p *Partition) Closed() bool { return p.ended.Load() }

// Bytes returns how long the segments are that can be read, space reserved in
// advance left out.
func (p *Partition) Bytes() (n int64) {
	for _, s := range p.all() {
		n += s.Readable()
	}
	return n
}

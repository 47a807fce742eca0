//go:build !linux

package fs

const canMap = false

func (f *osFile) mmap(int64) (*Mapping, error) { return nil, ErrNoMapping }

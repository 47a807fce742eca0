//go:build !linux

package fs

// datasync is a full sync: on macOS os.File.Sync asks for F_FULLFSYNC, without
// which the drive's cache could still lose the data.
func (f *osFile) datasync() error { return f.f.Sync() }

func (f *osFile) allocate(off, n int64) error { return f.appendZeros(off + n) }

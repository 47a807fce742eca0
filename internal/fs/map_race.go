//go:build linux && race

package fs

import "strconv"

const canMap = strconv.IntSize == 64

// mmap uses the heap, where the race detector sees every load and store; it
// knows nothing of mapped memory.
func (f *osFile) mmap(size int64) (*Mapping, error) { return f.heapMapping(size) }

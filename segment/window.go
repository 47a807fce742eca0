package segment

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/record"
)

// A window is the mapped range of the file that is being appended to. Frames
// are encoded straight into it. It lives until the last who borrowed it gave
// it back, so that closing it never takes memory from under a reader.
type window struct {
	m    *fs.Mapping
	refs atomic.Int32  // one for the segment, one for each reader inside
	gone chan struct{} // closed when it is unmapped
}

func newWindow(m *fs.Mapping) *window {
	w := &window{m: m, gone: make(chan struct{})}
	w.refs.Store(1)
	return w
}

// borrow reports whether the window is still there, and keeps it if so.
func (w *window) borrow() bool {
	for {
		n := w.refs.Load()
		if n == 0 {
			return false
		}
		if w.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release unmaps the window when the last one leaves.
func (w *window) release() error {
	if w.refs.Add(-1) > 0 {
		return nil
	}
	defer close(w.gone)
	m := w.m
	w.m = nil // where that is a slice of the heap, it goes though the segment keeps w
	return m.Unmap()
}

// encode writes a frame at its position. A page that cannot be had, because
// the disk fails or somebody cut the file, is an error and not the end of the
// process.
func (w *window) encode(run *record.Run, count, size int, s record.Stamp) (err error) {
	defer w.caught(debug.SetPanicOnFault(true), &err)
	run.Encode(w.m.Bytes[s.Position:s.Position+int64(size)], count, s)
	return w.m.Publish(s.Position, s.Position+int64(size))
}

// read copies from the window.
func (w *window) read(b []byte, position int64) (err error) {
	defer w.caught(debug.SetPanicOnFault(true), &err)
	copy(b, w.m.Bytes[position:])
	return nil
}

// copyOf is read into memory that is made for it: append does not clear it first,
// which is a tenth of what keeping a record costs.
func (w *window) copyOf(size int, position int64) (b []byte, err error) {
	defer w.caught(debug.SetPanicOnFault(true), &err)
	return append([]byte(nil), w.m.Bytes[position:position+int64(size)]...), nil
}

// touch makes the pages of [from, to) ready for writing.
func (w *window) touch(from, to int64) { w.m.Touch(from, to) }

// caught is deferred around the copies above. It takes a fault only if it
// happened in this mapping: any other is a bug somewhere and goes on.
func (w *window) caught(before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok || !w.holds(fault.Addr()) {
		panic(r)
	}
	*err = fmt.Errorf("memory fault at position %d of the mapped file: %w", fault.Addr()-w.start(), fs.EIO)
}

func (w *window) start() uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(w.m.Bytes))) // #nosec G103 -- it is compared and never followed
}

func (w *window) holds(addr uintptr) bool {
	return addr >= w.start() && addr < w.start()+uintptr(len(w.m.Bytes))
}

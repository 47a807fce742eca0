// Package yield marks where another goroutine may run next with a different
// outcome: before a lock is taken, after a wait, between two steps that others
// see. In a program nothing happens there. A test that explores schedules sets
// a hook, which then decides who goes on.
//
// docs/DESIGN.md says where such marks belong.
package yield

import "sync"

// hook is called at every mark; nil in every program but a rig. It is a plain
// variable: it is set while no store is open, and read by those who come later.
var hook func(m *sync.Mutex, woken bool)

// Hook has f called at every mark of every goroutine, with the mutex that is
// about to be locked, or nil, and with what tells Woken from the others. It
// returns when the goroutine is to go on; a mutex must then be free, and nobody
// else running. nil ends that. No store may be open and no goroutine of one
// left.
func Hook(f func(m *sync.Mutex, woken bool)) { hook = f }

// Point is a mark.
func Point() {
	if hook != nil {
		hook(nil, false)
	}
}

// Woken is a mark that comes first after a wait for anything but a lock, and
// first in a goroutine: others may be running when it is met.
func Woken() {
	if hook != nil {
		hook(nil, true)
	}
}

// A Mutex is a sync.Mutex with a mark where it is locked. All that are held
// while a mark is met must be such: waiting for another one, the goroutine
// could not be told from one that runs.
type Mutex struct{ sync.Mutex }

// Lock locks m.
func (m *Mutex) Lock() {
	Before(m)
	m.Mutex.Lock()
}

// Before is the mark of Lock, for where every nanosecond counts: it and then
// m.Mutex.Lock are inlined, and Lock is not.
func Before(m *Mutex) {
	if hook != nil {
		hook(&m.Mutex, false)
	}
}

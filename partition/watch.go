package partition

import (
	"slices"
	"sync/atomic"

	"github.com/braidlog/braidlog/internal/yield"
)

// A watch wakes readers that wait at the end. As long as there are none it
// costs appenders one load.
type watch struct {
	waiting atomic.Int32 // how many are in list

	mu   yield.Mutex
	list []chan struct{} // guarded by mu
}

// add has ch, which has room for one, told of everything published from now
// on. A caller adds, looks whether there is something, and only then waits.
func (w *watch) add(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, ch)
	w.waiting.Add(1)
}

// remove undoes add.
func (w *watch) remove(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.list, ch); i >= 0 {
		w.list = slices.Delete(w.list, i, i+1)
		w.waiting.Add(-1)
	}
}

// wake tells everybody who waits.
func (w *watch) wake() {
	if w.waiting.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.list {
		select {
		case ch <- struct{}{}:
		default: // told already
		}
	}
}

// Watch has ch, which must have room for one, told whenever there may be
// something new to read, until the function returned is called. Look for new
// records after Watch and before waiting.
func (p *Partition) Watch(ch chan struct{}) (stop func()) {
	p.watch.add(ch)
	if p.follow != nil {
		p.follow.watched()
	}
	return func() { p.watch.remove(ch) }
}

package history

import (
	"errors"
	"fmt"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
)

// Alphabet has the operations that sequences are made of, Core those without
// which little happens, and Rare those that only longer histories have.
const (
	Core     = "abotpkcdlmgf"
	Alphabet = Core + "rsxi"
	Rare     = "BzL"
)

// Operations are what can be done, by letter.
var Operations = map[rune]func(w *World){
	'a': func(w *World) { w.appends(1, 60) },
	'b': func(w *World) { w.batch(3, 150) },
	'B': func(w *World) { w.batch(3, 900) }, // a frame that fills most of a segment
	'r': (*World).ages,
	'o': (*World).rolls,
	't': func(w *World) { w.trims(1) },
	'p': (*World).purges,
	'k': (*World).backsUp,
	'c': (*World).closes,
	'd': (*World).dies,
	'z': (*World).losesPower,
	'l': func(w *World) { w.sets(braidlog.OS) },
	'L': func(w *World) { w.sets(braidlog.Interval) },
	'x': (*World).makesAnew,
	's': (*World).syncs,
	'm': func(w *World) { w.passes(30 * time.Millisecond) }, // a marker is written
	'i': func(w *World) { w.passes(time.Minute) },           // files are given back
	'g': (*World).commits,
	'f': (*World).repairs,
}

// ages has an append find its segment too old.
func (w *World) ages() {
	w.passes(2 * time.Second)
	w.appends(1, 60)
}

// rolls ends the active segment.
func (w *World) rolls() {
	if !w.ready() {
		return
	}
	for i := range w.Partitions {
		p := w.topic.Partition(i)
		w.saw("roll", p.RollOld(bg, p.Now().Add(time.Hour)))
	}
}

// gives is an operation that may give up the records below an offset of each
// partition.
func (w *World) gives(what string, upto func(p *partition.Partition) int64, do func() error) {
	if !w.ready() {
		return
	}
	w.mu.Lock()
	l := w.known.last()
	for i := range l.Parts {
		l.Parts[i].Asked = max(l.Parts[i].Asked, upto(w.topic.Partition(i)))
	}
	w.mu.Unlock()
	w.saw(what, do())
	w.mu.Lock()
	w.lookLocked()
	w.mu.Unlock()
}

// trims gives up all but the last few records of each partition.
func (w *World) trims(keep int64) {
	upto := func(p *partition.Partition) int64 { return max(p.Start(), p.End()-keep) }
	w.gives("trim", upto, func() error {
		for i := range w.Partitions {
			if err := w.topic.Partition(i).Trim(bg, upto(w.topic.Partition(i))); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *World) purges() {
	w.gives("purge", (*partition.Partition).End, func() error { return w.topic.Purge(bg) })
}

func (w *World) syncs() {
	if w.ready() && w.saw("sync", w.topic.Sync(bg)) {
		w.mu.Lock()
		w.lookLocked()
		w.mu.Unlock()
	}
}

// sets changes the level to a lower one, or back to Sync.
func (w *World) sets(lower braidlog.Durability) {
	if !w.ready() {
		return
	}
	to := braidlog.Sync
	if w.topic.Config().Durability == braidlog.Sync {
		to = lower
	}
	w.saw("configure", w.topic.SetConfig(bg, braidlog.TopicConfig{Durability: to}))
}

// backsUp makes a backup in a directory of its own.
func (w *World) backsUp() {
	if !w.open() {
		return
	}
	w.mu.Lock()
	w.lookLocked()
	i := len(w.known.Backups)
	b := Backup{Path: fmt.Sprintf("/backup-%d", i), Known: w.known.clone()}
	w.known.Backups = append(w.known.Backups, b)
	w.mu.Unlock()
	if w.saw("backup", w.store.Backup(bg, b.Path)) {
		w.mu.Lock()
		w.known.Backups[i].Done = true
		w.mu.Unlock()
	}
}

// makesAnew deletes the topic and makes it again.
func (w *World) makesAnew() {
	if !w.ready() {
		return
	}
	w.mu.Lock()
	w.known.last().State = Going
	w.topic = nil
	w.mu.Unlock()
	if w.saw("delete", w.store.DeleteTopic(bg, topicName)) {
		w.mu.Lock()
		w.known.last().State = Gone
		w.mu.Unlock()
	}
	w.create()
}

// closes closes the store and opens it again.
func (w *World) closes() {
	if w.store != nil {
		w.shuts()
	}
	w.open()
}

// shuts closes the store, and reports whether that went well.
func (w *World) shuts() bool {
	ok := w.saw("close", w.store.Close())
	w.mu.Lock()
	w.lookLocked()
	w.topic = nil
	w.mu.Unlock()
	w.store = nil
	return ok
}

// dies ends the process, and another one opens the store.
func (w *World) dies() {
	w.mu.Lock()
	w.lookLocked()
	w.abandonLocked()
	w.mu.Unlock()
	w.open()
}

// abandonLocked goes on with a copy of the disk as kill -9 leaves it.
func (w *World) abandonLocked() {
	old, s := w.mem, w.store
	w.mem = old.Kill()
	w.topic, w.store = nil, nil
	old.OnOp(nil)
	w.mem.OnOp(w.hook)
	if s != nil {
		w.mu.Unlock()
		_ = s.Close() // of the process that is gone: it writes to the old disk
		w.mu.Lock()
	}
}

// losesPower has the power go, with nothing surviving that was not synced, and
// opens the store again. What is not there then is gone for good.
func (w *World) losesPower() {
	w.mu.Lock()
	w.lookLocked()
	w.abandonLocked()
	w.mem = w.mem.Crash(func() bool { return false })
	w.mem.Remember()
	w.mem.OnOp(w.hook)
	w.known.Dark = true
	before := w.known.clone() // opening makes durable what it finds, gaps too
	w.mu.Unlock()
	if !w.open() {
		return
	}
	f, v := Read(w.store)
	if v == nil {
		v = before.Judge(f, false)
	}
	if v != nil {
		w.saw("power loss", v)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.settle(f)
	w.known.Dark = false
}

func (k *Known) settle(f *Found) {
	if l := k.last(); l != nil && len(f.Parts) > 0 {
		for i := range l.Parts {
			l.Parts[i].settle(&f.Parts[i])
		}
	}
}

// settle enters what was found: what is not there never comes back, and what
// is has been seen.
func (p *Part) settle(f *FoundPart) {
	at := map[int]int64{}
	for _, e := range f.Entries {
		at[e.Number] = e.Offset
	}
	for i := range p.Offered {
		o := &p.Offered[i]
		offset, ok := at[o.Number]
		trimmed := o.Fate == Acknowledged && o.Offset < f.Start
		switch {
		case ok && o.Fate != Acknowledged:
			o.Fate, o.Offset = Acknowledged, offset
		case !ok && !trimmed && !o.Damaged:
			o.Fate = Refused
		}
	}
}

// Failed reports whether an error of a world is a broken promise.
func Failed(err error) *Violation {
	var v *Violation
	if errors.As(err, &v) {
		return v
	}
	return nil
}

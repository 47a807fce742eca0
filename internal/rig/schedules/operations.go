package schedules

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// An operation is what one goroutine does in a schedule.
type operation struct {
	name string
	do   func(w *world)
	// prepare is called for every operation of a schedule before the first
	// begins; nil: there is nothing to prepare.
	prepare func(w *world)
}

var bg = context.Background()

var operations = []operation{
	{name: "append", do: func(w *world) { w.append(bg, 0) }},
	{name: "roll", do: func(w *world) { w.append(bg, largeBytes); w.append(bg, largeBytes) }},
	{name: "batch", do: batch},
	{name: "async", do: async},
	{name: "repeat", do: repeat},
	{name: "cancel", do: cancelled},
	{name: "failsync", do: failSync, prepare: func(w *world) { w.failing = true }},
	{name: "sync", do: syncAll},
	{name: "trim", do: func(w *world) { w.trim(3) }},
	{name: "empty", do: func(w *world) { w.trim(w.p.End()) }},
	{name: "read", do: func(w *world) { w.read(0) }},
	{name: "tail", do: tail},
	{name: "configure", do: configure, prepare: func(w *world) { w.relaxed = true }},
	{name: "repair", do: repair, prepare: damage},
	{name: "backup", do: backup},
	{name: "tick", do: tick},
	{name: "close", do: closeStore, prepare: func(w *world) { w.ending = true }},
	{name: "delete", do: deleteTopic, prepare: func(w *world) { w.ending, w.deleting = true, true }},
}

// batch appends three records that do not fit in the segment together.
func batch(w *world) {
	recs := make([]braidlog.Record, 3)
	names := make([]string, 3)
	for i := range recs {
		names[i], recs[i].Value = w.value(largeBytes)
	}
	a := w.h.Append(names...)
	err := w.topic.AppendBatch(bg, recs)
	var some *braidlog.BatchError
	switch {
	case err == nil:
		a.Done(recs[0].Offset, recs[1].Offset, recs[2].Offset)
		w.promised(recs[2].Offset + 1)
	case !errors.As(err, &some) && !errors.Is(err, braidlog.ErrOutcomeUnknown):
		a.Refused()
	}
	w.moment()
	w.check("append batch", err)
}

// async appends without waiting, and then waits for the callbacks.
func async(w *world) {
	var calls sync.WaitGroup
	last := int64(-1)
	for range 2 {
		name, value := w.value(0)
		a := w.h.Append(name)
		calls.Add(1)
		err := w.topic.AppendAsync(bg, braidlog.Record{Value: value}, func(pos braidlog.Position, err error) {
			defer calls.Done()
			w.turn()
			defer w.turn()
			if w.closed {
				w.complain("a callback came after the store was closed")
			}
			w.appended(a, pos.Offset, err)
			w.check("append async: callback", err)
			if err == nil && pos.Offset <= last {
				w.complain("callback for offset %d behind that for %d", pos.Offset, last)
			}
			last = max(last, pos.Offset)
		})
		if err != nil {
			calls.Done()
			w.appended(a, -1, err)
			w.check("append async", err)
		}
	}
	calls.Wait()
	yield.Woken()
}

// repeat appends a record with an id that others have too.
func repeat(w *world) {
	a := w.h.Append("repeat")
	pos, err := w.topic.Append(bg, braidlog.Record{ID: [16]byte{1}, Value: []byte("repeat")})
	if err == nil && pos.Duplicate {
		a.Repeated(pos.Offset)
		w.promised(pos.Offset + 1)
		w.moment()
		return
	}
	w.appended(a, pos.Offset, err)
	w.check("append with an id", err)
}

// cancelled appends with a context that ends at some time.
func cancelled(w *world) {
	ctx, cancel := context.WithCancel(bg)
	var canceller sync.WaitGroup
	canceller.Go(func() {
		yield.Woken()
		cancel()
	})
	w.append(ctx, 0, context.Canceled)
	canceller.Wait()
	yield.Woken()
}

// failSync makes the next sync of a segment fail, and appends.
func failSync(w *world) {
	hook := w.onOp()
	failed := false
	w.mem.OnOp(func(op fs.Op) error {
		err := hook(op)
		if op.Kind == fs.OpSync && !failed && err == nil {
			failed = true
			return fs.EIO
		}
		return err
	})
	w.append(bg, 0)
	w.append(bg, 0)
}

func syncAll(w *world) {
	end := w.p.End()
	if err := w.topic.Sync(bg); err != nil {
		w.check("sync", err)
		return
	}
	w.h.Durable(end)
	w.moment()
}

func (w *world) trim(to int64) {
	w.h.Trim(to)
	err := w.p.Trim(bg, to)
	var gone *partition.OffsetError
	if err != nil && !(errors.As(err, &gone) && w.relaxed) {
		w.check("trim", err)
	}
	w.moment()
}

// tail waits for two records.
func tail(w *world) {
	from := w.p.End()
	seen := w.h.Read(from)
	r := w.p.NewReader(partition.Offset(from))
	defer r.Close()
	for range 2 {
		w.wait(r, true)
		rec, err := r.Next(w.ctx)
		w.wait(r, false)
		if !w.saw(seen, rec, err) {
			return
		}
	}
	seen.Stopped()
	w.moment()
}

// wait takes down whether a reader waits.
func (w *world) wait(r *partition.Reader, waits bool) {
	w.turn()
	defer w.turn()
	if waits {
		w.waiting[r] = true
	} else {
		delete(w.waiting, r)
	}
}

// configure changes the level, there and back.
func configure(w *world) {
	level := braidlog.OS
	if w.level == braidlog.OS {
		level = braidlog.Sync
	}
	for _, to := range []braidlog.Durability{level, w.level} {
		w.turn()
		w.levels++
		w.durableNow = 0
		w.turn()
		end := w.p.End()
		err := w.topic.SetConfig(bg, braidlog.TopicConfig{Durability: to})
		w.turn()
		w.levels--
		w.turn()
		if w.check("configure", err); err != nil {
			return
		}
		if w.levels == 0 {
			w.durableNow = to
			w.promised(end)
		}
		w.moment()
	}
}

// damage has the second record of the first segment not decode.
func damage(w *world) {
	if w.damaged {
		return
	}
	w.damaged = true
	w.h.PassedOver(1, 2)
	if err := spoil(w.mem); err != nil {
		w.complain("damage: %v", err)
	}
}

// spoil flips a byte of the second record.
func spoil(m *fs.Mem) error {
	d, err := m.OpenDir(fmt.Sprintf("%s/topics/%s/partitions/0", storeDir, topicName), false)
	if err != nil {
		return err
	}
	defer d.Close()
	f, err := d.Open(fmt.Sprintf("%020d.log", 0), true)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	const at = 1<<10 + largeBytes + 500 // behind the header and the first record
	if _, err = f.ReadAt(b, at); err == nil {
		b[0] ^= 0xff
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func repair(w *world) {
	_, err := w.p.Repair(bg, partition.KeepIntact)
	w.check("repair", err, partition.ErrNotDamaged)
	w.moment()
}

func backup(w *world) {
	if w.backedUp {
		return
	}
	w.backedUp = true
	err := w.store.Backup(bg, backupDir)
	w.backedUp = err == nil
	w.check("back up", err)
	w.moment()
}

// tick lets time go by: first until a marker is due, then until the partition
// counts as idle.
func tick(w *world) {
	for _, d := range []time.Duration{25 * time.Millisecond, 11 * time.Second} {
		w.clock.Skip(d)
		yield.Point()
	}
}

func closeStore(w *world) {
	err := w.store.Close()
	w.closed = w.closed || !errors.Is(err, braidlog.ErrClosed)
	w.check("close", err)
	w.moment()
}

func deleteTopic(w *world) {
	err := w.store.DeleteTopic(bg, topicName)
	w.deleted = w.deleted || err == nil
	w.check("delete topic", err, braidlog.ErrTopicNotFound)
}

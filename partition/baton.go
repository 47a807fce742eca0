package partition

import (
	"context"

	"github.com/braidlog/braidlog/internal/yield"
)

// The baton is what one has to hold to change files: to write a group, roll,
// sync, cut, attach or detach. It is not a lock: it is handed on, to a worker
// too, and nobody waits for it under the append lock. Whoever gives it up
// passes it to the first of
//
//  1. those who wait for the baton itself (rolls, syncs, Close), in order;
//  2. an appender of the next group, who leads that one;
//  3. a worker, if the next group has nobody waiting for it.

// A want is somebody who waits for the baton.
type want struct {
	got func() // called when it is theirs, under mu: must not block
}

// take waits for the baton. The error is the context's.
func (p *Partition) take(ctx context.Context) error {
	p.mu.Lock()
	if !p.baton {
		p.baton = true
		p.mu.Unlock()
		return nil
	}
	got := make(chan struct{})
	w := &want{got: func() { close(got) }}
	p.wanted = append(p.wanted, w)
	p.mu.Unlock()
	select {
	case <-got:
		yield.Woken()
		return nil
	case <-ctx.Done():
		yield.Woken()
		p.giveUp(w)
		return ctx.Err()
	}
}

// takeFile is take for those who change a file's length: it also waits for
// the worker who may be doing that. Workers must not call it, since they
// would wait for each other.
func (p *Partition) takeFile(ctx context.Context) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	if err := p.awaitGrowth(ctx); err != nil {
		p.pass()
		return err
	}
	return nil
}

// awaitGrowth waits until no worker is lengthening the active file.
func (p *Partition) awaitGrowth(ctx context.Context) error {
	p.mu.Lock()
	growing := p.growing
	p.mu.Unlock()
	if growing == nil {
		return nil
	}
	select {
	case <-growing:
		yield.Woken()
		return nil
	case <-ctx.Done():
		yield.Woken()
		return ctx.Err()
	}
}

// giveUp takes w off the list, or passes the baton on if it came meanwhile.
func (p *Partition) giveUp(w *want) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.wanted {
		if other == w {
			p.wanted = append(p.wanted[:i:i], p.wanted[i+1:]...)
			return
		}
	}
	p.passLocked()
}

// whenTaken has a worker run task with the baton, as soon as that is free.
// The task passes it on.
func (p *Partition) whenTakenLocked(task func()) {
	if !p.baton {
		p.baton = true
		p.shared.submit(task)
		return
	}
	p.wanted = append(p.wanted, &want{got: func() { p.shared.submit(task) }})
}

// tryTakeLocked takes the baton if it is free.
func (p *Partition) tryTakeLocked() bool {
	if p.baton {
		return false
	}
	p.baton = true
	return true
}

// pass gives the baton up.
func (p *Partition) pass() {
	p.mu.Lock()
	p.passLocked()
	p.mu.Unlock()
}

func (p *Partition) passLocked() {
	if len(p.wanted) > 0 {
		w := p.wanted[0]
		p.wanted = p.wanted[1:]
		w.got()
		return
	}
	if len(p.groups) == 0 {
		p.baton = false
		return
	}
	if w := p.groups[0].someone(); w != nil {
		w.ch <- outcome{lead: true}
		return
	}
	p.shared.submit(p.leadForNobody)
}

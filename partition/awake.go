package partition

import "container/heap"

// awake is the partitions that have something due some time: a heap, the one
// that is due first in front. Guarded by Shared.mu, like the fields wakeAt and
// wakeSlot of a Partition.
type awake []*Partition

func (a awake) Len() int           { return len(a) }
func (a awake) Less(i, j int) bool { return a[i].wakeAt < a[j].wakeAt }
func (a awake) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].wakeSlot, a[j].wakeSlot = i+1, j+1
}

// Push is for package heap, like Pop.
func (a *awake) Push(p any) {
	*a = append(*a, p.(*Partition))
	p.(*Partition).wakeSlot = len(*a)
}

func (a *awake) Pop() any {
	last := len(*a) - 1
	p := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	p.wakeSlot = 0
	return p
}

// enter has p be due at due or earlier.
func (a *awake) enter(p *Partition, due int64) {
	switch {
	case p.wakeSlot == 0:
		p.wakeAt = due
		heap.Push(a, p)
	case due < p.wakeAt:
		p.wakeAt = due
		heap.Fix(a, p.wakeSlot-1)
	}
}

// leave takes p off, if it is there.
func (a *awake) leave(p *Partition) {
	if p.wakeSlot > 0 {
		heap.Remove(a, p.wakeSlot-1)
	}
}

// next returns when the first one is due, never if there is none.
func (a awake) next() int64 {
	if len(a) == 0 {
		return never
	}
	return a[0].wakeAt
}

// take returns one that is due now, nil if none is. It stays, as one that is
// being looked after.
func (a *awake) take(now int64) *Partition {
	if a.next() > now {
		return nil
	}
	p := (*a)[0]
	p.wakeAt = never
	heap.Fix(a, 0)
	return p
}

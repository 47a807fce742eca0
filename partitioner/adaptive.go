package partitioner

import (
	"fmt"
	"math/rand/v2"

	"github.com/braidlog/braidlog/record"
)

const (
	adaptivePlacement = "adaptive"
	adaptiveAnyKey    = "keysleave"

	defaultAdaptiveThreshold = 100_000
	maxBacklog               = 1 << 40 // what is beyond makes no difference
)

// AdaptiveConfig configures [Adaptive]. The zero value keeps keys in order.
type AdaptiveConfig struct {
	// Threshold is how many records may wait in a partition, as its Lag, before
	// it is overloaded. It matters only with GiveUpOrderOfKeys. Zero: 100,000.
	// Negative: an error.
	Threshold int64
	// GiveUpOrderOfKeys lets records with a key leave an overloaded partition
	// for another one. Records of one key are then not in order, and in
	// several partitions.
	GiveUpOrderOfKeys bool
}

// withDefaults replaces zeros, and reports the field that is out of range.
func (c AdaptiveConfig) withDefaults() (AdaptiveConfig, error) {
	if c.Threshold < 0 {
		return c, fmt.Errorf("the threshold is %d, want at least 0", c.Threshold)
	}
	if c.Threshold == 0 {
		c.Threshold = defaultAdaptiveThreshold
	}
	return c, nil
}

// Adaptive returns a partitioner that spreads records without a key, those
// whose Key is nil, by how much waits in each partition: chosen at random with
// the weight largest backlog + 1 - own backlog, so that backlogs of 0, 3 and 1
// have weights 4, 1 and 3. The backlog is the Lag of the slowest group; a
// partition that cannot be written has weight 0. Records with a key go where
// inner sends them and stay in order as there; only with
// config.GiveUpOrderOfKeys do they leave a partition that is overloaded, for
// one that is not, chosen likewise. inner nil is [Key].
//
// Asked without load, by Partition, it does as inner does. The weights are those
// of KIP-794, "Strictly Uniform Sticky Partitioner", of Apache Kafka
// (partitioner.adaptive.partitioning.enable), whose backlogs are the producer's
// queues. The placement is `adaptive("key")`, and `adaptive(keysleave,"key")` if
// order is given up; the threshold is not part of it.
//
// Predecessors: those of inner; any if order is given up.
func Adaptive(inner Partitioner, config AdaptiveConfig) Partitioner {
	a := &adaptive{part: partOf(inner), int64N: rand.Int64N}
	a.placement = form(adaptivePlacement, a.quoted())
	if config.GiveUpOrderOfKeys {
		a.placement = form(adaptivePlacement, adaptiveAnyKey, a.quoted())
	}
	var err error
	if a.config, err = config.withDefaults(); err != nil {
		return newInvalid(a.placement, "%w", err)
	}
	return &wholeByLoad{a}
}

// adaptive is immutable.
type adaptive struct {
	part
	placement string
	config    AdaptiveConfig
	int64N    func(n int64) int64 // uniform in [0, n), n ≥ 1
}

func (a *adaptive) Placement() string { return a.placement }

func (a *adaptive) partitionLoad(rec record.Record, load []Load) (int, error) {
	if err := a.Check(len(load)); err != nil {
		return 0, err
	}
	if rec.Key == nil {
		if p, ok := a.choose(load, maxBacklog); ok {
			return p, nil
		}
		return int(a.int64N(int64(len(load)))), nil // none can be written: the topic will say so
	}
	p, err := a.part.partitionLoad(rec, load)
	if err != nil || !a.config.GiveUpOrderOfKeys || p < 0 || p >= len(load) || load[p].Lag <= a.config.Threshold {
		return p, err
	}
	if q, ok := a.choose(load, a.config.Threshold); ok {
		return q, nil
	}
	return p, nil
}

// choose returns a partition by weight, among those that can be written and
// have no larger backlog than limit; false if there are none.
func (a *adaptive) choose(load []Load, limit int64) (p int, ok bool) {
	largest, total := int64(0), int64(0)
	for i := range load {
		if open(&load[i], limit) {
			largest = max(largest, backlog(&load[i]))
		}
	}
	for i := range load {
		total += weight(&load[i], limit, largest)
	}
	if total == 0 {
		return 0, false
	}
	for place := a.int64N(total); place >= 0; p++ {
		place -= weight(&load[p], limit, largest)
	}
	return p - 1, true
}

// weight is 0 for a partition that is not to be chosen.
func weight(l *Load, limit, largest int64) int64 {
	if !open(l, limit) {
		return 0
	}
	return largest + 1 - backlog(l)
}

func open(l *Load, limit int64) bool { return l.Writable && backlog(l) <= limit }

func backlog(l *Load) int64 { return min(max(l.Lag, 0), maxBacklog) }

func (a *adaptive) KeyPartitions(key []byte, n int) []int {
	if a.config.GiveUpOrderOfKeys {
		return nil
	}
	return a.part.KeyPartitions(key, n)
}

func (a *adaptive) Predecessors(old, n, p int) []int {
	if a.config.GiveUpOrderOfKeys {
		return anyOf(old, n, p)
	}
	return a.part.Predecessors(old, n, p)
}

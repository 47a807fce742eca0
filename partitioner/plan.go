package partitioner

import (
	"errors"
	"fmt"
	"math"
)

const (
	smallestPlan = 6
	largestPlan  = 6 << 14 // 98,304: twice as many are more than a topic can have
)

// A Capacity says what a topic has to bear: RecordsPerSecond together with
// ConsumerRecordsPerSecond, or Consumers, or all of them.
type Capacity struct {
	// RecordsPerSecond is how many records will be appended, at the busiest.
	RecordsPerSecond float64
	// ConsumerRecordsPerSecond is how many of them one partition gets through:
	// what one consumer handles, since a partition's records are in order only
	// if one consumer at a time reads it; or what one partition takes, if that
	// is less.
	ConsumerRecordsPerSecond float64
	// Consumers is how many are to share the work. Each needs a partition.
	Consumers int
	// Headroom is what to multiply by, for bursts, growth and keys that are
	// not spread evenly. Zero: 1, none. At least 1.
	Headroom float64
}

// A Sizing is a number of partitions.
type Sizing struct {
	Needed    int    `json:"needed"`    // the least that bears the load
	Suggested int    `json:"suggested"` // 6, 12, 24, 48 …: the first that is not below Needed
	Why       string `json:"why"`       // a sentence or two for people
}

// Plan returns how many partitions a topic should have. Needed is
// RecordsPerSecond over ConsumerRecordsPerSecond, or Consumers if that is more,
// times Headroom, rounded up.
//
// Suggested is 6 doubled until it is enough. Under a partitioner that takes a
// hash modulo n, such as [Key], going from n to m partitions leaves a key where
// it was with a chance of n over their least common multiple: a half when m is
// 2n, less for every other m. And 6, 12, 24 and 48 partitions can be
// shared evenly by 2, 3 or 6 consumers.
//
// It is an error if a field is negative or not finite, if Headroom is less than
// 1, if the load is given in part or not at all, or if more than 98304
// partitions are needed.
func Plan(c Capacity) (Sizing, error) {
	if err := c.check(); err != nil {
		return Sizing{}, err
	}
	exact := c.partitions()
	if exact > largestPlan {
		return Sizing{}, fmt.Errorf("plan partitions: %.6g are needed, want at most %d", exact, largestPlan)
	}
	const rounding = 1e-9 // 0.3/0.1 is not to be more than 3
	s := Sizing{Needed: int(math.Ceil(exact * (1 - rounding))), Suggested: smallestPlan}
	s.Needed = max(1, s.Needed)
	for s.Suggested < s.Needed {
		s.Suggested *= 2
	}
	s.Why = c.why(s)
	return s, nil
}

// partitions returns how many are needed, before rounding up.
func (c Capacity) partitions() float64 {
	return max(c.byRate(), float64(c.Consumers)) * c.headroom()
}

// byRate returns how many partitions the records need; 0: that is not asked.
func (c Capacity) byRate() float64 {
	if c.ConsumerRecordsPerSecond == 0 {
		return 0
	}
	return c.RecordsPerSecond / c.ConsumerRecordsPerSecond
}

func (c Capacity) headroom() float64 {
	if c.Headroom == 0 {
		return 1
	}
	return c.Headroom
}

// why says where the figures of s come from.
func (c Capacity) why(s Sizing) string {
	load := fmt.Sprintf("%d consumers", c.Consumers)
	if c.byRate() > float64(c.Consumers) {
		load = fmt.Sprintf("%g records a second at %g for each partition", c.RecordsPerSecond, c.ConsumerRecordsPerSecond)
	}
	if c.headroom() > 1 {
		load += fmt.Sprintf(", times %g,", c.Headroom)
	}
	return fmt.Sprintf("%s need %d; of 6, 12, 24, 48 …, which move the fewest keys when they are doubled, %d is the first that is enough", load, s.Needed, s.Suggested)
}

// check returns an error that names what is wrong.
func (c Capacity) check() error {
	for _, f := range []struct {
		field string
		value float64
	}{
		{"RecordsPerSecond", c.RecordsPerSecond},
		{"ConsumerRecordsPerSecond", c.ConsumerRecordsPerSecond},
		{"Consumers", float64(c.Consumers)},
		{"Headroom", c.Headroom},
	} {
		if !(f.value >= 0) || math.IsInf(f.value, 1) { // what is not a number is not ≥ 0
			return fmt.Errorf("plan partitions: %s is %v, want 0 or more", f.field, f.value)
		}
	}
	switch {
	case c.headroom() < 1:
		return fmt.Errorf("plan partitions: Headroom is %v, want 1 or more, or 0 for 1", c.Headroom)
	case c.Consumers > 0:
		return nil
	case c.RecordsPerSecond == 0:
		return errors.New("plan partitions: RecordsPerSecond and Consumers are 0, want one of them")
	case c.ConsumerRecordsPerSecond == 0:
		return errors.New("plan partitions: ConsumerRecordsPerSecond and Consumers are 0, want one of them")
	}
	return nil
}

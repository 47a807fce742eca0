package partitioner

import "fmt"

// Placement returns the placement of p: its own if it is a [Placer], else
// "type:" and its Go type as fmt prints it, such as "type:*shop.ByCountry".
//
// The type stands in for what p does, and badly: it is the same when the
// method changes, or a parameter, or when another package has the same last
// name, and it is different after a mere renaming. Whoever stores records for
// long should write a Placer. For nil it is "type:<nil>".
func Placement(p Partitioner) string {
	if placer, ok := p.(Placer); ok {
		return placer.Placement()
	}
	return fmt.Sprintf("type:%T", p)
}

// ByPlacement returns a new partitioner with the given placement, and whether
// there is one: true for "key", "kafka", "roundrobin" and "sticky", the last
// with its default sizes; false and nil for anything else, such as the placement
// of a [Func] or of a partitioner of one's own.
func ByPlacement(placement string) (Partitioner, bool) {
	switch placement {
	case keyPlacement:
		return Key(), true
	case kafkaPlacement:
		return Kafka(), true
	case roundRobinPlacement:
		return RoundRobin(), true
	case stickyPlacement:
		return Sticky(StickyConfig{}), true
	}
	return nil, false
}

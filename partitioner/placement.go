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
// there is one: true for those of this package, with the parameters and the
// partitioners inside that the placement names, and with default tuning, such
// as the sizes of [StickyConfig]; false and nil for anything else, such as the
// placement of a [Func], of a partitioner of one's own, and of one that has a
// function or such a partitioner inside.
func ByPlacement(placement string) (Partitioner, bool) {
	name, ps, ok := parseForm(placement)
	if !ok {
		return nil, false
	}
	p := rebuild(name, ps)
	if _, wrong := p.(*invalid); p == nil || ps.bad || wrong || Placement(p) != placement {
		return nil, false
	}
	return p, true
}

// rebuild makes a partitioner of its name and parameters, nil if there is none
// of the name. Bad parameters, or more than it takes, give one that is not
// meant.
func rebuild(name string, ps *params) Partitioner {
	switch name {
	case keyPlacement:
		return Key()
	case kafkaPlacement:
		return Kafka()
	case iggyPlacement:
		return Iggy()
	case saramaPlacement:
		return Sarama()
	case saramaReferencePlacement:
		return SaramaReference()
	case librdkafkaPlacement:
		return Librdkafka()
	case kinesisPlacement:
		return Kinesis(KinesisConfig{})
	case jumpPlacement:
		return Jump()
	case roundRobinPlacement:
		return RoundRobin()
	case stickyPlacement:
		return Sticky(StickyConfig{})
	case leastLoadedPlacement:
		return LeastLoaded()
	}
	return rebuildWith(name, ps)
}

// rebuildWith is rebuild for those with parameters.
func rebuildWith(name string, ps *params) Partitioner {
	switch name {
	case linearPlacement:
		return Linear(ps.number())
	case rendezvousPlacement:
		return Rendezvous(ps.numbers()...)
	case weightedPlacement:
		return Weighted(ps.numbers()...)
	case prefixPlacement:
		return Prefix(ps.text(), ps.number(), ps.inner())
	case priorityPlacement:
		return Priority(ps.classifier(), ps.numbers(), ps.inner())
	case lookupPlacement:
		return Lookup(ps.table(), ps.inner())
	case splitPlacement:
		return Split(ps.number(), ps.inner(), ps.inner())
	case timeWindowPlacement:
		return TimeWindow(ps.duration(), ps.zone())
	case adaptivePlacement:
		keysLeave := ps.word(adaptiveAnyKey)
		return Adaptive(ps.inner(), AdaptiveConfig{GiveUpOrderOfKeys: keysLeave})
	}
	return nil
}

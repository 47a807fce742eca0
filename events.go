package braidlog

import (
	"log/slog"
	"time"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/relay"
)

// maxEvents is how many events wait for Options.OnEvent, and as many for
// Options.Logger, before more are dropped.
const maxEvents = 1024

// newLog returns what writes events to a logger, nil if there is none.
func newLog(l *slog.Logger) *relay.Relay[Event] {
	if l == nil {
		return nil
	}
	log := relay.New(maxEvents, func(e Event, dropped int) {
		e.Dropped = dropped
		e.Log(l)
	})
	log.Start()
	return log
}

// newCallback returns what calls Options.OnEvent, nil if there is none. A panic
// is logged and goes no further.
func newCallback(call func(Event), log *relay.Relay[Event], now *clock.Clock) *relay.Relay[Event] {
	if call == nil {
		return nil
	}
	return relay.New(maxEvents, func(e Event, dropped int) {
		var err error
		defer func() {
			if err != nil {
				log.Tell(trouble(now, "", -1, "OnEvent failed at an event", err))
			}
		}()
		defer caught(&err)
		e.Dropped = dropped
		call(e)
	})
}

// notify takes note of an event. It may be called under a lock.
func (s *Store) notify(e Event) {
	s.log.Tell(e)
	s.callback.Tell(e)
	s.keeper.rolled(e)
}

// warn tells of trouble with a topic, or with the store if topic is "".
func (s *Store) warn(topic, what string, err error) {
	s.notify(trouble(s.cfg.clock, topic, -1, what, err))
}

func trouble(now *clock.Clock, topic string, number int, what string, err error) Event {
	return Event{Kind: Trouble, Topic: topic, Partition: number, Time: time.Unix(0, now.Now()).UTC(), What: what, Err: known(err)}
}

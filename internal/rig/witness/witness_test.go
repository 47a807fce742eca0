package witness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// readAll says that a read from the first offset to the end saw these values,
// one offset behind the other from at on.
func readAll(h *History, at int64, values ...string) {
	r := h.Read(0)
	for i, v := range values {
		if v != "" {
			r.Saw(at+int64(i), v)
		}
	}
	r.Ended(at + int64(len(values)))
}

func appended(h *History, offset int64, value string) { h.Append(value).Done(offset) }

// three is a log of three records.
func three(h *History) {
	for i, v := range []string{"a", "b", "c"} {
		appended(h, int64(i), v)
	}
}

func TestEachWrongIsNamed(t *testing.T) {
	cases := []struct {
		name string
		do   func(h *History)
		want []string // wrong and offsets
	}{
		{"lost at the end", func(h *History) { three(h); h.Killed(); readAll(h, 0, "a", "b") }, []string{"lost [2,3)"}},
		{"lost in the middle", func(h *History) { three(h); readAll(h, 0, "a", "", "c") }, []string{"lost [1,2)"}},
		{"lost though it was read at Sync", func(h *History) {
			h.Append("a")
			readAll(h, 0, "a")
			h.LostPower(WhatWasSeen)
			readAll(h, 0)
		}, []string{"lost [0,1)"}},
		{"lost though it was synced", func(h *History) {
			three(h)
			h.Durable(2)
			h.LostPower(WhatWasSynced)
			readAll(h, 0, "a")
		}, []string{"lost [1,2)"}},
		{"lost to another record", func(h *History) {
			three(h)
			h.Append("d")
			readAll(h, 0, "a", "d", "c")
		}, []string{"lost [1,2)"}},
		{"duplicated in the log", func(h *History) { three(h); readAll(h, 0, "a", "b", "c"); readAll(h, 0, "a", "b", "c", "b") }, []string{"duplicated [3,4)"}},
		{"duplicated in a read", func(h *History) {
			three(h)
			r := h.Read(0)
			r.Saw(0, "a")
			r.Saw(0, "a")
			r.Stopped()
		}, []string{"duplicated [0,1)"}},
		{"an offset given twice", func(h *History) { appended(h, 0, "a"); appended(h, 0, "b") }, []string{"duplicated [0,1)"}},
		{"an offset given again after a power loss", func(h *History) {
			three(h)
			h.LostPower(WhatWasSynced)
			readAll(h, 0, "a")
			appended(h, 1, "d")
		}, []string{"duplicated [1,2)"}},
		{"a repeat that was appended", func(h *History) {
			three(h)
			h.Append("b").Done(3)
		}, []string{"duplicated [3,4)"}},
		{"reordered against time", func(h *History) { appended(h, 5, "a"); appended(h, 4, "b") }, []string{"reordered [4,5)"}},
		{"reordered in a read", func(h *History) {
			three(h)
			r := h.Read(0)
			r.Saw(1, "b")
			r.Saw(0, "a")
			r.Stopped()
		}, []string{"reordered [0,1)", "lost [0,1)"}},
		{"acknowledged elsewhere", func(h *History) {
			a, b := h.Append("a"), h.Append("b")
			a.Done(0)
			b.Done(1)
			readAll(h, 0, "b", "a")
		}, []string{"reordered [0,1)", "reordered [1,2)"}},
		{"skipped", func(h *History) {
			three(h)
			readAll(h, 0, "a", "", "c")
			readAll(h, 0, "a", "b", "c")
		}, []string{"skipped [1,2)"}},
		{"skipped what was never acknowledged", func(h *History) {
			h.Append("a", "b")
			readAll(h, 1, "b")
		}, []string{"skipped [0,1)"}},
		{"stale", func(h *History) {
			three(h)
			readAll(h, 0, "a")
			readAll(h, 0, "a", "b", "c")
		}, []string{"stale [1,3)"}},
		{"stale after another read", func(h *History) {
			h.Append("a")
			readAll(h, 0, "a")
			readAll(h, 0)
			readAll(h, 0, "a")
		}, []string{"stale [0,1)"}},
		{"invented", func(h *History) { three(h); readAll(h, 0, "a", "b", "c", "x") }, []string{"invented [3,4)"}},
		{"invented: refused before", func(h *History) { h.Append("a").Refused(); readAll(h, 0, "a") }, []string{"invented [0,1)"}},
		{"invented: refused after", func(h *History) {
			a := h.Append("a")
			readAll(h, 0, "a")
			a.Refused()
		}, []string{"invented [0,1)"}},
		{"invented: there again", func(h *History) {
			three(h)
			h.LostPower(WhatWasSynced)
			readAll(h, 0, "a")
			readAll(h, 0, "a", "b")
		}, []string{"invented [1,2)"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &History{}
			c.do(h)
			var got []string
			for _, v := range h.Check() {
				got = append(got, fmt.Sprintf("%s [%d,%d)", v.Wrong, v.From, v.To))
			}
			require.Equal(t, c.want, got, "%v", h.Check())
		})
	}
}

func TestWhatIsLawful(t *testing.T) {
	cases := map[string]func(h *History){
		"trimmed": func(h *History) { three(h); h.Trim(2); readAll(h, 2, "c") },
		"unsynced and lost": func(h *History) {
			three(h)
			h.Durable(1)
			h.LostPower(WhatWasSynced)
			readAll(h, 0, "a")
			readAll(h, 0, "a")
		},
		"unknown and there":      func(h *History) { h.Append("a"); h.Killed(); readAll(h, 0, "a") },
		"unknown and not":        func(h *History) { h.Append("a"); h.LostPower(WhatWasSeen); readAll(h, 0); appended(h, 0, "b") },
		"at the same time":       func(h *History) { a, b := h.Append("a"), h.Append("b"); b.Done(0); a.Done(1) },
		"a repeat":               func(h *History) { three(h); h.Append("b").Repeated(1) },
		"a repeat told first":    func(h *History) { a, b := h.Append("a"), h.Append("a"); b.Repeated(0); a.Done(0) },
		"refused, then appended": func(h *History) { h.Append("a").Refused(); appended(h, 0, "a"); readAll(h, 0, "a") },
		"read while it goes on":  func(h *History) { r := h.Read(0); three(h); r.Ended(0) },
		"passed over":            func(h *History) { three(h); h.PassedOver(3, 9); appended(h, 9, "d"); readPassed(h) },
		"a gap that reads name": func(h *History) {
			three(h)
			r := h.Read(0)
			r.Saw(0, "a")
			r.Gap(1, 2)
			r.Saw(2, "c")
			r.Ended(3)
		},
		"read from behind":        func(h *History) { three(h); r := h.Read(2); r.Saw(2, "c"); r.Ended(3) },
		"lost, and then goes on":  func(h *History) { three(h); h.LostPower(WhatWasSynced); readAll(h, 0, "a"); appended(h, 3, "d") },
		"stopped before the end":  func(h *History) { three(h); r := h.Read(0); r.Saw(0, "a"); r.Stopped() },
		"nothing at all":          func(h *History) { readAll(h, 0) },
		"a batch, in order":       func(h *History) { h.Append("a", "b").Done(0, 1); readAll(h, 0, "a", "b") },
		"branched before it went": branched,
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			h := &History{}
			do(h)
			require.Empty(t, h.Check())
		})
	}
}

func readPassed(h *History) {
	r := h.Read(0)
	for i, v := range []string{"a", "b", "c"} {
		r.Saw(int64(i), v)
	}
	r.Saw(9, "d")
	r.Ended(10)
}

// branched makes h what is left of a longer history.
func branched(h *History) {
	whole := &History{}
	three(whole)
	n := whole.Len()
	appended(whole, 0, "x")
	b := whole.Branch(n)
	readAll(b, 0, "a", "b", "c")
	h.events = b.events
}

// A simulation is a log that does what it should, and callers of it who come
// and go at any time.
type simulation struct {
	rng     *rand.Rand
	h       *History
	log     []string // "" for what a power loss took
	start   int
	durable int
	names   int
	busy    []func() // ends of calls under way
}

func simulate(seed uint64, steps int) *simulation {
	s := &simulation{rng: rand.New(rand.NewPCG(seed, 1)), h: &History{}}
	for range steps {
		s.step()
	}
	s.wait()
	s.read(0)()
	return s
}

func (s *simulation) step() {
	switch n := s.rng.IntN(40); {
	case n < 14:
		s.busy = append(s.busy, s.append())
	case n < 22:
		s.busy = append(s.busy, s.read(s.rng.IntN(len(s.log)+1)))
	case n < 34 && len(s.busy) > 0:
		i := s.rng.IntN(len(s.busy))
		s.busy[i]()
		s.busy = slices.Delete(s.busy, i, i+1)
	case n == 34:
		s.start = max(s.start, s.rng.IntN(len(s.log)+1))
		s.h.Trim(int64(s.start))
	case n == 35:
		s.durable = len(s.log)
		s.h.Durable(int64(s.durable))
	case n == 36:
		s.busy = nil // their callers are gone
		s.h.Killed()
	case n == 37:
		s.losePower()
	}
}

func (s *simulation) wait() {
	for _, end := range s.busy {
		end()
	}
	s.busy = nil
}

// append returns what ends the append. In the log it is before or after, or
// never.
func (s *simulation) append() func() {
	var values []string
	for range 1 + s.rng.IntN(3) {
		s.names++
		values = append(values, fmt.Sprint("v", s.names))
	}
	a := s.h.Append(values...)
	if s.rng.IntN(8) == 0 {
		return a.Refused
	}
	if s.rng.IntN(8) == 0 {
		if s.rng.IntN(2) == 0 {
			s.take(values)
		}
		return func() {}
	}
	offsets := []int64(nil)
	if s.rng.IntN(2) == 0 {
		offsets = s.take(values)
	}
	return func() {
		if offsets == nil {
			offsets = s.take(values)
		}
		a.Done(offsets...)
	}
}

func (s *simulation) take(values []string) (offsets []int64) {
	for _, v := range values {
		offsets = append(offsets, int64(len(s.log)))
		s.log = append(s.log, v)
	}
	return offsets
}

// read returns what ends the read, which sees the log as it is now.
func (s *simulation) read(from int) func() {
	r := s.h.Read(int64(from))
	from = max(from, s.start)
	end := len(s.log)
	for i := from; i < end; i++ {
		if s.log[i] != "" {
			r.Saw(int64(i), s.log[i])
		}
	}
	return func() { r.Ended(int64(max(from, end))) }
}

// losePower takes what is not durable, from some record on. A read tells how
// much, and the offsets are never given out again.
func (s *simulation) losePower() {
	s.busy = nil
	s.h.LostPower(WhatWasSynced)
	left := max(s.durable, s.start)
	left += s.rng.IntN(len(s.log) - left + 1)
	all := s.log
	s.log = s.log[:left]
	s.read(0)()
	s.log = append(slices.Clone(s.log), make([]string, len(all)-left)...)
	s.h.PassedOver(int64(left), int64(len(all)))
}

func TestCleanHistoriesAreClean(t *testing.T) {
	for range 400 {
		seed := rand.Uint64()
		s := simulate(seed, 300)
		require.Empty(t, s.h.Check(), "seed %d", seed)
	}
}

// One thing that is changed in a clean history is noticed, and gets the name it
// should.
func TestPlantedWrongsAreNamed(t *testing.T) {
	type plant func(s *simulation, last *event) Wrong
	// All of them change the last read, which saw everything that is there.
	plants := map[string]plant{
		"leave out": func(s *simulation, last *event) Wrong {
			i := 1 + s.rng.IntN(len(last.offsets)-2)
			last.offsets, last.values = slices.Delete(last.offsets, i, i+1), slices.Delete(last.values, i, i+1)
			return Lost
		},
		"leave out, then read": func(s *simulation, last *event) Wrong {
			whole := s.read(0)
			i := 1 + s.rng.IntN(len(last.offsets)-2)
			last.offsets, last.values = slices.Delete(last.offsets, i, i+1), slices.Delete(last.values, i, i+1)
			whole()
			return Skipped
		},
		"end early, then read": func(s *simulation, last *event) Wrong {
			whole := s.read(0)
			n := len(last.offsets) - 1
			last.to = last.offsets[n]
			last.offsets, last.values = last.offsets[:n], last.values[:n]
			whole()
			return Stale
		},
		"twice": func(s *simulation, last *event) Wrong {
			last.offsets, last.values = append(last.offsets, last.to), append(last.values, last.values[0])
			last.to++
			return Duplicated
		},
		"another value": func(s *simulation, last *event) Wrong {
			last.offsets, last.values = append(last.offsets, last.to), append(last.values, "nobody's")
			last.to++
			return Invented
		},
		"against the order": func(s *simulation, last *event) Wrong {
			n := len(last.offsets)
			last.offsets[n-1], last.offsets[n-2] = last.offsets[n-2], last.offsets[n-1]
			last.values[n-1], last.values[n-2] = last.values[n-2], last.values[n-1]
			return Reordered
		},
	}
	for name, plant := range plants {
		t.Run(name, func(t *testing.T) {
			planted := 0
			for planted < 50 {
				seed := rand.Uint64()
				s := simulate(seed, 200)
				for range 3 { // records whose append was acknowledged
					s.names++
					v := fmt.Sprint("v", s.names)
					s.h.Append(v).Done(s.take([]string{v})...)
				}
				s.read(0)()
				last := &s.h.events[len(s.h.events)-1]
				if len(last.offsets) < 4 {
					continue
				}
				planted++
				saved := *last
				saved.offsets, saved.values = slices.Clone(last.offsets), slices.Clone(last.values)
				s.h.events = s.h.events[:len(s.h.events)-1]
				place := len(s.h.events)
				s.h.events = append(s.h.events, saved)
				want := plant(s, &saved)
				s.h.events[place] = saved
				var got []Wrong
				for _, v := range s.h.Check() {
					got = append(got, v.Wrong)
				}
				require.Contains(t, got, want, "seed %d", seed)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := &History{}
			for i := range n {
				appended(h, int64(i), fmt.Sprint("v", i))
			}
			r := h.Read(0)
			for i := range n {
				r.Saw(int64(i), fmt.Sprint("v", i))
			}
			r.Ended(int64(n))
			for b.Loop() {
				require.Empty(b, h.Check())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*n), "ns/record")
		})
	}
}

package braidlog

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
)

// The window holds the latest Entries ids, each for as long as Window says.
func TestWindowForgets(t *testing.T) {
	clk := clock.Start()
	s := openMem(t, fs.NewMem(), func(o *Options) { o.clock = clk })
	topic := ensure(t, s, withDedup(dedupConfig(OS), Dedup{DedupOn, 3, time.Hour}))
	again := func(n int) bool {
		t.Helper()
		pos, err := topic.Append(bg, idRec(n))
		require.NoError(t, err)
		return pos.Duplicate
	}
	for i := range 4 {
		require.False(t, again(i))
	}
	require.True(t, again(3) && again(2) && again(1))
	require.False(t, again(0), "the oldest of four was forgotten")
	require.False(t, again(1), "and now that one")
	require.True(t, again(3))
	clk.Skip(50 * time.Minute)
	require.False(t, again(4))
	require.True(t, again(0) && again(1) && again(4))
	clk.Skip(50 * time.Minute)
	require.False(t, again(1) || again(0), "too old")
	require.True(t, again(4) && again(0), "a repeat does not make it younger")
	clk.Skip(50 * time.Minute)
	require.False(t, again(4))
	require.NoError(t, s.Close())
}

// An id in flight is never forgotten, however many come after it.
func TestWindowKeepsWhatIsInFlight(t *testing.T) {
	m := fs.NewMem()
	clk := clock.Start()
	s := openMem(t, m, func(o *Options) { o.clock = clk })
	topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{DedupOn, 1, time.Minute}))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	in0 := shut(m)
	first := make(chan placed, 1)
	go func() {
		pos, err := topic.AppendTo(bg, 0, idRec(3))
		first <- placed{pos, err}
	}()
	<-in0.entered
	m.OnOp(nil)
	clk.Skip(time.Hour)
	for i := range 5 {
		_, err := topic.AppendTo(bg, 1, idRec(10+i))
		require.NoError(t, err)
	}
	ctx := watch(bg)
	repeat := appendSoon(ctx, topic, idRec(3))
	<-ctx.waits
	in0.open <- nil
	f, r := <-first, <-repeat
	require.NoError(t, f.err)
	f.pos.Duplicate = true
	require.Equal(t, f, r)
	pos, err := topic.Append(bg, idRec(3))
	require.NoError(t, err)
	require.False(t, pos.Duplicate, "an hour is over since it was appended")
	require.NoError(t, s.Close())
}

func TestDedupIsSwitchedOnAndOff(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, withDedup(dedupConfig(OS), Dedup{}))
	set := func(d Dedup) {
		t.Helper()
		require.NoError(t, topic.SetConfig(bg, TopicConfig{Dedup: d}))
	}
	again := func(n int) bool {
		t.Helper()
		pos, err := topic.Append(bg, idRec(n))
		require.NoError(t, err)
		return pos.Duplicate
	}
	require.False(t, again(0))
	require.False(t, again(0))
	set(Dedup{Mode: DedupOn})
	require.True(t, again(0), "appended before it was switched on")
	require.False(t, again(1))
	set(Dedup{Mode: DedupOff})
	require.Empty(t, topic.ids.window.firsts, "nothing is kept while it is off")
	windowOf(t, topic) // by an append that began before
	require.False(t, again(1) || again(2))
	_, err := ensureAgain(s, Dedup{Mode: DedupRequired})
	require.NoError(t, err)
	require.True(t, again(0) && again(1) && again(2), "appended while it was off")
	require.NoError(t, s.Close())

	s = openMem(t, m)
	topic, err = s.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, Dedup{DedupRequired, DefaultDedupEntries, DefaultDedupWindow}, topic.Config().Dedup)
	require.True(t, again(0))
	set(Dedup{Entries: 2})
	require.Len(t, topic.ids.window.firsts, 2, "at once")
	require.False(t, again(0))
	set(Dedup{Entries: 10})
	for i := range 3 {
		require.True(t, again(i), "what is in the log is remembered when there is room again")
	}
	require.NoError(t, s.Close())
}

func ensureAgain(s *Store, d Dedup) (*Topic, error) {
	return s.EnsureTopic(bg, "orders", TopicConfig{Dedup: d})
}

// What is in flight while dedup is switched on is waited for.
func TestSwitchedOnWhileInFlight(t *testing.T) {
	m := fs.NewMem()
	s := openMem(t, m)
	topic := ensure(t, s, withDedup(dedupConfig(Sync), Dedup{}))
	require.NoError(t, topic.AppendBatch(bg, []Record{idRec(0), idRec(1), idRec(2)}))
	g := shut(m)
	first := appendSoon(bg, topic, idRec(3))
	<-g.entered
	set := make(chan error)
	go func() { set <- topic.SetConfig(bg, TopicConfig{Dedup: Dedup{Mode: DedupOn}}) }()
	for topic.Config().Dedup.Mode != DedupOn {
		runtime.Gosched()
	}
	repeat := appendSoon(bg, topic, idRec(3))
	for range 1000 { // time enough to be appended elsewhere
		select {
		case <-g.entered:
			require.FailNow(t, "the repeat was appended")
		default:
			runtime.Gosched()
		}
	}
	m.OnOp(nil)
	g.open <- nil
	f, r := <-first, <-repeat
	require.NoError(t, f.err)
	require.NoError(t, <-set)
	f.pos.Duplicate = true
	require.Equal(t, f, r)
	requireOnce(t, topic, 4)
	require.NoError(t, s.Close())
}

func TestWindowEvicts(t *testing.T) {
	var w window
	at := func(n int, time int64) first { return first{id: id(n), offset: time, time: time} }
	known := func(ids ...int) {
		t.Helper()
		var all []int
		for n := range 20 {
			if f, ok := w.find(id(n)); ok {
				require.Equal(t, id(n), f.id)
				all = append(all, n)
			}
		}
		require.Equal(t, ids, all)
		require.LessOrEqual(t, len(w.at), len(w.firsts))
	}
	w.evict(0, 100)
	known()
	for i := range 6 {
		w.push(at(i, int64(10*i)))
	}
	w.evict(4, 0)
	known(2, 3, 4, 5)
	w.evict(4, 30)
	known(3, 4, 5)
	w.push(at(3, 60)) // it was too old, and came again
	w.evict(3, 0)
	known(3, 4, 5)
	f, _ := w.find(id(3))
	require.EqualValues(t, 60, f.time)
	w.evict(0, 0)
	known()
	require.Empty(t, w.at)

	for i := range 3 {
		w.push(at(i, int64(100+10*i)))
	}
	w.merge([]first{at(7, 115), at(1, 90), at(8, 10), at(7, 95), at(2, 120)}, 20)
	known(0, 1, 2, 7)
	require.True(t, slices.IsSortedFunc(w.firsts, byTime))
	for n, time := range map[int]int64{0: 100, 1: 90, 2: 120, 7: 95} {
		f, _ := w.find(id(n))
		require.Equal(t, time, f.time, "the earliest of each")
	}
	w.evict(2, 0)
	known(0, 2)
}

// However many are pushed, what is gone is let go of.
func TestWindowStaysSmall(t *testing.T) {
	var w window
	for i := range 100_000 {
		w.push(first{id: id(i), time: int64(i)})
		w.evict(100, 0)
	}
	require.Len(t, w.at, 100)
	require.Less(t, cap(w.firsts), 1000)
}

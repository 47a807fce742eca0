package consumergroup

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// BenchmarkPoll: one member of 6 partitions against six readers in turn, by the
// clock and by the time of the processors. Fresh memory for the records that
// are the caller's to keep is what it costs, and what that costs depends on the
// heap of the program.
func BenchmarkPoll(b *testing.B) {
	for _, c := range []struct {
		name   string
		heap   int
		config MemberConfig
	}{
		{"keep/heap=4MiB", 0, MemberConfig{}},
		{"keep/heap=16MiB", 16 << 20, MemberConfig{}},
		{"keep/heap=64MiB", 64 << 20, MemberConfig{}},
		{"reuse/heap=4MiB", 0, MemberConfig{Reuse: true}},
		{"reuse/heap=64MiB", 64 << 20, MemberConfig{Reuse: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			heap := make([]byte, c.heap)
			benchmarkPoll(b, c.config)
			runtime.KeepAlive(heap)
		})
	}
}

const pollEach = 50_000 // records of each partition

func benchmarkPoll(b *testing.B, config MemberConfig) {
	w := onDisk(b)
	topic := w.topic("orders", 6, roomy)
	for _, p := range topic.Partitions {
		for i := range pollEach {
			_, err := p.Append(bg, record.Record{Key: fmt.Appendf(nil, "key-%08d", i%100), Value: make([]byte, 128)})
			require.NoError(b, err)
		}
	}
	m, err := w.group("g", Config{Topics: []string{"orders"}}).Join(bg, config)
	require.NoError(b, err)
	var polls, reads effort
	for b.Loop() {
		polls.measure(func() { pollEverything(b, m) })
		for i := range topic.Partitions {
			require.NoError(b, m.Seek(TopicPartition{"orders", i}, partition.First()))
		}
		reads.measure(func() { readEverything(b, topic) })
	}
	const n = 6 * pollEach
	b.ReportMetric(float64(median(polls.wall)/n), "ns/record")
	b.ReportMetric(float64(median(reads.wall)/n), "floor-ns/record")
	b.ReportMetric(float64(median(reads.wall))/float64(median(polls.wall)), "of-floor's-rate")
	b.ReportMetric(float64(median(polls.cpu)/n), "cpu-ns/record")
	b.ReportMetric(float64(median(reads.cpu)/n), "floor-cpu-ns/record")
	b.ReportMetric(float64(median(reads.cpu))/float64(median(polls.cpu)), "of-floor's-rate-by-cpu")
}

func pollEverything(b *testing.B, m *Member) {
	for n := 0; n < 6*pollEach; {
		recs, err := m.Poll(bg, 500)
		if err != nil {
			b.Fatal(err)
		}
		n += len(recs)
	}
}

func readEverything(b *testing.B, topic Topic) {
	n := 0
	for _, p := range topic.Partitions {
		r := p.NewReader(partition.First())
		var err error
		for err == nil {
			_, err = r.TryNext()
			n++
		}
		n-- // the end
		require.Equal(b, partition.ErrEnd, err)
		require.NoError(b, r.Close())
	}
	require.Equal(b, 6*pollEach, n)
}

// An effort is how long rounds of some work took.
type effort struct{ wall, cpu []time.Duration }

func (e *effort) measure(work func()) {
	began, before := time.Now(), cpuTime()
	work()
	e.wall = append(e.wall, time.Since(began))
	e.cpu = append(e.cpu, cpuTime()-before)
}

// cpuTime returns what the process had of the processors so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

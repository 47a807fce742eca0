// Package history plays short lives of a store in a file system in memory,
// remembers what its user was told, and compares that with what is found later:
// after the power went, after the process ended, after operations failed.
//
// Time stands still but when an operation moves it, and ids come from a seed:
// the same history leaves the same bytes.
package history

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/braidlog/braidlog"
)

// A History is what is done to a store: operations by their letters, one after
// the other, on a topic that is made first and gets one record.
type History struct {
	Level      braidlog.Durability // the topic's to begin with
	Heap       bool                // no mapped windows
	Partitions int
	Ops        string
}

// String is what Parse reads: "sync,heap,1:ab".
func (h History) String() string {
	window := "mapped"
	if h.Heap {
		window = "heap"
	}
	return fmt.Sprintf("%v,%s,%d:%s", h.Level, window, h.Partitions, h.Ops)
}

// Parse is the inverse of String.
func Parse(text string) (h History, err error) {
	bad := fmt.Errorf("history %q: want level,window,partitions:operations", text)
	setting, ops, ok := strings.Cut(text, ":")
	fields := strings.Split(setting, ",")
	if !ok || len(fields) != 3 {
		return h, bad
	}
	for _, l := range Levels {
		if l.String() == fields[0] {
			h.Level = l
		}
	}
	h.Heap = fields[1] == "heap"
	h.Partitions, err = strconv.Atoi(fields[2])
	if err != nil || h.Level == 0 || h.Partitions < 1 || h.Partitions > MaxPartitions {
		return h, bad
	}
	for _, c := range ops {
		if Operations[c] == nil {
			return h, fmt.Errorf("history %q: there is no operation %c", text, c)
		}
	}
	h.Ops = ops
	return h, nil
}

// MaxPartitions is how many partitions a history's topic may have.
const MaxPartitions = 3

// Levels are those that a history may begin with.
var Levels = []braidlog.Durability{braidlog.Sync, braidlog.Interval, braidlog.OS}

// Settings returns each level with each window that it has, of one partition.
func Settings() (all []History) {
	for _, l := range Levels {
		all = append(all, History{Level: l, Heap: true, Partitions: 1})
		if l != braidlog.Sync { // which never maps
			all = append(all, History{Level: l, Partitions: 1})
		}
	}
	return all
}

// All returns every history of exactly n operations of an alphabet, with every
// setting.
func All(alphabet string, n int) (all []History) {
	words := []string{""}
	for range n {
		var longer []string
		for _, w := range words {
			for _, c := range alphabet {
				longer = append(longer, w+string(c))
			}
		}
		words = longer
	}
	for _, w := range words {
		for _, h := range Settings() {
			h.Ops = w
			all = append(all, h)
		}
	}
	return all
}

// Random returns a longer history.
func Random(rng *rand.Rand) History {
	settings := Settings()
	h := settings[rng.IntN(len(settings))]
	h.Partitions = 1 + rng.IntN(2)
	const more = "aaabb" // what is to be lost has to be appended
	for range 4 + rng.IntN(9) {
		all := Alphabet + Rare + more
		h.Ops += string(all[rng.IntN(len(all))])
	}
	return h
}

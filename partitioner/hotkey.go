package partitioner

import (
	"cmp"
	"slices"
)

// A HotKey is a key that many records have.
type HotKey struct {
	Key   string  `json:"key"`   // any bytes; JSON replaces what is no UTF-8
	Count int64   `json:"count"` // its records; at most Error too many
	Error int64   `json:"error"` // 0: Count is exact
	Share float64 `json:"share"` // Count over the records of all keys
}

// hottest sorts keys by their counts, largest first, then by key, and returns
// the first k of them with their shares of total.
func hottest(keys []HotKey, k int, total int64) []HotKey {
	slices.SortFunc(keys, func(a, b HotKey) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	keys = keys[:min(max(k, 0), len(keys))]
	for i := range keys {
		keys[i].Share = share(keys[i].Count, total)
	}
	return keys
}

// share returns part over whole, 0 of nothing.
func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

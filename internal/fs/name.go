package fs

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// join puts name below prefix and cleans the result. A name that leads out of
// the directory it was given to is an error, even where prefix would catch it.
func join(prefix, name string) (string, error) {
	if !filepath.IsLocal(prefix) || !filepath.IsLocal(name) {
		return "", errNotLocal
	}
	return path.Join(prefix, name), nil
}

// subPrefix is join for Dir.Sub, which cannot report an error: it then answers
// with a prefix that makes every later join fail.
func subPrefix(prefix, name string) string {
	p, err := join(prefix, name)
	if err != nil {
		return ".."
	}
	return p
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
}

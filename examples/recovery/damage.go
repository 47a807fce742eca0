package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// What happens to the files here, docs/FORMAT.md explains.

const (
	firstFrame  = 1024 // where the first batch of a segment begins
	batchHeader = 48   // bytes: its length is at 0, the number of its records at 36
)

// filesOf returns the files of a store's partition whose names end like this,
// the oldest first.
func filesOf(store, suffix string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(store, "topics", "orders", "partitions", "0", "*"+suffix))
	if err == nil && len(files) < 3 {
		err = fmt.Errorf("%s has %d files *%s, want 3 or more", store, len(files), suffix)
	}
	return files, err
}

// A batch is where one stands in a segment. One of no records is a marker.
type batch struct{ at, bytes, records int }

// batchesOf returns the batches of a segment. Each begins with its length; where
// nothing was written yet there are zeros.
func batchesOf(segment []byte) (all []batch) {
	for at := firstFrame; at+batchHeader <= len(segment); {
		b := batch{at, int(binary.LittleEndian.Uint32(segment[at:])), int(binary.LittleEndian.Uint32(segment[at+36:]))}
		if b.bytes == 0 {
			break
		}
		all = append(all, b)
		at += b.bytes
	}
	return all
}

// readSegment returns the content of a segment, and its batches.
func readSegment(file string) (b []byte, all []batch, err error) {
	if b, err = os.ReadFile(file); err != nil {
		return nil, nil, err
	}
	if all = batchesOf(b); len(all) == 0 {
		err = fmt.Errorf("%s has no batch", file)
	}
	return b, all, err
}

// tear cuts the newest segment off behind its last batch, and puts the first
// half of a batch there: so much of the next one reached the disk.
func tear(store string) (file string, at, bytes int, err error) {
	files, err := filesOf(store, ".log")
	if err != nil {
		return "", 0, 0, err
	}
	file = files[len(files)-1]
	b, all, err := readSegment(file)
	if err != nil {
		return "", 0, 0, err
	}
	first, last := all[0], all[len(all)-1]
	at, bytes = last.at+last.bytes, first.bytes/2
	b = append(b[:at:at], b[first.at:first.at+bytes]...)
	return file, at, bytes, os.WriteFile(file, b, 0o600)
}

// flip flips a bit of a batch in the middle of the second segment, which was
// full long ago.
func flip(store string) (file string, at int, err error) {
	files, err := filesOf(store, ".log")
	if err != nil {
		return "", 0, err
	}
	file = files[1]
	b, all, err := readSegment(file)
	if err != nil {
		return "", 0, err
	}
	n := len(all) / 2
	for n > 0 && all[n].records == 0 {
		n--
	}
	at = all[n].at + all[n].bytes/2
	b[at] ^= 1 << 3
	return file, at, os.WriteFile(file, b, 0o600)
}

// removeIndex removes the index of the second segment.
func removeIndex(store string) (file string, err error) {
	files, err := filesOf(store, ".index")
	if err != nil {
		return "", err
	}
	return files[1], os.Remove(files[1])
}

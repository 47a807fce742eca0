// Package jsonl makes records of JSON lines, by default of 5,000 real flights.
package jsonl

import (
	"bufio"
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// US domestic flights of early 2001: public-domain figures of the Bureau of
// Transportation Statistics.
//
//go:embed flights-5k.jsonl
var flights []byte

// DefaultKey is the field that flights are keyed by: the airport of origin.
const DefaultKey = "origin"

// Load makes a record of each line of a file that is not blank: the line is its
// value, and that field of it its key. "" is the file of flights. The ID is this
// call's and the record's number, from 0, so that it is known again. All are in
// memory, so that bad data is found before any of it is appended.
func Load(file, field string) ([]braidlog.Record, error) {
	if file == "" {
		return parse("the flights", bytes.NewReader(flights), field)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	defer f.Close()
	return parse(file, f, field)
}

// Number returns the number of a record, -1 if it is none of those that were
// loaded as sent.
func Number(rec *braidlog.Record, sent []braidlog.Record) int {
	n := binary.BigEndian.Uint64(rec.ID[8:])
	if n >= uint64(len(sent)) || sent[n].ID != rec.ID {
		return -1
	}
	return int(n)
}

// maxLineBytes is the longest line that can be a record. With its key it may
// still be over the limit.
const maxLineBytes = partition.DefaultMaxRecordBytes

// byteOrderMark is what some editors put before the first line.
var byteOrderMark = []byte("\uFEFF")

func parse(name string, r io.Reader, field string) (recs []braidlog.Record, err error) {
	var id [16]byte
	rand.Read(id[:8]) // never fails
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLineBytes+len("\r\n")+1)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		key, err := keyOf(line, field)
		if err == nil {
			err = checkSize(key, line)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		binary.BigEndian.PutUint64(id[8:], uint64(len(recs)))
		recs = append(recs, braidlog.Record{Key: key, Value: bytes.Clone(line), ID: id})
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s, line %d: it has more than the %d bytes that a record may have", name, n+1, maxLineBytes)
	case err != nil:
		return nil, fmt.Errorf("read data: %w", err)
	case len(recs) == 0:
		return nil, fmt.Errorf("%s: there are no records", name)
	}
	return recs, nil
}

// keyOf returns the value of a line's field: a string as it is, anything else
// as its JSON.
func keyOf(line []byte, field string) ([]byte, error) {
	if line[0] != '{' {
		begin, _ := utf8.DecodeRune(line)
		return nil, fmt.Errorf("want a JSON object, it begins with %q", begin)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	value, ok := object[field]
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no field %q", field)
	case string(value) == "null":
		return nil, fmt.Errorf("field %q is null, which is no key", field)
	case value[0] == '"':
		var s string
		err := json.Unmarshal(value, &s)
		return record.StringKey(s), err
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, value)
	return compact.Bytes(), err
}

// checkSize tells of what a topic with default settings would refuse, while
// the number of the line is known.
func checkSize(key, value []byte) error {
	if len(key) > partition.DefaultMaxKeyBytes {
		return fmt.Errorf("its key has %d bytes, a key may have %d", len(key), partition.DefaultMaxKeyBytes)
	}
	if n := len(key) + len(value); n > partition.DefaultMaxRecordBytes {
		return fmt.Errorf("key and value have %d bytes, a record may have %d", n, partition.DefaultMaxRecordBytes)
	}
	return nil
}

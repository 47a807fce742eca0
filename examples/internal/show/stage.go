package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/braidlog/braidlog"
)

// SegmentBytes is enough for the few records of an example. It is not the size to
// choose, which is the default; but under the race detector a partition takes as
// much memory, and there are many.
const SegmentBytes = 1 << 20

// A Stage is where a program plays: its directory and its audience.
type Stage struct {
	Dir  string // there is a directory of this name, or there will be
	JSON bool   // nobody wants a story

	Stdout, Stderr io.Writer

	plant func(recs []braidlog.Record) []braidlog.Record
	err   error // the first of writing the story
}

// Write prints a part of the story, and nothing with -json. That it could not be
// printed is known in the end.
func (s *Stage) Write(b []byte) (int, error) {
	if !s.JSON && s.err == nil {
		_, s.err = s.Stdout.Write(b)
	}
	return len(b), nil
}

// Say prints a line of the story.
func (s *Stage) Say(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// Plant returns a copy of what is to be appended, which a test may have changed:
// the program must notice when it reads it back.
func (s *Stage) Plant(recs []braidlog.Record) []braidlog.Record {
	recs = slices.Clone(recs)
	if s.plant != nil {
		recs = s.plant(recs)
	}
	return recs
}

// report prints the figures, if there are any: as they are, or as the last line
// of the story, which begins with the verdict.
func (s *Stage) report(verdict string, figures any) error {
	if figures == nil {
		return s.told(s.err)
	}
	line, err := json.Marshal(figures)
	if err == nil && !s.JSON {
		line, err = lastLine(verdict, line)
	}
	if err == nil {
		err = s.err
	}
	if err == nil {
		_, err = s.Stdout.Write(append(line, '\n'))
	}
	return s.told(err)
}

// told wraps the error of printing something.
func (s *Stage) told(err error) error {
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// lastLine makes key=value of a JSON object. So both say the same.
func lastLine(verdict string, object []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(err, fmt.Errorf("the figures are no object: %s", object))
	}
	var line strings.Builder
	line.WriteString(verdict)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err = d.Decode(&value); err != nil {
			return nil, err
		}
		fmt.Fprintf(&line, " %s=%s", key, strings.Trim(string(value), `"`))
	}
	return []byte(line.String()), nil
}

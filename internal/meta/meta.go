// Package meta is the form of the small files beside the logs: JSON with a
// checksum, replaced as a whole. docs/FORMAT.md lists them.
package meta

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/braidlog/braidlog/internal/fs"
)

// Format is the version that is written and the newest that is read.
const Format = 1

// MaxBytes bounds what is read of a file into memory.
const MaxBytes = 64 << 20

// ErrCorrupt is in the chain of errors about files that are there but are not
// what was written.
var ErrCorrupt = errors.New("corrupt")

// A VersionError says that a file was written by a newer braidlog.
type VersionError struct {
	Name         string
	Found, Known int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format %d, newer than %d, the newest known here", e.Name, e.Found, e.Known)
}

type envelope struct {
	CRC  string          `json:"crc32c"`
	Data json.RawMessage `json:"data"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(data []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli))
}

// Encode returns the bytes of a file that holds v.
func Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"crc32c":"%s","data":%s}`+"\n", sum(data), data)
	return b.Bytes(), nil
}

// Decode reads the bytes of the file called name into v.
func Decode(name string, b []byte, v any) error {
	e, ok := usual(b)
	if !ok {
		if err := strict(b, &e); err != nil {
			return fmt.Errorf("%s: %w: %v", name, ErrCorrupt, err)
		}
	}
	if got := sum(e.Data); got != e.CRC {
		return fmt.Errorf("%s: %w: checksum is %s, not %s", name, ErrCorrupt, got, e.CRC)
	}
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(e.Data, &f); err != nil {
		return fmt.Errorf("%s: %w: %v", name, ErrCorrupt, err)
	}
	if f.Format > Format {
		return &VersionError{name, f.Format, Format}
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("%s: %w: %v", name, ErrCorrupt, err)
	}
	if v, ok := v.(Checker); ok {
		if err := v.Check(); err != nil {
			return fmt.Errorf("%s: %w: %v", name, ErrCorrupt, err)
		}
	}
	return nil
}

// A Checker knows what its file always has, and so whether it was read from
// another one: files of all kinds are alike but for that.
type Checker interface {
	// Check returns what is missing.
	Check() error
}

// usual takes an envelope apart that is exactly as Encode writes it, which is
// cheaper than to parse it. What it takes for the data may be anything: its
// checksum and its syntax are checked.
func usual(b []byte) (e envelope, ok bool) {
	const head, middle, tail = `{"crc32c":"`, `","data":`, "}\n"
	rest, ok := bytes.CutPrefix(b, []byte(head))
	if !ok || len(rest) < 8 {
		return e, false
	}
	e.CRC, rest = string(rest[:8]), rest[8:]
	if rest, ok = bytes.CutPrefix(rest, []byte(middle)); !ok {
		return e, false
	}
	e.Data, ok = bytes.CutSuffix(rest, []byte(tail))
	return e, ok
}

// strict decodes JSON that has no other members and nothing behind it.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows")
	}
	return nil
}

// Read reads the file called name into v. fs.ErrNotExist if there is none.
func Read(d fs.Dir, name string, v any) error {
	b, err := fs.ReadFile(d, name, MaxBytes)
	if err != nil {
		return err
	}
	return Decode(name, b, v)
}

// Write replaces the file called name by one that holds v, durably.
func Write(d fs.Dir, name string, v any) error {
	b, err := Encode(v)
	if err == nil && len(b) > MaxBytes {
		err = fmt.Errorf("%d bytes, which is more than the %d that are read", len(b), MaxBytes)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return fs.Replace(d, name, b)
}

// An ID is 16 random bytes, 32 hexadecimal digits in a file.
type ID [16]byte

// NewID returns a random id, never zero. The generator is the one of the Go
// runtime, ChaCha8 seeded by the operating system: nobody can tell an id in
// advance. It is used instead of crypto/rand, which comes with a third of a
// megabyte of code.
func NewID() (id ID) {
	for id == (ID{}) {
		binary.LittleEndian.PutUint64(id[:8], rand.Uint64()) // #nosec G404 -- see above
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64()) // #nosec G404 -- see above
	}
	return id
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) != 32 {
		return fmt.Errorf("id %q has %d digits, not 32", b, len(b))
	}
	_, err := hex.Decode(id[:], b)
	return err
}

// String returns the id as it stands in a file.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns enough of a random id for a name that nothing else has.
func (id ID) Short() string { return hex.EncodeToString(id[:8]) }

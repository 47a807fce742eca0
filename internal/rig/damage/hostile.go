package damage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/partition"
)

const (
	// hostileBytes is how much somebody put in the place of a file.
	hostileBytes = 1 << 20
	// maxOpenMemory is what opening it, and reading what is there, may allocate
	// in all: more than it ever holds at a time.
	maxOpenMemory = 64 << 20
)

// hostile puts a mebibyte of bytes made for the purpose in the place of each
// file, one variant after the other: what they allocate is counted.
func (s *sweep) hostile(ctx context.Context, f *fixture, quick bool) {
	ways := []braidlog.Validate{braidlog.ValidateTail, braidlog.ValidateFull}
	if quick {
		ways = ways[:1]
	}
	seen := map[string]bool{}
	for _, name := range f.paths {
		kind := path.Base(name)
		if ext := path.Ext(name); ext == ".log" || ext == ".index" {
			kind = ext + f.place(name)
		}
		if seen[kind] {
			continue
		}
		seen[kind] = true
		evil := f.evil(name)
		for _, what := range slices.Sorted(maps.Keys(evil)) {
			for _, v := range ways {
				if ctx.Err() != nil {
					return
				}
				s.done.Add(1)
				s.told(f.what(name, "a mebibyte of %s, validate %v", what, v), f.open(name, evil[what], v))
			}
		}
	}
}

// place tells segments apart that are treated differently: the active ones.
func (f *fixture) place(name string) string {
	if path.Dir(name) == f.ledger.dir {
		return " of groups"
	}
	for _, p := range f.parts {
		if last := p.last(); strings.TrimSuffix(last.name, ".log") == strings.TrimSuffix(name, path.Ext(name)) {
			return " active"
		}
	}
	return ""
}

// open opens the store with other bytes in the place of a file, and reads all
// of it. Nothing panics, and the memory is bounded.
func (f *fixture) open(name string, b []byte, v braidlog.Validate) error {
	m := f.mem.Kill()
	c := change{files: map[string]entry{name: {bytes: b}}}
	if err := f.apply(m, c); err != nil {
		return err
	}
	o := options(m, clock.Still(began.AddDate(1, 0, 0)))
	o.Validate = v
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := braidlog.Open(dir, o)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > maxOpenMemory {
		return violated(undetected, "opening took %d bytes of memory", n)
	}
	if err != nil {
		return nil // whatever it says
	}
	for _, p := range f.parts {
		if t, err := s.Topic(p.topic); err == nil && t.NumPartitions() > p.number {
			for rec, err := range t.Partition(p.number).Records(context.Background(), partition.First()) {
				if err == nil && path.Dir(name) != p.dir && path.Base(name) != "topic.json" {
					if err := p.compare(&rec); err != nil {
						return err
					}
				}
				if err != nil && !partition.Skippable(err) {
					break
				}
			}
		}
	}
	for _, r := range readers {
		if g, err := s.Group(r.group, consumergroup.Config{Topics: r.topics}); err == nil {
			_, _ = g.Lag(context.Background()) // whatever it says
		}
	}
	_ = s.Close() // it may say that something is damaged
	return nil
}

// evil are bytes to put in the place of a file.
func (f *fixture) evil(name string) map[string][]byte {
	all := map[string][]byte{
		"zeros":    make([]byte, hostileBytes),
		"ones":     bytes.Repeat([]byte{0xff}, hostileBytes),
		"chance":   make([]byte, hostileBytes),
		"brackets": bytes.Repeat([]byte("["), hostileBytes),
		"objects":  bytes.Repeat([]byte(`{"data":`), hostileBytes/8),
		"itself":   bytes.Repeat(f.files[name], hostileBytes/max(1, len(f.files[name]))),
	}
	fills["filled with chance"](all["chance"])
	switch path.Ext(name) {
	case ".log":
		f.evilSegments(name, all)
	case ".json", "":
		f.evilJSON(name, all)
	}
	return all
}

// evilSegments have a header that is right, and behind it frames whose lengths,
// counts and offsets are not, some of them with the right checksum.
func (f *fixture) evilSegments(name string, all map[string][]byte) {
	old := f.files[name]
	le := binary.LittleEndian
	behind := func(what string, frame []byte) {
		b := append(bytes.Clone(old[:headerBytes]), bytes.Repeat(frame, hostileBytes/len(frame))...)
		all[what] = b[:hostileBytes]
	}
	long := make([]byte, 8)
	le.PutUint32(long, 1<<31-8)
	behind("lengths of 2 GiB", long)
	plausible := make([]byte, frameBytes)
	le.PutUint32(plausible, hostileBytes/2)
	behind("lengths of half of it", plausible)

	salt := crc32.Checksum(old[16:32], castagnoli)
	sealed := func(what string, change func(frame []byte)) {
		frame := bytes.Clone(old[headerBytes : headerBytes+int(le.Uint32(old[headerBytes:]))])
		frame = append(frame, make([]byte, hostileBytes-headerBytes-len(frame))...)
		le.PutUint32(frame, uint32(len(frame))) // #nosec G115 -- a constant
		change(frame)
		le.PutUint32(frame[4:], crc32.Update(salt^le.Uint32(frame), castagnoli, frame[8:]))
		all[what] = append(bytes.Clone(old[:headerBytes]), frame...)
	}
	sealed("one frame", func([]byte) {})
	sealed("one frame of 2^32-1 records", func(b []byte) { le.PutUint32(b[36:], 1<<32-1) })
	sealed("one frame of many records", func(b []byte) { le.PutUint32(b[36:], hostileBytes/4) })
	sealed("one frame durable for ever", func(b []byte) { le.PutUint64(b[24:], 1<<62) })
	sealed("one frame of the last offsets", func(b []byte) { le.PutUint64(b[8:], 1<<63-8) })
	sealed("one frame of a time far ahead", func(b []byte) { le.PutUint64(b[16:], 1<<63-1) })
}

// evilJSON are files whose checksum is right and whose content is not.
func (f *fixture) evilJSON(name string, all map[string][]byte) {
	put := func(what string, data []byte) {
		b, err := meta.Encode(json.RawMessage(data))
		if err == nil {
			all[what] = b
		}
	}
	put("checked brackets", []byte(strings.Repeat("[", hostileBytes/2)+strings.Repeat("]", hostileBytes/2)))
	put("checked lines", fmt.Appendf(nil, `{"format":1,"epoch":1,"partitions":[%s{}]}`, strings.Repeat("{},", hostileBytes/3)))
	put("checked gaps", fmt.Appendf(nil, `{"format":1,"start":0,"gaps":[%s{}]}`, strings.Repeat("{},", hostileBytes/3)))
	put("checked text", fmt.Appendf(nil, `{"format":1,"name":%q}`, strings.Repeat("x", hostileBytes)))
	if path.Base(name) != "topic.json" {
		return
	}
	var e struct {
		Data map[string]any `json:"data"`
	}
	if json.Unmarshal(f.files[name], &e) != nil {
		return
	}
	for what, change := range map[string]func(generation, config map[string]any){
		"numbers as large as may be": func(g, c map[string]any) {
			g["partitions"], c["dedup"], c["dedup_entries"], c["hot_keys"] = 100_000, "on", 1<<24, 1<<16
		},
		"numbers that may not be": func(g, c map[string]any) {
			g["partitions"], c["segment_bytes"] = int64(1<<40), -1
		},
	} {
		g, _ := e.Data["generations"].([]any)
		c, _ := e.Data["config"].(map[string]any)
		if len(g) == 0 || c == nil {
			continue
		}
		first, _ := g[0].(map[string]any)
		g0, c0 := maps.Clone(first), maps.Clone(c)
		change(first, c)
		if data, err := json.Marshal(e.Data); err == nil {
			put("checked "+what, data)
		}
		maps.Copy(first, g0)
		maps.Copy(c, c0)
	}
}

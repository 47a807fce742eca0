package record

import "testing"

// frame returns a run of one record of 128 bytes with a key of 12, and its
// frame.
func frame() (Run, []byte) {
	run := Run{Records: []Record{{Key: make([]byte, 12), Value: make([]byte, 128)}}}
	_, n := run.Fit(1<<20, 1)
	b := make([]byte, n)
	run.Encode(b, 1, stamp)
	return run, b
}

func BenchmarkEncode(b *testing.B) {
	run, dst := frame()
	for b.Loop() {
		_, n := run.Fit(1<<20, 1)
		run.Encode(dst[:n], 1, stamp)
	}
}

// BenchmarkDecode is what a reader does for each record, but for reading the
// file.
func BenchmarkDecode(b *testing.B) {
	_, f := frame()
	var d Decoder
	var r Record
	for b.Loop() {
		if d.Open(f, stamp.Salt, stamp.Position, stamp.Base) == 0 {
			b.Fatal("not a frame")
		}
		if err := d.Next(&r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChecksum is the part of both that no code of ours can shorten.
func BenchmarkChecksum(b *testing.B) {
	_, f := frame()
	for b.Loop() {
		checksum(stamp.Salt, f)
	}
}

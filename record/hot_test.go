package record

import "testing"

func BenchmarkOpen(b *testing.B) {
	run := Run{Records: []Record{{Key: make([]byte, 12), Value: make([]byte, 128)}}}
	head, _, n := cut(run, 1<<20, 1<<20)
	dst := make([]byte, n)
	head.Encode(dst, head.Len(), stamp)
	var r Record
	var d Decoder
	for b.Loop() {
		if d.Open(dst, stamp.Salt, stamp.Position, stamp.Base) == 0 {
			b.Fatal("not a frame")
		}
		if err := d.Next(&r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	dst := make([]byte, 200)
	for b.Loop() {
		checksum(1, dst)
	}
}

func BenchmarkNext(b *testing.B) {
	run := Run{Records: []Record{{Key: make([]byte, 12), Value: make([]byte, 128)}}}
	head, _, n := cut(run, 1<<20, 1<<20)
	dst := make([]byte, n)
	head.Encode(dst, head.Len(), stamp)
	var r Record
	var d Decoder
	d.Open(dst, stamp.Salt, stamp.Position, stamp.Base)
	o := d
	for b.Loop() {
		d = o
		if err := d.Next(&r); err != nil {
			b.Fatal(err)
		}
	}
}

package partition_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/record"
)

// tempDir returns a directory for an example, and what removes it.
func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "partition-example-")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// A partition is a log by itself: open a directory, append, read it again.
func ExampleOpen() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()

	p, err := partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, city := range []string{"Oslo", "Riga", "Rome"} {
		offset, err := p.Append(ctx, record.Record{Value: []byte(city)})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("appended", city, "at", offset)
	}
	if err = p.Close(); err != nil {
		fmt.Println(err)
		return
	}

	p, err = partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	for rec, err := range p.Records(ctx, partition.Offset(1)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("read %s at %d\n", rec.Value, rec.Offset)
	}
	// Output:
	// appended Oslo at 0
	// appended Riga at 1
	// appended Rome at 2
	// read Riga at 1
	// read Rome at 2
}

// Many records in one call share their frame and their sync.
func ExamplePartition_AppendBatch() {
	dir, remove := tempDir()
	defer remove()
	p, err := partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	recs := []record.Record{
		{Key: []byte("a"), Value: []byte("first")},
		{Key: []byte("b"), Value: nil}, // no value
		{Key: []byte("a"), Value: []byte{}},
	}
	if err = p.AppendBatch(context.Background(), recs); err != nil {
		fmt.Println(err)
		return
	}
	for _, rec := range recs {
		fmt.Println(rec.Offset, string(rec.Key), rec.Value == nil)
	}
	// Output:
	// 0 a false
	// 1 b true
	// 2 a false
}

// Tail goes on with what is appended while it runs, until its context ends.
func ExamplePartition_Tail() {
	dir, remove := tempDir()
	defer remove()
	p, err := partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	appended := make(chan struct{})
	go func() {
		defer close(appended)
		for i := range 3 {
			if _, err := p.Append(ctx, record.Record{Value: fmt.Appendf(nil, "tick %d", i)}); err != nil {
				fmt.Println(err)
			}
		}
	}()
	for rec, err := range p.Tail(ctx, partition.First()) {
		if errors.Is(err, context.Canceled) {
			fmt.Println("done")
			break
		}
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(string(rec.Value))
		if rec.Offset == 2 {
			<-appended
			cancel()
		}
	}
	// Output:
	// tick 0
	// tick 1
	// tick 2
	// done
}

// A Reader is for loops that must not allocate: it uses its record again.
func ExamplePartition_NewReader() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	p, err := partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	for i := range 5 {
		if _, err = p.Append(ctx, record.Record{Value: fmt.Appendf(nil, "record %d", i)}); err != nil {
			fmt.Println(err)
			return
		}
	}

	r := p.NewReader(partition.Last(2))
	defer r.Close()
	for {
		rec, err := r.TryNext()
		if err == partition.ErrEnd {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(rec.Offset, string(rec.Value))
	}
	// Output:
	// 3 record 3
	// 4 record 4
}

// AppendAsync does not wait for the disk; Sync does.
func ExamplePartition_AppendAsync() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	p, err := partition.Open(dir, partition.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 3 {
		err = p.AppendAsync(ctx, record.Record{Value: fmt.Appendf(nil, "%d", i)}, func(offset int64, err error) {
			fmt.Println("durable:", offset, err)
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	if err = p.Sync(ctx); err != nil {
		fmt.Println(err)
	}
	if err = p.Close(); err != nil { // waits for the callbacks
		fmt.Println(err)
	}
	// Output:
	// durable: 0 <nil>
	// durable: 1 <nil>
	// durable: 2 <nil>
}

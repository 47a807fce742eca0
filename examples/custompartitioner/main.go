// Custompartitioner keeps the parcels of a region together with a partitioner of
// one's own, of ten lines: the region is what a postcode begins with. The store
// is closed and opened again in the middle, and the partitioner goes on where it
// was. Then somebody brings one with another parameter along, which would look
// for parcels elsewhere, and is refused; and without any partitioner everything
// can be read and nothing is appended.
//
//	go run ./examples/custompartitioner
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/braidlog/braidlog"
	"github.com/braidlog/braidlog/examples/internal/show"
)

// byPostcode sends all parcels to one partition whose postcodes begin with the
// same digits.
type byPostcode struct{ digits int }

// Placement is stored with the topic: a name, and all that decides.
func (b byPostcode) Placement() string { return fmt.Sprintf("postcode-%d", b.digits) }

func (b byPostcode) Partition(rec braidlog.Record, n int) (int, error) {
	if len(rec.Key) < b.digits {
		return 0, fmt.Errorf("key %q is no postcode", rec.Key)
	}
	return int(crc32.ChecksumIEEE(rec.Key[:b.digits]) % uint32(n)), nil
}

const (
	parcels    = 600
	partitions = 4
)

var program = show.Program{Name: "custompartitioner", Play: play}

func main() { program.Main() }

// figures are of parcels that were read back in the end.
type figures struct {
	Records    int    `json:"records"`
	Partitions []int  `json:"partitions"` // parcels of each
	Regions    int    `json:"regions"`
	Together   int    `json:"together"` // regions that are in one partition
	Reopened   int    `json:"reopened"` // parcels behind those of the first opening
	Stored     string `json:"stored"`   // placement
	Refused    string `json:"refused"`  // placement
}

func play(ctx context.Context, s *show.Stage) (any, error) {
	recs := newParcels()
	ledger, appended := show.NewLedger(recs), s.Plant(recs)
	half := len(appended) / 2
	for i, part := range [][]braidlog.Record{appended[:half], appended[half:]} {
		err := with(s, func(store *braidlog.Store) error {
			topic, err := store.EnsureTopic(ctx, "parcels", braidlog.TopicConfig{
				Partitions: partitions, Partitioner: byPostcode{digits: 1},
				Durability: braidlog.OS, SegmentBytes: show.SegmentBytes,
			})
			if err != nil {
				return err
			}
			return topic.AppendBatch(ctx, part)
		})
		if err != nil {
			return nil, err
		}
		s.Say("opening %d: %d parcels appended", i+1, len(part))
	}
	var f figures
	err := with(s, func(store *braidlog.Store) (err error) {
		f, err = look(ctx, s, store, ledger)
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.Together != f.Regions || f.Reopened != f.Records-half {
		return nil, fmt.Errorf("not every region is in one partition: %+v", f)
	}
	return f, nil
}

// with opens the store for as long as do takes.
func with(s *show.Stage, do func(store *braidlog.Store) error) error {
	store, err := braidlog.Open(s.Dir, braidlog.Options{})
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

func newParcels() (recs []braidlog.Record) {
	for i := range parcels {
		postcode := 1000 + i*i*7%9000 // no two neighbours have the same region
		recs = append(recs, braidlog.Record{Key: fmt.Append(nil, postcode), Value: fmt.Appendf(nil, "parcel %d", i)})
	}
	return recs
}

// look opens the topic in ways that do not work, and reads what is there.
func look(ctx context.Context, s *show.Stage, store *braidlog.Store, ledger *show.Ledger) (f figures, err error) {
	other := byPostcode{digits: 2}
	_, err = store.EnsureTopic(ctx, "parcels", braidlog.TopicConfig{Partitioner: other})
	var mismatch *braidlog.MismatchError
	if !errors.As(err, &mismatch) {
		return f, fmt.Errorf("placement %s was not refused: %v", other.Placement(), err)
	}
	s.Say("opening 3: refused: %v", err)

	topic, err := store.Topic("parcels") // whose partitioner is not known by its name
	if err != nil {
		return f, err
	}
	if _, err = topic.Append(ctx, braidlog.Record{Key: []byte("1010")}); !errors.Is(err, braidlog.ErrPartitionerUnknown) {
		return f, fmt.Errorf("append without a partitioner: %v, want %w", err, braidlog.ErrPartitionerUnknown)
	}
	s.Say("           without a partitioner: %v", err)
	got, err := ledger.ReadBack(ctx, topic)
	if err != nil {
		return f, err
	}
	s.Say("           but all %d can be read\n", len(got))

	counts := show.Count(got, partitions)
	show.Partitions(s, counts)
	f = figures{Records: len(got), Partitions: counts, Stored: topic.Placement(), Refused: other.Placement()}
	homes := map[byte]map[int]int{} // parcels by region and partition
	for i, rec := range got {
		region := rec.Key[0]
		if homes[region] == nil {
			homes[region] = map[int]int{}
		}
		if i >= len(got)/2 && homes[region][rec.Partition] > 0 {
			f.Reopened++
		}
		homes[region][rec.Partition]++
	}
	s.Say("")
	table := show.Table{{"region", "partition", "parcels", ""}}
	for region := byte('1'); region <= '9'; region++ {
		for home, n := range homes[region] {
			table.Add(fmt.Sprintf("%c...", region), home, n, show.Bar(n, 200))
		}
		if f.Regions++; len(homes[region]) == 1 {
			f.Together++
		}
	}
	table.Print(s)
	s.Say("")
	return f, nil
}

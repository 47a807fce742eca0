package consumergroup

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/partition"
)

// ledgerTopic returns a topic id that is easy to tell.
func ledgerTopic(n byte) TopicID { return TopicID{0: n, 15: 0xee} }

// ledgerRecords are one of each kind, and their bytes as docs/FORMAT.md has
// them, by hand.
var ledgerRecords = []struct {
	name, hex string
	record    ledgerRecord
}{
	{"spec", "0101" + "0262 62" + "02 026f31 026f32" + "0161" + "01",
		ledgerRecord{kind: ledgerSpec, group: "bb", spec: Spec{Topics: []string{"o1", "o2"}, Pattern: "a", Start: StoredStart{Kind: StartLatest}}}},
	{"spec at a time", "0101" + "0162" + "00" + "00" + "02 0500000000000000",
		ledgerRecord{kind: ledgerSpec, group: "b", spec: Spec{Topics: []string{}, Start: StoredStart{StartAt, time.Unix(0, 5).UTC()}}}},
	{"begin", "0102" + "0162" + "01 016f 010000000000000000000000000000ee 01 03 8002 00",
		ledgerRecord{kind: ledgerBegin, group: "b", at: []Committed{{Topic: "o", TopicID: ledgerTopic(1), Partition: 3, Offset: 256}}}},
	{"commit", "0103" + "0162" + "02" +
		"016f 010000000000000000000000000000ee 02 00 05 01  07 06 03 7879" +
		"0170 020000000000000000000000000000ee 01 00 00 00",
		ledgerRecord{kind: ledgerCommit, group: "b", at: []Committed{
			{Topic: "o", TopicID: ledgerTopic(1), Partition: 0, Offset: 5, Metadata: []byte{}},
			{Topic: "o", TopicID: ledgerTopic(1), Partition: 7, Offset: 6, Metadata: []byte("xy")},
			{Topic: "p", TopicID: ledgerTopic(2)}}}},
	{"delete group", "0104" + "0162", ledgerRecord{kind: ledgerDeleteGroup, group: "b"}},
	{"delete topic", "0105" + "010000000000000000000000000000ee", ledgerRecord{kind: ledgerDeleteTopic, topic: ledgerTopic(1)}},
	{"snapshot", "0106", ledgerRecord{kind: ledgerSnapshot}},
	{"part", "0107" + "09" + "01 0162 00 00 00" + "03 0162 01 016f 010000000000000000000000000000ee 01 03 04 00 0700000000000000",
		ledgerRecord{kind: ledgerPart, begun: 9, items: []ledgerRecord{
			{kind: ledgerSpec, group: "b", spec: Spec{Topics: []string{}}},
			{kind: ledgerCommit, group: "b", at: []Committed{{Topic: "o", TopicID: ledgerTopic(1), Partition: 3, Offset: 4, Time: time.Unix(0, 7).UTC()}}}}}},
	{"end", "0108" + "09" + "02", ledgerRecord{kind: ledgerEnd, begun: 9, parts: 2}},
	{"settled", "0109" + "09", ledgerRecord{kind: ledgerSettled, begun: 9}},
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestLedgerRecordsHaveTheBytesThatAreDocumented(t *testing.T) {
	for _, row := range ledgerRecords {
		t.Run(row.name, func(t *testing.T) {
			b := unhex(t, row.hex)
			require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(row.record.encode()))
			got, err := decodeLedger(b)
			require.NoError(t, err)
			require.Equal(t, row.record, got)
			for n := range b {
				short, err := decodeLedger(b[:n])
				if err == nil { // a part of fewer items
					require.Equal(t, ledgerPart, short.kind, "cut at %d", n)
					continue
				}
				require.ErrorIs(t, err, partition.ErrCorrupt, "cut at %d", n)
			}
			_, err = decodeLedger(append(b[:len(b):len(b)], 0))
			require.Error(t, err, "a byte too many")
		})
	}
}

func TestLedgerRecordsThatAreRefused(t *testing.T) {
	id := "010000000000000000000000000000ee"
	for _, row := range []struct {
		name, hex string
		is        error
	}{
		{"nothing", "", partition.ErrCorrupt},
		{"version 0", "0003", ErrNewerLedger},
		{"version 2", "0206", ErrNewerLedger},
		{"kind 0", "0100", ErrNewerLedger},
		{"kind 10", "010a", ErrNewerLedger},
		{"kind 4 in a snapshot", "0107 00 04 0162", ErrNewerLedger},
		{"start 4", "0101 0162 00 00 04", ErrNewerLedger},
		{"no name", "0104 00", partition.ErrCorrupt},
		{"a name that is none", "0104 012f", partition.ErrCorrupt},
		{"a length beyond all", "0104 ffffffffffffffff7f 62", partition.ErrCorrupt},
		{"a number without end", "0104 ffffffffffffffffffff", partition.ErrCorrupt},
		{"more topics than there is room for", "0103 0162 ffff03 016f" + id + "01 00 00 00", partition.ErrCorrupt},
		{"more partitions than there is room for", "0103 0162 01 016f" + id + "ffffff7f 00 00 00", partition.ErrCorrupt},
		{"a negative offset", "0103 0162 01 016f" + id + "01 00 ffffffffffffffffff01 00", partition.ErrCorrupt},
		{"much metadata", "0103 0162 01 016f" + id + "01 00 00 8220" + strings.Repeat("00", 4097), partition.ErrCorrupt},
		{"a partition twice", "0103 0162 01 016f" + id + "02 00 00 00 00 00 00", partition.ErrCorrupt},
		{"topics that fall", "0101 0162 02 0162 0161 00 00", partition.ErrCorrupt},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := decodeLedger(unhex(t, row.hex))
			require.ErrorIs(t, err, row.is)
		})
	}
}

// Whatever bytes there are: no panic, nothing allocated for what is not there,
// and what decodes says the same when it is encoded again.
func FuzzDecodeLedger(f *testing.F) {
	for _, row := range ledgerRecords {
		f.Add(unhex(f, row.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeLedger(b)
		if err != nil {
			return
		}
		n := len(r.items) + len(r.at) + len(r.spec.Topics)
		require.LessOrEqual(t, n, len(b))
		again, err := decodeLedger(r.encode())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%#v", r), fmt.Sprintf("%#v", again))
	})
}

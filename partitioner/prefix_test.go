package partitioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/record"
)

func TestPrefixCutsKeys(t *testing.T) {
	for _, c := range []struct {
		sep    string
		fields int
		key    string
		want   string
	}{
		{":", 1, "acme:order:7", "acme"},
		{":", 2, "acme:order:7", "acme:order"},
		{":", 3, "acme:order:7", "acme:order:7"},
		{":", 9, "acme:order:7", "acme:order:7"},
		{":", 1, "acme", "acme"},
		{":", 1, "acme:", "acme"},
		{":", 1, ":order", ""},
		{":", 2, "::x", ":"},
		{"::", 1, "a:b::c", "a:b"},
		{":", 1, "", ""},
	} {
		var got []byte
		p := Prefix(c.sep, c.fields, Func("see", func(rec record.Record, n int) (int, error) {
			got = rec.Key
			return 0, nil
		}))
		key := []byte(c.key)
		mustPartition(t, p, record.Record{Key: key}, 6)
		require.Equal(t, []byte(c.want), got, "%+v", c)
		require.Equal(t, []byte(c.key), key)
		mustPartition(t, p, record.Record{}, 6)
		require.Nil(t, got)
	}
}

func TestPrefixKeepsTenantsTogether(t *testing.T) {
	p := Prefix(":", 1, nil)
	want := Key().(KeyPartitioner).PartitionKey([]byte("org"), 48)
	for _, key := range []string{"org", "org:123", "org:124", "org:123:x"} {
		require.Equal(t, want, mustPartition(t, p, record.Record{Key: []byte(key)}, 48))
		require.Equal(t, want, mustRoute(t, p, record.Record{Key: []byte(key)}, 48))
		require.Equal(t, want, p.(KeyPartitioner).PartitionKey([]byte(key), 48))
		require.Equal(t, []int{want}, p.(KeyPartitions).KeyPartitions([]byte(key), 48))
	}
	load, err := Prefix(":", 1, Adaptive(nil, AdaptiveConfig{})).(LoadAware).PartitionLoad(record.Record{Key: []byte("org:9")}, make([]Load, 48))
	require.NoError(t, err)
	require.Equal(t, want, load)
}

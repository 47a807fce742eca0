package jsonl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlights(t *testing.T) {
	recs, err := Load("", DefaultKey)
	require.NoError(t, err)
	require.Len(t, recs, 5000)
	for i := range recs {
		require.Equal(t, i, Number(&recs[i], recs))
	}
	others, err := Load("", DefaultKey)
	require.NoError(t, err)
	require.Equal(t, -1, Number(&others[7], recs), "another call's")
	require.Equal(t, -1, Number(&others[7], others[:7]), "there are not so many")
}

func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders.jsonl")
	require.NoError(t, os.WriteFile(file, []byte("{\"id\":\"a\"}\n\n {\"id\": [1, 2]} \r\n{\"id\":7}"), 0o600))
	recs, err := Load(file, "id")
	require.NoError(t, err)
	var got []string
	for _, rec := range recs {
		got = append(got, string(rec.Key), string(rec.Value))
	}
	require.Equal(t, []string{"a", `{"id":"a"}`, "[1,2]", `{"id": [1, 2]}`, "7", `{"id":7}`}, got)
	_, err = Load(file, "name")
	require.EqualError(t, err, file+`, line 1: there is no field "name"`)
	require.NoError(t, os.WriteFile(file, []byte("\uFEFF{\"id\":\"a\"}\nключ"), 0o600))
	_, err = Load(file, "id")
	require.EqualError(t, err, file+", line 2: want a JSON object, it begins with 'к'")
	_, err = Load(file+"x", "id")
	require.ErrorIs(t, err, os.ErrNotExist)
}

package partition

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/braidlog/braidlog/internal/fs"
)

// What a killed process wrote and did not sync has to be durable before a
// Close says so.
func TestCloseSyncsWhatRecoveryFound(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		m := fs.NewMem()
		p := open(t, m, v)
		appendN(t, p, 0, 10)
		killed := m.Kill()
		require.NoError(t, p.Close())
		p = open(t, killed, v)
		require.NoError(t, p.Close())
		c, ok := p.Checkpoint()
		require.True(t, ok)
		require.Equal(t, int64(10), c.End)
		p = open(t, killed.Crash(func() bool { return false }), v, func(o *Options) { o.Checkpoint = &c })
		readAll(t, p, 10)
		require.NoError(t, p.Close())
	})
}

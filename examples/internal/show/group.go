package show

import (
	"context"

	"github.com/braidlog/braidlog/consumergroup"
)

// Behind returns how many records a group has still to commit, over all its
// partitions: so many will a member that is alone poll until it would wait.
func Behind(ctx context.Context, g *consumergroup.Group) (n int, err error) {
	lags, err := g.Lag(ctx)
	for _, lag := range lags {
		n += int(lag.Records)
	}
	return n, err
}

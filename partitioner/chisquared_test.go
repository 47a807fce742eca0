package partitioner

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Percentage points from Abramowitz and Stegun, Handbook of Mathematical
// Functions, table 26.8, and their five digits.
func TestChiSquaredTailAgainstTables(t *testing.T) {
	for _, c := range []struct {
		degrees int
		x, p    float64
	}{
		{1, 3.84146, 0.05}, {1, 6.63490, 0.01}, {1, 10.828, 0.001}, {1, 0.0157908, 0.9},
		{2, 5.99147, 0.05}, {2, 9.21034, 0.01}, {2, 1.38629, 0.5},
		{5, 11.0705, 0.05}, {5, 15.0863, 0.01}, {5, 20.515, 0.001}, {5, 1.14548, 0.95},
		{10, 18.3070, 0.05}, {10, 23.2093, 0.01}, {10, 9.34182, 0.5},
		{11, 19.6751, 0.05}, {11, 31.264, 0.001},
		{30, 43.7730, 0.05}, {30, 50.8922, 0.01}, {30, 18.4926, 0.95},
		{100, 124.342, 0.05}, {100, 135.807, 0.01}, {100, 99.3341, 0.5}, {100, 77.9295, 0.95},
	} {
		require.InEpsilon(t, c.p, chiSquaredTail(c.x, c.degrees), 3e-4, "%+v", c)
	}
}

// Where there is a closed form, nearly all digits have to be right: erfc of
// the root of x/2 for one degree, and for an even number of them the sum of the
// Poisson distribution.
func TestChiSquaredTailAgainstClosedForms(t *testing.T) {
	for x := 0.01; x < 200; x *= 1.3 {
		require.InEpsilon(t, math.Erfc(math.Sqrt(x/2)), chiSquaredTail(x, 1), 1e-10, "x = %v", x)
		require.InEpsilon(t, math.Exp(-x/2), chiSquaredTail(x, 2), 1e-10, "x = %v", x)
		sum, term := 0.0, math.Exp(-x/2)
		for k := 1.0; k <= 10; k++ {
			sum += term
			term *= x / 2 / k
		}
		require.InEpsilon(t, sum, chiSquaredTail(x, 20), 1e-10, "x = %v", x)
	}
}

func TestChiSquaredTailAtTheEdges(t *testing.T) {
	require.Equal(t, 1.0, chiSquaredTail(0, 5))
	require.Equal(t, 1.0, chiSquaredTail(3, 0), "nothing can vary")
	require.Zero(t, chiSquaredTail(1e9, 5))
	for _, degrees := range []int{10_000, 99_999, 2_000_000} { // the normal distribution is near
		require.InDelta(t, 0.5, chiSquaredTail(float64(degrees), degrees), 0.01)
		sigma := math.Sqrt(2 * float64(degrees))
		require.InDelta(t, 0.02275, chiSquaredTail(float64(degrees)+2*sigma, degrees), 0.002)
		require.InDelta(t, 0.97725, chiSquaredTail(float64(degrees)-2*sigma, degrees), 0.002)
	}
}

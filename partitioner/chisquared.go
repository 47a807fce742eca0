package partitioner

import "math"

// pearson returns Pearson's chi-squared statistic of counts against all being
// the same: 0 if they are, or if there is nothing counted.
func pearson(counts []int64) float64 {
	sum := 0.0
	for _, c := range counts {
		sum += float64(c)
	}
	if sum == 0 {
		return 0
	}
	want, x := sum/float64(len(counts)), 0.0
	for _, c := range counts {
		d := float64(c) - want
		x += d * d / want
	}
	return x
}

// chiSquaredTail returns the probability that a chi-squared variable of so many
// degrees of freedom is at least x.
func chiSquaredTail(x float64, degrees int) float64 {
	if degrees < 1 || x <= 0 {
		return 1
	}
	return upperGamma(float64(degrees)/2, x/2)
}

// Steps are far fewer: about ten times the square root of a.
const (
	gammaSteps     = 1 << 20
	gammaPrecision = 1e-15
)

// upperGamma returns the regularized upper incomplete gamma function Q(a, x)
// for a > 0 and x > 0: by the series of DLMF 8.11.4 for P = 1-Q where x is
// small, else by the continued fraction of DLMF 8.9.2, as in Numerical Recipes,
// section 6.2. Where one is slow the other one is quick.
func upperGamma(a, x float64) float64 {
	logGamma, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - logGamma)
	q := 0.0
	if x < a+1 {
		q = 1 - scale*lowerSeries(a, x)
	} else {
		q = scale * upperFraction(a, x)
	}
	return min(max(q, 0), 1) // rounding may leave the interval
}

// lowerSeries returns the sum of x^k / (a (a+1) … (a+k)) over all k ≥ 0.
func lowerSeries(a, x float64) float64 {
	term := 1 / a
	sum := term
	for k := 1.0; k < gammaSteps && term > sum*gammaPrecision; k++ {
		term *= x / (a + k)
		sum += term
	}
	return sum
}

// upperFraction returns 1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- …))) by the
// modified algorithm of Lentz.
func upperFraction(a, x float64) float64 {
	const tiny = 1e-300 // stands for a denominator of 0
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	value := d
	for k := 1.0; k < gammaSteps; k++ {
		n := k * (a - k)
		b += 2
		d = 1 / notZero(n*d+b, tiny)
		c = notZero(b+n/c, tiny)
		step := c * d
		value *= step
		if math.Abs(step-1) < gammaPrecision {
			break
		}
	}
	return value
}

func notZero(x, tiny float64) float64 {
	if math.Abs(x) < tiny {
		return tiny
	}
	return x
}

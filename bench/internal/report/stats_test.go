package report

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 3}, 4},
		{[]float64{2, 2, 100, 1, 3}, 2},
	} {
		if got := Median(test.values); got != test.want {
			t.Errorf("Median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("Median of nothing = %v, want NaN", got)
	}
}

func TestMedianDoesNotModifyValues(t *testing.T) {
	values := []float64{3, 1, 2}
	Median(values)
	Percentile(values, 0.5)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the values are now %v", values)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i)) // 100 to 1
	}
	for _, test := range []struct{ p, want float64 }{
		{0, 1}, {0.01, 1}, {0.5, 50}, {0.99, 99}, {0.991, 100}, {0.999, 100}, {1, 100},
	} {
		if got := Percentile(hundred, test.p); got != test.want {
			t.Errorf("Percentile(1..100, %v) = %v, want %v", test.p, got, test.want)
		}
	}
	if got := Percentile([]float64{4}, 0.999); got != 4 {
		t.Errorf("Percentile of one value = %v, want that value", got)
	}
	if got := Percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v, want NaN", got)
	}
}

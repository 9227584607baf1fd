package statemachine

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []State{"pending", "paid", "shipped", "ab", "in stock"}
	tests := []struct{ name, want State }{
		{"piad", "paid"},       // a swap is one typo
		{"Pending", "pending"}, // case does not count
		{"shiped", "shipped"},
		{"instock", "in stock"},
		{"shippped", "shipped"},
		{"paid", ""}, // never suggests the name itself
		{"refunded", ""},
		{"xy", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.name, known); got != tt.want {
			t.Errorf("nearest(%q) = %q; want %q", tt.name, got, tt.want)
		}
	}
}

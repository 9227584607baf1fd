package statemachine

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []State{"pending", "paid", "shipped", "ab", "in stock"}
	tests := []struct{ name, want State }{
		{"piad", "paid"},       // a swap is one slip
		{"Pending", "pending"}, // case is none
		{"shiped", "shipped"},
		{"instock", "in stock"},
		{"shippped", "shipped"},
		{"paid", ""}, // itself is no suggestion
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

package statemachine

import (
	"strings"
	"testing"
)

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

func TestNearestEvent(t *testing.T) {
	t.Parallel()
	m := MustCompile(Definition{
		Name: "order", Version: 1,
		Transitions: []Transition{
			{Event: "order.placed", To: "pending"},
			{Event: "order.paid", From: In("pending"), To: "paid"},
		},
		Terminal: In("paid"),
	})
	for e, want := range map[Event]Event{
		"order.payed":    "order.paid",
		"Order.Paid":     "order.paid",
		"oder.placed":    "order.placed",
		"paid":           "",
		"":               "",
		"order.paid\xff": "order.paid",
		Event(strings.Repeat("order.paid", 1<<20)): "",
	} {
		if got := m.NearestEvent(e); got != want {
			t.Errorf("NearestEvent(%.40q) = %q; want %q", e, got, want)
		}
	}
}

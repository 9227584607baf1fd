package measure

import (
	"slices"
	"testing"

	"github.com/pawl-go/pawl/bench/internal/traffic"
)

func TestAddUp(t *testing.T) {
	events := slices.Values([]traffic.Event{
		{Key: "a", Name: traffic.PaymentAuthorized, Amount: 10},
		{Key: "b", Name: traffic.PaymentAuthorized, Amount: 7},
		{Key: "a", Name: traffic.PaymentCaptured, Amount: 4},
		{Key: "a", Name: traffic.PaymentCaptured, Amount: 6},
		{Key: "a", Name: traffic.PaymentRefunded, Amount: 1},
	})
	for _, test := range []struct {
		name string
		row  entityRow
		ok   bool
	}{
		{"all events", entityRow{4, traffic.Sums{10, 10, 1}}, true},
		{"some events", entityRow{2, traffic.Sums{10, 4}}, true},
		{"an amount too much", entityRow{2, traffic.Sums{10, 8}}, false},
		{"an amount too little", entityRow{3, traffic.Sums{10, 4}}, false},
		{"amounts of other columns", entityRow{2, traffic.Sums{14, 0}}, false},
		{"more steps than events", entityRow{5, traffic.Sums{10, 10, 1}}, false},
	} {
		err := addUp(map[string]*entityRow{"a": &test.row}, events)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

package traffic

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameSeedSameTraffic(t *testing.T) {
	one := Generate(Plan{Orders: 500, Seed: 3, Prefix: "p"})
	two := Generate(Plan{Orders: 500, Seed: 3, Prefix: "p"})
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("the same plan gave different traffic:\n%s", diff)
	}
	other := Generate(Plan{Orders: 500, Seed: 4, Prefix: "p"})
	if cmp.Equal(one.Records, other.Records) {
		t.Error("another seed gave the same traffic")
	}
}

func TestSmallRunsShowEveryFault(t *testing.T) {
	struck := Generate(Plan{Orders: len(Faults), Seed: 1, Prefix: "p"}).Struck
	for i, n := range struck {
		if n != 1 {
			t.Errorf("fault %q: %d of the first orders have it, want 1", Faults[i].Name, n)
		}
	}
}

func TestFaultShares(t *testing.T) {
	const orders = 20_000
	for i, n := range Generate(Plan{Orders: orders, Seed: 1, Prefix: "p"}).Struck {
		if want := Faults[i].Share * orders; float64(n) < want/2 || float64(n) > want*2 {
			t.Errorf("fault %q: %d of %d orders, want about %.0f", Faults[i].Name, n, orders, want)
		}
	}
}

func TestOrdersAreInterleaved(t *testing.T) {
	traffic := Generate(Plan{Orders: 200, Seed: 1, Prefix: "p"})
	last := make(map[string]int)
	between := 0
	for i, r := range traffic.Records {
		if at, seen := last[r.Message.Order]; seen {
			between = max(between, i-at-1)
		}
		last[r.Message.Order] = i
	}
	if len(last) != 200 || len(traffic.Orders) != 200 {
		t.Errorf("traffic of %d orders, %d keys; want 200", len(last), len(traffic.Orders))
	}
	if between < openOrders {
		t.Errorf("at most %d records between two records of one order", between)
	}
}

// TestInterleaveKeepsOrder checks that each order's records stay in order.
func TestInterleaveKeepsOrder(t *testing.T) {
	queues := make([][]Record, 2*openOrders)
	for i := range queues {
		for n := range 1 + i%4 {
			queues[i] = append(queues[i], Record{Message: Message{Order: string(rune('a' + i)), Tracking: string(rune('0' + n))}})
		}
	}
	next := make(map[string]string)
	mixed := interleave(newOrder("p", 0, generator(1)).rng, slices.Clone(queues))
	for _, r := range mixed {
		if r.Message.Tracking <= next[r.Message.Order] {
			t.Fatalf("order %s: %s comes after %s", r.Message.Order, r.Message.Tracking, next[r.Message.Order])
		}
		next[r.Message.Order] = r.Message.Tracking
	}
	if want := len(queues) * 5 / 2; len(mixed) != want {
		t.Errorf("%d records, want %d", len(mixed), want)
	}
}

func TestValue(t *testing.T) {
	r := Generate(Plan{Orders: 1, Seed: 1, Prefix: "p"}).Records[0]
	var m Message
	if err := json.Unmarshal(r.Value(), &m); err != nil || m != r.Message {
		t.Errorf("%s does not encode %+v: %v", r.Value(), r.Message, err)
	}
	r.Damage = CutOff
	if json.Valid(r.Value()) {
		t.Errorf("%s is valid JSON", r.Value())
	}
	r.Damage = Emptied
	if r.Value() != nil {
		t.Errorf("a tombstone has the value %q", r.Value())
	}
}

package traffic_test

import (
	"iter"
	"testing"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// play applies a stream to a machine. It returns the number of events by key
// and in total.
func play(t *testing.T, m *statemachine.Machine, stream iter.Seq[traffic.Event], states map[string]statemachine.State) (perKey map[string]int, n int) {
	t.Helper()
	perKey = make(map[string]int)
	ids := make(map[string]bool)
	for e := range stream {
		to, ok := m.Fire(states[e.Key], e.Name)
		if !ok {
			t.Fatalf("event %s of %s is illegal in state %q", e.Name, e.Key, states[e.Key])
		}
		if ids[e.ID] {
			t.Fatalf("two messages have the ID %s", e.ID)
		}
		ids[e.ID] = true
		states[e.Key] = to
		perKey[e.Key]++
		n++
	}
	return perKey, n
}

func TestNewOrders(t *testing.T) {
	states := make(map[string]statemachine.State)
	perKey, n := play(t, traffic.Order, traffic.NewOrders("a", 5000), states)
	if n != 20_000 || len(perKey) != 5000 {
		t.Errorf("%d events of %d orders, want 20000 of 5000", n, len(perKey))
	}
	for key, state := range states {
		if state != "delivered" {
			t.Errorf("order %s ends in state %s", key, state)
		}
	}
}

func TestNewOrdersAreSpread(t *testing.T) {
	first, apart, at := make(map[string]int), 0, 0
	for e := range traffic.NewOrders("a", 5000) {
		if begun, ok := first[e.Key]; !ok {
			first[e.Key] = at
		} else if e.Name == "order.delivered" && at-begun > 100 {
			apart++
		}
		at++
	}
	if apart < 4900 {
		t.Errorf("only %d of 5000 orders have other orders' events between their first and last event", apart)
	}
}

func TestHotKeys(t *testing.T) {
	perKey, n := play(t, traffic.Account, traffic.HotKeys("a", 1000, 50_000), make(map[string]statemachine.State))
	hot := 0
	for _, count := range perKey {
		if count > 1000 {
			hot += count
		}
	}
	if share := float64(hot) / float64(n); n != 50_000 || share < 0.48 || share > 0.52 {
		t.Errorf("the hot keys got %.2f of %d records, want half of 50000", share, n)
	}
}

func TestGrowthMovesOldAccounts(t *testing.T) {
	states := make(map[string]statemachine.State)
	if _, n := play(t, traffic.Account, traffic.OldAccounts(0, 300), states); n != 300*traffic.OldEvents {
		t.Errorf("got %d old events", n)
	}
	perKey, n := play(t, traffic.Account, traffic.Growth("a", 300, 4000), states)
	fresh := 0
	for _, count := range perKey {
		if count == traffic.OldEvents {
			fresh++
		}
	}
	if n != 4000 || fresh < 500 {
		t.Errorf("%d events, %d new accounts, want 4000 and at least 500", n, fresh)
	}
}

func TestDecode(t *testing.T) {
	for e := range traffic.NewOrders("a", 1) {
		r := traffic.Record("orders", e, "")
		if n := len(r.Value); n < 150 || n > 220 {
			t.Errorf("a record of %d bytes: %s", n, r.Value)
		}
		m, err := traffic.Decode(r.Value)
		if err != nil || m.Key != e.Key || m.Event != e.Name {
			t.Errorf("decoded %+v, %v", m, err)
		}
	}
	if _, err := traffic.Decode([]byte(`{"key":"a"}`)); err == nil {
		t.Error("Decode accepted a message without an event")
	}
}

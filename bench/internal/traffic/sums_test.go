package traffic_test

import (
	"iter"
	"testing"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// addUp checks that each event says what its column contains after it. It returns the sums
// and the number of events by key.
func addUp(t *testing.T, stream iter.Seq[traffic.Event]) (sums map[string]traffic.Sums, perKey map[string]int) {
	t.Helper()
	sums, perKey = make(map[string]traffic.Sums), make(map[string]int)
	for e := range stream {
		s := sums[e.Key]
		if got := s.Add(e.Name, e.Amount); got != e.After || e.Amount <= 0 {
			t.Fatalf("%s of %s adds %d and says that the sum is %d, want %d", e.Name, e.Key, e.Amount, e.After, got)
		}
		sums[e.Key] = s
		perKey[e.Key]++
	}
	return sums, perKey
}

func TestPayments(t *testing.T) {
	sums, perKey := addUp(t, traffic.Payments("a", 1000))
	if len(sums) != 1000 {
		t.Errorf("%d payments, want 1000", len(sums))
	}
	for key, s := range sums {
		if s[0] != s[1] || s[2] == 0 || s[2] >= s[1] || perKey[key] != 5 {
			t.Errorf("payment %s has %d events and the sums %v", key, perKey[key], s)
		}
	}
	machine, err := traffic.WithoutFunctions(traffic.Payment.Name())
	if err != nil {
		t.Fatal(err)
	}
	play(t, machine, traffic.Payments("a", 1000), make(map[string]statemachine.State))
}

func TestHotAccount(t *testing.T) {
	_, perKey := addUp(t, traffic.HotAccount("a", 1000, 50_000))
	most, n := 0, 0
	for _, count := range perKey {
		most = max(most, count)
		n += count
	}
	if n != 50_000 || most < 4800 || most > 5200 {
		t.Errorf("one account has %d of %d records, want 5000 of 50000", most, n)
	}
	machine, err := traffic.WithoutFunctions(traffic.Wallet.Name())
	if err != nil {
		t.Fatal(err)
	}
	play(t, machine, traffic.HotAccount("a", 1000, 50_000), make(map[string]statemachine.State))
}

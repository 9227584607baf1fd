package traffic

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameSeedSameTraffic(t *testing.T) {
	one := Generate(Plan{Payments: 300, Accounts: 40, Seed: 3})
	two := Generate(Plan{Payments: 300, Accounts: 40, Seed: 3})
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("the same plan gave different traffic:\n%s", diff)
	}
	if len(one.Payments) != 300 || len(one.Accounts) != 40 {
		t.Errorf("traffic of %d payments and %d accounts", len(one.Payments), len(one.Accounts))
	}
	if other := Generate(Plan{Payments: 300, Accounts: 40, Seed: 4}); cmp.Equal(one.Records, other.Records) {
		t.Error("another seed gave the same traffic")
	}
}

func TestSmallRunsShowEveryFault(t *testing.T) {
	for i, n := range Generate(Plan{Payments: len(Faults), Accounts: 2, Seed: 1}).Struck {
		if n != 1 {
			t.Errorf("fault %q: %d of the first payments have it, want 1", Faults[i].Name, n)
		}
	}
}

// TestHouseOpensFirst checks what makes the interest of the house accounts harmless: they
// open before anything else in their book, with more than can ever be taken out.
func TestHouseOpensFirst(t *testing.T) {
	for seed := range uint64(20) {
		opened, taken := make(map[string]bool), make(map[string]int64)
		for _, r := range Generate(Plan{Payments: 50, Accounts: 33, Seed: seed}).Records {
			m := r.Message
			if !strings.HasPrefix(r.Key, "book-") {
				continue
			}
			if !opened[r.Key] && (m.Type != Opened || !House(m.Account) || m.Amount != houseDeposit) {
				t.Fatalf("seed %d: %s begins with %+v", seed, r.Key, m)
			}
			opened[r.Key] = true
			if m.Type == Transfer {
				taken[m.From] += m.Amount
			}
			if m.Type == Closed && House(m.Account) || taken[m.From] > houseDeposit {
				t.Errorf("seed %d: %+v, after %d were taken out", seed, m, taken[m.From])
			}
		}
	}
}

func TestValue(t *testing.T) {
	r := Generate(Plan{Payments: 20, Accounts: 2, Seed: 1}).Records[0]
	var m Message
	if err := json.Unmarshal(r.Value(), &m); err != nil || m != r.Message {
		t.Errorf("%s does not encode %+v: %v", r.Value(), r.Message, err)
	}
	r.Damage = CutOff
	if json.Valid(r.Value()) {
		t.Errorf("%s is valid JSON", r.Value())
	}
	r.Damage, r.Message.Amount = Fractional, 7
	if !strings.Contains(string(r.Value()), `"amount":0.57`) || json.Unmarshal(r.Value(), &m) == nil {
		t.Errorf("%s has a whole amount", r.Value())
	}
	if r.Damage = Emptied; r.Value() != nil {
		t.Errorf("a tombstone has the value %q", r.Value())
	}
}

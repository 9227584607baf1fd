package expect

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// A say is shorthand for a record.
type say struct {
	id   string
	m    traffic.Message
	want Fate
}

func pay(kind string, amount int64) traffic.Message {
	m := traffic.Message{Type: kind, Payment: "p", Amount: amount, Currency: "EUR"}
	if kind == traffic.Authorized {
		m.FeeRate = "0.0145"
	}
	return m
}

func acct(kind, account string, amount int64) traffic.Message {
	return traffic.Message{Type: kind, Account: account, Amount: amount, Currency: "EUR"}
}

func move(from, to string, amount int64) traffic.Message {
	return traffic.Message{Type: traffic.Transfer, From: from, To: to, Amount: amount, Currency: "EUR"}
}

func TestModel(t *testing.T) {
	duplicate, noEntity := Fate{Kind: Duplicate}, Fate{Parked, "no_entity"}
	for _, c := range []struct {
		name    string
		records []say
		payment Payment
		a, b    int64 // balances
	}{
		{"captured in two parts", []say{
			{"1", pay(traffic.Authorized, 1001), applied},
			{"2", pay(traffic.Captured, 1000), applied},
			{"2", pay(traffic.Captured, 1000), duplicate},
			{"3", pay(traffic.Captured, 1), applied},
		}, Payment{State: "captured", Version: 3, Currency: "EUR", Authorized: 1001, Captured: 1001, Fees: 145000 + 145}, 0, 0},
		{"a refund that waits for its capture", []say{
			{"4", pay(traffic.Refunded, 700), applied},
			{"1", pay(traffic.Authorized, 1000), applied},
			{"2", pay(traffic.Captured, 600), applied},
			{"3", pay(traffic.Captured, 400), applied},
			{"5", pay(traffic.Refunded, 301), refused},
			{"6", pay(traffic.Refunded, 300), applied},
			{"7", pay(traffic.ChargedBack, 1), illegal},
		}, Payment{State: "refunded", Version: 5, Currency: "EUR", Authorized: 1000, Captured: 1000, Refunded: 1000, Fees: 145000}, 0, 0},
		{"an ID used twice", []say{
			{"1", pay(traffic.Authorized, 1000), applied},
			{"2", pay(traffic.Captured, 600), applied},
			{"2", pay(traffic.Captured, 400), Fate{DeadLettered, "message_taken"}},
			{"3", pay(traffic.Voided, 0), illegal},
		}, Payment{State: "partly_captured", Version: 2, Currency: "EUR", Authorized: 1000, Captured: 600, Fees: 87000}, 0, 0},
		{"transfers", []say{
			{"1", acct(traffic.Opened, "a", 100), applied},
			{"2", move("a", "b", 60), applied}, // when b opens
			{"3", move("b", "a", 1), applied},
			{"4", acct(traffic.Opened, "b", 5), applied},
			{"5", move("a", "b", 42), refused},
			{"6", move("a", "c", 42), refused}, // although c does not exist
			{"7", move("a", "c", 41), noEntity},
			{"8", move("a", "a", 1), refused},
			{"9", acct(traffic.Closed, "b", 0), Fate{DeadLettered, "no_branch"}},
		}, Payment{}, 41, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			var records []traffic.Sent
			want := make(map[traffic.Place]Fate)
			for i, s := range c.records {
				records = append(records, traffic.Sent{Record: traffic.Record{ID: s.id, Message: s.m}, Place: traffic.Place{Offset: int64(i)}})
				want[records[i].Place] = s.want
			}
			got := Of(records)
			if diff := cmp.Diff(want, got.Fates); diff != "" {
				t.Errorf("fates differ (-want +got):\n%s", diff)
			}
			if got.Payments["p"] != c.payment {
				t.Errorf("the payment is %+v, want %+v", got.Payments["p"], c.payment)
			}
			if a, b := got.Accounts["a"].Balance, got.Accounts["b"].Balance; a != c.a || b != c.b {
				t.Errorf("the balances are %d and %d, want %d and %d", a, b, c.a, c.b)
			}
		})
	}
}

// fateOf lists, for each fault alone, a fate that a record of its payment must have.
var fateOf = map[string]Fate{
	"captures exceed the authorized amount": refused,
	"a refund exceeds what was captured":    refused,
	"a refund before its capture":           applied,
	"a chargeback before its capture":       applied,
	"a refund whose capture never comes":    notYet,
	"a void after a capture":                illegal,
	"never authorized":                      {Parked, "no_entity"},
	"a capture in another currency":         refused,
	"a currency that the table refuses":     {DeadLettered, "constraint"},
	"a negative amount":                     refused,
	"an amount in euros, not in cents":      {DeadLettered, "undecodable"},
	"an unknown event":                      {DeadLettered, "unknown_event"},
	"truncated JSON":                        {DeadLettered, "undecodable"},
	"a tombstone":                           {DeadLettered, "undecodable"},
	"an ID used again for another amount":   {DeadLettered, "message_taken"},
	"neighbors swapped":                     applied,
	"sent twice in a row":                   {Kind: Duplicate},
	"redelivered later":                     {Kind: Duplicate},
}

// TestFaults checks the result of each fault. In every traffic, the first payments have one
// fault each, in the order of traffic.Faults.
func TestFaults(t *testing.T) {
	for seed := range uint64(30) {
		made := traffic.Generate(traffic.Plan{Payments: len(traffic.Faults), Seed: seed})
		records := make([]traffic.Sent, len(made.Records))
		for i, r := range made.Records {
			records[i] = traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}}
		}
		fates := Of(records).Fates
		for n, f := range traffic.Faults {
			seen := make(map[Fate]bool)
			for _, r := range records {
				if r.Key == fmt.Sprintf("pay-%06d", n) {
					seen[fates[r.Place]] = true
				}
			}
			if !seen[fateOf[f.Name]] {
				t.Errorf("seed %d: fault %q: no record is %v: %v", seed, f.Name, fateOf[f.Name], seen)
			}
		}
	}
}

func TestHalfEven(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 4: 0, 5: 0, 6: 1, 14: 1, 15: 2, 25: 2, 26: 3, 35: 4} {
		if got := halfEven(n, 10); got != want {
			t.Errorf("%d/10 is rounded to %d, want %d", n, got, want)
		}
	}
}

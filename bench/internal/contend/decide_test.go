package contend

import (
	"iter"
	"testing"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// TestDecide checks that the hand-written contenders decide what the traffic expects.
func TestDecide(t *testing.T) {
	for _, test := range []struct {
		machine *statemachine.Machine
		events  iter.Seq[traffic.Event]
		ends    statemachine.State
	}{
		{traffic.Order, traffic.NewOrders("a", 100), "delivered"},
		{traffic.Payment, traffic.Payments("a", 100), "refunded"},
		{traffic.Wallet, traffic.HotAccount("a", 10, 500), "active"},
	} {
		decide, rows := decide(test.machine), make(map[string]row)
		for e := range test.events {
			to, legal := decide(rows[e.Key], &traffic.Message{Key: e.Key, Event: e.Name, Amount: e.Amount})
			if !legal || to.version != rows[e.Key].version+1 || to.sums[traffic.ColumnOf(e.Name)] != e.After {
				t.Fatalf("%+v of %+v: got %+v, legal is %v", e, rows[e.Key], to, legal)
			}
			rows[e.Key] = to
		}
		for key, r := range rows {
			if r.state != test.ends {
				t.Errorf("%s %s ends as %+v", test.machine.Name(), key, r)
			}
		}
	}
}

func TestDecideRefuses(t *testing.T) {
	pay, deposit := decide(traffic.Payment), decide(traffic.Wallet)
	open := row{state: "part_captured", version: 2, sums: traffic.Sums{10, 4, 0}}
	for _, test := range []struct {
		decide  decider
		from    row
		message traffic.Message
	}{
		{pay, open, traffic.Message{Event: traffic.PaymentCaptured, Amount: 7}},
		{pay, open, traffic.Message{Event: traffic.PaymentRefunded, Amount: 5}},
		{pay, open, traffic.Message{Event: traffic.PaymentAuthorized, Amount: 5}},
		{pay, row{}, traffic.Message{Event: traffic.PaymentCaptured, Amount: 1}},
		{deposit, row{}, traffic.Message{Event: traffic.WalletChanged, Amount: 1}},
		{deposit, row{state: "active", version: 1}, traffic.Message{Event: traffic.WalletOpened, Amount: 1}},
	} {
		if to, legal := test.decide(test.from, &test.message); legal {
			t.Errorf("%+v takes %+v and becomes %+v", test.from, test.message, to)
		}
	}
}

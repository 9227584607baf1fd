package demo

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
)

// reconcileOutputs checks what the orders have caused: that the provider has taken exactly
// the money of the orders that are paid, that each order that was shipped was announced once,
// and that each order that was not paid has expired.
func (r *Report) reconcileOutputs(f *found) {
	r.charges(f)
	r.announcements(f)
	r.expiries(f)
}

// money is what the provider did with the money for an order.
type money struct {
	captured []provider.Charge
	refunds  int
}

// kept returns how many times the shop has been paid for the order.
func (m money) kept() int { return len(m.captured) - m.refunds }

// charges compares the provider's ledger with the orders.
func (r *Report) charges(f *found) {
	r.Provider = f.provider
	ledger := moneyOf(f.provider)
	for id, m := range ledger {
		state := f.orders[id].State
		r.Money.Captured += len(m.captured)
		r.Money.Refunded += m.refunds
		switch {
		case len(m.captured) > 1:
			r.Money.ChargedTwice++
			r.problem("order %s was charged %d times", id, len(m.captured))
		case m.refunds > len(m.captured):
			r.Money.RefundedTwice++
			r.problem("order %s was refunded %d times", id, m.refunds)
		case m.kept() > 0 && !isPaid(state):
			r.Money.KeptUnpaid++
			r.problem("order %s is %q, but the shop has its money", id, state)
		}
	}
	r.Money.Declined = len(f.provider.Charges) - r.Money.Captured
	for id, o := range f.orders {
		if isPaid(o.State) && ledger[id].kept() < 1 {
			r.Money.NeverCharged++
			r.problem("order %s is %q, but the shop does not have its money", id, o.State)
		}
	}
}

func isPaid(state string) bool { return state == "paid" || state == "shipped" || state == "delivered" }

func moneyOf(l provider.Ledger) map[string]money {
	all := make(map[string]money)
	orderOf := make(map[string]string)
	for _, c := range l.Charges {
		orderOf[c.ID] = c.Order
		if c.Captured {
			m := all[c.Order]
			m.captured = append(m.captured, c)
			all[c.Order] = m
		}
	}
	for _, refund := range l.Refunds {
		m := all[orderOf[refund.Charge]]
		m.refunds++
		all[orderOf[refund.Charge]] = m
	}
	return all
}

// compareCharges compares each charge in the provider's ledger with those that the model
// expects.
func (r *Report) compareCharges(want []expect.Charge, l provider.Ledger) {
	refunds := make(map[string]int)
	for _, refund := range l.Refunds {
		refunds[refund.Charge]++
	}
	var got []expect.Charge
	for _, c := range l.Charges {
		got = append(got, expect.Charge{
			Order: c.Order, Amount: c.Amount.StringFixed(2), Card: c.Card, Captured: c.Captured, Refunded: refunds[c.ID] > 0,
		})
		if c.Captured == provider.Declines(c.Card) {
			r.problem("the provider has %+v, which it should have decided otherwise", c)
		}
	}
	count := make(map[expect.Charge]int)
	for _, c := range got {
		count[c]++
	}
	for _, c := range want {
		count[c]--
	}
	for _, c := range slices.SortedFunc(maps.Keys(count), func(a, b expect.Charge) int { return cmp.Compare(a.Order, b.Order) }) {
		switch n := count[c]; {
		case n > 0:
			r.problem("the provider has %d more than expected of %+v", n, c)
		case n < 0:
			r.problem("the provider has %d fewer than expected of %+v", -n, c)
		}
	}
}

// announcements compares the topic of the shipments, and what the carrier made of it, with
// the orders.
func (r *Report) announcements(f *found) {
	seen := make(map[string]bool)      // by ID
	times := make(map[string][]string) // by order: the events, without repeats
	for _, a := range f.announced {
		if seen[a.id] {
			r.Shipments.Repeated++
			continue
		}
		seen[a.id] = true
		times[a.Order] = append(times[a.Order], a.Event)
	}
	for id, events := range times {
		r.Shipments.Announced++
		if want := announcementsOf(f.orders[id].State); !slices.Equal(events, want) {
			r.Shipments.Wrong++
			r.problem("order %s is %q, and was announced as %v, want %v", id, f.orders[id].State, events, want)
		}
	}
	for id, o := range f.orders {
		want := announcementsOf(o.State)
		if want != nil && times[id] == nil {
			r.Shipments.Wrong++
			r.problem("order %s is %q, and was never announced", id, o.State)
		}
		if state := carried[len(want)]; f.shipments[id] != state {
			r.Shipments.Wrong++
			r.problem("order %s is %q, and its shipment %q, want %q", id, o.State, f.shipments[id], state)
		}
	}
	if f.stray > 0 {
		r.Shipments.Wrong += f.stray
		r.problem("%d announcements were parked or are dead letters", f.stray)
	}
}

// announcementsOf returns what must have been announced about an order in a state.
func announcementsOf(state string) []string {
	switch state {
	case "shipped":
		return []string{onItsWay}
	case "delivered":
		return []string{onItsWay, arrived}
	}
	return nil
}

// carried is the state of a shipment by the number of announcements.
var carried = []string{"", "on_its_way", "arrived"}

// expiries checks that no order still waits for something, and that none expired too early.
// The charges show whether an order that expired was paid.
func (r *Report) expiries(f *found) {
	for id, o := range f.orders {
		if o.State == "expired" {
			r.Expired++
		}
		if expect.Waits(o.State) {
			r.NotSettled++
			r.problem("order %s is still %q", id, o.State)
		}
	}
	for _, id := range f.early {
		r.ExpiredEarly++
		r.problem("order %s expired before its time", id)
	}
}

// silent checks that the replay has called nobody. What it might have announced again is on
// the topic, and what it might have changed is in the snapshots.
func (r *Report) silent(asked int, f *found) {
	if n := f.provider.Requests - asked; n > 0 {
		r.problem("the replay made %d requests to the provider", n)
	}
}

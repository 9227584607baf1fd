package main

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var total = decimal.RequireFromString("9.50")

// orderWalk walks an order and its payment together, as the topic and the provider move them.
var orderWalk = pawltest.Walk{
	Name:   "orderWalk",
	Config: pawltest.Config{Tables: []postgres.Table{{Machine: orderMachine(defaultTerms)}, {Machine: Payment}}},
	Changes: [][]versioning.Change{
		{
			{Machine: "order", Key: "o", Event: OrderPlaced, Data: Placed{"alice", total}},
			{Machine: "payment", Key: "o", Event: PaymentRequested, Data: Request{total, "4242"}},
		},
		answered(PaymentCaptured, Captured{"ch_1"}, Captured{"ch_1"}),
		answered(PaymentDeclined, nil, nil),
		answered(PaymentRetried, nil, Retry{"1881"}),
		answered(PaymentRefunded, nil, nil),
		{{Machine: "payment", Key: "o", Event: PaymentUnclear}},
		{{Machine: "order", Key: "o", Event: OrderShipped, Data: Dispatched{"1Z"}}},
		{{Machine: "order", Key: "o", Event: OrderDelivered}},
		{{Machine: "order", Key: "o", Event: OrderCancelled}},
	},
	// Customers and the provider react to each other: nobody retries a payment before it was
	// declined. So no order but the one in which things happen is to be expected.
	Sources: [][]statemachine.Event{append(orderMachine(defaultTerms).Events(), Payment.Events()...)},
	Invariants: []pawltest.Invariant{
		pawltest.Together("the order knows what its payment is", orderAgreesWithPayment),
		pawltest.Each("the customer's money goes back at most once, and only if it was taken", func(e *pawltest.Entity, o OrderRow) error {
			refunds := 0
			for _, job := range e.Jobs {
				if r, ok := job.(Refund); ok && r.Charge == o.Charge && o.Charge != "" {
					refunds++
				}
			}
			if refunds != len(e.Jobs) || refunds > 1 {
				return fmt.Errorf("jobs %+v of a charge %q", e.Jobs, o.Charge)
			}
			return nil
		}),
	},
}

// answered returns the changes of what the provider says about an order.
func answered(event statemachine.Event, order, payment any) []versioning.Change {
	return []versioning.Change{
		{Machine: "order", Key: "o", Event: event, Data: order},
		{Machine: "payment", Key: "o", Event: event, Data: payment},
	}
}

// paidStates are the states in which an order has, or had, its money.
var paidStates = map[statemachine.State]statemachine.State{
	Paid: Charged, Shipped: Charged, Delivered: Charged, Refunding: Charged, Unpaid: Declined, Expired: Declined,
}

func orderAgreesWithPayment(all []*pawltest.Entity) error {
	states := make(map[string]statemachine.State)
	for _, e := range all {
		states[e.Machine] = e.State
	}
	if want, ok := paidStates[states["order"]]; ok && states["payment"] != want {
		return fmt.Errorf("the order is %s, and its payment is %s", states["order"], states["payment"])
	}
	return nil
}

func TestOrderWalk(t *testing.T) {
	orderWalk.Run(t)
}

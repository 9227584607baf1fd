package main

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/statemachine"
)

// The states of an order.
const (
	Pending    statemachine.State = "pending" // the provider is asked for the money
	Unpaid     statemachine.State = "unpaid"  // the card was declined; the customer may try another one
	Paid       statemachine.State = "paid"
	Shipped    statemachine.State = "shipped"
	Delivered  statemachine.State = "delivered"
	Cancelling statemachine.State = "cancelling" // cancelled before the provider has answered
	Refunding  statemachine.State = "refunding"  // cancelled after it was paid
	Cancelled  statemachine.State = "cancelled"  // the shop has none of the customer's money
	Expired    statemachine.State = "expired"    // it was not paid in time
)

// The events that move an order. Those of its payment are in payment.go.
const (
	OrderPlaced    statemachine.Event = "order.placed"
	OrderShipped   statemachine.Event = "order.shipped"
	OrderDelivered statemachine.Event = "order.delivered"
	OrderCancelled statemachine.Event = "order.cancelled"
	OrderExpired   statemachine.Event = "order.expired"
)

// An OrderRow has the columns of an order that its transitions read and write. The table has
// others, which decode sets.
type OrderRow struct {
	Customer string          `db:"customer"`
	Total    decimal.Decimal `db:"total"`
	Charge   string          `db:"charge"` // the provider's ID of the charge that paid for the order
}

// Placed is the data of OrderPlaced.
type Placed struct {
	Customer string
	Total    decimal.Decimal
}

// Dispatched is the data of OrderShipped.
type Dispatched struct{ Tracking string }

// Terms are what a shop may choose about its orders.
type Terms struct {
	// PayWithin is how long a customer whose card was declined may try others.
	PayWithin time.Duration

	// Shipments is the topic that announces what is shipped. See shipment.go.
	Shipments string
}

var defaultTerms = Terms{PayWithin: 30 * time.Minute, Shipments: "shipments"}

// orderMachine returns the state machine of an order. To draw it, run orderflow graph.
func orderMachine(t Terms) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: OrderPlaced, To: Pending, Do: statemachine.Do(place)}, // no From: creates the order

			{Event: PaymentCaptured, From: statemachine.In(Pending), To: Paid, Do: statemachine.Do(pay)},
			{Event: PaymentDeclined, From: statemachine.In(Pending), To: Unpaid},
			{Event: PaymentRetried, From: statemachine.In(Unpaid), To: Pending},
			{Event: OrderExpired, From: statemachine.In(Unpaid), To: Expired, After: t.PayWithin},

			{Event: OrderShipped, From: statemachine.In(Paid), To: Shipped, Do: statemachine.Do(t.ship)},
			{Event: OrderDelivered, From: statemachine.In(Shipped), To: Delivered, Do: statemachine.Do(t.deliver)},

			// Whenever the customer cancels, the money goes back, also money that has
			// only just been taken.
			{Event: OrderCancelled, From: statemachine.In(Unpaid), To: Cancelled},
			{Event: OrderCancelled, From: statemachine.In(Paid), To: Refunding, Do: statemachine.Do(refund)},
			{Event: OrderCancelled, From: statemachine.In(Pending), To: Cancelling},
			{Event: PaymentDeclined, From: statemachine.In(Cancelling), To: Cancelled},
			{Event: PaymentCaptured, From: statemachine.In(Cancelling), To: Refunding, Do: statemachine.Do(payAndRefund)},
			{Event: PaymentRefunded, From: statemachine.In(Refunding), To: Cancelled},
		},
		Terminal: statemachine.In(Delivered, Cancelled, Expired),
	})
}

func place(_ *statemachine.Firing, o *OrderRow, p Placed) error {
	o.Customer, o.Total = p.Customer, p.Total
	return nil
}

func pay(_ *statemachine.Firing, o *OrderRow, c Captured) error {
	o.Charge = c.Charge
	return nil
}

// refund causes a job, in the transaction that cancels the order.
func refund(f *statemachine.Firing, o *OrderRow, _ struct{}) error {
	f.Enqueue(Refund{Charge: o.Charge, Amount: o.Total})
	return nil
}

func payAndRefund(f *statemachine.Firing, o *OrderRow, c Captured) error {
	o.Charge = c.Charge
	return refund(f, o, struct{}{})
}

// ship causes a message, in the transaction that ships the order.
func (t Terms) ship(f *statemachine.Firing, o *OrderRow, d Dispatched) error {
	f.Emit(t.Shipments, announcement{Order: f.Key, Event: ShipmentAnnounced, Customer: o.Customer, Tracking: d.Tracking})
	return nil
}

func (t Terms) deliver(f *statemachine.Firing, _ *OrderRow, _ struct{}) error {
	f.Emit(t.Shipments, announcement{Order: f.Key, Event: ShipmentArrived})
	return nil
}

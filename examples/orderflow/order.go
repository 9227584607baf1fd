package main

import "github.com/pawl-go/pawl/statemachine"

// The states of an order.
const (
	Pending   statemachine.State = "pending"
	Paid      statemachine.State = "paid"
	Shipped   statemachine.State = "shipped"
	Delivered statemachine.State = "delivered"
	Cancelled statemachine.State = "cancelled"
)

// The events that move an order.
const (
	OrderPlaced     statemachine.Event = "order.placed"
	PaymentCaptured statemachine.Event = "payment.captured"
	OrderShipped    statemachine.Event = "order.shipped"
	OrderDelivered  statemachine.Event = "order.delivered"
	OrderCancelled  statemachine.Event = "order.cancelled"
)

// Order is the state machine of an order. To draw it, run orderflow graph.
var Order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: OrderPlaced, To: Pending}, // no From: creates the order
		{Event: PaymentCaptured, From: statemachine.In(Pending), To: Paid},
		{Event: OrderShipped, From: statemachine.In(Paid), To: Shipped},
		{Event: OrderDelivered, From: statemachine.In(Shipped), To: Delivered},
		{Event: OrderCancelled, From: statemachine.In(Pending, Paid), To: Cancelled},
	},
	Terminal: statemachine.In(Delivered, Cancelled),
})
